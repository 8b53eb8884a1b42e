"""The pipeline in one process, for tests that train: what the rules do, in their order."""

import os
from pathlib import Path

import pandas as pd
from scipy.stats import binom

from milmer import storage
from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.metrics.scores import by_trials, probabilities
from milmer.plan import Plan
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions


def run(root: Path | None, folder: Path, user: dict) -> Plan:
    """Make everything but the tables in ``folder``/results; returns the plan.

    ``root`` is a copy of DEAP, or None where ``user`` says what the dataset is.
    """
    plan = Plan.read(user | ({"dataset": {"root": str(root)}} if root else {}))
    here = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        _run(plan, Path(plan.dataset.root))
    finally:
        os.chdir(here)
    return plan


def _run(plan: Plan, root: Path) -> None:
    config, results = plan.config, Path("results")
    for subject in plan.dataset.subjects:
        trials = results / f"trials/{subject}.parquet"
        _make_trials(plan, root, subject, trials)
        for eeg in {config.experiment(name).eeg for name in config.experiments}:
            options = SegmentsOptions.from_json(config.segments_json(eeg))
            make_segments(
                trials, root, options, results / f"segments/{eeg}/{subject}.h5", read_recording
            )
        if any(config.experiment(n).needs_faces for n in config.experiments):
            faces = results / f"faces/default/{subject}.h5"
            options = FaceStageOptions.from_json(config.faces_json("default"))
            make_faces(trials, root, options, faces)
            tokens = results / f"tokens/default/default/{subject}.h5"
            options = TokensOptions.from_json(config.tokens_json("default", "default"))
            make_tokens(faces, options, tokens, config.backbone.name)
    for path in plan.results.predictions():
        _train(plan, Path(path).parent)


def _make_trials(plan: Plan, root: Path, subject: str, out: Path) -> None:
    told = plan.dataset.trials_json(subject)
    if plan.config.dataset.kind == "manifest":
        manifest = Path(plan.config.dataset.manifest)
        make_manifest_trials(manifest, subject, ManifestTrialsOptions.from_json(told), out)
    else:
        make_trials(root, subject, TrialsOptions.from_json(told), out)


class _Wildcards:
    def __init__(self, experiment: str, protocol: str, fold: str):
        self.experiment, self.protocol, self.fold = experiment, protocol, fold


def _train(plan: Plan, out: Path) -> None:
    experiment, protocol, fold, seed = out.parts[-4:]
    wildcards = _Wildcards(experiment, protocol, fold)
    split = Path(plan.training.split(wildcards))
    if not split.exists():
        trials = [
            Path(f"results/trials/{s}.parquet") for s in plan.training.fold_subjects(wildcards)
        ]
        wildcards.labels = split.parts[-3]
        options = SplitOptions.from_json(plan.training.split_json(wildcards))
        make_split(trials, protocol, fold, options, split)
    segments, tokens, faces = (
        [Path(p) for p in paths]
        for paths in (
            plan.training.segments(wildcards),
            plan.training.tokens(wildcards),
            plan.training.faces(wildcards),
        )
    )
    options = TrainOptions.from_json(plan.training.train_json(experiment))
    number = int(seed.removeprefix("seed"))
    train_fold(split, segments, tokens or faces, options, number, out, plan.config.backbone.name)


def predictions(folder: Path, experiment: str, protocol: str) -> pd.DataFrame:
    """Predictions of all folds of an experiment under a protocol."""
    found = sorted(
        (folder / "results/runs" / experiment / protocol).glob("*/*/predictions.parquet")
    )
    return pd.concat([storage.read_table(path, "predictions") for path in found])


def right_trials(table: pd.DataFrame) -> tuple[int, int]:
    """How many trials are named rightly by their mean probability, and how many there are."""
    labels = [c.removeprefix("p_") for c in table if c.startswith("p_")]
    trials = by_trials(table, labels)
    guess = probabilities(trials, labels).argmax(1)
    return int((guess == trials["label"]).sum()), len(trials)


def p_above(right: int, total: int, chance: float) -> float:
    """Probability of at least ``right`` of ``total`` by chance: exact binomial, upper tail."""
    return float(binom.sf(right - 1, total, chance))
