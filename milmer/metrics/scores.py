"""Metrics of one set of predictions, by segment and by trial.

All metrics are as scikit-learn defines them, over the declared set of classes, and computed without
it: it takes longer to load than they do. A class that does not occur is left out of every average;
AUROC is one-vs-rest over the classes that occur, and null if fewer than two do. By trial, a trial's
probability is the mean over its segments.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd


def measure(predictions: pd.DataFrame, labels: list[str]) -> dict[str, dict[str, float | None]]:
    """Metrics of a table of predictions, by ``segment`` and by ``trial``.

    ``predictions`` has the columns ``subject, trial, label`` and, for each of ``labels``, a
    probability ``p_<class>``.
    """
    by_trial = by_trials(predictions, labels)
    return {
        level: scores(table["label"].to_numpy(), probabilities(table, labels))
        for level, table in (("segment", predictions), ("trial", by_trial))
    }


def probabilities(predictions: pd.DataFrame, labels: list[str]) -> np.ndarray:
    """The columns ``p_<class>`` of a table of predictions, float64 (row, class)."""
    return predictions[[f"p_{name}" for name in labels]].to_numpy(np.float64)


def by_trials(predictions: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """One row per trial: the mean of each probability over the trial's segments.

    Sorted by subject and by stimulus, where it is named, then by trial.
    """
    columns = [f"p_{name}" for name in labels]
    keys = [key for key in ("subject", "experiment_id", "trial") if key in predictions]
    groups = predictions.groupby(keys, sort=True)
    means = groups[columns].mean()
    means.insert(0, "label", groups["label"].first())
    return means.reset_index()


def baselines(
    shares: np.ndarray, predictions: pd.DataFrame, labels: list[str]
) -> dict[str, dict[str, float]]:
    """Accuracies that need no model, and the number of test rows, by segment and by trial.

    ``shares`` (class,) are those of the training labels. ``majority`` always predicts the most
    common of them; ``chance`` is the expected accuracy of drawing classes as often as they occur
    there; ``tested`` counts rows.
    """
    numbers: dict[str, dict[str, float]] = {"majority": {}, "chance": {}, "tested": {}}
    for level, table in (("segment", predictions), ("trial", by_trials(predictions, labels))):
        truth = table["label"].to_numpy()
        for name, right in without_model(shares, truth).items():
            numbers[name][level] = float(right.mean())
        numbers["tested"][level] = len(truth)
    return numbers


def class_shares(training: np.ndarray, classes: int) -> np.ndarray:
    """The share (class,) of each class among the ``training`` labels (row,)."""
    return np.bincount(training, minlength=classes) / len(training)


def without_model(shares: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The expected accuracy (row,) of ``majority`` and of ``chance`` on each row of ``truth``.

    ``truth`` (row,); ``shares`` (class,) are those of the training labels.
    """
    return {"majority": (truth == shares.argmax()).astype(float), "chance": shares[truth]}


def scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, float | None]:
    """All metrics of ``probability`` (row, class) against ``truth`` (row,); null without rows."""
    if len(truth) == 0:
        return dict.fromkeys(NAMES)
    guess = probability.argmax(axis=1)
    measured = {name: metric(truth, guess, probability) for name, metric in METRICS.items()}
    return {name: None if value is None else float(value) for name, value in measured.items()}


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """Mean F1 of the classes that occur among ``truth`` (row,)."""
    return float(_class_scores(truth, guess)["f1"].mean())


def _class_scores(truth: np.ndarray, guess: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and share (class,) of the classes that occur among ``truth``."""
    present, true = np.unique(truth, return_counts=True)
    right = np.array([(truth[guess == c] == c).sum() for c in present])
    guessed = np.array([(guess == c).sum() for c in present])
    return {
        "precision": right / np.maximum(guessed, 1),
        "recall": right / true,
        "f1": 2 * right / (true + guessed),
        "share": true / len(truth),
    }


def _weighted(truth: np.ndarray, guess: np.ndarray, name: str) -> float:
    of_classes = _class_scores(truth, guess)
    return of_classes[name] @ of_classes["share"]


def _kappa(truth: np.ndarray, guess: np.ndarray) -> float | None:
    classes = np.unique(np.concatenate([truth, guess]))
    if len(classes) < 2:
        return None  # with a single class, agreement cannot exceed chance
    by_chance = sum((truth == c).mean() * (guess == c).mean() for c in classes)
    return ((truth == guess).mean() - by_chance) / (1 - by_chance)


def _auroc(truth: np.ndarray, probability: np.ndarray) -> float | None:
    present = np.unique(truth)
    if len(present) < 2:
        return None
    return float(np.mean([_area(truth == c, probability[:, c]) for c in present]))


def _area(positive: np.ndarray, score: np.ndarray) -> float:
    """The probability that a positive row has the larger score, from ranks; ties count half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (counts.cumsum() - (counts - 1) / 2)[place]
    count = positive.sum()
    return (rank[positive].mean() - (count + 1) / 2) / (len(score) - count)


def _loss(truth: np.ndarray, probability: np.ndarray) -> float:
    clipped = np.clip(probability[np.arange(len(truth)), truth], 1e-12, 1.0)
    return -np.log(clipped).mean()


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float | None]] = {
    "accuracy": lambda truth, guess, _: (truth == guess).mean(),
    "balanced_accuracy": lambda truth, guess, _: _class_scores(truth, guess)["recall"].mean(),
    "macro_f1": lambda truth, guess, _: macro_f1(truth, guess),
    "weighted_precision": lambda truth, guess, _: _weighted(truth, guess, "precision"),
    "weighted_recall": lambda truth, guess, _: _weighted(truth, guess, "recall"),
    "weighted_f1": lambda truth, guess, _: _weighted(truth, guess, "f1"),
    "kappa": lambda truth, guess, _: _kappa(truth, guess),
    "auroc": lambda truth, _, probability: _auroc(truth, probability),
    "loss": lambda truth, _, probability: _loss(truth, probability),
}
"""All metrics, in the order of the tables' columns, from truth (row,), guess (row,) and probability
(row, class); for all but the loss more is better."""

NAMES = tuple(METRICS)
