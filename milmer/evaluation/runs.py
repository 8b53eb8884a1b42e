"""Reading what the tables are made from: all runs, each beside the best baseline on its segments.

A baseline is also read as runs of an experiment of its own name. Compared with another run, its
predictions are restricted to exactly the segments that the run was tested on.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from milmer import storage
from milmer.contracts.baseline import BASELINE
from milmer.contracts.facts import AGAIN, Facts, Origin, having, require
from milmer.contracts.run import HISTORY, PREDICTIONS
from milmer.contracts.tables import SEGMENT
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BASELINES, Inputs
from milmer.evaluation.caveats import caveat, note
from milmer.evaluation.options import SummaryOptions
from milmer.limits import read_json
from milmer.metrics.scores import NAMES, by_trials, without_model
from milmer.options import Options

LEVELS = ("segment", "trial")
KEY = ["experiment", "protocol", "level"]


class ExperimentRuns(Options):
    """The runs of an experiment: folds by protocol, labels, what it looks at, and its changes."""

    folds: dict[str, list[str]]
    labels: str = "default"
    inputs: Inputs = Inputs()
    changes: dict[str, Any] = Field({})


class TablesOptions(Options):
    """The options of the stage ``tables``; ``controls`` are pairs of labels and protocol."""

    report: SummaryOptions = SummaryOptions()
    experiments: dict[str, ExperimentRuns] = Field({})
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
    best_epochs: dict[str, dict[str, int]] = Field({})
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
    ``labels``, and the accuracy of ``majority`` and ``chance`` on it. ``baselines`` are the rows of
    the baselines that look at nothing else, the best first, and ``rival`` the best's predictions of
    the same segments. ``best`` are the probabilities (segment, class) of the epoch that is the best
    on the test part, by level and metric, if the epoch was chosen there. ``metrics`` is the content
    of the run's metrics.json less its provenance.
    """

    experiment: str
    protocol: str
    fold: str
    seed: int
    labels: list[str]
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame
    digest: str
    baselines: tuple[str, ...] = ()
    rival: pd.DataFrame | None = None
    best: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run among the inputs of the tables."""
        return f"{self.experiment}/{self.protocol}/{self.fold}/seed{self.seed}"

    @property
    def about(self) -> dict[str, str]:
        """What readers of its numbers should know, as columns."""
        facts = {name: self.metrics[name] for name in ("leaky", "select", "permuted")}
        return {"caveat": caveat(**facts), "note": note(self.protocol)}


def in_tables(baseline: str, labels: str, inputs: Inputs) -> str:
    """The row of a baseline in the tables: its name, and the variants that are not the default."""
    others = [labels, f"eeg_{inputs.eeg}", f"tokens_{inputs.tokens.replace('/', '_')}"]
    usual = ("default", "eeg_", "eeg_default", "tokens_", "tokens_default_default")
    return "-".join([baseline, *(name for name in others if name not in usual)])


def read_runs(
    runs: Path, options: TablesOptions, baselines: Path | None
) -> tuple[list[EvaluatedRun], pd.DataFrame]:
    """All runs below ``runs`` that ``options`` names, then the baselines below ``baselines``.

    Also the table of these. The best of several is the one with the greatest balanced accuracy on
    the validation parts, averaged over the folds of a protocol; of equal ones the first. Runs that
    were skipped are left out; see :func:`skipped_table`. Raises :class:`MilmerError` if one is
    missing, or if a baseline lacks segments that a run was tested on.
    """
    rows, trained = _Baselines(baselines, options), []
    for name, experiment in options.experiments.items():
        for protocol, folds in experiment.folds.items():
            best = rows.best_first(experiment.labels, protocol, experiment.inputs)
            for fold, seed in itertools.product(folds, options.seeds):
                rival = rows.run(best[0], protocol, fold) if best else None
                run = _read_run(runs, name, protocol, fold, seed, best, rival)
                trained += [run] if run is not None else []
    if not trained:
        raise MilmerError("every run was skipped", where=runs, remedy="see the logs of training")
    return [*trained, *filter(None, rows.runs.values())], rows.table(options)


class _Baselines:
    """The baselines that the experiments of ``options`` are compared with.

    ``runs`` are theirs by row, protocol and fold; None where a fold was skipped.
    """

    def __init__(self, folder: Path | None, options: TablesOptions):
        self.runs: dict[tuple[str, str, str], EvaluatedRun | None] = {}
        self._folder = folder
        self._validated: dict[tuple[str, str], list[float]] = {}
        self._about: dict[tuple[str, str], tuple[str, str, Inputs]] = {}
        wanted: dict[tuple[str, str, str], dict[Inputs, None]] = {}
        for experiment in options.experiments.values() if folder is not None else ():
            for protocol, name in itertools.product(experiment.folds, BASELINES):
                if (own := BASELINES[name].of(experiment.inputs)) is not None:
                    wanted.setdefault((name, experiment.labels, protocol), {})[own] = None
        for (name, labels, protocol), inputs in wanted.items():
            self._read(
                folder / name / labels / f"{protocol}.parquet", name, labels, inputs, options
            )

    def _read(
        self,
        path: Path,
        name: str,
        labels: str,
        wanted: Iterable[Inputs],
        options: TablesOptions,
    ) -> None:
        table, digest = storage.read_digested(path, BASELINE)
        facts, protocol = storage.read_provenance(path)["facts"], path.stem
        tables = dict(list(table.groupby(["fold", "eeg", "tokens"])))
        for fold in facts["folds"]:
            inputs = Inputs(fold["eeg"], fold["tokens"])
            if inputs not in wanted:
                continue
            row = in_tables(name, labels, inputs)
            self._about[row, protocol] = name, labels, inputs
            self.runs[row, protocol, fold["fold"]] = None
            scores = self._validated.setdefault((row, protocol), [])
            if fold["skipped"] is not None:
                continue
            if (fold["fold"], *inputs) not in tables:
                raise MilmerError(f"lacks rows of fold {fold['fold']}", where=path, remedy=AGAIN)
            scores += [fold["validated"]] if fold["validated"] is not None else []
            rows = tables[fold["fold"], *inputs].reset_index(drop=True)
            predictions = rows.drop(columns=["fold", "eeg", "tokens"])
            about = {key: facts[key] for key in ("leaky", "permuted", "labels")}
            self.runs[row, protocol, fold["fold"]] = EvaluatedRun(
                experiment=row,
                protocol=protocol,
                fold=fold["fold"],
                seed=options.seeds[0],
                labels=facts["labels"],
                metrics=fold | about | {"select": "none", "selected_on_test": False},
                predictions=_beside_baselines(predictions, fold["shares"]),
                digest=digest,
            )

    def run(self, row: str, protocol: str, fold: str) -> EvaluatedRun | None:
        """A fold of a baseline; None where it was skipped."""
        if (row, protocol, fold) not in self.runs:
            problem = f"{row} lacks fold {fold} of {protocol}"
            raise MilmerError(problem, where=self._folder, remedy="run snakemake again")
        return self.runs[row, protocol, fold]

    def best_first(self, labels: str, protocol: str, inputs: Inputs) -> tuple[str, ...]:
        """The rows of the baselines that look at nothing else than ``inputs``, the best first."""
        rows = [
            in_tables(name, labels, own)
            for name, baseline in BASELINES.items()
            if (own := baseline.of(inputs)) is not None
        ]
        scores = {row: self._score(row, protocol) for row in rows if (row, protocol) in self._about}
        return tuple(sorted(scores, key=lambda row: -scores[row]))

    def _score(self, row: str, protocol: str) -> float:
        validated = self._validated[row, protocol]
        return float(np.mean(validated)) if validated else -1.0

    def table(self, options: TablesOptions) -> pd.DataFrame:
        """A row a baseline and protocol: what it is, and of which experiments it is the best."""
        best: dict[tuple[str, str], list[str]] = {}
        for name, experiment in options.experiments.items():
            for protocol in experiment.folds:
                first = self.best_first(experiment.labels, protocol, experiment.inputs)[:1]
                best.setdefault((*first, protocol), []).append(name)
        rows = [
            {
                "experiment": row,
                "protocol": protocol,
                "baseline": name,
                "title": BASELINES[name].title,
                "features": ", ".join(BASELINES[name].features),
                "classifier": BASELINES[name].classifier,
                "modality": ", ".join(sorted(BASELINES[name].modalities)),
                "labels": labels,
                "eeg": inputs.eeg,
                "tokens": inputs.tokens,
                "validated": self._score(row, protocol) if self._validated[row, protocol] else None,
                "best_of": ", ".join(best.get((row, protocol), [])),
            }
            for (row, protocol), (name, labels, inputs) in self._about.items()
        ]
        return pd.DataFrame(rows, columns=BASELINES_TABLE).astype({"validated": "float64"})


BASELINES_TABLE = ["experiment", "protocol", "baseline", "title", "features", "classifier"]
BASELINES_TABLE += ["modality", "labels", "eeg", "tokens", "validated", "best_of"]
"""The columns of the table of baselines, to which :mod:`.tables` adds what they reach."""


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
    baselines: Sequence[str],
    rival: EvaluatedRun | None,
) -> EvaluatedRun | None:
    folder = runs / experiment / protocol / fold / f"seed{seed}"
    metrics, path = read_metrics(folder / "metrics.json"), folder / "predictions.parquet"
    if "skipped" in metrics:
        return None
    del metrics["provenance"]  # of thousands of runs it would fill the memory
    table, digest = storage.read_digested(path, PREDICTIONS, without=("chosen", "scores"))
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
        digest=digest,
        baselines=tuple(baselines),
        rival=_same_rows(rival, predictions, path) if rival is not None else None,
        best=_best_epochs(folder, metrics, len(predictions)) if metrics["selected_on_test"] else {},
    )


def _best_epochs(
    folder: Path, metrics: Mapping[str, Any], rows: int
) -> dict[tuple[str, str], np.ndarray]:
    """The probabilities (segment, class) of the epochs that were chosen on the test part."""
    path, shape = folder / "history.parquet", (rows, len(metrics["labels"]))
    history, places = storage.read_table(path, HISTORY), metrics["best_epochs"]
    try:
        epochs = [np.reshape(flat, shape) for flat in history["test_probabilities"]]
        return {(level, name): epochs[places[level][name]] for level in LEVELS for name in NAMES}
    except (ValueError, IndexError, KeyError) as error:
        problem = "lacks the epochs of metrics.json on the rows of predictions.parquet"
        raise MilmerError(problem, where=path, remedy=AGAIN) from error


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


def _beside_baselines(predictions: pd.DataFrame, shares: list[float]) -> pd.DataFrame:
    accuracies = without_model(np.array(shares), predictions["label"].to_numpy())
    return predictions.assign(**accuracies)


def _same_rows(rival: EvaluatedRun, predictions: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A baseline's predictions for the rows of ``predictions``, but those that it rejected."""
    keys = [*SEGMENT, "label"]
    if rival.predictions[keys].equals(predictions[keys]):
        return rival.predictions
    rows = predictions[keys].merge(rival.predictions, on=keys, how="inner", validate="1:1")
    if len(rows) < len(predictions) - rival.metrics.get("left_out", {}).get("test", 0):
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


def pooled(runs: list[EvaluatedRun], best: tuple[str, str] | None = None) -> pd.DataFrame:
    """Predictions of several runs as one table, of the ``best`` epochs by level and metric."""
    table = pd.concat([run.predictions for run in runs], ignore_index=True)
    if best is not None:
        columns = [f"p_{name}" for name in runs[0].labels]
        table[columns] = np.concatenate([run.best[best] for run in runs])
    return table
