"""What can be concluded from the tables and what cannot, in plain sentences.

Each sentence is made from numbers of the tables and gives them, so that the same tables give the
same text. Whether an accuracy is above a baseline is said by the test over subjects where there is
one, and left open where there is none.
"""

from collections.abc import Callable, Mapping

import pandas as pd
from scipy.stats import binom

from milmer.evaluation.baseline_options import BASELINES
from milmer.evaluation.runs import TablesOptions
from milmer.metrics.statistics import FEWEST
from milmer.splits.protocols import HONEST, PROTOCOLS

_UNLIKELY = 0.01  # a control so far above chance is not there by chance
_CALIBRATED = 0.03  # difference of confidence and accuracy that is not worth a word
Tables = Mapping[str, pd.DataFrame]


def conclude(tables: Tables, options: TablesOptions) -> str:
    """The text of ``conclusions.md``: a section a question, in Markdown."""
    sections: list[tuple[str, Callable[[Tables, TablesOptions], list[str]]]] = [
        ("How much was measured", _size),
        ("Is it better than simple baselines?", _above_baselines),
        ("What does a leaky protocol add?", _leaks),
        ("What does choosing the epoch on the test part add?", _chosen_on_test),
        ("Is anything found where there is nothing?", _controls),
        ("Are the probabilities to be trusted?", _calibration),
    ]
    lines = ["# What can be concluded"]
    for title, section in sections:
        if sentences := section(tables, options):
            lines += [f"## {title}", "\n".join(f"* {text}" for text in sentences)]
    return "\n\n".join(lines) + "\n"


def _rows(tables: Tables, level: str = "segment") -> pd.DataFrame:
    """The accuracies of the experiments, without the rows of the baseline itself."""
    rows = tables["summary"]
    rows = rows[(rows["metric"] == "accuracy") & (rows["level"] == level)]
    return rows[rows["select"] != "none"].set_index(["experiment", "protocol"], drop=False)


def _size(tables: Tables, options: TablesOptions) -> list[str]:
    rows = _rows(tables)
    fewest, most = int(rows["subjects"].min()), int(rows["subjects"].max())
    count = _counted(most, "subject") if fewest == most else f"{fewest} to {most} subjects"
    if most < FEWEST:
        text = (
            f"{count}, fewer than {_NUMBERS[FEWEST]}: there are neither intervals nor tests, and "
            "nothing can be said about people who were not measured."
        )
    else:
        text = (
            f"{count}: intervals and tests exchange subjects, and speak of people like them; "
            f"the level of the intervals is {options.report.confidence:g}."
        )
        if fewest < FEWEST:
            text += f" Rows of fewer than {_NUMBERS[FEWEST]} subjects have neither."
    found = [text]
    for protocol in dict.fromkeys(rows["protocol"]):
        if PROTOCOLS[protocol].leaves_subject_out:
            found.append(
                f"The folds of `{protocol}` share most of their training data, so that they are "
                "dependent: its intervals and p-values are approximate."
            )
    return found


def _above_baselines(tables: Tables, options: TablesOptions) -> list[str]:
    found = []
    rows, by_trial = _rows(tables), _rows(tables, "trial")
    honest = rows[~rows["leaky"] & ~rows["permuted"] & (rows["select"] != "best_on_test")]
    for key, row in honest.iterrows():
        text = (
            f"`{row['experiment']}` under `{row['protocol']}` names {_n(row['mean'])} of the "
            f"segments{_interval(row)} and {_n(by_trial.loc[key, 'mean'])} of the trials. "
        )
        sides = [_beside(tables, options, row, "majority", "the majority class")]
        for name, baseline in BASELINES.items():
            if not pd.isna(row[name]):
                sides.append(_beside(tables, options, row, name, baseline.title))
        found.append(text + " ".join(sides))
    if not found:
        found.append(
            "No experiment was run under an honest protocol with the epoch chosen without the "
            "test part: whether anything but the split was learned cannot be said. Add "
            "`trial` or `loso` to `protocols.names`."
        )
    return found


def _beside(tables: Tables, options: TablesOptions, row: pd.Series, against: str, name: str) -> str:
    """How an accuracy by segment stands beside that of a baseline, and what the test says."""
    tests = tables["tests"]
    key = {"experiment": row["experiment"], "protocol": row["protocol"], "level": "segment"}
    key |= {"metric": "accuracy", "against": against}
    test = tests[(tests[list(key)] == list(key.values())).all(axis=1)].iloc[0]
    difference, p = test["difference"], test["p_holm"]
    baseline = row["mean"] - difference
    if abs(difference) < 5e-4:
        return f"That is the accuracy of {name} ({_n(baseline)})."
    side = "above" if difference > 0 else "below"
    text = f"That is {_n(abs(difference))} {side} {name} ({_n(baseline)})"
    if pd.isna(p):
        return f"{text}; no test of so few subjects can say whether by chance."
    told = p < 1 - options.report.confidence
    verdict = (
        "which the test supports" if told else "which the test does not tell from no difference"
    )
    return f"{text}, {verdict} ({_p(p)}, {int(test['subjects'])} subjects)."


def _leaks(tables: Tables, options: TablesOptions) -> list[str]:
    found, rows = [], _rows(tables)
    for (experiment, protocol), row in rows[rows["leaky"] & ~rows["permuted"]].iterrows():
        honest = [(experiment, p) for p in HONEST if (experiment, p) in rows.index]
        start = f"`{experiment}` under `{protocol}`, which is leaky, names {_n(row['mean'])} of the"
        if not honest:
            found.append(
                f"{start} segments; it was run under no honest protocol. The number says how well "
                "trials are told apart, and nothing about emotions."
            )
            continue
        other = rows.loc[honest[0]]
        gap = row["mean"] - other["mean"]
        text = f"{start} segments and {_n(other['mean'])} under `{other['protocol']}`: "
        if gap > 5e-4:
            text += (
                f"{_n(gap)} of the accuracy comes with segments of the same trials in training, "
                "and is not recognition of emotions."
            )
        else:
            text += "here the leak adds nothing to the accuracy."
        found.append(text)
    return found


def _chosen_on_test(tables: Tables, options: TablesOptions) -> list[str]:
    inflation = tables["inflation"]
    found = []
    for row in inflation[inflation["select"] == "best_on_test"].itertuples():
        start = f"`{row.experiment}` under `{row.protocol}` "
        if pd.isna(row.chosen_honestly):
            found.append(
                f"{start}chose its epoch on the test part: {_n(row.accuracy)} of the segments is "
                "more than it can be expected to name on new data."
            )
            continue
        same = "did not" if row.more_data else "did not and is the same otherwise"
        adds = "the choice, and that it learned from the validation part too, make"
        found.append(
            f"{start}chose its epoch on the test part and has {_n(row.accuracy)} of the segments; "
            f"`{row.chosen_honestly}`, which {same}, has "
            f"{_n(row.accuracy - row.above_chosen_honestly)}: "
            f"{adds if row.more_data else 'the choice makes'} a difference of "
            f"{row.above_chosen_honestly:+.3f}."
        )
    return found


def _controls(tables: Tables, options: TablesOptions) -> list[str]:
    """Of each control, an exact binomial test over its trials: their ratings were exchanged."""
    found, rows = [], _rows(tables, "trial")
    for (experiment, protocol), row in rows[rows["permuted"]].iterrows():
        right, total = _right_trials(tables["confusion"], experiment, protocol, row["seeds"])
        chance = max(row["majority"], row["chance"])
        p = float(binom.sf(right - 1, total, chance))
        start = (
            f"The control `{experiment}`, whose trials exchanged their ratings, names {right} of "
            f"{total} trials under `{protocol}`, with {_n(chance)} by chance ({_p(p)}, exact "
            "binomial over trials): "
        )
        if p >= _UNLIKELY:
            text = "it is at chance, as it should be."
        elif row["leaky"]:
            text = "the protocol leaks. What it names are trials, not emotions."
        elif row["select"] == "best_on_test":
            text = "choosing the epoch on the test part finds something where there is nothing."
        else:
            text = "the protocol leaks, although it should not. Do not use these results."
        found.append(start + text)
    if not found:
        found.append(
            "No control was run. `experiments: {control: {labels: permuted}}` adds one, in which "
            "trials exchange their ratings and there is nothing to learn."
        )
    return found


def _right_trials(
    confusion: pd.DataFrame, experiment: str, protocol: str, seeds: int
) -> tuple[int, int]:
    """Trials that are named rightly, of how many; of several seeds, their mean."""
    key = {"experiment": experiment, "protocol": protocol, "level": "trial"}
    own = confusion[(confusion[list(key)] == list(key.values())).all(axis=1)]
    right = own.loc[own["label"] == own["predicted"], "count"].sum()
    return round(right / seeds), round(own["count"].sum() / seeds)


def _calibration(tables: Tables, options: TablesOptions) -> list[str]:
    found, rows = [], _rows(tables)
    known = tables["calibration"].set_index(["experiment", "protocol"])
    for key, row in rows[~rows["leaky"] & ~rows["permuted"]].iterrows():
        bins = known.loc[[key]].query("count > 0")
        total = bins["count"].sum()
        confidence, accuracy = (
            (bins[name] * bins["count"]).sum() / total for name in ("confidence", "accuracy")
        )
        gap = confidence - accuracy
        if abs(gap) < _CALIBRATED:
            word = "about as confident as it is right"
        else:
            word = (
                "more confident than it is right" if gap > 0 else "less confident than it is right"
            )
        found.append(
            f"`{row['experiment']}` under `{row['protocol']}` is {word}: mean confidence "
            f"{_n(confidence)}, accuracy {_n(accuracy)}, expected calibration error "
            f"{_n(row['ece'])}."
        )
    return found


# ------------------------------------------------------------------------ words

_NUMBERS = {FEWEST: "six"}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _n(value: float) -> str:
    return f"{value:.3f}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _interval(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else f" [{_n(row['low'])}, {_n(row['high'])}]"
