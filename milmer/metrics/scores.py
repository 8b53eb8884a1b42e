"""Metrics of one set of predictions, by segment and by trial.

All metrics are scikit-learn's over the declared set of classes. A class that does not occur counts
in none of the averages; AUROC is one against the rest over the classes that occur, and null where
fewer than two do. By trial, a trial's probability is the mean over its segments.
"""

import numpy as np
import pandas as pd
from sklearn import metrics as sk

NAMES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "kappa",
    "auroc",
    "loss",
)
"""All metrics, in the order of the tables' columns; for all but the loss more is better."""


def measure(predictions: pd.DataFrame, labels: list[str]) -> dict[str, dict[str, float | None]]:
    """Metrics by ``segment`` and by ``trial`` of a table of predictions.

    ``predictions`` has ``subject, experiment_id, label`` and a probability ``p_<class>`` for each
    of ``labels``.
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
    """Predictions of trials: the mean probability over a trial's segments."""
    columns = [f"p_{name}" for name in labels]
    groups = predictions.groupby(["subject", "experiment_id"], sort=True)
    return groups.agg({"label": "first"} | dict.fromkeys(columns, "mean")).reset_index()


def baselines(
    shares: np.ndarray, predictions: pd.DataFrame, labels: list[str]
) -> dict[str, dict[str, float]]:
    """Accuracies that need no model, and how much was tested, by segment and by trial.

    ``shares`` (class,) are those of the training labels. ``majority`` always names the most common
    of them; ``chance`` is the expected accuracy of drawing classes as often as they occur there;
    ``tested`` counts.
    """
    found: dict[str, dict[str, float]] = {"majority": {}, "chance": {}, "tested": {}}
    for level, table in (("segment", predictions), ("trial", by_trials(predictions, labels))):
        truth = table["label"].to_numpy()
        for name, right in without_model(shares, truth).items():
            found[name][level] = float(right.mean())
        found["tested"][level] = len(truth)
    return found


def class_shares(training: np.ndarray, classes: int) -> np.ndarray:
    """How often each class occurs among the ``training`` labels (row,), as parts of 1."""
    return np.bincount(training, minlength=classes) / len(training)


def without_model(shares: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """How right ``majority`` and ``chance`` are on each of ``truth`` (row,), between 0 and 1.

    ``shares`` (class,) are those of the training labels.
    """
    return {"majority": (truth == shares.argmax()).astype(float), "chance": shares[truth]}


def scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, float | None]:
    """All metrics of ``truth`` (row,) and ``probability`` (row, class)."""
    if len(truth) == 0:
        return dict.fromkeys(NAMES)
    guess = probability.argmax(axis=1)
    present = np.unique(truth)
    weighted = sk.precision_recall_fscore_support(
        truth, guess, labels=present, average="weighted", zero_division=0
    )
    clipped = np.clip(probability[np.arange(len(truth)), truth], 1e-12, 1.0)
    measured = {
        "accuracy": sk.accuracy_score(truth, guess),
        "balanced_accuracy": sk.recall_score(
            truth, guess, labels=present, average="macro", zero_division=0
        ),
        "macro_f1": macro_f1(truth, guess),
        "weighted_precision": weighted[0],
        "weighted_recall": weighted[1],
        "weighted_f1": weighted[2],
        "kappa": _kappa(truth, guess),
        "auroc": _auroc(truth, probability, present),
        "loss": -np.log(clipped).mean(),
    }
    return {name: None if measured[name] is None else float(measured[name]) for name in NAMES}


def macro_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """Mean F1 of the classes that occur among ``truth`` (row,)."""
    present = np.unique(truth)
    return float(sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0))


def _kappa(truth: np.ndarray, guess: np.ndarray) -> float | None:
    if len(np.unique(np.concatenate([truth, guess]))) < 2:
        return None  # one class alone agrees by chance as well as at all
    return sk.cohen_kappa_score(truth, guess)


def _auroc(truth: np.ndarray, probability: np.ndarray, present: np.ndarray) -> float | None:
    if len(present) < 2:
        return None
    return float(np.mean([sk.roc_auc_score(truth == c, probability[:, c]) for c in present]))
