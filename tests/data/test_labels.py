"""Labels: quadrants, ties and medians."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from milmer.data.labels import DROPPED, label, label_names, thresholds
from milmer.data.options import LabelsOptions
from tests.conftest import GOLDEN

TRIALS = pd.DataFrame(
    {
        "valence": [8.0, 8.0, 2.0, 2.0, 5.0, 6.15, 2.0],
        "arousal": [8.0, 2.0, 2.0, 8.0, 8.0, 5.0, 5.0],
    }
)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("high", [0, 1, 2, 3, 0, 0, 3]),
        ("low", [0, 1, 2, 3, 3, 1, 2]),
        ("drop", [0, 1, 2, 3, DROPPED, DROPPED, DROPPED]),
        ("as_published", [0, 1, 2, 3, 3, 3, 3]),
    ],
)
def test_quadrants_and_ties(ties, expected):
    options = LabelsOptions(ties=ties)
    assert label(TRIALS, thresholds(TRIALS, options), options).tolist() == expected


def test_one_rating_is_low_or_high_around_the_median_of_the_training_trials():
    options = LabelsOptions(scheme="valence", threshold="median")
    border = thresholds(TRIALS.iloc[:4], options)
    assert border == {"valence": 5.0}
    assert label(TRIALS, border, options).tolist() == [1, 1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("scheme", ["valence", "arousal", "dominance", "liking"])
@pytest.mark.parametrize(
    ("threshold", "ties", "expected"),
    [
        (5.0, "high", [0, 1, 1, 1]),
        (5.0, "low", [0, 0, 1, 1]),
        (5.0, "drop", [0, DROPPED, 1, 1]),
        (5.5, "high", [0, 0, 1, 1]),
        ("median", "high", [0, 0, 1, 1]),
        ("median", "low", [0, 0, 0, 1]),
        ("median", "drop", [0, 0, DROPPED, 1]),
    ],
)
def test_each_rating_is_low_or_high_around_its_border(scheme, threshold, ties, expected):
    others = {name: [1.0, 9, 1, 9] for name in ("valence", "arousal", "dominance", "liking")}
    trials = pd.DataFrame(others | {scheme: [2.0, 5, 6, 8]})
    training = pd.DataFrame(others | {scheme: [5.0, 6, 7, 6]})  # median 6
    options = LabelsOptions(scheme=scheme, threshold=threshold, ties=ties)
    assert label(trials, thresholds(training, options), options).tolist() == expected


def test_quadrants_around_the_medians_of_both_ratings():
    options = LabelsOptions(threshold="median")
    border = thresholds(TRIALS, options)
    assert border == {"valence": 5.0, "arousal": 5.0}
    shifted = TRIALS.add([0.5, -0.5])
    assert thresholds(shifted, options) == {"valence": 5.5, "arousal": 4.5}
    assert label(shifted, thresholds(shifted, options), options).tolist() == [0, 1, 2, 3, 0, 0, 3]


def test_the_published_rule_equals_the_golden_one():
    golden = np.load(GOLDEN / "eeg_segments.npz")
    trials = pd.DataFrame(golden["labels"][:, :2], columns=["valence", "arousal"])
    options = LabelsOptions(ties="as_published")
    labels = label(trials, thresholds(trials, options), options)
    np.testing.assert_array_equal(labels, golden["quadrants_as_published"])


def test_names_are_classes_in_their_order_and_others_are_dropped():
    trials = pd.DataFrame({"label": ["joy", None, "fear", "rage", "joy"]})
    options = LabelsOptions(scheme="label", classes=["rage", "joy"])
    assert label_names(options) == ["rage", "joy"]
    assert thresholds(trials, options) == {}
    assert label(trials, {}, options).tolist() == [1, DROPPED, DROPPED, 0, 1]


def test_names_of_the_dataset_are_taken_where_none_are_given():
    assert LabelsOptions(scheme="label").with_classes(["a", "b"]).classes == ["a", "b"]
    given = LabelsOptions(scheme="label", classes=["b", "a"])
    assert given.with_classes(["a", "b", "c"]).classes == ["b", "a"]
    assert LabelsOptions().with_classes(["a", "b"]) == LabelsOptions()


@pytest.mark.parametrize("ties", ["high", "low", "drop", "as_published"])
def test_a_trial_that_is_not_rated_has_no_class(ties):
    trials = pd.DataFrame({"valence": [8.0, np.nan, 2.0], "arousal": [8.0, 8.0, np.nan]})
    options = LabelsOptions(ties=ties)
    assert label(trials, thresholds(trials, options), options).tolist() == [0, DROPPED, DROPPED]


def test_a_median_is_that_of_the_rated():
    trials = pd.DataFrame({"valence": [1.0, np.nan, 3.0, 5.0]})
    options = LabelsOptions(scheme="valence", threshold="median")
    assert thresholds(trials, options) == {"valence": 3.0}


def test_the_classes_have_these_names_in_this_order(refused):
    assert label_names(LabelsOptions()) == ["HAHV", "LAHV", "LALV", "HALV"]
    assert label_names(LabelsOptions(scheme="dominance")) == ["low", "high"]
    with refused("labels.scheme: label: no names of classes are known; set labels.classes"):
        label_names(LabelsOptions(scheme="label"))


@pytest.mark.parametrize("classes", [["a"], []])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ValidationError, match="at least 2 items"):
        LabelsOptions(scheme="label", classes=classes)


def test_what_deaps_splits_depend_on_names_no_classes():
    assert "classes" not in LabelsOptions().result()
    assert LabelsOptions(scheme="label", classes=["a", "b"]).result()["classes"] == ["a", "b"]
