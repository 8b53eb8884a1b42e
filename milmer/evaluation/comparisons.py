"""Experiments beside each other: protocols, ways to choose the epoch, changes, and paired tests.

What is compared is paired by subject and exchanges subjects; a comparison with a baseline is on
exactly the same segments.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from milmer.evaluation.options import BASELINE
from milmer.evaluation.runs import (
    CHOSEN_ON_TEST,
    KEY,
    LEVELS,
    PERMUTED,
    TablesOptions,
    baseline_name,
)
from milmer.metrics.statistics import holm, sign_flip_test

TESTED = ("accuracy", "macro_f1")
"""Metrics that experiments are compared by."""

MORE_DATA = "learned from the validation part too"
HONEST = ("trial", "stimulus", "loso")
_AGAINST_BASELINES = (
    ("majority", "accuracy", "majority"),
    (BASELINE, "accuracy", "band_power"),
    (BASELINE, "macro_f1", "band_power_macro_f1"),
)
"""What is tested against baselines: its name, the metric, and its column of ``subjects``."""


# -------------------------------------------------------------------- inflation


def inflation_table(summary: pd.DataFrame, options: TablesOptions) -> pd.DataFrame:
    """Accuracy by segment of each experiment under each protocol, beside honest ones.

    ``reference`` is the experiment's own honest row; where it has none, that of the first
    experiment with one. An experiment whose epoch was chosen on the test part stands beside the
    one that differs in ``training.select`` alone (``chosen_honestly``), under the same protocol.
    """
    own = summary["experiment"].isin(options.experiments)
    rows = summary[own & (summary["level"] == "segment") & (summary["metric"] == "accuracy")]
    honest = (rows["select"] != "best_on_test") & ~rows["leaky"] & ~rows["permuted"]
    rows = rows.assign(honest=honest)
    references = [found for name in options.experiments if (found := _honest(rows, name))]
    table = []
    for row in rows.itertuples():
        reference = _honest(rows, row.experiment) or next(iter(references), None)
        sibling = _sibling(rows, row, options) if row.select == "best_on_test" else None
        table.append(
            {
                "experiment": row.experiment,
                "protocol": row.protocol,
                "select": row.select,
                "honest": row.honest,
                "accuracy": row.mean,
                "majority": row.majority,
                "chance": row.chance,
                "band_power": row.band_power,
                "reference": f"{reference.experiment}/{reference.protocol}" if reference else None,
                "above_reference": row.mean - reference.mean if reference else None,
                "chosen_honestly": sibling.experiment if sibling else None,
                "above_chosen_honestly": row.mean - sibling.mean if sibling else None,
                "note": _with_validation(row, sibling, options),
            }
        )
    numbers = ["above_reference", "above_chosen_honestly"]
    texts = ["reference", "chosen_honestly"]
    return pd.DataFrame(table).astype(
        dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "string")
    )


def _honest(rows: pd.DataFrame, experiment: str) -> Any:
    """An experiment's row under the first honest protocol that it ran; none if it ran none."""
    honest = rows[rows["honest"] & (rows["experiment"] == experiment)]
    by_protocol = {row.protocol: row for row in honest.itertuples()}
    return next((by_protocol[p] for p in HONEST if p in by_protocol), None)


def _sibling(rows: pd.DataFrame, row: Any, options: TablesOptions) -> Any:
    """The row of the same protocol and options, but for how the epoch was chosen."""
    same = rows[(rows["protocol"] == row.protocol) & (rows["select"] != "best_on_test")]
    mine = _without_selection(options.experiments[row.experiment].changes)
    return next(
        (
            other
            for other in same.itertuples()
            if _without_selection(options.experiments[other.experiment].changes) == mine
        ),
        None,
    )


def _without_selection(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment changes, but for the choice of the epoch and what goes with it."""
    rest = {k: v for k, v in changes.items() if k not in ("validation", "protocols", "training")}
    training = {k: v for k, v in changes.get("training", {}).items() if k != "select"}
    return rest | ({"training": training} if training else {})


def _with_validation(row: Any, sibling: Any, options: TablesOptions) -> str:
    """A row's note, and where it learned from more than what it stands beside."""
    if sibling is None:
        return row.note
    mine, other = (
        options.experiments[name].changes.get("validation")
        for name in (row.experiment, sibling.experiment)
    )
    return row.note if mine == other else f"{row.note}; {MORE_DATA}"


# --------------------------------------------------------------------- ablation


def ablation_table(
    subjects: pd.DataFrame, summary: pd.DataFrame, options: TablesOptions
) -> pd.DataFrame:
    """Each experiment beside the first, over their common subjects, under each protocol."""
    first = next(iter(options.experiments))
    above = {metric: f"{metric}_above_{first}" for metric in TESTED}
    own = subjects[subjects["experiment"].isin(options.experiments)]
    rows = []
    for (experiment, protocol, level), group in own.groupby(KEY, sort=False):
        changes = options.experiments[experiment].changes
        entry = {"experiment": experiment, "changes": json.dumps(changes, sort_keys=True)}
        entry |= {"protocol": protocol, "level": level, "subjects": len(group)}
        for metric in TESTED:
            pairs = _differences(own, protocol, level, metric, experiment, first)
            entry[metric] = group[metric].mean()
            entry[above[metric]] = pairs.mean() if len(pairs) else None
            entry["common_subjects"] = len(pairs)
        rows.append(entry | {"note": _note(summary, protocol, experiment)})
    return pd.DataFrame(rows).astype(dict.fromkeys(above.values(), "float64"))


# ------------------------------------------------------------------------ tests


def tests_table(
    subjects: pd.DataFrame, summary: pd.DataFrame, options: TablesOptions
) -> pd.DataFrame:
    """Paired sign-flip tests of each experiment against the first and against the baselines.

    Holm's correction is over the experiments that are tested against the same, under a protocol,
    by a level and a metric.
    """
    first, *others = options.experiments
    rows = []
    for protocol, level in itertools.product(dict.fromkeys(subjects["protocol"]), LEVELS):
        for metric in TESTED:
            pairs = {
                name: _differences(subjects, protocol, level, metric, name, first)
                for name in others
            }
            notes = {name: _note(summary, protocol, name, first) for name in others}
            rows += _family(pairs, notes, (protocol, level, metric, first), options)
        for against, metric, column in _AGAINST_BASELINES:
            pairs = {
                name: _above_baseline(subjects, protocol, level, metric, name, column)
                for name in options.experiments
            }
            if against == "majority":  # the baseline of band power is a contestant here
                for labels in options.baselines:
                    name = baseline_name(labels)
                    pairs[name] = _above_baseline(subjects, protocol, level, metric, name, column)
            notes = {name: _note(summary, protocol, name) for name in pairs}
            rows += _family(pairs, notes, (protocol, level, metric, against), options)
    columns = ["protocol", "level", "metric", "experiment", "against", "subjects"]
    columns += ["difference", "p", "p_holm", "note"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({name: "float64" for name in ("difference", "p", "p_holm")})


def _family(
    pairs: Mapping[str, pd.Series],
    notes: Mapping[str, str],
    key: tuple[str, str, str, str],
    options: TablesOptions,
) -> list[dict[str, Any]]:
    """Rows of tests that are corrected for each other."""
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
            "difference": differences.mean(),
            "p": sign_flip_test(differences.to_numpy(), report.resamples, report.seed),
            "note": notes[experiment],
        }
        for experiment, differences in pairs.items()
        if len(differences)
    ]
    adjusted = holm([row["p"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def _differences(
    subjects: pd.DataFrame, protocol: str, level: str, metric: str, experiment: str, first: str
) -> pd.Series:
    """Differences of two experiments, one for each subject that both have."""
    here = subjects[(subjects["protocol"] == protocol) & (subjects["level"] == level)]
    wide = here.pivot(index="subject", columns="experiment", values=metric)
    if first not in wide or experiment not in wide:
        return pd.Series(dtype="float64")
    return (wide[experiment] - wide[first]).dropna()


def _above_baseline(
    subjects: pd.DataFrame, protocol: str, level: str, metric: str, experiment: str, column: str
) -> pd.Series:
    """Differences of an experiment and a baseline on the same segments, one for each subject."""
    key = {"protocol": protocol, "level": level, "experiment": experiment}
    here = subjects[(subjects[list(key)] == list(key.values())).all(axis=1)]
    return (here[metric] - here[column]).dropna()


def _note(summary: pd.DataFrame, protocol: str, *experiments: str) -> str:
    """The remarks on experiments under a protocol, each once; of two, with the one it is on."""
    found = []
    for experiment in experiments:
        rows = summary[(summary["experiment"] == experiment) & (summary["protocol"] == protocol)]
        for remark in rows["note"].iloc[0].split("; ") if len(rows) else []:
            named = remark in (CHOSEN_ON_TEST, PERMUTED) and len(experiments) > 1
            found.append(f"{experiment}: {remark}" if named else remark)
    return "; ".join(dict.fromkeys(filter(None, found)))
