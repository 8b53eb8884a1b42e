"""Reading what the tables are made from: all runs, each with the baselines on the same segments.

A baseline is also read as runs of an experiment of its own name. Compared with another run, its
predictions are restricted to exactly the segments that the run was tested on.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from milmer import storage
from milmer.contracts.baseline import BASELINE
from milmer.contracts.facts import AGAIN, Facts, Origin, having, require
from milmer.contracts.run import PREDICTIONS
from milmer.contracts.tables import SEGMENT
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BASELINES, VARIANT
from milmer.evaluation.options import SummaryOptions
from milmer.limits import read_json
from milmer.metrics.scores import NAMES, by_trials, without_model
from milmer.options import Options
from milmer.splits.protocols import PROTOCOLS

LEVELS = ("segment", "trial")
KEY = ["experiment", "protocol", "level"]


class ExperimentRuns(Options):
    """The runs of an experiment: its folds by protocol, its labels, and its changes."""

    folds: dict[str, list[str]]
    labels: str = "default"
    changes: dict[str, Any] = Field({})


class TablesOptions(Options):
    """The options of the stage ``tables``.

    ``baselines`` are folds by labels and protocol, ``controls`` pairs of labels and protocol.
    """

    report: SummaryOptions = SummaryOptions()
    experiments: dict[str, ExperimentRuns] = Field({})
    baselines: dict[str, dict[str, list[str]]] = Field({})
    controls: list[tuple[str, str]] = Field([])
    seeds: list[int] = Field([0])


_Scores = Annotated[dict[str, float | None], having(*NAMES)]
_ByLevel = Annotated[dict[str, float], having(*LEVELS)]


class _Metrics(Facts):
    labels: list[str]
    epoch: int
    select: str
    leaky: bool
    permuted: bool
    selected_on_test: bool
    shares: list[float]
    warnings: list[str]
    without_valid_face: dict[str, int]
    rejected: dict[str, int]
    segment: _Scores
    trial: _Scores
    majority: _ByLevel
    chance: _ByLevel
    tested: _ByLevel
    provenance: Origin

    @model_validator(mode="after")
    def _one_share_a_class(self) -> Self:
        if len(self.shares) != len(self.labels):
            raise ValueError("shares are not of the labels")
        return self


@dataclass(frozen=True)
class EvaluatedRun:
    """One fold of an experiment, or of a baseline, with one seed.

    ``predictions`` has one row per test segment: its key, ``label``, ``p_<class>`` for each of
    ``labels``, and the accuracy of ``majority`` and ``chance`` on it. ``rivals`` holds each
    baseline's predictions of the same rows. ``metrics`` is the content of the run's metrics.json.
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
        """The name of the run among the inputs of the tables."""
        return f"{self.experiment}/{self.protocol}/{self.fold}/seed{self.seed}"

    @property
    def note(self) -> str:
        """What readers of its numbers should know."""
        facts = {name: self.metrics[name] for name in ("leaky", "select", "permuted")}
        return "; ".join(remarks(self.protocol, **facts))


def remarks(
    protocol: str, *, leaky: bool, select: str, permuted: bool, prefix: str = ""
) -> list[str]:
    """What readers of a number should know; ``prefix`` precedes remarks on the experiment."""
    texts = [
        (leaky, "leaky: segments of one trial on both sides"),
        (select == "best_on_test", f"{prefix}best epoch chosen on the test part"),
        (permuted, f"{prefix}permuted: trials exchanged their ratings"),
        (PROTOCOLS[protocol].leaves_subject_out, "folds are dependent"),
    ]
    return [text for applies, text in texts if applies]


def in_tables(baseline: str, labels: str) -> str:
    """A baseline's name in the tables, with the variant of the labels appended."""
    return baseline if labels == "default" else f"{baseline}-{labels}"


def read_runs(runs: Path, options: TablesOptions, baselines: Path | None) -> list[EvaluatedRun]:
    """All runs below ``runs`` that ``options`` names, then the baselines below ``baselines``.

    Those that were skipped are left out; see :func:`skipped_table`.

    Raises :class:`MilmerError` if one is missing, or if a baseline lacks segments that a run was
    tested on.
    """
    splits = [
        (labels, protocol, fold)
        for labels, protocols in options.baselines.items()
        for protocol, folds in protocols.items()
        for fold in folds
        if baselines is not None
    ]
    baseline_runs = {
        (name, *split): run
        for name in BASELINES
        for split in splits
        if (run := _read_baseline(baselines, name, *split, options.seeds)) is not None
    }
    rivals: dict[tuple[str, str, str], dict[str, EvaluatedRun]] = {}
    for (name, *split), run in baseline_runs.items():
        rivals.setdefault(tuple(split), {})[name] = run
    trained = [
        run
        for name, experiment in options.experiments.items()
        for protocol, folds in experiment.folds.items()
        for fold in folds
        for seed in options.seeds
        if (
            run := _read_run(
                runs,
                name,
                protocol,
                fold,
                seed,
                rivals.get((experiment.labels, protocol, fold), {}),
            )
        )
        is not None
    ]
    if not trained:
        raise MilmerError("every run was skipped", where=runs, remedy="see the logs of training")
    return [*trained, *baseline_runs.values()]


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a run's ``metrics.json``; refused where a reader would miss something.

    That of a run that was skipped says why under ``skipped``.
    """
    metrics = read_json(path, AGAIN)
    if "skipped" in metrics:
        return metrics
    require(_Metrics, metrics, path)
    return metrics


def _read_run(
    runs: Path,
    experiment: str,
    protocol: str,
    fold: str,
    seed: int,
    rivals: Mapping[str, EvaluatedRun],
) -> EvaluatedRun | None:
    folder = runs / experiment / protocol / fold / f"seed{seed}"
    metrics, path = read_metrics(folder / "metrics.json"), folder / "predictions.parquet"
    if "skipped" in metrics:
        return None
    table = storage.read_table(path, PREDICTIONS)
    classes = [f"p_{name}" for name in metrics["labels"]]
    if [name for name in table if name.startswith("p_")] != classes:
        raise MilmerError("is of other classes than metrics.json", where=path, remedy=AGAIN)
    predictions = _beside_baselines(table, metrics["shares"])
    return EvaluatedRun(
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


def skipped_table(
    runs: Path, options: TablesOptions, evaluated: Iterable[EvaluatedRun]
) -> pd.DataFrame:
    """One row per run that was skipped, which none of ``evaluated`` is: why no number is there."""
    names = {run.name for run in evaluated}
    rows = []
    for name, experiment in options.experiments.items():
        for protocol, folds in experiment.folds.items():
            for fold, seed in itertools.product(folds, options.seeds):
                run = f"{name}/{protocol}/{fold}/seed{seed}"
                if run not in names:
                    reason = read_metrics(runs / run / "metrics.json")["skipped"]
                    rows.append((name, protocol, fold, seed, reason))
    return pd.DataFrame(rows, columns=["experiment", "protocol", "fold", "seed", "reason"])


def _read_baseline(
    folder: Path, baseline: str, labels: str, protocol: str, fold: str, seeds: list[int]
) -> EvaluatedRun | None:
    path = folder / baseline / VARIANT / labels / protocol / f"{fold}.parquet"
    table = storage.read_table(path, BASELINE)
    facts = storage.read_provenance(path)["facts"]
    if "skipped" in facts:
        return None
    return EvaluatedRun(
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
    accuracies = without_model(np.array(shares), predictions["label"].to_numpy())
    return predictions.assign(**accuracies)


def _same_rows(rival: EvaluatedRun, predictions: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A baseline's predictions for the rows of ``predictions``, but those that it rejected."""
    keys = [*SEGMENT, "label"]
    rows = predictions[keys].merge(rival.predictions, on=keys, how="inner", validate="1:1")
    if len(rows) < len(predictions) - rival.metrics.get("rejected", {}).get("test", 0):
        raise MilmerError(
            f"tested on segments that the baseline {rival.experiment} of fold {rival.fold} was not",
            where=path,
            remedy="run snakemake again",
        )
    return rows


def at_level(predictions: pd.DataFrame, labels: list[str], level: str) -> pd.DataFrame:
    """Predictions by ``segment`` (unchanged) or by ``trial``."""
    return predictions if level == "segment" else by_trials(predictions, labels)


def accuracy_without_model(predictions: pd.DataFrame, level: str) -> dict[str, float]:
    """Accuracies of ``majority`` and ``chance`` on ``predictions``, and the number ``tested``."""
    columns = ["majority", "chance"]
    rows = predictions
    if level == "trial":
        rows = predictions.groupby(["subject", "trial"], sort=False)[columns].mean()
    return {name: float(rows[name].mean()) for name in columns} | {"tested": len(rows)}


def groups(runs: list[EvaluatedRun], *, by_seed: bool = False) -> list[list[EvaluatedRun]]:
    """Runs grouped by experiment and protocol, and also by seed if asked to, in their order."""
    by_key: dict[tuple, list[EvaluatedRun]] = {}
    for run in runs:
        key = (run.experiment, run.protocol, run.seed if by_seed else None)
        by_key.setdefault(key, []).append(run)
    return list(by_key.values())


def pooled(runs: list[EvaluatedRun]) -> pd.DataFrame:
    """Predictions of several runs as one table."""
    return pd.concat([run.predictions for run in runs], ignore_index=True)
