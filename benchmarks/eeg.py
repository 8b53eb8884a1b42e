"""What does the EEG branch see? Both encoders beside log band power and logistic regression.

Any dataset in DEAP's layout goes through Milmer's stages: segments, the folds of the protocol
``trial``, and training on EEG alone at the default settings. A seed draws the folds, the weights
and the order. Logistic regression is fixed beforehand (C = 1), so there is nothing to tune; it
learns once from the training part alone, as the encoders do, and once from the validation part as
well, on which their epoch is chosen. Without ``--dataset`` the data is the synthetic twin, whose
class is the place where alpha has four times the power.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from selection import interval
from timing import machine, table

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.evaluation.baselines import logistic_regression
from milmer.evaluation.features import log_band_power
from milmer.metrics.scores import measure
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize
from milmer.training.fold_data import read_fold
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

ENCODERS = {
    "log_power": {"eeg_encoder": "log_power"},
    "published": {"eeg_encoder": "published", "channel_embeddings": False},
}
SMALL = {
    "model": {"hidden_size": 64, "num_heads": 4, "feed_forward": 128},
    "training": {"epochs": 30, "lr": 1e-3},
}
BASELINE = "logistic regression"
TRIALS, SECONDS = 40, 12  # of a subject of the twin

Fold = tuple[Path, Path, int]  # its split, its subject's segments, its seed
Contestant = Callable[[Fold], pd.DataFrame]  # predictions of the fold's test part


def regression(parts: tuple[str, ...]) -> Contestant:
    """Logistic regression on log band power, fitted on these ``parts`` of a fold."""

    def predict(fold: Fold) -> pd.DataFrame:
        split, segments, _ = fold
        data = read_fold(split, [segments], [])
        label = data.table["label"].to_numpy()
        features = log_band_power(data.eeg.take(data.eeg_row).numpy(), data.sfreq)
        training = np.concatenate([data.rows(part) for part in parts])
        test = data.rows("test")
        x, new = ({"eeg": features[rows]} for rows in (training, test))
        probability = logistic_regression(x, label[training], training, new, len(data.labels))
        columns = {f"p_{name}": probability[:, i] for i, name in enumerate(data.labels)}
        return data.table.iloc[test].assign(**columns)

    return predict


def encoder(model: dict, settings: dict, threads: int) -> Contestant:
    """The stage ``train`` with these options of the section ``model``."""
    options = TrainOptions(
        model=settings.get("model", {}) | model | {"modalities": ["eeg"]},
        training=settings.get("training", {}) | {"threads": threads},
    )

    def predict(fold: Fold) -> pd.DataFrame:
        split, segments, seed = fold
        with tempfile.TemporaryDirectory() as name:
            train_fold(split, [segments], [], options, seed, Path(name))
            return storage.read_table(Path(name) / "predictions.parquet", "predictions")

    return predict


def compare(
    root: Path, subject: str, contestants: dict[str, Contestant], seeds: int, folds: int
) -> list[list[str]]:
    """Rows of the table: accuracies of a subject's segments and trials over all folds."""
    accuracy: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trials, segments = folder / f"{subject}.parquet", folder / f"{subject}.h5"
        make_trials(root, subject, TrialsOptions(), trials)
        make_segments(trials, root, SegmentsOptions(), segments, read_recording)
        for seed in range(seeds):
            options = SplitOptions(folds=folds, seed=seed)
            splits = [folder / f"{seed}-k{k}.parquet" for k in range(folds)]
            for k, split in enumerate(splits):
                make_split([trials], "trial", f"{subject}-k{k}", options, split)
            labels = storage.read_provenance(splits[0])["facts"]["labels"]
            for contestant, predict in contestants.items():
                predictions = pd.concat(predict((split, segments, seed)) for split in splits)
                measured = measure(predictions, labels)
                both = tuple(measured[level]["accuracy"] for level in ("segment", "trial"))
                accuracy[contestant].append(both)
                logging.info("%s seed %d %s: %.3f %.3f", subject, seed, contestant, *both)
    values = {name: np.array(pairs).T for name, pairs in accuracy.items()}  # (level, seed)
    baseline = values[BASELINE]
    return [
        [subject, name, *map(interval, accuracies), *map(interval, accuracies - baseline)]
        for name, accuracies in values.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--dataset", type=Path, help="in DEAP's layout; else a synthetic twin")
    parser.add_argument("--subjects", nargs="+", help="such as s01 s02; else s01")
    parser.add_argument("--encoders", nargs="*", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--small", action="store_true", help="width 64, 30 epochs, rate 1e-3")
    parser.add_argument("--seeds", type=int, default=5, help="draws of folds, weights and order")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("milmer").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    settings = SMALL if args.small or args.quick else {}
    seeds, folds, trials = args.seeds, args.folds, TRIALS
    if args.quick:
        seeds, folds, trials = 2, 2, 16
        settings = settings | {"training": {"epochs": 1}}
    contestants = {
        BASELINE: regression(("train",)),
        f"{BASELINE}, with validation part": regression(("train", "val")),
    } | {f"`{name}`": encoder(ENCODERS[name], settings, args.threads) for name in args.encoders}
    subjects = args.subjects or ["s01"]
    with tempfile.TemporaryDirectory() as name:
        root = args.dataset
        if root is None:
            root = Path(name) / "twin"
            count = max(int(subject[1:]) for subject in subjects)
            size = {"subjects": count, "trials": trials, "seconds": SECONDS}
            synthesize(root, TwinOptions(**size, eeg_class="place", no_video=range(1, count + 1)))
        rows = [
            row for subject in subjects for row in compare(root, subject, contestants, seeds, folds)
        ]
    training = TrainOptions(**settings)
    print(f"{folds} folds, {seeds} seeds, width {training.model.hidden_size}", end=", ")
    print(f"{training.training.epochs} epochs\n")
    header = ["subject", "", "by segment %", "by trial %", "minus the first by segment", "by trial"]
    print(table(header, rows))
    print()
    print(machine(args.threads, ["torch", "scikit-learn"]))


if __name__ == "__main__":
    main()
