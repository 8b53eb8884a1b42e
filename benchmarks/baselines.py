"""Is the model at least as good as the best simple baseline on the same folds?

    python benchmarks/baselines.py FOLDER --prepare        # twins, real EEG, faces, tokens: once
    python benchmarks/baselines.py FOLDER --size small     # width 64, rate 1e-3, 30 epochs
    python benchmarks/baselines.py FOLDER --size full      # the default model, for a GPU

A seed draws a twin of one subject, its folds, weights and order. Protocol ``trial``; the epoch is
chosen on the validation part. Baselines learn from the training part alone, as the model does:
logistic regression (C = 1) and shrinkage LDA on log band power for the EEG, shrinkage LDA on the
mean token for faces, and for both these two LDA stacked, and logistic regression on the features of
both. Where no face video is at hand (the real EEG), only the EEG is measured. What is trained is
kept in the folder: the same command goes on; ``--folds`` also limits how many folds are measured.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from selection import interval
from timing import machine, table

from milmer import storage
from milmer.metrics.shrinkage_lda import fit_classifier
from milmer.model.linear_path import mean_token
from milmer.splits.protocols import TRIAL
from milmer.training.fold_data import FoldData, read_fold
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

SIZES = {
    "small": {
        "model": {"hidden_size": 64, "num_heads": 4, "feed_forward": 128, "num_queries": 16},
        "training": {"epochs": 30, "lr": 1e-3},
    },
    "full": {},
    "quick": {
        "model": {"hidden_size": 16, "num_heads": 2, "feed_forward": 16, "num_queries": 4},
        "training": {"epochs": 1},
    },
}
MODALITIES = {"EEG": ["eeg"], "faces": ["face"], "both": ["eeg", "face"]}
TWIN = {"subjects": 1, "trials": 24, "seconds": 12, "eeg_signal": 0.25, "informative": 0.3}
VIDEO = {"width": 240, "height": 192, "fps": 5, "faceless": 0, "video_missing": 0}
FOLDS = 8
REAL = ("s01", "s02")


def prepare(folder: Path, seeds: Sequence[int], folds: int, trials: int) -> None:
    """Write segments, tokens and splits of all datasets, as the stages write them."""
    for seed in seeds:
        _prepare_twin(folder / f"twin-{seed}", seed, folds, trials)
    _prepare_real(folder, seeds, folds)


def _prepare_twin(out: Path, seed: int, folds: int, trials: int) -> None:
    from planted import _make

    from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone

    if (out / "done").exists():
        return
    options = TwinOptions(**{**TWIN, **VIDEO, "trials": trials, "seed": seed})
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        synthesize(root / "twin", options)
        write_backbone(root / "swin", seed)
        _, _, tokens = _make(root, "s01")
        _write_eeg(root / "twin", "s01", out, seed, folds)
        (out / "tokens").mkdir(parents=True, exist_ok=True)
        tokens.rename(out / "tokens/s01.h5")
    (out / "done").touch()


def _prepare_real(folder: Path, seeds: Sequence[int], folds: int) -> None:
    tool = Path(__file__).resolve().parents[1] / "tools/make_deap_from_real.py"
    with tempfile.TemporaryDirectory() as name:
        size = ["--subjects", "1", "2", "--trials", "32", "--seconds", "12"]
        size += ["--formats", "dat", "--no-video", "1", "2"]  # the EEG alone is measured
        done = subprocess.run([sys.executable, tool, name, *size], capture_output=True, text=True)
        if done.returncode:
            print(f"without the real EEG: {done.stderr.splitlines()[-1]}")
            return
        for subject in REAL:
            for seed in seeds:
                _write_eeg(Path(name), subject, folder / f"real-{subject}-{seed}", seed, folds)


def _write_eeg(root: Path, subject: str, out: Path, seed: int, folds: int) -> None:
    from milmer.deap.recordings import read_recording
    from milmer.deap.trials import TrialsOptions, make_trials
    from milmer.eeg.options import SegmentsOptions
    from milmer.eeg.segments import make_segments
    from milmer.splits.options import SplitOptions
    from milmer.splits.splits import make_split

    out.mkdir(parents=True, exist_ok=True)
    trials = out / f"{subject}.parquet"
    make_trials(root, subject, TrialsOptions(), trials)
    (out / "segments").mkdir(exist_ok=True)
    make_segments(trials, root, SegmentsOptions(), out / f"segments/{subject}.h5", read_recording)
    for k in range(folds):
        options = SplitOptions(folds=folds, seed=seed)
        make_split([trials], "trial", f"{subject}-k{k}", options, out / f"splits/k{k}.parquet")


# ------------------------------------------------------------------ contestants


def features_of(data: FoldData) -> dict[str, np.ndarray]:
    """Log band power and the mean token of all rows (row, feature), as far as there are any."""
    from milmer.evaluation.features import log_band_power

    features, rows = {}, np.arange(len(data.table))
    if data.eeg is not None:
        eeg = data.eeg_of(rows, torch.device("cpu")).numpy()
        features["eeg"] = log_band_power(eeg, data.sfreq)
    if data.bag is not None:
        batches = [data.batch(part, torch.device("cpu")) for part in np.array_split(rows, 16)]
        tokens = [mean_token(b["face_tokens"], b["valid"]) for b in batches if len(b["valid"])]
        features["face"] = torch.cat(tokens).double().numpy()
    return features


def baselines(data: FoldData, modalities: list[str]) -> dict[str, float]:
    """The share of the test part's segments that each simple baseline classifies correctly."""
    from milmer.evaluation.baselines import logistic_regression

    train, test = data.rows("train"), data.rows("test")
    label = data.table["label"].to_numpy()
    groups = data.table.groupby(list(TRIAL), sort=True).ngroup().to_numpy()
    features = {name: x for name, x in features_of(data).items() if name in modalities}
    kinds = {name: x[train] for name, x in features.items()}
    fit = fit_classifier(kinds, label[train], groups[train], len(data.labels))
    new = {name: x[test] for name, x in features.items()}
    guesses = {"shrinkage LDA": fit.logits(new).argmax(1)}
    if "eeg" in modalities:
        learned = (kinds, label[train], groups[train])
        probability = logistic_regression(*learned, new, len(data.labels))
        guesses["logistic regression"] = probability.argmax(1)
    return {name: float((guess == label[test]).mean()) for name, guess in guesses.items()}


def model(
    split: Path, files: tuple[list[Path], list[Path]], size: str, modalities: list[str], seed: int
) -> float:
    """The same of the model."""
    run = split.parents[1] / f"{size}-{'-'.join(modalities)}" / split.stem
    if not (run / "predictions.parquet").exists():
        settings = SIZES[size]
        options = TrainOptions(
            model=settings.get("model", {}) | {"modalities": modalities},
            training=settings.get("training", {}) | {"threads": 1},
        )
        train_fold(split, *files, options, seed, run)
        (run / "model/model.safetensors").unlink()
    predictions = storage.read_table(run / "predictions.parquet", "predictions")
    probability = predictions.filter(like="p_").to_numpy()
    return float((probability.argmax(1) == predictions["label"]).mean())


def measure(folder: Path, size: str, folds: int) -> list[list[object]]:
    """Rows of the table: a kind of dataset and a modality."""
    accuracy: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for dataset in sorted(path.parent for path in folder.glob("*/splits")):
        kind, seed = dataset.name.rpartition("-")[::2]
        segments = sorted((dataset / "segments").glob("*.h5"))
        tokens = sorted((dataset / "tokens").glob("*.h5"))
        for name, modalities in MODALITIES.items():
            if "face" in modalities and not tokens:
                continue
            files = (
                segments if "eeg" in modalities else [],
                tokens if "face" in modalities else [],
            )
            for split in sorted((dataset / "splits").glob("k*.parquet"))[:folds]:
                found = baselines(read_fold(split, *files), modalities)
                found["model"] = model(split, files, size, modalities, int(seed))
                logging.info("%s %s %s %s", dataset.name, name, split.stem, found)
                for method, value in found.items():
                    by_seed = accuracy.setdefault((kind, name), {}).setdefault(method, {})
                    by_seed.setdefault(seed, []).append(value)
    return [_row(*key, methods) for key, methods in accuracy.items()]


def _row(kind: str, name: str, methods: dict[str, dict[str, list[float]]]) -> list[object]:
    of_seeds = {m: np.array([np.mean(v) for v in seeds.values()]) for m, seeds in methods.items()}
    ours = of_seeds.pop("model")
    best = max(of_seeds, key=lambda m: of_seeds[m].mean())
    return [
        kind,
        name,
        interval(ours),
        best,
        interval(of_seeds[best]),
        interval(ours - of_seeds[best]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="write the datasets")
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=301, help="other than those of tuning")
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--trials", type=int, default=TWIN["trials"], help="of a twin")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("milmer").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if args.prepare:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        prepare(args.folder, seeds, args.folds, args.trials)
        return
    header = ["data", "looks at", "model %", "best baseline", "its %", "difference"]
    print(table(header, measure(args.folder, args.size, args.folds)))
    print()
    print(machine(1, ["torch"]))


if __name__ == "__main__":
    main()
