"""Metrics: by segment and by trial, over the classes that occur."""

import numpy as np
import pandas as pd
import pytest

from milmer.metrics import baselines, measure, scores

LABELS = ["a", "b", "c"]


def predictions():
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.1, 0.2, 0.7]])
    table = pd.DataFrame(p, columns=[f"p_{n}" for n in LABELS])
    table.insert(0, "subject", "s01")
    table.insert(1, "experiment_id", [1, 1, 2, 2])
    return table.assign(label=[0, 0, 2, 2])


def test_a_trial_is_judged_by_its_mean_probability():
    measured = measure(predictions(), LABELS)
    assert measured["segment"]["accuracy"] == 0.5
    # trial 1: 0.40, 0.50, 0.10 → b, wrong; trial 2: 0.10, 0.35, 0.55 → c, right
    assert measured["trial"]["accuracy"] == 0.5
    assert measured["segment"]["auroc"] == pytest.approx(1.0)


def test_a_class_that_does_not_occur_counts_in_no_average():
    measured = scores(np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]])
    assert measured["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_what_cannot_be_said_is_null():
    one = scores(np.array([1, 1]), np.eye(3)[[1, 1]])
    assert one["auroc"] is None
    assert one["kappa"] is None
    assert one["accuracy"] == 1.0
    assert set(scores(np.array([], int), np.empty((0, 3))).values()) == {None}


def test_baselines_come_from_the_training_labels():
    found = baselines(np.array([0, 0, 2]), predictions(), LABELS)
    assert found["majority"] == {"segment": 0.5, "trial": 0.5}
    assert found["chance"]["segment"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert found["tested"] == {"segment": 4, "trial": 2}
