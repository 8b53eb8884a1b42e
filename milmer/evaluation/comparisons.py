"""Comparisons of experiments: by protocol, by how the epoch was chosen, by change; paired tests.

Comparisons are paired by subject, and tests are over subjects. Under the same protocol both sides
are measured on the segments that both were tested on: variants of the EEG reject others.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from milmer.evaluation.runs import (
    KEY,
    LEVELS,
    SEGMENT,
    EvaluatedRun,
    TablesOptions,
    groups,
)
from milmer.metrics.scores import measure
from milmer.metrics.statistics import (
    detectable_effect,
    effect_size,
    holm,
    sign_flip_test,
    subjects_needed,
    t_interval,
)
from milmer.splits.protocols import HONEST

TESTED = ("accuracy", "balanced_accuracy", "kappa", "macro_f1")
"""Metrics by which experiments are compared."""

CHANCE = {"accuracy": "chance", "balanced_accuracy": "chance_balanced", "kappa": "chance_kappa"}
"""The column of ``subjects`` with what guessing reaches, by metric."""

_WITHOUT_MODEL = [("chance", metric, column) for metric, column in CHANCE.items()]
_WITHOUT_MODEL += [("majority", "accuracy", "majority")]


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
        self._rows, self._wide = cache(self._tested_rows), cache(self._by_experiment)

    def differences(
        self, protocol: str, level: str, metric: str, one: str, other: str
    ) -> pd.Series:
        """``one`` less ``other`` on common segments, by subject."""
        wide = self._wide(protocol, level, metric)
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

    def across(self, one: tuple[str, str], other: tuple[str, str]) -> np.ndarray:
        """Accuracy by segment of ``one`` (experiment, protocol) less ``other``, by subject."""
        rows = self._subjects
        if rows.empty:
            return np.array([])
        if one[1] == other[1]:
            differences = self.differences(one[1], "segment", "accuracy", one[0], other[0])
            return differences.to_numpy()
        rows = rows[rows["level"] == "segment"]
        sides = [
            rows[(rows["experiment"] == experiment) & (rows["protocol"] == protocol)]
            for experiment, protocol in (one, other)
        ]
        first, second = (side.set_index("subject")["accuracy"] for side in sides)
        return (first - second).dropna().to_numpy()

    def _by_experiment(self, protocol: str, level: str, metric: str) -> pd.DataFrame:
        key = {"protocol": protocol, "level": level}
        rows = self._subjects[(self._subjects[list(key)] == list(key.values())).all(axis=1)]
        return rows.pivot(index="subject", columns="experiment", values=metric)

    def _tested_rows(self, experiment: str, protocol: str) -> pd.DataFrame:
        runs = self._runs[experiment, protocol]
        tables = [run.predictions[SEGMENT].assign(seed=run.seed) for run in runs]
        return pd.concat(tables, ignore_index=True)

    def _common(self, protocol: str, one: str, other: str) -> Common:
        keys = [(name, protocol) for name in (one, other)]
        if not {*keys} <= self._runs.keys():
            return Common(0, 0, pd.DataFrame())
        tested = self._rows(one, protocol)
        if tested.equals(self._rows(other, protocol)):
            return Common(len(tested.drop_duplicates(SEGMENT)), 0, pd.DataFrame())
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
        notes = [row.note, "learned from the validation part too" if more_data else ""]
        common = sibling and pairs.common(row.protocol, row.experiment, sibling.experiment)
        if common and common.left_out:
            notes.append(f"chosen honestly: on the {common.segments} segments that both have")
        table.append(
            {
                "experiment": row.experiment,
                "protocol": row.protocol,
                "select": row.select,
                "honest": row.honest,
                "accuracy": row.mean,
                "majority": row.majority,
                "chance": row.chance,
                "best_baseline": row.best_baseline,
                "baseline_name": row.baseline_name,
                "reference": f"{reference.experiment}/{reference.protocol}" if reference else None,
                **_inflation(pairs, row, reference, "reference", options),
                "chosen_honestly": sibling.experiment if sibling else None,
                **_inflation(pairs, row, sibling, "chosen_honestly", options),
                "more_data": more_data,
                "caveat": row.caveat,
                "note": "; ".join(filter(None, notes)),
            }
        )
    numbers = [f"{n}_{of}" for of in ("reference", "chosen_honestly") for n in _INFLATION]
    texts = ["reference", "chosen_honestly"]
    return pd.DataFrame(table).astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "string")
    )


_INFLATION = ("above", "low", "high", "p")


def _inflation(
    pairs: Pairs, row: Any, other: Any, name: str, options: TablesOptions
) -> dict[str, float | None]:
    """How far a result is above another, with interval and p, paired by the subjects of both."""
    report, values, above = options.report, np.array([]), None
    if other is not None and (row.experiment, row.protocol) != (other.experiment, other.protocol):
        values = pairs.across((row.experiment, row.protocol), (other.experiment, other.protocol))
    if other is not None:
        above = values.mean() if len(values) else row.mean - other.mean
    interval = t_interval(values, report.confidence) or (None, None)
    p = sign_flip_test(values, report.resamples, report.seed)
    return {f"{n}_{name}": v for n, v in zip(_INFLATION, (above, *interval, p), strict=True)}


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
        rows.append(entry | _about(summary, protocol, experiment))
    return pd.DataFrame(rows).astype(dict.fromkeys(above.values(), "float64"))


# ------------------------------------------------------------------------ tests


def tests_table(
    subjects: pd.DataFrame,
    summary: pd.DataFrame,
    pairs: Pairs,
    rivals: Mapping[tuple[str, str], Sequence[str]],
    options: TablesOptions,
) -> pd.DataFrame:
    """Paired sign-flip tests against chance, baselines and the first experiment.

    ``rivals`` are the baselines that look at nothing else, by experiment and protocol, the best
    first. The hypotheses of the first experiment against chance, the majority class and its best
    baseline are ``primary``: they are a family for Holm's correction, by protocol, level and
    metric, and no further baseline joins it. All others are exploratory and not corrected: other
    experiments against the same, the first against further baselines, baselines against chance and
    the majority class. ``low`` and ``high`` are of the difference, ``d`` is it in standard
    deviations, ``detectable`` the least true difference that a test finds with a power of 0.8;
    with less than ``needed`` subjects no test can pass.
    """
    first, *others = options.experiments
    measured = dict.fromkeys([*options.experiments, *subjects["experiment"]])
    rows = []
    for protocol, level in itertools.product(dict.fromkeys(subjects["protocol"]), LEVELS):
        of = subjects[(subjects["protocol"] == protocol) & (subjects["level"] == level)]
        best = [(n, row) for n in options.experiments for row in rivals.get((n, protocol), ())[:1]]
        further = [(first, row) for row in rivals.get((first, protocol), ())[1:]]
        for metric in TESTED:
            comparisons = []
            for against, _, column in (row for row in _WITHOUT_MODEL if row[1] == metric):
                for name in measured:
                    mine = of[of["experiment"] == name].set_index("subject")
                    pair = (name, against, pairs.common(protocol, name, name))
                    values = (mine[metric] - mine[column]).dropna()
                    comparisons.append((*pair, values, name == first))
            for pair in [*best, *further, *((name, first) for name in others)]:
                differences = pairs.differences(protocol, level, metric, *pair)
                is_primary = pair[0] == first and pair not in further
                comparisons.append((*pair, pairs.common(protocol, *pair), differences, is_primary))
            key = {"protocol": protocol, "level": level, "metric": metric}
            rows += _tested(key, [row for row in comparisons if len(row[3])], summary, options)
    table = pd.DataFrame(rows, columns=_TESTS)
    return table.astype(dict.fromkeys(_NUMBERS, "float64"))


_NUMBERS = ["difference", "low", "high", "d", "d_low", "d_high", "detectable", "p", "p_holm"]
_TESTS = ["protocol", "level", "metric", "experiment", "against", "primary", "subjects"]
_TESTS += ["segments", "left_out", *_NUMBERS, "needed", "caveat", "note"]


def _tested(
    key: Mapping[str, str],
    comparisons: Sequence[tuple[str, str, Common, pd.Series, bool]],
    summary: pd.DataFrame,
    options: TablesOptions,
) -> list[dict[str, Any]]:
    """Rows of tests of a metric: experiment, what against, differences, and whether primary."""
    report, primary = options.report, sum(row[4] for row in comparisons)
    level = 1 - report.confidence
    rows = []
    for name, against, common, differences, is_primary in comparisons:
        family = primary if is_primary else 1
        spread, values = differences.std(ddof=1), differences.to_numpy()
        least = detectable_effect(len(values), level / family)
        compared = (name, against) if against in options.experiments else (name,)
        rows.append(
            {
                **key,
                "experiment": name,
                "against": against,
                "primary": is_primary,
                "subjects": len(values),
                "segments": common.segments,
                "left_out": common.left_out,
                "difference": values.mean(),
                **_named(("low", "high"), t_interval(values, report.confidence)),
                **_named(("d", "d_low", "d_high"), effect_size(values, report.confidence)),
                "detectable": None if least is None else least * spread,
                "p": sign_flip_test(values, report.resamples, report.seed),
                "p_holm": None,
                "needed": subjects_needed(family, level),
                **_about(summary, key["protocol"], *compared),
            }
        )
    of_first = [row for row in rows if row["primary"]]
    for row, p in zip(of_first, holm([row["p"] for row in of_first]), strict=True):
        row["p_holm"] = p
    return rows


def _named(names: Sequence[str], values: Sequence[float] | None) -> dict[str, float | None]:
    return dict(zip(names, values or [None] * len(names), strict=True))


def _about(summary: pd.DataFrame, protocol: str, *experiments: str) -> dict[str, str]:
    """``caveat`` and ``note`` of experiments under a protocol, each remark once."""
    rows = summary[summary["experiment"].isin(experiments) & (summary["protocol"] == protocol)]
    return {
        name: "; ".join(dict.fromkeys(t for text in rows[name] if text for t in text.split("; ")))
        for name in ("caveat", "note")
    }
