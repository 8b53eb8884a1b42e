"""What the tables are made from: the runs of all experiments, each beside the baseline's.

A baseline's predictions are read as runs of an experiment of its own name; beside another run they
are cut down to exactly the segments which that run was tested on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from milmer import storage
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BASELINES, VARIANT
from milmer.evaluation.options import SummaryOptions
from milmer.metrics.scores import by_trials, probabilities, without_model
from milmer.options import Options
from milmer.splits.protocols import PROTOCOLS

LEVELS = ("segment", "trial")
KEY = ["experiment", "protocol", "level"]
_SEGMENT = ["subject", "experiment_id", "position"]


class ExperimentRuns(Options):
    """An experiment's runs: its folds by protocol, its labels, and what it changes."""

    folds: dict[str, list[str]]
    labels: str = "default"
    changes: dict[str, Any] = Field({})


class TablesOptions(Options):
    """What the stage ``tables`` depends on; ``baselines`` are folds by labels and protocol."""

    report: SummaryOptions = SummaryOptions()
    experiments: dict[str, ExperimentRuns] = Field({})
    baselines: dict[str, dict[str, list[str]]] = Field({})
    seeds: list[int] = Field([0])


@dataclass(frozen=True)
class Run:
    """One fold of an experiment with one seed.

    ``predictions`` has a row a test segment: its key, ``label``, ``p_<class>`` for each of
    ``labels``, and how right ``majority`` and ``chance`` are on it. ``rivals`` holds predictions of
    the same rows by each baseline that was run. ``metrics`` is the run's metrics.json.
    """

    experiment: str
    protocol: str
    fold: str
    seed: int
    labels: list[str]
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    rivals: Mapping[str, pd.DataFrame]
    digest: str

    @property
    def name(self) -> str:
        """The run among the inputs of the tables."""
        return f"{self.experiment}/{self.protocol}/{self.fold}/seed{self.seed}"

    @property
    def note(self) -> str:
        """What a reader of any of its numbers should know."""
        facts = {name: self.metrics[name] for name in ("leaky", "select", "permuted")}
        return "; ".join(remarks(self.protocol, **facts))


def remarks(
    protocol: str, *, leaky: bool, select: str, permuted: bool, about: str = ""
) -> list[str]:
    """What a reader of a number should know; ``about`` is put before what is not the protocol's."""
    words = [
        (leaky, "leaky: segments of one trial on both sides"),
        (select == "best_on_test", f"{about}best epoch chosen on the test part"),
        (permuted, f"{about}permuted: trials exchanged their ratings"),
        (PROTOCOLS[protocol].leaves_subject_out, "folds are dependent"),
    ]
    return [text for true, text in words if true]


def in_tables(baseline: str, labels: str) -> str:
    """A baseline's name in the tables, which the variant of the labels follows."""
    return baseline if labels == "default" else f"{baseline}-{labels}"


def read_runs(runs: Path, options: TablesOptions, baselines: Path | None) -> list[Run]:
    """All runs that ``options`` names below ``runs``, then the baselines below ``baselines``.

    Raises :class:`MilmerError` where one is missing, or where a baseline does not hold what a run
    was tested on.
    """
    splits = [
        (labels, protocol, fold)
        for labels, protocols in options.baselines.items()
        for protocol, folds in protocols.items()
        for fold in folds
        if baselines is not None
    ]
    tested = {
        (name, *split): _read_baseline(baselines, name, *split, options.seeds)
        for name in BASELINES
        for split in splits
    }
    rivals: dict[tuple[str, str, str], dict[str, Run]] = {}
    for (name, *split), run in tested.items():
        rivals.setdefault(tuple(split), {})[name] = run
    trained = [
        _read_run(runs, name, protocol, fold, seed, rivals.get((of.labels, protocol, fold), {}))
        for name, of in options.experiments.items()
        for protocol, folds in of.folds.items()
        for fold in folds
        for seed in options.seeds
    ]
    return [*trained, *tested.values()]


def _read_run(
    runs: Path, experiment: str, protocol: str, fold: str, seed: int, rivals: Mapping[str, Run]
) -> Run:
    folder = runs / experiment / protocol / fold / f"seed{seed}"
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MilmerError(f"{folder}/metrics.json: cannot be read; run snakemake again") from error
    if missing := {"shares", "permuted"} - set(metrics):
        raise MilmerError(
            f"{folder}/metrics.json: written by an older version: has no {min(missing)}; "
            "run snakemake again"
        )
    path = folder / "predictions.parquet"
    predictions = _beside_baselines(storage.read_table(path, "predictions"), metrics["shares"])
    return Run(
        experiment=experiment,
        protocol=protocol,
        fold=fold,
        seed=seed,
        labels=metrics["labels"],
        metrics=metrics,
        predictions=predictions,
        rivals={name: _same_rows(run, predictions, path) for name, run in rivals.items()},
        digest=storage.digest(path),
    )


def _read_baseline(
    folder: Path, baseline: str, labels: str, protocol: str, fold: str, seeds: list[int]
) -> Run:
    path = folder / baseline / VARIANT / labels / protocol / f"{fold}.parquet"
    table = storage.read_table(path, "baseline")
    facts = storage.read_provenance(path)["facts"]
    return Run(
        experiment=in_tables(baseline, labels),
        protocol=protocol,
        fold=fold,
        seed=seeds[0],
        labels=facts["labels"],
        metrics=facts | {"select": "none", "selected_on_test": False},
        predictions=_beside_baselines(table, facts["shares"]),
        rivals={baseline: table},
        digest=storage.digest(path),
    )


def _beside_baselines(predictions: pd.DataFrame, shares: list[float]) -> pd.DataFrame:
    right = without_model(np.array(shares), predictions["label"].to_numpy())
    return predictions.assign(**right)


def _same_rows(rival: Run, predictions: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A baseline's predictions of exactly the rows of ``predictions``."""
    keys = [*_SEGMENT, "label"]
    rows = predictions[keys].merge(rival.predictions, on=keys, how="left", validate="1:1")
    if np.isnan(probabilities(rows, rival.labels)).any():
        raise MilmerError(
            f"{path}: tested on segments that the baseline {rival.experiment} of fold {rival.fold} "
            "was not; "
            "run snakemake again"
        )
    return rows


def at_level(predictions: pd.DataFrame, labels: list[str], level: str) -> pd.DataFrame:
    """Predictions by ``segment``, as they are, or by ``trial``."""
    return predictions if level == "segment" else by_trials(predictions, labels)


def accuracy_without_model(predictions: pd.DataFrame, level: str) -> dict[str, float]:
    """Accuracies of ``majority`` and ``chance`` on ``predictions``, and how many were tested."""
    columns = ["majority", "chance"]
    rows = predictions
    if level == "trial":
        rows = predictions.groupby(["subject", "experiment_id"])[columns].mean()
    return {name: float(rows[name].mean()) for name in columns} | {"tested": len(rows)}


def groups(runs: list[Run], *, by_seed: bool = False) -> list[list[Run]]:
    """Runs of the same experiment and protocol together, in their order."""
    together: dict[tuple, list[Run]] = {}
    for run in runs:
        key = (run.experiment, run.protocol, run.seed if by_seed else None)
        together.setdefault(key, []).append(run)
    return list(together.values())


def pooled(runs: list[Run]) -> pd.DataFrame:
    """Predictions of several runs as one table."""
    return pd.concat([run.predictions for run in runs], ignore_index=True)
