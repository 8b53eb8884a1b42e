"""Comparisons of experiments: by protocol, by how the epoch was chosen, by change; paired tests.

Comparisons are paired by subject, and tests are over subjects. Under the same protocol both sides
are measured on the segments that both were tested on: variants of the EEG reject others.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from milmer.evaluation.baseline_options import BASELINES
from milmer.evaluation.runs import (
    KEY,
    LEVELS,
    SEGMENT,
    EvaluatedRun,
    TablesOptions,
    groups,
    in_tables,
    remarks,
)
from milmer.metrics.scores import measure
from milmer.metrics.statistics import holm, sign_flip_test
from milmer.splits.protocols import HONEST

TESTED = ("accuracy", "macro_f1")
"""Metrics by which experiments are compared."""

_AGAINST_BASELINES = [("majority", "accuracy", "majority")]
for _name in BASELINES:
    _AGAINST_BASELINES += [(_name, "accuracy", _name), (_name, "macro_f1", f"{_name}_macro_f1")]
"""Tests against baselines: the baseline, the metric, and the baseline's column of ``subjects``."""


# ------------------------------------------------------------------------ pairs


class Common(NamedTuple):
    """The test segments that two experiments share, and how many only one of them has.

    ``differences`` are those of the metrics on the shared segments, by level and subject; null
    where the subject has none, and without the subjects all of whose segments are shared.
    """

    segments: int
    left_out: int
    differences: pd.DataFrame


class Pairs:
    """Compares two experiments under a protocol on the segments that both were tested on.

    ``subjects`` is the table of their metrics, ``runs`` are what it was made from.
    """

    def __init__(self, subjects: pd.DataFrame, runs: Sequence[EvaluatedRun] = ()):
        self._subjects = subjects
        self._runs = {(g[0].experiment, g[0].protocol): g for g in groups([*runs])}
        self.common = cache(self._common)

    def differences(
        self, protocol: str, level: str, metric: str, one: str, other: str
    ) -> pd.Series:
        """``one`` less ``other`` on common segments, by subject."""
        key = {"protocol": protocol, "level": level}
        rows = self._subjects[(self._subjects[list(key)] == list(key.values())).all(axis=1)]
        wide = rows.pivot(index="subject", columns="experiment", values=metric)
        if not {one, other} <= {*wide}:
            return pd.Series(dtype="float64")
        differences = wide[one] - wide[other]
        partly = self.common(protocol, one, other).differences
        if level in partly.index:
            differences = (
                partly.loc[level, metric]
                .reindex(differences.index)
                .where(differences.index.isin(partly.loc[level].index), differences)
            )
        return differences.dropna()

    def _common(self, protocol: str, one: str, other: str) -> Common:
        keys = [(name, protocol) for name in (one, other)]
        if not {*keys} <= self._runs.keys():
            return Common(0, 0, pd.DataFrame())
        row = [*SEGMENT, "seed"]
        sides = [
            pd.concat([run.predictions.assign(seed=run.seed) for run in self._runs[key]])
            for key in keys
        ]
        both = sides[0][row].merge(sides[1][row])
        counts = pd.DataFrame([table.groupby("subject").size() for table in (both, *sides)]).T
        counts = counts[counts[[1, 2]].notna().all(axis=1)].fillna(0)  # subjects of both
        partly = counts.index[counts.nunique(axis=1) > 1]
        metrics = [
            _by_subject(table.merge(both), partly, self._runs[key][0].labels)
            for table, key in zip(sides, keys, strict=True)
        ]
        segments, *whole = (len(table.drop_duplicates(SEGMENT)) for table in (both, *sides))
        return Common(segments, sum(whole) - 2 * segments, metrics[0] - metrics[1])


def _by_subject(table: pd.DataFrame, subjects: Sequence[str], labels: list[str]) -> pd.DataFrame:
    """Metrics of each of ``subjects``, the mean over seeds, by level and subject."""
    parts = table.groupby(["subject", "seed"])
    rows = [
        {"level": level, "subject": subject, **metrics}
        for (subject, _), part in parts
        if subject in subjects
        for level, metrics in measure(part, labels).items()
    ]
    index = pd.MultiIndex.from_product([LEVELS, subjects], names=["level", "subject"])
    means = pd.DataFrame(rows, columns=[*index.names, *TESTED]).groupby(index.names).mean()
    return means.reindex(index)


# -------------------------------------------------------------------- inflation


def inflation_table(summary: pd.DataFrame, pairs: Pairs, options: TablesOptions) -> pd.DataFrame:
    """Accuracy by segment of each experiment under each protocol, compared with honest ones.

    ``reference`` is the experiment's honest row, or that of the first experiment that has one. An
    experiment whose epoch was chosen on the test part is compared with the one under the same
    protocol that differs only in ``training.select`` (``chosen_honestly``).
    """
    of_experiments = summary["experiment"].isin(options.experiments)
    by_segment = (summary["level"] == "segment") & (summary["metric"] == "accuracy")
    rows = summary[of_experiments & by_segment]
    honest = (rows["select"] != "best_on_test") & ~rows["leaky"] & ~rows["permuted"]
    rows = rows.assign(honest=honest)
    honest_rows = [_honest(rows, name) for name in options.experiments]
    default = next((row for row in honest_rows if row is not None), None)
    table = []
    for row in rows.itertuples():
        reference = _honest(rows, row.experiment) or default
        sibling = _sibling(rows, row, options) if row.select == "best_on_test" else None
        more_data = sibling is not None and _validates_apart(row, sibling, options)
        note = f"{row.note}; learned from the validation part too" if more_data else row.note
        above_sibling = row.mean - sibling.mean if sibling else None
        common = sibling and pairs.common(row.protocol, row.experiment, sibling.experiment)
        if common and common.left_out:
            names = (row.experiment, sibling.experiment)
            above_sibling = pairs.differences(row.protocol, "segment", "accuracy", *names).mean()
            note += f"; chosen honestly: on the {common.segments} segments that both have"
        table.append(
            {
                "experiment": row.experiment,
                "protocol": row.protocol,
                "select": row.select,
                "honest": row.honest,
                "accuracy": row.mean,
                "majority": row.majority,
                "chance": row.chance,
                **{name: getattr(row, name) for name in BASELINES},
                "reference": f"{reference.experiment}/{reference.protocol}" if reference else None,
                "above_reference": row.mean - reference.mean if reference else None,
                "chosen_honestly": sibling.experiment if sibling else None,
                "above_chosen_honestly": above_sibling,
                "more_data": more_data,
                "note": note,
            }
        )
    numbers = ["above_reference", "above_chosen_honestly"]
    texts = ["reference", "chosen_honestly"]
    return pd.DataFrame(table).astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "string")
    )


def _honest(rows: pd.DataFrame, experiment: str) -> Any:
    """An experiment's row under the first honest protocol that it was run under, or None."""
    honest = rows[rows["honest"] & (rows["experiment"] == experiment)]
    by_protocol = {row.protocol: row for row in honest.itertuples()}
    return next((by_protocol[p] for p in HONEST if p in by_protocol), None)


def _sibling(rows: pd.DataFrame, row: Any, options: TablesOptions) -> Any:
    """The row under the same protocol that differs only in how the epoch was chosen, or None."""
    same = rows[(rows["protocol"] == row.protocol) & (rows["select"] != "best_on_test")]
    changes = _without_selection(options.experiments[row.experiment].changes)
    return next(
        (
            other
            for other in same.itertuples()
            if _without_selection(options.experiments[other.experiment].changes) == changes
        ),
        None,
    )


def _without_selection(changes: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's changes, except the choice of the epoch and what goes with it."""
    rest = {k: v for k, v in changes.items() if k not in ("validation", "protocols", "training")}
    training = {k: v for k, v in changes.get("training", {}).items() if k != "select"}
    return rest | ({"training": training} if training else {})


def _validates_apart(row: Any, sibling: Any, options: TablesOptions) -> bool:
    """Whether the two use the validation part differently: one trains on it, the other does not."""
    of_row, of_sibling = (
        options.experiments[name].changes.get("validation")
        for name in (row.experiment, sibling.experiment)
    )
    return of_row != of_sibling


# --------------------------------------------------------------------- ablation


def ablation_table(
    subjects: pd.DataFrame, summary: pd.DataFrame, pairs: Pairs, options: TablesOptions
) -> pd.DataFrame:
    """Each experiment compared with the first, on common segments, under each protocol."""
    first = next(iter(options.experiments))
    above = {metric: f"{metric}_above_{first}" for metric in TESTED}
    subjects = subjects[subjects["experiment"].isin(options.experiments)]
    rows = []
    for (experiment, protocol, level), group in subjects.groupby(KEY, sort=False):
        changes = options.experiments[experiment].changes
        entry = {"experiment": experiment, "changes": json.dumps(changes, sort_keys=True)}
        entry |= {"protocol": protocol, "level": level, "subjects": len(group)}
        common = pairs.common(protocol, experiment, first)
        for metric in TESTED:
            differences = pairs.differences(protocol, level, metric, experiment, first)
            entry[metric] = group[metric].mean()
            entry[above[metric]] = differences.mean() if len(differences) else None
            entry["common_subjects"] = len(differences)
        entry |= {"common_segments": common.segments, "left_out": common.left_out}
        rows.append(entry | {"note": _note(summary, protocol, experiment)})
    return pd.DataFrame(rows).astype(dict.fromkeys(above.values(), "float64"))


# ------------------------------------------------------------------------ tests


def tests_table(
    subjects: pd.DataFrame, summary: pd.DataFrame, pairs: Pairs, options: TablesOptions
) -> pd.DataFrame:
    """Paired sign-flip tests of each experiment against the first and against the baselines.

    Holm's correction is over the experiments that are tested against the same experiment or
    baseline, separately for each protocol, level and metric.
    """
    first, *others = options.experiments
    rows = []
    for protocol, level in itertools.product(dict.fromkeys(subjects["protocol"]), LEVELS):
        for metric in TESTED:
            differences = {
                name: pairs.differences(protocol, level, metric, name, first) for name in others
            }
            common = {name: pairs.common(protocol, name, first) for name in others}
            notes = {name: _note(summary, protocol, name, first) for name in others}
            key = (protocol, level, metric, first)
            rows += _family(differences, common, notes, key, options)
        for against, metric, column in _AGAINST_BASELINES:
            labels = {name: about.labels for name, about in options.experiments.items()}
            if against == "majority":  # baselines are tested against it too
                labels |= {in_tables(b, v): v for b in BASELINES for v in options.baselines}
            differences = {
                name: _above_baseline(subjects, protocol, level, metric, name, column)
                for name in labels
            }
            common = {
                name: pairs.common(
                    protocol, name, name if against == "majority" else in_tables(against, variant)
                )
                for name, variant in labels.items()
            }
            notes = {name: _note(summary, protocol, name) for name in labels}
            key = (protocol, level, metric, against)
            rows += _family(differences, common, notes, key, options)
    columns = ["protocol", "level", "metric", "experiment", "against", "subjects", "segments"]
    columns += ["left_out", "difference", "p", "p_holm", "note"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({name: "float64" for name in ("difference", "p", "p_holm")})


def _family(
    pairs: Mapping[str, pd.Series],
    common: Mapping[str, Common],
    notes: Mapping[str, str],
    key: tuple[str, str, str, str],
    options: TablesOptions,
) -> list[dict[str, Any]]:
    """Rows of a family of tests, corrected for multiple comparisons."""
    protocol, level, metric, against = key
    report = options.report
    rows = [
        {
            "protocol": protocol,
            "level": level,
            "metric": metric,
            "experiment": experiment,
            "against": against,
            "subjects": len(differences),
            "segments": common[experiment].segments,
            "left_out": common[experiment].left_out,
            "difference": differences.mean(),
            "p": sign_flip_test(differences.to_numpy(), report.resamples, report.seed),
            "note": notes[experiment],
        }
        for experiment, differences in pairs.items()
        if len(differences)
    ]
    adjusted = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def _above_baseline(
    subjects: pd.DataFrame, protocol: str, level: str, metric: str, experiment: str, column: str
) -> pd.Series:
    """Differences between an experiment and a baseline on the same segments, one per subject."""
    key = {"protocol": protocol, "level": level, "experiment": experiment}
    rows = subjects[(subjects[list(key)] == list(key.values())).all(axis=1)]
    if f"above_{column}" in rows:  # on the segments that neither rejected
        return rows[f"above_{column}"].dropna()
    return (rows[metric] - rows[column]).dropna()


def _note(summary: pd.DataFrame, protocol: str, *experiments: str) -> str:
    """The remarks on experiments under a protocol, each once; with names if there are two."""
    texts: list[str] = []
    for experiment in experiments:
        rows = summary[(summary["experiment"] == experiment) & (summary["protocol"] == protocol)]
        prefix = f"{experiment}: " if len(experiments) > 1 else ""
        for facts in rows[["leaky", "select", "permuted"]].head(1).to_dict("records"):
            texts += remarks(protocol, **facts, prefix=prefix)
    return "; ".join(dict.fromkeys(texts))
