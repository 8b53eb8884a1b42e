"""Labels: quadrants, ties and medians."""

import numpy as np
import pandas as pd
import pytest

from milmer.training.labels import DROPPED, label, thresholds
from milmer.training.options import LabelsOptions

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


def test_the_published_rule_equals_the_golden_one(shared):
    golden = np.load(shared / "golden" / "eeg_segments.npz")
    trials = pd.DataFrame(golden["labels"][:, :2], columns=["valence", "arousal"])
    options = LabelsOptions(ties="as_published")
    labels = label(trials, thresholds(trials, options), options)
    np.testing.assert_array_equal(labels, golden["quadrants_as_published"])
