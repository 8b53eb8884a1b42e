"""Stage ``tables``: from all runs to folds, summary, inflation, ablation and tests.

A subject's number is measured on its predictions of all folds together, then averaged over seeds;
means, deviations and intervals are over subjects. Where the epoch was chosen on the test part, the
numbers are the best of each metric over all epochs, as the published ones, and every row says so.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from milmer import storage
from milmer.errors import MilmerError
from milmer.evaluation.options import ReportOptions
from milmer.evaluation.statistics import bootstrap_interval, holm, sign_flip_test
from milmer.metrics import NAMES, measure
from milmer.options import Options

LEVELS = ("segment", "trial")
TESTED = ("accuracy", "macro_f1")
"""Metrics that experiments are compared by."""

SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "auroc")
"""Metrics of the summary's Markdown and LaTeX forms; the others are in its CSV and Parquet."""

HONEST = ("trial", "stimulus", "loso")
CHOSEN_ON_TEST = "best epoch chosen on the test part"
_KEY = ["experiment", "protocol", "level"]


class ExperimentRuns(Options):
    """An experiment's runs: its folds by protocol, and how it differs from the configuration."""

    folds: dict[str, list[str]]
    changes: dict[str, Any] = Field({})


class TablesOptions(Options):
    """What the stage ``tables`` depends on."""

    report: ReportOptions = ReportOptions()
    experiments: dict[str, ExperimentRuns] = Field({})
    seeds: list[int] = Field([0])


@dataclass(frozen=True)
class _Run:
    experiment: str
    protocol: str
    fold: str
    seed: int
    metrics: Mapping[str, Any]
    predictions: pd.DataFrame


def make_tables(runs: Path, options: TablesOptions, out: Path) -> None:
    """Read the runs that ``options`` names below ``runs`` and write all tables into ``out``."""
    known = [_read(runs, *key) for key in _keys(options)]
    if not known:
        raise MilmerError(f"{runs}: no run to summarise; set experiments and protocols.names")
    folds = _folds(known)
    subjects = _subjects(known)
    summary = _summary(subjects, folds, options.report)
    tables = {
        "folds": folds,
        "summary": summary,
        "inflation": _inflation(summary),
        "ablation": _ablation(subjects, summary, options),
        "tests": _tests(subjects, summary, options),
    }
    inputs = {
        f"{run.experiment}/{run.protocol}/{run.fold}/seed{run.seed}": storage.digest(
            _folder(runs, run.experiment, run.protocol, run.fold, run.seed) / "predictions.parquet"
        )
        for run in known
    }
    made = storage.provenance("tables", __name__, options.result(), inputs)
    for name, table in tables.items():
        storage.write_text(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        storage.write_table(out / f"{name}.parquet", table, made)
    shown = readable(summary)
    storage.write_text(out / "summary.tex", shown.to_latex(index=False, escape=True))
    storage.write_text(out / "summary.md", shown.to_markdown(index=False) + "\n\n" + _NOTE)


def readable(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as people read it: a row an experiment, protocol and level."""
    rows = []
    for key, group in summary.groupby(_KEY, sort=False):
        values = group.set_index("metric")
        first = group.iloc[0]
        row = dict(zip(_KEY, key, strict=True)) | {"subjects": first["subjects"]}
        for metric in SHOWN:
            row[metric.replace("_", " ")] = _cell(values.loc[metric])
        row |= {"majority": _number(first["majority"]), "chance": _number(first["chance"])}
        rows.append(row | {"note": first["note"]})
    return pd.DataFrame(rows)


_NOTE = (
    "Mean ± standard deviation over subjects, and from six subjects on the [bootstrap interval] of "
    "the mean. Majority: always naming the training part's most common class; chance: drawing "
    "classes as often as they occur there.\n"
)


def _cell(value: pd.Series) -> str:
    if pd.isna(value["mean"]):
        return "–"
    text = _number(value["mean"])
    if not pd.isna(value["sd"]):
        text += f" ± {_number(value['sd'])}"
    if not pd.isna(value["low"]):
        text += f" [{_number(value['low'])}, {_number(value['high'])}]"
    return text


def _number(value: float | None) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"


# ---------------------------------------------------------------------- reading


def _keys(options: TablesOptions) -> list[tuple[str, str, str, int]]:
    return [
        (experiment, protocol, fold, seed)
        for experiment, runs in options.experiments.items()
        for protocol, folds in runs.folds.items()
        for fold in folds
        for seed in options.seeds
    ]


def _folder(runs: Path, experiment: str, protocol: str, fold: str, seed: int) -> Path:
    return runs / experiment / protocol / fold / f"seed{seed}"


def _read(runs: Path, experiment: str, protocol: str, fold: str, seed: int) -> _Run:
    folder = _folder(runs, experiment, protocol, fold, seed)
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MilmerError(f"{folder}/metrics.json: cannot be read; run snakemake again") from error
    predictions = storage.read_table(folder / "predictions.parquet", "predictions")
    return _Run(experiment, protocol, fold, seed, metrics, predictions)


# ----------------------------------------------------------------------- tables


def _folds(runs: list[_Run]) -> pd.DataFrame:
    rows = []
    for run in runs:
        metrics = run.metrics
        for level in LEVELS:
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
                    "select": metrics["select"],
                    "epoch": metrics["epoch"],
                    "leaky": metrics["leaky"],
                    "without_valid_face": sum(metrics["without_valid_face"].values()),
                    "warnings": "; ".join(metrics["warnings"]),
                }
            )
    table = pd.DataFrame(rows)
    return table.astype({name: "float64" for name in (*NAMES, "majority", "chance")})


def _subjects(runs: list[_Run]) -> pd.DataFrame:
    """One row an experiment, protocol, level and subject: its metrics, averaged over seeds."""
    rows = []
    by_seed: dict[tuple[str, str, int], list[_Run]] = {}
    for run in runs:
        by_seed.setdefault((run.experiment, run.protocol, run.seed), []).append(run)
    for (experiment, protocol, seed), group in by_seed.items():
        labels = group[0].metrics["labels"]
        pooled = pd.concat([run.predictions for run in group], ignore_index=True)
        for subject, predictions in pooled.groupby("subject", sort=True):
            measured = measure(predictions, labels)
            best = [r.metrics for r in group if set(r.predictions["subject"]) == {subject}]
            for level in LEVELS:
                values = measured[level]
                if best and all(m["selected_on_test"] for m in best):
                    values = {n: _mean([m[level][n] for m in best]) for n in NAMES}
                rows.append(
                    {"experiment": experiment, "protocol": protocol, "level": level}
                    | {"subject": subject, "seed": seed, **values}
                )
    table = pd.DataFrame(rows).astype({name: "float64" for name in NAMES})
    keys = [*_KEY, "subject"]
    return table.groupby(keys, sort=False)[list(NAMES)].mean().reset_index()


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _summary(subjects: pd.DataFrame, folds: pd.DataFrame, report: ReportOptions) -> pd.DataFrame:
    """One row an experiment, protocol, level and metric."""
    rows = []
    for key, group in subjects.groupby(_KEY, sort=False):
        own = folds[(folds[_KEY] == list(key)).all(axis=1)]
        baselines = {
            name: (own[name] * own["tested"]).sum() / own["tested"].sum()
            for name in ("majority", "chance")
        }
        for metric in NAMES:
            values = group[metric].dropna().to_numpy()
            interval = bootstrap_interval(
                values, report.confidence, report.resamples, report.seed
            ) or (None, None)
            rows.append(
                dict(zip(_KEY, key, strict=True))
                | {
                    "metric": metric,
                    "mean": values.mean() if len(values) else None,
                    "sd": values.std(ddof=1) if len(values) > 1 else None,
                    "low": interval[0],
                    "high": interval[1],
                    "subjects": group["subject"].nunique(),
                    "folds": own["fold"].nunique(),
                    "seeds": own["seed"].nunique(),
                    **baselines,
                    "select": own["select"].iloc[0],
                    "leaky": bool(own["leaky"].any()),
                    "note": _remarks(key[1], own),
                }
            )
    table = pd.DataFrame(rows)
    return table.astype({name: "float64" for name in ("mean", "sd", "low", "high")})


def _remarks(protocol: str, folds: pd.DataFrame) -> str:
    remarks = []
    if folds["leaky"].any():
        remarks.append("leaky: segments of one trial on both sides")
    if (folds["select"] == "best_on_test").any():
        remarks.append(CHOSEN_ON_TEST)
    if protocol == "loso":
        remarks.append("folds are dependent")
    return "; ".join(remarks)


def _inflation(summary: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by segment of each experiment under each protocol, beside an honest one.

    The reference is the experiment's own honest row; where it has none, the first experiment's.
    """
    rows = summary[(summary["level"] == "segment") & (summary["metric"] == "accuracy")]
    rows = rows.assign(honest=(rows["select"] != "best_on_test") & ~rows["leaky"])
    first = rows["experiment"].iloc[0]
    table = []
    for row in rows.itertuples():
        reference = _honest(rows, row.experiment) or _honest(rows, first)
        table.append(
            {
                "experiment": row.experiment,
                "protocol": row.protocol,
                "select": row.select,
                "honest": row.honest,
                "accuracy": row.mean,
                "majority": row.majority,
                "reference": f"{reference.experiment}/{reference.protocol}" if reference else None,
                "above_reference": row.mean - reference.mean if reference else None,
                "note": row.note,
            }
        )
    return pd.DataFrame(table).astype({"reference": "string", "above_reference": "float64"})


def _honest(rows: pd.DataFrame, experiment: str) -> Any:
    """An experiment's row under the first honest protocol that it ran; none if it ran none."""
    honest = rows[rows["honest"] & (rows["experiment"] == experiment)]
    by_protocol = {row.protocol: row for row in honest.itertuples()}
    return next((by_protocol[p] for p in HONEST if p in by_protocol), None)


def _differences(
    subjects: pd.DataFrame, protocol: str, level: str, metric: str, experiment: str, first: str
) -> pd.Series:
    """Differences of two experiments, one for each subject that both have."""
    here = subjects[(subjects["protocol"] == protocol) & (subjects["level"] == level)]
    wide = here.pivot(index="subject", columns="experiment", values=metric)
    if first not in wide or experiment not in wide:
        return pd.Series(dtype="float64")
    return (wide[experiment] - wide[first]).dropna()


def _note(summary: pd.DataFrame, protocol: str, *experiments: str) -> str:
    """The remarks on experiments under a protocol, each once; of two, with the one it is on."""
    found = []
    for experiment in experiments:
        rows = summary[(summary["experiment"] == experiment) & (summary["protocol"] == protocol)]
        for remark in rows["note"].iloc[0].split("; ") if len(rows) else []:
            named = remark == CHOSEN_ON_TEST and len(experiments) > 1
            found.append(f"{experiment}: {remark}" if named else remark)
    return "; ".join(dict.fromkeys(filter(None, found)))


def _ablation(
    subjects: pd.DataFrame, summary: pd.DataFrame, options: TablesOptions
) -> pd.DataFrame:
    """Each experiment beside the first, over their common subjects, under each protocol."""
    first = next(iter(options.experiments))
    above = {metric: f"{metric}_above_{first}" for metric in TESTED}
    rows = []
    for (experiment, protocol, level), group in subjects.groupby(_KEY, sort=False):
        changes = options.experiments[experiment].changes
        entry = {"experiment": experiment, "changes": json.dumps(changes, sort_keys=True)}
        entry |= {"protocol": protocol, "level": level, "subjects": len(group)}
        for metric in TESTED:
            pairs = _differences(subjects, protocol, level, metric, experiment, first)
            entry[metric] = group[metric].mean()
            entry[above[metric]] = pairs.mean() if len(pairs) else None
            entry["common_subjects"] = len(pairs)
        rows.append(entry | {"note": _note(summary, protocol, experiment)})
    return pd.DataFrame(rows).astype(dict.fromkeys(above.values(), "float64"))


def _tests(subjects: pd.DataFrame, summary: pd.DataFrame, options: TablesOptions) -> pd.DataFrame:
    """Paired sign-flip tests of each experiment against the first, over their common subjects."""
    first, *others = options.experiments
    report, rows = options.report, []
    for protocol in dict.fromkeys(subjects["protocol"]):
        for level, metric in itertools.product(LEVELS, TESTED):
            family = []
            for other in others:
                pairs = _differences(subjects, protocol, level, metric, other, first)
                if pairs.empty:
                    continue
                family.append(
                    {
                        "protocol": protocol,
                        "level": level,
                        "metric": metric,
                        "experiment": other,
                        "against": first,
                        "subjects": len(pairs),
                        "difference": pairs.mean(),
                        "p": sign_flip_test(pairs.to_numpy(), report.resamples, report.seed),
                        "note": _note(summary, protocol, other, first),
                    }
                )
            for row, adjusted in zip(family, holm([r["p"] for r in family]), strict=True):
                rows.append(row | {"p_holm": adjusted})
    columns = ["protocol", "level", "metric", "experiment", "against", "subjects"]
    columns += ["difference", "p", "p_holm", "note"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({name: "float64" for name in ("difference", "p", "p_holm")})
