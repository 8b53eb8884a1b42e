"""The stage ``train``: bfloat16 beside float32 of the same model, and the memory it takes.

One subject of DEAP's size: 800 bags of 10 frames of 49 x 768 tokens in a file, EEG of 32 x 384, and
the default model with its 13.8 M parameters and the scorer. Both precisions train the same batches
of 14 bags in turns in one process. Memory is measured in another, which trains a few steps in the
stage's own precision and then reads all bags, as an epoch does.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timing import arguments, child, interleaved, machine, memory, ratio, table

from milmer import storage
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.runtime.device import compute_reproducibly
from milmer.training.fold_data import FoldData, Rows
from milmer.training.loop import Training
from milmer.training.options import TrainOptions

SMALL = {"hidden_size": 48, "feed_forward": 64, "num_queries": 16, "num_layers": 1}
_PROVENANCE = {"stage": "", "options": {}, "inputs": {}, "upstream": {}}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="training steps per round")
    parser.add_argument("--measure", type=Path, help="print the memory of training on this folder")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    if args.measure:
        print(json.dumps(_memory(args)))
        return
    bags = 42 if args.quick else 800
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_subject(folder, bags, tokens=4 if args.quick else 49)
        print(_compare(folder, args))
        steps = "1" if args.quick else "5"
        options = ["--measure", name, "--threads", str(args.threads), "--steps", steps]
        options += ["--quick"] if args.quick else []
        used = json.loads(child(__file__, *options).splitlines()[-1])
    print()
    print(table(["memory of a process that trains", "MiB"], list(used.items())))
    print()
    print(machine(args.threads, ["torch"]))


def _compare(folder: Path, args: argparse.Namespace) -> str:
    runs = {p: _run(folder, p, args) for p in ("float32", "auto")}

    def trainer(run: Training):
        batches = [rows for _, rows in zip(range(args.steps), run._batches(0), strict=False)]

        def train() -> None:
            for rows in batches:
                run._train_on(rows)

        return train, sum(len(rows) for rows in batches)

    train = {p: trainer(run) for p, run in runs.items()}
    timed = interleaved({p: function for p, (function, _) in train.items()}, args.rounds)
    parameters = sum(p.numel() for p in runs["auto"].model.parameters())
    names = {
        "float32": "float32",
        "auto": f"`auto`, {'bfloat16' if runs['auto'].bfloat16 else 'float32'} here",
    }
    rows = [
        [name, train[p][1] / timed[p].median, ratio(timed["float32"], timed[p])]
        for p, name in names.items()
    ]
    header = [f"precision ({parameters / 1e6:.1f} M parameters)", "samples/s", "times float32"]
    return table(header, rows)


def _memory(args: argparse.Namespace) -> dict[str, float]:
    before = memory()
    run = _run(args.measure, "auto", args)
    for _, rows in zip(range(args.steps), run._batches(0), strict=False):
        run._train_on(rows)
    for rows in run._batches(0):
        run.data.batch(rows, run.device)
    now = memory()
    return {
        "with the libraries loaded, before training": before["peak"],
        "peak": now["peak"],
        "at the end: anonymous": now["anonymous"],
        "at the end: pages mapped from the tokens, EEG and libraries": now["files"],
    }


def _run(folder: Path, precision: str, args: argparse.Namespace) -> Training:
    options = TrainOptions(
        model=SMALL if args.quick else {},
        training={"precision": precision, "select": "last", "threads": args.threads},
    )
    compute_reproducibly()  # as the stage does
    run = Training(_fold(folder), options, 0, torch.device("cpu"))
    run.model.train()
    return run


def _fold(folder: Path) -> FoldData:
    """The fold that ``read_fold`` reads from a subject's files, but without a file of a split."""
    with storage.open_h5(folder / "tokens.h5") as file:
        tokens, bag, valid = storage.mapped(file["tokens"]), file["bag"][()], file["valid"][()]
    with storage.open_h5(folder / "segments.h5") as file:
        eeg = storage.mapped(file["eeg"])
    rows = np.arange(len(eeg))
    table = pd.DataFrame(
        {
            "subject": "s01",
            "trial": rows // 20 + 1,
            "position": rows % 20,
            "label": rows % 4,
            "part": np.where(rows < len(rows) - 14, "train", "test"),
        }
    )
    facts = {"protocol": "trial", "fold": "s01-k0"}
    labels = ["HAHV", "LAHV", "LALV", "HALV"]
    return FoldData(
        table=table,
        labels=labels,
        facts=facts,
        eeg=Rows([eeg]),
        sfreq=128.0,
        eeg_row=rows,
        tokens=Rows([tokens]),
        pictures=None,
        bag=bag,
        valid=valid,
        instances=np.arange(bag.shape[1]),
        dropped={},
        rejected={},
    )


def _write_subject(folder: Path, bags: int, tokens: int, instances: int = 10) -> None:
    """Write a subject's EEG segments and tokens."""
    rng = np.random.default_rng(0)
    frames = bags * instances
    grid = {
        "trial": np.arange(bags, dtype=np.int32) // 20 + 1,
        "position": np.arange(bags, dtype=np.int32) % 20,
    }
    provenance = _PROVENANCE | {"stage": "segments"}
    with storage.new_h5(folder / "segments.h5", SEGMENTS, provenance) as file:
        file["eeg"] = rng.standard_normal((bags, 32, 384), np.float32) * 10
        file["start"] = grid["position"].astype(np.float32) * 3
        file["rejected"] = np.zeros(bags, "S16")
        file["experiment_id"] = grid["trial"]
        for key, values in grid.items():
            file[key] = values
        file.attrs["channels"] = json.dumps([f"E{i}" for i in range(32)])
        file.attrs["sfreq"], file.attrs["cleaned"] = 128.0, "{}"
    provenance = _PROVENANCE | {"stage": "tokens"}
    with storage.new_h5(folder / "tokens.h5", TOKENS, provenance) as file:
        data = file.create_dataset("tokens", (frames, tokens, 768), "float16")
        for first in range(0, frames, instances):
            data[first : first + instances] = rng.standard_normal(
                (instances, tokens, 768), np.float32
            )
        file["bag"] = np.arange(frames, dtype=np.int32).reshape(bags, instances)
        file["valid"] = np.ones((bags, instances), bool)
        for key, values in grid.items():
            file[key] = values


if __name__ == "__main__":
    main()
