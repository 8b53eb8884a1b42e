"""Metrics: by segment and by trial, over the classes that occur."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from milmer.metrics.scores import baselines, class_shares, measure, scores, without_model

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
    one_class = scores(np.array([1, 1]), np.eye(3)[[1, 1]])
    assert one_class["auroc"] is None
    assert one_class["kappa"] is None
    assert one_class["accuracy"] == 1.0
    assert set(scores(np.array([], int), np.empty((0, 3))).values()) == {None}


def test_baselines_come_from_the_training_labels():
    accuracies = baselines(class_shares(np.array([0, 0, 2]), 3), predictions(), LABELS)
    assert accuracies["majority"] == {"segment": 0.5, "trial": 0.5}
    assert accuracies["chance"]["segment"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert accuracies["tested"] == {"segment": 4, "trial": 2}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, p = rng.integers(0, 4, 60), rng.dirichlet(np.ones(4), 60)
    guess = p.argmax(1)
    report = sk.classification_report(truth, guess, output_dict=True, zero_division=0)
    assert scores(truth, p) == pytest.approx(
        {
            "accuracy": report["accuracy"],
            "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
            "macro_f1": report["macro avg"]["f1-score"],
            "weighted_precision": report["weighted avg"]["precision"],
            "weighted_recall": report["weighted avg"]["recall"],
            "weighted_f1": report["weighted avg"]["f1-score"],
            "kappa": sk.cohen_kappa_score(truth, guess),
            "auroc": sk.roc_auc_score(truth, p, multi_class="ovr", average="macro"),
            "loss": sk.log_loss(truth, p),
        }
    )


def test_baselines_are_scikit_learns_dummies():
    rng = np.random.default_rng(0)
    training, truth = rng.choice(3, 50, p=[0.2, 0.5, 0.3]), rng.integers(0, 3, 40)
    right = without_model(class_shares(training, 3), truth)
    empty = np.zeros((50, 1)), np.zeros((40, 1))
    majority = DummyClassifier(strategy="most_frequent").fit(empty[0], training)
    assert right["majority"].mean() == majority.score(empty[1], truth)
    drawn = [
        DummyClassifier(strategy="stratified", random_state=i)
        .fit(empty[0], training)
        .score(empty[1], truth)
        for i in range(300)
    ]
    assert right["chance"].mean() == pytest.approx(np.mean(drawn), abs=0.02)
