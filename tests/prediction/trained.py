"""Runs that the tests of prediction share: small models of the twin, trained as the rules do."""

from pathlib import Path

from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.training.loop import TrainOptions, train_fold
from milmer.training.options import SplitOptions
from milmer.training.splits import make_split

MODEL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}


def train(
    out: Path,
    trials: Path,
    segments: list[Path],
    tokens: list[Path],
    model: dict | None = None,
    split: SplitOptions | None = None,
    **training: object,
) -> Path:
    """Train ``s01-k0`` of the protocol trial; returns the run's folder."""
    own = split or SplitOptions(folds=2)
    table = out / "s01-k0.parquet"
    make_split([trials], "trial", "s01-k0", own, table)
    how = {"epochs": 2, "threads": 1, "lr": 1e-3, "batch_size": 4} | training
    options = TrainOptions(model=MODEL | (model or {}), training=how)
    train_fold(table, segments, tokens, options, 0, out / "seed0")
    return out / "seed0"


def originals(root: Path, folder: Path) -> tuple[Path, Path]:
    """Trials and segments of the twin's original recording of s01."""
    trials, segments = folder / "trials/s01.parquet", folder / "segments/s01.h5"
    make_trials(root, "s01", TrialsOptions(source="bdf"), trials)
    make_segments(trials, root, SegmentsOptions(), segments)
    return trials, segments
