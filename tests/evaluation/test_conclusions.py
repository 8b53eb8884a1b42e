"""Conclusions: of few subjects and many, leaks, controls, and choices on the test part."""

import re

import pandas as pd
import pytest

from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from tests.evaluation.made_up import LOOKS_AT, write_baselines, write_run


@pytest.fixture
def concluded(tmp_path):
    """``concluded(subjects, {experiment: {protocol: strength}})``: the text, by section."""

    def make(subjects, experiments, band_power=0.0, baseline=True, **how):
        names = [f"s{i:02d}" for i in range(1, subjects + 1)]
        of, folds_of = {}, {}
        for experiment, protocols in experiments.items():
            mine = how.get(experiment, {})
            labels = "permuted" if mine.get("permuted") else "default"
            folds = {p: [f"{s}-k0" for s in names] if p == "trial" else names for p in protocols}
            changes = {"training": {"select": "best_on_test"}} if mine.get("on_test") else {}
            of[experiment] = {"folds": folds, "labels": labels, "changes": changes}
            of[experiment] |= {"inputs": LOOKS_AT}
            folds_of.setdefault(labels, {}).update(folds)
            for protocol, strength in protocols.items():
                for fold in folds[protocol]:
                    write_run(tmp_path / "runs", experiment, protocol, fold, strength, **mine)
        for labels, protocols in folds_of.items():
            for protocol, folds in protocols.items():
                strength = 0.0 if labels == "permuted" else band_power
                write_baselines(
                    tmp_path / "baselines", labels, protocol, folds, strength,
                    permuted=labels == "permuted",
                )  # fmt: skip
        options = TablesOptions(experiments=of, report={"resamples": 1000})
        folder = tmp_path / "baselines" if baseline else None
        make_tables(tmp_path / "runs", options, tmp_path / "tables", folder)
        text = (tmp_path / "tables/conclusions.md").read_text()
        parts = dict(part.split("\n\n", 1) for part in text.split("## ")[1:])
        return text, parts

    return make


SIZE = "How much data is there?"
BETTER = "Is it better than simple baselines?"
LEAKS = "What does a leaky protocol add?"
ON_TEST = "What does choosing the epoch on the test part add?"
CONTROL = "Do the controls find anything?"
TRUST = "Can the probabilities be trusted?"


def test_of_few_subjects_nothing_is_said_about_people(concluded):
    text, parts = concluded(2, {"milmer": {"trial": 3.0}})
    assert "With 2 subjects no significance test is possible. It takes at least six" in parts[SIZE]
    assert "nothing can be said about other people" in parts[SIZE]
    assert "above chance (25.0 %), not testable with 2 subjects; 7 would be needed" in parts[BETTER]
    assert text.count("no significance test is possible") == 1
    assert "significant" not in parts[BETTER]
    assert "p =" not in parts[BETTER]
    assert "which is significant" not in text
    assert "No control was run" in parts[CONTROL]
    assert LEAKS not in parts
    assert ON_TEST not in parts


def test_one_subject_is_one_subject(concluded):
    assert "With 1 subject no" in concluded(1, {"milmer": {"trial": 1.0}})[0]


def test_of_many_subjects_the_test_speaks(concluded):
    _, parts = concluded(7, {"milmer": {"trial": 3.0}}, band_power=0.5)
    assert "7 subjects: intervals and tests are over subjects" in parts[SIZE]
    # Against chance and band power: two primary hypotheses.
    assert parts[BETTER].count("which is significant (p = 0.031, 7 subjects)") == 2
    assert "not corrected" not in parts[BETTER]
    assert re.search(r"accuracy of \d+\.\d % \[\d+\.\d %, \d+\.\d %\] by segment", parts[BETTER])
    assert re.search(
        r"points above chance \(25\.0 %\) \[\d+\.\d, \d+\.\d percentage", parts[BETTER]
    )


def test_six_subjects_are_too_few_for_two_hypotheses(concluded):
    _, parts = concluded(6, {"milmer": {"trial": 3.0}, "other": {"trial": 3.0}}, band_power=0.5)
    milmer, other = parts[BETTER].strip().split("\n")
    assert milmer.count("not testable with 6 subjects; 7 would be needed") == 2
    assert "significant" not in milmer
    assert other.count("which is significant (p = 0.031, not corrected, 6 subjects)") == 2


def test_what_is_no_better_than_a_baseline_is_said_to_be_so(concluded):
    _, parts = concluded(7, {"milmer": {"trial": 0.0}}, band_power=3.0)
    majority, band_power = parts[BETTER].split("chance (25.0 %)")
    assert "which is not significant" in band_power
    assert "below logistic regression on log band power" in band_power
    assert "which is significant" in band_power
    assert "significant" not in majority


def test_without_a_baseline_none_is_spoken_of(concluded):
    _, parts = concluded(2, {"milmer": {"trial": 1.0}}, baseline=False)
    assert "band power" not in parts[BETTER]
    assert "chance (25.0 %)" in parts[BETTER]


def test_how_much_a_leak_adds_is_told_with_both_numbers(concluded):
    _, parts = concluded(2, {"milmer": {"trial": 0.5, "segment": 4.0}})
    assert re.search(
        r"`milmer` classifies \d+\.\d % of the segments correctly under `segment`, which is leaky, "
        r"and \d+\.\d % under `trial`: \d+\.\d percentage points come from",
        parts[LEAKS],
    )
    assert "not from recognising emotions" in parts[LEAKS]
    assert "`segment`" not in parts[BETTER]
    assert "`segment`" not in parts[TRUST]


def test_a_leak_that_adds_nothing_is_told_too(concluded):
    _, parts = concluded(2, {"milmer": {"trial": 4.0, "segment": 0.0}})
    assert "the leak adds nothing" in parts[LEAKS]


def test_of_a_leaky_protocol_alone_nothing_is_concluded(concluded):
    _, parts = concluded(2, {"milmer": {"segment": 4.0}})
    assert "was run under no honest protocol" in parts[LEAKS]
    assert "nothing about emotions" in parts[LEAKS]
    assert "No experiment was run under an honest protocol" in parts[BETTER]


def test_loso_is_said_to_be_dependent(concluded):
    _, parts = concluded(6, {"milmer": {"loso": 1.0}})
    assert "`loso` share most of their training data" in parts[SIZE]


def test_what_the_choice_on_the_test_part_adds(concluded):
    on_test = {"peeking": {"on_test": True}}
    _, parts = concluded(2, {"milmer": {"trial": 1.0}, "peeking": {"trial": 1.0}}, **on_test)
    # Three of 32 segments are wrong in the best epoch.
    start = "`peeking` chose its epoch on the test part and classifies 90.6 % of the segments "
    assert f"{start}correctly under `trial`" in parts[ON_TEST]
    assert re.search(
        r"`milmer`, which did not but is otherwise the same, reaches \d+\.\d %: "
        r"the choice makes a difference of \d+\.\d percentage points\.",
        parts[ON_TEST],
    )
    assert "peeking" not in parts[BETTER]


def test_a_choice_on_the_test_part_without_its_like_is_said_to_be_too_good(concluded):
    on_test = {"peeking": {"on_test": True}}
    _, parts = concluded(2, {"peeking": {"trial": 1.0}}, **on_test)
    assert "more than can be expected on new data" in parts[ON_TEST]


@pytest.mark.parametrize(
    ("protocol", "strength", "verdict"),
    [
        ("trial", 0.0, "it is at chance, as it should be"),
        ("segment", 4.0, "the protocol leaks. What the model recognises are trials, not emotions"),
        ("trial", 4.0, "the protocol leaks, although it should not. Do not use these results"),
    ],
)
def test_a_control_is_judged_by_its_trials(concluded, protocol, strength, verdict):
    control = {"control": {"permuted": True}}
    experiments = {"milmer": {"trial": 1.0}, "control": {protocol: strength}}
    _, parts = concluded(4, experiments, **control)
    assert "The control `control`, whose ratings were permuted among trials" in parts[CONTROL]
    assert "of 32 trials" in parts[CONTROL]
    assert verdict in parts[CONTROL]
    assert "`control`" not in parts[BETTER]
    assert "`control`" not in parts.get(LEAKS, "")


def test_confidence_is_set_beside_accuracy(concluded):
    _, parts = concluded(4, {"milmer": {"trial": 0.0}, "sure": {"trial": 3.0}})
    assert "`milmer` is overconfident under `trial`" in parts[TRUST]
    assert "expected calibration error 0." in parts[TRUST]


def test_every_number_is_one_of_the_tables(concluded, tmp_path):
    """No sentence has a number that the summary, the tests or the calibration do not give."""
    text, _ = concluded(7, {"milmer": {"trial": 1.0, "segment": 3.0}, "weak": {"trial": 0.3}})
    values = []
    for name in ("summary", "tests", "calibration", "inflation"):
        numbers = pd.read_parquet(tmp_path / f"tables/{name}.parquet").select_dtypes("number")
        values += [abs(v) for v in numbers.to_numpy().ravel() if pd.notna(v)]
    bins = pd.read_parquet(tmp_path / "tables/calibration.parquet").query("count > 0")
    for _, group in bins.groupby(["experiment", "protocol"]):
        total = group["count"].sum()
        values += [(group[c] * group["count"]).sum() / total for c in ("confidence", "accuracy")]
    shares = set(re.findall(r"\d\.\d{3}", text))
    percents = set(re.findall(r"\d+\.\d(?= %| percentage points)", text))
    assert len(shares) + len(percents) > 15
    assert len(percents) > 10
    assert shares <= {f"{v:.3f}" for v in values}
    assert percents <= {f"{100 * v:.1f}" for v in values}
