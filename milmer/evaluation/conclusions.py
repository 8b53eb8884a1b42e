"""What can and cannot be concluded from the tables, in plain sentences.

Each sentence is built from numbers of the tables and quotes them, so that the same tables give the
same text. Whether an accuracy is above a baseline is decided by the test over subjects, and left
open if there is none.
"""

from collections.abc import Callable, Mapping

import pandas as pd
from scipy.stats import binom

from milmer.evaluation.explanations import explanations
from milmer.evaluation.runs import LEVELS, TablesOptions
from milmer.metrics.statistics import FEWEST
from milmer.splits.protocols import HONEST, PROTOCOLS

_UNLIKELY = 0.01  # a control this far above chance is not there by chance
_CALIBRATED = 0.03  # a difference of confidence and accuracy too small to mention
_EQUAL = 5e-4  # accuracies closer than this are printed alike
Tables = Mapping[str, pd.DataFrame]


def conclude(tables: Tables, options: TablesOptions) -> str:
    """The text of ``conclusions.md`` in Markdown: one section per question."""
    sections: list[tuple[str, Callable[[Tables, TablesOptions], list[str]]]] = [
        ("How much data is there?", _size),
        ("What was left out?", _left_out),
        ("Is it better than simple baselines?", _above_baselines),
        ("What does a leaky protocol add?", _leaks),
        ("What does choosing the epoch on the test part add?", _chosen_on_test),
        ("What else could explain it?", explanations),
        ("Do the controls find anything?", _controls),
        ("Can the probabilities be trusted?", _calibration),
    ]
    lines = ["# What can be concluded"]
    for title, section in sections:
        if sentences := section(tables, options):
            lines += [f"## {title}", "\n".join(f"* {text}" for text in sentences)]
    return "\n\n".join(lines) + "\n"


def _rows(tables: Tables, level: str = "segment", metric: str = "accuracy") -> pd.DataFrame:
    """The accuracies of the experiments, without the rows of the baselines themselves."""
    rows = tables["summary"]
    rows = rows[(rows["metric"] == metric) & (rows["level"] == level)]
    return rows[rows["select"] != "none"].set_index(["experiment", "protocol"], drop=False)


def _left_out(tables: Tables, options: TablesOptions) -> list[str]:
    sentences = []
    rejected = tables["folds"][tables["folds"]["level"] == "segment"]
    for experiment, count in rejected.groupby("experiment", sort=False)["rejected"].sum().items():
        if count:
            sentences.append(
                f"`{experiment}` left out segments whose EEG could not be used: {count} over all "
                "parts of all folds."
            )
    tests = tables["tests"].query("level == 'segment' and metric == 'accuracy' and left_out > 0")
    for row in tests.itertuples():
        sentences.append(
            f"`{row.experiment}` and `{row.against}` under `{row.protocol}` are compared on the "
            f"{row.segments} test segments that both have; {row.left_out} that only one of them "
            "has are left out."
        )
    for (experiment, protocol, reason), rows in tables["skipped"].groupby(
        ["experiment", "protocol", "reason"], sort=False
    ):
        folds = ", ".join(dict.fromkeys(rows["fold"]))
        sentences.append(f"`{experiment}` under `{protocol}` skipped {folds}: {reason}.")
    return sentences


def _size(tables: Tables, options: TablesOptions) -> list[str]:
    rows = _rows(tables)
    fewest, most = int(rows["subjects"].min()), int(rows["subjects"].max())
    count = _counted(most, "subject") if fewest == most else f"{fewest} to {most} subjects"
    if most < FEWEST:
        return [
            f"With {count} no significance test is possible. It takes at least "
            f"{_NUMBERS[FEWEST]}; with fewer there are no intervals either, and nothing can be "
            "said about other people."
        ]
    sentences = [
        f"{count}: intervals and tests are over subjects and apply to people like them. The "
        f"confidence level of the intervals is {options.report.confidence:g}."
    ]
    if few := [
        f"`{row['experiment']}` under `{row['protocol']}` ({row['subjects']})"
        for _, row in rows[rows["subjects"] < FEWEST].iterrows()
    ]:
        sentences.append(
            f"With fewer than {_NUMBERS[FEWEST]} subjects there is no interval and no significance "
            f"test: {', '.join(few)}."
        )
    for protocol in dict.fromkeys(rows["protocol"]):
        if PROTOCOLS[protocol].leaves_subject_out:
            sentences.append(
                f"The folds of `{protocol}` share most of their training data. They are therefore "
                "dependent, and their intervals and p-values approximate."
            )
    return sentences


def _above_baselines(tables: Tables, options: TablesOptions) -> list[str]:
    sentences = []
    rows, by_trial = (_rows(tables, level, "balanced_accuracy") for level in LEVELS)
    honest = rows[rows["caveat"] == ""]
    for key, row in honest.iterrows():
        text = (
            f"`{row['experiment']}` reaches a balanced accuracy of {_percent(row['mean'])}"
            f"{_interval(row)} by segment and {_percent(by_trial.loc[key, 'mean'])} by trial under "
            f"`{row['protocol']}`. By segment, this is "
        )
        comparisons = [_compared(tables, options, row, "chance", "chance")]
        if not pd.isna(row["best_baseline"]):
            best = row["baseline_name"]
            title = tables["baselines"].set_index("experiment")["title"][[best]].iloc[0]
            comparisons.append(_compared(tables, options, row, best, title))
        sentences.append(f"{text}{'; '.join(comparisons)}.")
    if not sentences:
        sentences.append(
            "No experiment was run under an honest protocol with its epoch chosen without the test "
            "part, so it remains open whether anything but the leak was learned. Add `trial` or "
            "`loso` to `protocols.names`."
        )
    return sentences


def _compared(
    tables: Tables, options: TablesOptions, row: pd.Series, against: str, name: str
) -> str:
    """How a balanced accuracy by segment compares with another, and what the test says.

    The tests of the first experiment are corrected, those of others are exploratory.
    """
    tests = tables["tests"]
    key = {"experiment": row["experiment"], "protocol": row["protocol"], "level": "segment"}
    key |= {"metric": "balanced_accuracy", "against": against}
    test = tests[(tests[list(key)] == list(key.values())).all(axis=1)].iloc[0]
    difference, subjects = test["difference"], int(test["subjects"])
    p = test["p_holm"] if test["primary"] else test["p"]
    baseline = f"{name} ({_percent(row['mean'] - difference)})"
    if abs(difference) < _EQUAL:
        return f"equal to {baseline}"
    side = "above" if difference > 0 else "below"
    text = f"{_points(abs(difference))} {side} {baseline}"
    if not pd.isna(test["low"]):
        text += f" [{_points(test['low'], unit='')}, {_points(test['high'])}]"
    if subjects < test["needed"]:
        few = f"{text}, not testable with {_counted(subjects, 'subject')}; "
        return f"{few}{test['needed']} would be needed"
    verdict = "significant" if p < 1 - options.report.confidence else "not significant"
    kind = "" if test["primary"] else ", not corrected"
    return f"{text}, which is {verdict} ({_p(p)}{kind}, {subjects} subjects)"


def _leaks(tables: Tables, options: TablesOptions) -> list[str]:
    sentences, rows = [], _rows(tables)
    for (experiment, protocol), row in rows[rows["leaky"] & ~rows["permuted"]].iterrows():
        honest = [(experiment, p) for p in HONEST if (experiment, p) in rows.index]
        text = (
            f"`{experiment}` classifies {_percent(row['mean'])} of the segments correctly under "
            f"`{protocol}`, which is leaky"
        )
        if not honest:
            sentences.append(
                f"{text}, and was run under no honest protocol. The number says how well trials "
                "are told apart, and nothing about emotions."
            )
            continue
        other = rows.loc[honest[0]]
        text += f", and {_percent(other['mean'])} under `{other['protocol']}`: "
        tested = tables["inflation"].set_index(["experiment", "protocol"])
        tested = tested.loc[(experiment, protocol)]
        if tested["above_reference"] > _EQUAL:
            text += _inflated(tested, "reference")
            text += " come from segments of the same trials in training, not from "
            text += "recognising emotions."
        else:
            text += "here the leak adds nothing to the accuracy."
        sentences.append(text)
    return sentences


def _inflated(row: pd.Series, other: str) -> str:
    """How far a row of ``inflation`` is above ``other``, and how sure."""
    text = _points(row[f"above_{other}"])
    if pd.isna(row[f"p_{other}"]):
        return text
    low, high = (_points(row[f"{name}_{other}"], unit="") for name in ("low", "high"))
    return f"{text} [{low}, {high}] ({_p(row[f'p_{other}'])})"


def _chosen_on_test(tables: Tables, options: TablesOptions) -> list[str]:
    inflation, rows = tables["inflation"], _rows(tables)
    sentences = []
    for _, row in inflation[inflation["select"] == "best_on_test"].iterrows():
        text = (
            f"`{row.experiment}` chose its epoch on the test part and classifies "
            f"{_percent(row.accuracy)} of the segments correctly under `{row.protocol}`"
        )
        if pd.isna(row.chosen_honestly):
            sentences.append(f"{text}, which is more than can be expected on new data.")
            continue
        honest = rows.loc[(row.chosen_honestly, row.protocol), "mean"]
        same = "did not" if row.more_data else "did not but is otherwise the same"
        reasons = "the choice and learning from the validation part too make"
        sentences.append(
            f"{text}; `{row.chosen_honestly}`, which {same}, reaches {_percent(honest)}: "
            f"{reasons if row.more_data else 'the choice makes'} a difference of "
            f"{_inflated(row, 'chosen_honestly')}."
        )
    return sentences


def _controls(tables: Tables, options: TablesOptions) -> list[str]:
    """For each control an exact binomial test over its trials, whose ratings were permuted.

    It is tested against what guessing each class as often as the control does would give: with
    uneven classes a control can follow their shares, and recognise something that lies below the
    share of the largest.
    """
    sentences, rows = [], _rows(tables, "trial")
    for (experiment, protocol), row in rows[rows["permuted"]].iterrows():
        right, total = _right_trials(tables["confusion"], experiment, protocol, row["seeds"])
        chance = _agreement(tables["confusion"], experiment, protocol)
        p = float(binom.sf(right - 1, total, chance))
        text = (
            f"The control `{experiment}`, whose ratings were permuted among trials, classifies "
            f"{right} of {total} trials correctly under `{protocol}`, where chance is "
            f"{_percent(chance)} ({_p(p)}, exact binomial test over trials): "
        )
        if p >= _UNLIKELY:
            text += "it is at chance, as it should be."
        elif row["leaky"]:
            text += "the protocol leaks. What the model recognises are trials, not emotions."
        elif row["select"] == "best_on_test":
            text += "choosing the epoch on the test part finds an effect where there is none."
        else:
            text += "the protocol leaks, although it should not. Do not use these results."
        sentences.append(text)
    if not sentences:
        sentences.append(
            "No control was run. `experiments: {control: {labels: permuted}}` adds one, in which "
            "ratings are permuted among trials and there is nothing to learn."
        )
    return sentences


def _right_trials(
    confusion: pd.DataFrame, experiment: str, protocol: str, seeds: int
) -> tuple[int, int]:
    """The numbers of correctly classified and of all trials, averaged over seeds."""
    key = {"experiment": experiment, "protocol": protocol, "level": "trial"}
    counts = confusion[(confusion[list(key)] == list(key.values())).all(axis=1)]
    right = counts.loc[counts["label"] == counts["predicted"], "count"].sum()
    return round(right / seeds), round(counts["count"].sum() / seeds)


def _agreement(confusion: pd.DataFrame, experiment: str, protocol: str) -> float:
    """The share of trials right by chance if classes are guessed as often, but at random."""
    key = {"experiment": experiment, "protocol": protocol, "level": "trial"}
    counts = confusion[(confusion[list(key)] == list(key.values())).all(axis=1)]
    labels, guesses = (counts.groupby(side)["count"].sum() for side in ("label", "predicted"))
    return float((labels * guesses).sum() / counts["count"].sum() ** 2)


def _calibration(tables: Tables, options: TablesOptions) -> list[str]:
    sentences, rows = [], _rows(tables)
    all_bins = tables["calibration"].set_index(["experiment", "protocol"])
    for key, row in rows[~rows["leaky"] & ~rows["permuted"]].iterrows():
        bins = all_bins.loc[[key]].query("count > 0")
        total = bins["count"].sum()
        confidence, accuracy = (
            (bins[name] * bins["count"]).sum() / total for name in ("confidence", "accuracy")
        )
        gap = confidence - accuracy
        if abs(gap) < _CALIBRATED:
            verdict = "neither over- nor underconfident"
        else:
            verdict = "overconfident" if gap > 0 else "underconfident"
        sentences.append(
            f"`{row['experiment']}` is {verdict} under `{row['protocol']}`: mean confidence "
            f"{_percent(confidence)}, accuracy {_percent(accuracy)}, expected calibration error "
            f"{row['ece']:.3f}."
        )
    return sentences


# ------------------------------------------------------------------------ words

_NUMBERS = {FEWEST: "six"}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float, sign: str = "", unit: str = " percentage points") -> str:
    return f"{100 * difference:{sign}.1f}{unit}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _interval(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else f" [{_percent(row['low'])}, {_percent(row['high'])}]"
