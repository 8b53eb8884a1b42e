"""Metrics: by segment and by trial, over the classes that occur."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from milmer.metrics.epoch_score import epoch_scores
from milmer.metrics.scores import (
    baselines,
    by_trials,
    class_shares,
    measure,
    probabilities,
    scores,
    without_model,
)

LABELS = ["a", "b", "c"]


def predictions():
    """Two subjects who saw the same stimuli, in trials of unequal length."""
    p = [[60, 30, 10], [20, 70, 10], [10, 20, 70], [10, 50, 40], [10, 35, 55], [80, 15, 5]]
    table = pd.DataFrame(np.array(p) / 100, columns=[f"p_{n}" for n in LABELS])
    table.insert(0, "subject", ["s02", "s01", "s01", "s02", "s02", "s01"])
    table.insert(1, "trial", [1, 1, 2, 1, 1, 1])
    return table.assign(label=[0, 1, 2, 0, 0, 1])


def test_a_trial_is_the_mean_of_its_segments_and_of_no_other_subjects():
    measured = measure(predictions(), LABELS)
    # By segment: a, b, c, b, c, a of a, b, c, a, a, b.
    assert measured["segment"]["accuracy"] == pytest.approx(3 / 6)
    trials = by_trials(predictions(), LABELS)
    assert trials[["subject", "trial", "label"]].to_numpy().tolist() == [
        *(["s01", 1, 1], ["s01", 2, 2], ["s02", 1, 0])
    ]
    np.testing.assert_allclose(
        probabilities(trials, LABELS),
        [[0.5, 0.425, 0.075], [0.1, 0.2, 0.7], [0.8 / 3, 1.15 / 3, 1.05 / 3]],
    )
    # By trial: a, c, b of b, c, a.
    assert measured["trial"]["accuracy"] == pytest.approx(1 / 3)
    loss = -np.log([0.425, 0.7, 0.8 / 3]).mean()
    assert measured["trial"]["loss"] == pytest.approx(loss)


def test_a_class_that_does_not_occur_counts_in_no_average():
    measured = scores(np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]])
    assert measured["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_what_cannot_be_said_is_null():
    one_class = scores(np.array([1, 1]), np.eye(3)[[1, 1]])
    assert one_class["auroc"] is None
    assert scores(np.array([1, 0]), np.eye(3)[[1, 1]])["auroc"] == 0.5
    assert one_class["kappa"] is None
    assert one_class["accuracy"] == 1.0
    assert set(scores(np.array([], int), np.empty((0, 3))).values()) == {None}


def test_agreement_of_one_class_with_another_is_none_beyond_chance():
    for truth, guess in (([0, 1, 1], [0, 0, 0]), ([0, 0, 0], [0, 1, 1]), ([0, 0], [1, 1])):
        assert scores(np.array(truth), np.eye(3)[guess])["kappa"] == 0.0


def test_a_certain_error_costs_much_and_not_without_end():
    assert scores(np.array([0, 1]), np.eye(2)[[0, 0]])["loss"] == pytest.approx(-np.log(1e-12) / 2)
    assert scores(np.array([0]), np.array([[1.0000001, 0.0]]))["loss"] == 0


def test_baselines_come_from_the_training_labels():
    shares = class_shares(np.array([2, 0, 1, 0, 1]), 4)
    assert shares.tolist() == [0.4, 0.4, 0.2, 0.0]
    accuracies = baselines(shares[:3], predictions(), LABELS)
    # Of a and b, equally common in training, the first is predicted.
    assert accuracies["majority"] == {"segment": 3 / 6, "trial": 1 / 3}
    assert accuracies["chance"]["segment"] == pytest.approx((5 * 0.4 + 0.2) / 6)
    assert accuracies["chance"]["trial"] == pytest.approx((2 * 0.4 + 0.2) / 3)
    assert accuracies["tested"] == {"segment": 6, "trial": 3}


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


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_that_choose_an_epoch_are_scikit_learns_over_the_classes_that_occur(seed):
    rng = np.random.default_rng(seed)
    truth, p = rng.choice([0, 2, 3], 40), rng.dirichlet(np.ones(5), 40)
    guess = p.argmax(1)
    assert 1 in guess  # a class that does not occur
    assert epoch_scores(truth, p) == pytest.approx(
        {
            "loss": sk.log_loss(truth, p, labels=range(5)),
            "accuracy": sk.accuracy_score(truth, guess),
            "macro_f1": sk.f1_score(truth, guess, labels=[0, 2, 3], average="macro"),
        }
    )


def test_with_ties_and_classes_that_are_never_guessed_or_do_not_occur_they_still_are():
    truth = np.array([0, 0, 2, 2, 2, 3, 0, 3])
    p = np.round(np.random.default_rng(1).dirichlet(np.ones(5), 8), 1) + 0.02
    p[:, 3] = 0.0  # never guessed
    p[0, 1] = p[3, 4] = 0.9  # guessed, and do not occur
    guess, present = p.argmax(1), [0, 2, 3]
    assert {1, 4} <= set(guess)
    assert len(np.unique(p[:, 0])) < 8
    measured = scores(truth, p)
    for name, score in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        expected = score(truth, guess, labels=present, average="weighted", zero_division=0)
        assert measured[f"weighted_{name}"] == pytest.approx(expected)
    expected = sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
    assert measured["macro_f1"] == pytest.approx(expected)
    assert measured["kappa"] == pytest.approx(sk.cohen_kappa_score(truth, guess))
    areas = [sk.roc_auc_score(truth == c, p[:, c]) for c in present]
    assert measured["auroc"] == pytest.approx(np.mean(areas))


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
