"""Tables and report of 5,600 runs: CPU time, wall time and peak memory, and sizes on disk.

The runs are made up: random predictions of 32 subjects with 40 trials of 20 segments, in files like
those of training, with the provenance that goes with them.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from timing import arguments, machine, table

from milmer import storage
from milmer.contracts.trials import TRIALS as TRIALS_TABLE
from milmer.metrics.scores import baselines, measure
from milmer.splits.folds import fold_names

PROJECT = Path(__file__).resolve().parent.parent
LABELS = ["HAHV", "LAHV", "LALV", "HALV"]
SHARES = [0.3, 0.25, 0.2, 0.25]
INPUTS = {"eeg": "default", "tokens": ""}
TRIALS, SEGMENTS, INSTANCES, FOLDS = 40, 20, 10, 5
STAGE = """
import json, sys
from pathlib import Path
stage, folder = sys.argv[1], Path(sys.argv[2])
options = json.loads((folder / f"{stage}.json").read_text())
if stage == "tables":
    from milmer.evaluation.runs import TablesOptions
    from milmer.evaluation.tables import make_tables
    make_tables(
        folder / "runs", TablesOptions.model_validate(options), folder / "tables",
        folder / "baselines",
    )
else:
    from milmer.evaluation.report.options import ReportStageOptions
    from milmer.evaluation.report.page import make_report
    make_report(folder, ReportStageOptions.model_validate(options), folder / "report")
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, help="keep the made-up results in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.results or Path(scratch)
        if not (folder / "report.json").exists():
            with mock.patch("os.fsync"):  # a power cut does not matter here
                make_results(folder, *((2, 2, 1) if args.quick else (32, 28, 7)))
        rows = [
            [stage, *_timed(stage, folder), _size(folder, stage)] for stage in ("tables", "report")
        ]
    print(table(["stage", "CPU s", "wall s", "peak MB", "MB on disk"], rows))
    print(machine(args.threads, ["pandas", "pyarrow"]))


def make_results(folder: Path, subjects: int, experiments: int, under_loso: int) -> None:
    """Runs under ``trial`` and ``segment``, and of the first experiments under ``loso`` too.

    All others are copies of these by another name.
    """
    names = [f"s{i:02d}" for i in range(1, subjects + 1)]
    folds = {p: fold_names(p, names, FOLDS) for p in ("trial", "segment", "loso")}
    about = {}
    for i in range(experiments):
        protocols = list(folds)[: 3 if i < under_loso else 2]
        changes = {"model": {"num_select": i}} if i else {}
        about[f"e{i:02d}"] = {"folds": {p: folds[p] for p in protocols}, "changes": changes}
    for i, (name, experiment) in enumerate(about.items()):
        for protocol, those in experiment["folds"].items():
            if i >= under_loso:
                made = folder / "runs" / f"e{i % under_loso:02d}" / protocol
                shutil.copytree(made, folder / "runs" / name / protocol, copy_function=os.link)
                continue
            for fold in those:
                _run(folder / "runs" / name / protocol / fold / "seed0", protocol, fold, names)
    for name, strength in (("band_power", 0.3), ("band_power_lda", 0.2), ("tangent_space_lda", 0)):
        for protocol, those in folds.items():
            _baseline(folder / "baselines" / name / "default", strength, protocol, those, names)
    for subject in names:
        table = {"subject": subject, "trial": np.arange(1, TRIALS + 1)}
        for column, kind in TRIALS_TABLE.columns.items():
            table.setdefault(column, 0.0 if kind.startswith("measure") else None)
        table |= {"trial_name": "t", "experiment_id": table["trial"], "eeg_file": "s.dat"}
        provenance = _provenance("trials", "s01-k0", names)
        storage.write_table(folder / f"trials/{subject}.parquet", pd.DataFrame(table), provenance)
    looks = {name: experiment | {"inputs": INPUTS} for name, experiment in about.items()}
    (folder / "tables.json").write_text(json.dumps({"experiments": looks}))
    report = {"experiments": about, "subjects": names, "source": "dat"}
    (folder / "report.json").write_text(json.dumps(report))


def _run(run: Path, protocol: str, fold: str, subjects: list[str]) -> None:
    rng = np.random.default_rng([*str(run).encode()])
    predictions = _predictions(protocol, fold, subjects, int(rng.integers(1 << 30)))
    scores = rng.normal(size=(len(predictions), INSTANCES))
    chosen = np.sort(np.argsort(scores)[:, :3]).astype(float).tolist()
    predictions = predictions.assign(chosen=chosen, scores=scores.tolist())
    epochs = np.arange(50)
    history = pd.DataFrame({"epoch": epochs, "train_loss": np.exp(-epochs / 8)})
    history["val_macro_f1"] = 0.25 + rng.random(len(epochs)) / 10
    facts = {"labels": LABELS, "epoch": 3, "select": "validation", "leaky": protocol == "segment"}
    facts |= {"permuted": False, "warnings": [], "without_valid_face": {}, "rejected": {}}
    provenance = _provenance("predictions", fold, subjects)
    storage.write_table(run / "predictions.parquet", predictions, provenance)
    storage.write_table(run / "history.parquet", history, provenance | {"stage": "history"})
    metrics = measure(predictions, LABELS) | baselines(np.array(SHARES), predictions, LABELS)
    metrics |= facts | {"selected_on_test": False, "shares": SHARES, "provenance": provenance}
    storage.write_json(run / "metrics.json", metrics)


def _baseline(
    folder: Path, strength: float, protocol: str, folds: list[str], subjects: list[str]
) -> None:
    about = {**INPUTS, "shares": SHARES, "validated": float(strength), "skipped": None}
    facts = {"protocol": protocol, "leaky": protocol == "segment", "permuted": False}
    facts |= {"labels": LABELS, "folds": [{"fold": fold, **about} for fold in folds]}
    parts = [
        _predictions(protocol, fold, subjects, 7).assign(fold=fold, **INPUTS) for fold in folds
    ]
    provenance = _provenance("baseline", "", subjects) | {"facts": facts}
    storage.write_table(folder / f"{protocol}.parquet", pd.concat(parts), provenance)


def _predictions(protocol: str, fold: str, subjects: list[str], seed: int) -> pd.DataFrame:
    """The test part of a fold: all segments of the subject left out, or a fifth of them."""
    subject, _, number = fold.partition("-k")
    truth = np.random.default_rng(subjects.index(subject)).choice(4, TRIALS, p=SHARES)
    trial, position = (a.ravel() for a in np.mgrid[1 : TRIALS + 1, 0:SEGMENTS])
    if number:
        tested = (trial if protocol == "trial" else trial + position) % FOLDS == int(number)
        trial, position = trial[tested], position[tested]
    label = truth[trial - 1]
    logits = np.random.default_rng(seed).normal(size=(len(label), 4)) + 0.3 * np.eye(4)[label]
    p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    keys = {"subject": subject, "trial": trial, "position": position, "label": label}
    return pd.DataFrame(keys | {f"p_{name}": p[:, i] for i, name in enumerate(LABELS)})


def _provenance(stage: str, fold: str, subjects: list[str]) -> dict:
    """As large as that of training: the files of each subject, and what these were made from."""
    return _made(tuple([fold.partition("-")[0]] if "-" in fold else subjects)) | {"stage": stage}


@functools.cache
def _made(read: tuple[str, ...]) -> dict:
    digest = "0123456789abcdef" * 4
    options = {f"option_{i}": i for i in range(20)}
    trials = {"options": {}, "inputs": {"eeg": digest, "ratings": digest}, "upstream": {}}
    videos = {f"video{i:02d}": digest for i in range(22)}
    upstream = {"split": {"options": options, "inputs": {}, "upstream": {}}}
    for s in read:
        upstream["split"]["inputs"][f"trials_{s}"] = digest
        upstream["split"]["upstream"][f"trials_{s}"] = trials
        inputs = {"eeg": digest, "trials": digest}
        upstream[f"segments_{s}"] = {"options": options, "inputs": inputs}
        upstream[f"segments_{s}"]["upstream"] = {"trials": trials}
        faces = {"options": options, "inputs": videos, "upstream": {"trials": trials}}
        inputs = {"faces": digest, "backbone": digest}
        upstream[f"tokens_{s}"] = {"options": options, "inputs": inputs}
        upstream[f"tokens_{s}"]["upstream"] = {"faces": faces}
    provenance = storage.provenance("", "milmer.training.loop", options, {})
    return provenance | {"inputs": dict.fromkeys(upstream, digest), "upstream": upstream}


def _timed(stage: str, folder: Path) -> list[float]:
    """CPU seconds, wall seconds and peak MB of a stage in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"}
    began = time.perf_counter()
    command = [sys.executable, "-c", STAGE, stage, str(folder)]
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage} failed")
    wall = time.perf_counter() - began
    return [usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1000]


def _size(folder: Path, stage: str) -> float:
    return sum(f.stat().st_size for f in (folder / stage).rglob("*") if f.is_file()) / 1e6


if __name__ == "__main__":
    main()
