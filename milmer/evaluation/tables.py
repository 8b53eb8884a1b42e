"""Stage ``tables``: summarise all runs in tables, and say what can be concluded from them.

A subject's metrics are computed on its predictions of all folds together, then averaged over seeds;
means, deviations and intervals are over subjects. If the epoch was chosen on the test part, each
metric is its best over all epochs, like the published numbers: that of the best epoch of each fold,
on the folds together.

In each table that shows results, ``caveat`` says why a number says nothing about new data:
``leaky``, ``chosen on the test part`` and ``permuted``, joined by ``; ``, and empty where it does;
``note`` says what else there is to know. A row of ``summary`` is an experiment, protocol, level and
metric: ``mean, sd, low, high`` over subjects; ``best_baseline``, the same metric on the same
segments of the best baseline that looks at nothing else; and ``baseline_name``, the ``experiment``
in whose rows that baseline stands by itself. All baselines have such rows, with ``select`` none;
the table ``baselines`` says of each what it is, how it was chosen (``validated``), and of which
experiments it is the best (``best_of``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer import folders, storage
from milmer.errors import MilmerError
from milmer.evaluation.calibration import calibration_table
from milmer.evaluation.comparisons import Pairs, ablation_table, inflation_table, tests_table
from milmer.evaluation.conclusions import conclude
from milmer.evaluation.control_table import control_files, controls_table
from milmer.evaluation.formats import NOTES, as_texts, latex, markdown
from milmer.evaluation.literature import literature_table
from milmer.evaluation.options import SummaryOptions
from milmer.evaluation.runs import (
    KEY,
    LEVELS,
    EvaluatedRun,
    TablesOptions,
    accuracy_without_model,
    at_level,
    groups,
    pooled,
    read_runs,
    skipped_table,
)
from milmer.metrics.scores import METRICS, NAMES, measure, probabilities
from milmer.metrics.statistics import t_interval
from milmer.plain_text import as_cells

_GUESSES = ("majority", "chance", "chance_balanced", "chance_kappa")  # what needs no model
_BEST = {name: f"best_baseline_{name}" for name in NAMES}  # columns of metrics of the best baseline


def make_tables(
    runs: Path,
    options: TablesOptions,
    out: Path,
    baselines: Path | None = None,
    controls: Path | None = None,
) -> None:
    """Read the runs below ``runs`` that ``options`` names and write all tables into ``out``.

    ``baselines`` is the folder of the stage ``baseline``, ``controls`` that of ``controls``;
    without them there are no baselines and no controls. Each table is written
    as CSV and Parquet, some also as Markdown and LaTeX, and ``conclusions.md`` says in prose what
    follows from them. All runs are inputs of ``folds.parquet``; the others name the hash of its
    provenance.
    """
    if not any(experiment.folds for experiment in options.experiments.values()):
        raise MilmerError(
            "no run to summarise", where=runs, remedy="set experiments and protocols.names"
        )
    all_runs, about_baselines = read_runs(runs, options, baselines)
    (subjects, over_seeds), calibration = subjects_table(all_runs), calibration_table(all_runs)
    summary = summary_table(subjects, over_seeds, calibration, all_runs, options.report)
    pairs = Pairs(subjects, all_runs)
    rivals = {(run.experiment, run.protocol): run.baselines for run in all_runs}
    tables = {
        "folds": folds_table(all_runs),
        "subjects": subjects,
        "summary": summary,
        "inflation": inflation_table(summary, pairs, options),
        "ablation": ablation_table(subjects, summary, pairs, options),
        "tests": tests_table(subjects, summary, pairs, rivals, options),
        "baselines": baselines_table(about_baselines, summary),
        "controls": controls_table(controls, options),
        "calibration": calibration,
        "confusion": confusion_table(all_runs),
        "literature": literature_table(),
        "skipped": skipped_table(runs, options, all_runs),
    }
    inputs = {run.name: run.digest for run in all_runs}
    if controls is not None:
        inputs |= {f"{p.parent.name}/{p.stem}": p for p in control_files(controls, options)}
    provenance = storage.provenance("tables", __name__, options.result(), inputs)
    brief = provenance | {"options": {"report": options.report.result()}, "upstream": {}}
    brief |= {"inputs": {"folds.parquet": storage.key(provenance)}}
    readable = {f"{name}.{kind}" for name in NOTES for kind in ("md", "tex")}
    arrays = {f"{name}.{kind}" for name in tables for kind in ("csv", "parquet")}
    folders.claim(
        out,
        "tables",
        {*readable, *arrays, "conclusions.md"},
        [*(runs / name for name in options.experiments), *filter(None, [baselines, controls])],
    )
    for name, table in tables.items():
        text = as_cells(table).to_csv(index=False, float_format="%.6g")
        storage.write_text(out / f"{name}.csv", text)
        whole = name == "folds"
        storage.write_table(out / f"{name}.parquet", table, provenance if whole else brief)
    for name in NOTES:
        texts = as_texts(name, tables[name])
        storage.write_text(out / f"{name}.md", markdown(texts) + "\n" + NOTES[name])
        storage.write_text(out / f"{name}.tex", latex(texts))
    storage.write_text(out / "conclusions.md", conclude(tables, options))


def folds_table(runs: list[EvaluatedRun]) -> pd.DataFrame:
    """One row per run and level; baselines have no rows."""
    rows, rivals = [], _Rivals()
    for run in runs:
        metrics = run.metrics
        for level in LEVELS if "epoch" in metrics else ():
            beside = rivals.measure([run]).get(level, {})
            rows.append(
                {
                    "experiment": run.experiment,
                    "protocol": run.protocol,
                    "fold": run.fold,
                    "seed": run.seed,
                    "level": level,
                    "tested": metrics["tested"][level],
                    **{name: metrics[level][name] for name in NAMES},
                    "majority": metrics["majority"][level],
                    "chance": metrics["chance"][level],
                    "best_baseline": beside.get("accuracy"),
                    "baseline_name": _first(run.baselines),
                    "select": metrics["select"],
                    "epoch": metrics["epoch"],
                    "leaky": metrics["leaky"],
                    "permuted": metrics["permuted"],
                    "without_valid_face": sum(metrics["without_valid_face"].values()),
                    "rejected": sum(metrics["rejected"].values()),
                    "warnings": "; ".join(metrics["warnings"]),
                    **run.about,
                }
            )
    numbers = dict.fromkeys((*NAMES, "majority", "chance", "best_baseline"), "float64")
    return pd.DataFrame(rows).astype({**numbers, "baseline_name": "string"})


def subjects_table(runs: list[EvaluatedRun]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per experiment, protocol, level and subject: its metrics, averaged over seeds.

    Also how far the means over subjects spread over seeds, by experiment, protocol and level.
    """
    rows, rivals = [], _Rivals()
    for group in groups(runs, by_seed=True):
        first = group[0]
        best = {key: pooled(group, key) for key in first.best}
        for subject, predictions in pooled(group).groupby("subject", sort=True):
            measured = measure(predictions, first.labels)
            beside = rivals.measure(group, subject)
            for level in LEVELS:
                values = measured[level]
                if first.best:
                    values = {
                        n: _best(best[level, n], subject, first.labels, level, n) for n in NAMES
                    }
                rows.append(
                    {"experiment": first.experiment, "protocol": first.protocol, "level": level}
                    | {"seed": first.seed, "subject": subject, **values}
                    | accuracy_without_model(predictions, level)
                    | {"chance_balanced": 1 / predictions["label"].nunique(), "chance_kappa": 0.0}
                    | {_BEST[name]: beside.get(level, {}).get(name) for name in NAMES}
                    | {"baseline_name": _first(first.baselines), **first.about}
                )
    numbers = [*NAMES, *_GUESSES, *_BEST.values()]
    table = pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
    keys = [*KEY, "subject"]
    means = table.groupby(keys, sort=False)[numbers].mean()
    others = ["tested", "baseline_name", "caveat", "note"]
    means = means.join(table.groupby(keys, sort=False)[others].first()).reset_index()
    means = means.astype({"baseline_name": "string"})
    seeds = table.groupby([*KEY, "seed"], sort=False)[list(NAMES)].mean()
    return means, seeds.groupby(KEY, sort=False).std(ddof=1)


def summary_table(
    subjects: pd.DataFrame,
    over_seeds: pd.DataFrame,
    calibration: pd.DataFrame,
    runs: list[EvaluatedRun],
    report: SummaryOptions,
) -> pd.DataFrame:
    """One row per experiment, protocol, level and metric."""
    by_key = {(g[0].experiment, g[0].protocol): g for g in groups(runs)}
    guesses = ("majority", "chance", "chance_balanced")
    ece = calibration.groupby(["experiment", "protocol"])["ece"].first()
    rows = []
    for key, group in subjects.groupby(KEY, sort=False):
        group_runs = by_key[key[:2]]
        first = group_runs[0]
        for metric in NAMES:
            values = group[metric].dropna().to_numpy()
            interval = t_interval(values, report.confidence) or (None, None)
            rows.append(
                dict(zip(KEY, key, strict=True))
                | {
                    "metric": metric,
                    "mean": values.mean() if len(values) else None,
                    "sd": values.std(ddof=1) if len(values) > 1 else None,
                    "low": interval[0],
                    "high": interval[1],
                    "sd_over_seeds": over_seeds.loc[key, metric],
                    "subjects": group["subject"].nunique(),
                    "folds": len({run.fold for run in group_runs}),
                    "seeds": len({run.seed for run in group_runs}),
                    **{name: group[name].mean() for name in guesses},
                    "best_baseline": group[_BEST[metric]].mean(),
                    "baseline_name": _first(first.baselines),
                    "ece": ece[key[:2]] if key[2] == "segment" else None,
                    "select": first.metrics["select"],
                    "leaky": first.metrics["leaky"],
                    "permuted": first.metrics["permuted"],
                    **first.about,
                }
            )
    numbers = ("mean", "sd", "low", "high", "sd_over_seeds", "ece", *guesses, "best_baseline")
    kinds = dict.fromkeys(numbers, "float64") | {"baseline_name": "string"}
    return pd.DataFrame(rows).astype(kinds)


def baselines_table(about: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """What each baseline is, and its balanced accuracy by segment."""
    rows = summary[(summary["level"] == "segment") & (summary["metric"] == "balanced_accuracy")]
    columns = ["experiment", "protocol", "mean", "low", "high", "subjects", "caveat", "note"]
    table = about.merge(rows[columns], on=["experiment", "protocol"], how="left")
    return table.rename(columns={"mean": "balanced_accuracy"})


def confusion_table(runs: list[EvaluatedRun]) -> pd.DataFrame:
    """How often each class was predicted as each, over all folds and seeds, including zeros."""
    rows = []
    for group in groups(runs, by_seed=True):
        first, predictions = group[0], pooled(group)
        for level in LEVELS:
            table = at_level(predictions, first.labels, level)
            guess = probabilities(table, first.labels).argmax(axis=1)
            classes = len(first.labels)
            counts = np.zeros((classes, classes), int)  # (label, predicted)
            np.add.at(counts, (table["label"].to_numpy(), guess), 1)
            for (label, predicted), count in np.ndenumerate(counts):
                rows.append(
                    {"experiment": first.experiment, "protocol": first.protocol, "level": level}
                    | {"label": first.labels[label], "predicted": first.labels[predicted]}
                    | {"count": int(count), **first.about}
                )
    keys, about = [*KEY, "label", "predicted"], ["caveat", "note"]
    table = pd.DataFrame(rows).groupby([*keys, *about], sort=False)["count"].sum().reset_index()
    return table[[*keys, "count", *about]]


class _Rivals:
    """Measures the best baselines of runs, once for all experiments that share one."""

    def __init__(self) -> None:
        self._pooled: dict[tuple[int, ...], pd.DataFrame] = {}
        self._measured: dict[tuple[object, ...], dict[str, dict[str, float | None]]] = {}

    def measure(
        self, runs: Sequence[EvaluatedRun], subject: str | None = None
    ) -> dict[str, dict[str, float | None]]:
        """Metrics by level on the segments of ``runs``, or of a subject's; empty without any."""
        tables = [run.rival for run in runs if run.rival is not None]
        key = tuple(map(id, tables))  # of tables that the runs keep
        if (key, subject) not in self._measured:
            if tables and key not in self._pooled:
                self._pooled[key] = pd.concat(tables, ignore_index=True)
            table = self._pooled.get(key, pd.DataFrame({"subject": []}))
            rows = table if subject is None else table[table["subject"] == subject]
            self._measured[key, subject] = measure(rows, runs[0].labels) if len(rows) else {}
        return self._measured[key, subject]


def _first(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _best(table: pd.DataFrame, subject: str, labels: list[str], level: str, name: str) -> Any:
    """A metric of a subject in ``table``, which is of the best epochs by it."""
    own = at_level(table[table["subject"] == subject], labels, level)
    probability = probabilities(own, labels)
    return METRICS[name](own["label"].to_numpy(), probability.argmax(axis=1), probability)
