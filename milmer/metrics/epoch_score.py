"""The scores that choose an epoch while a model is trained.

They stand apart from :mod:`milmer.metrics.scores`, whose numbers are computed after training, so
that what is only reported trains nothing again. Tests hold them to scikit-learn's.
"""

import numpy as np

NAMES = ("loss", "accuracy", "macro_f1")

BEFORE = -1
"""The epoch of a model before its first step, which may be the one that is kept."""


def epoch_scores(truth: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Cross-entropy, accuracy and macro-F1 of ``truth`` (row,) and ``probability`` (row, class).

    Macro-F1 is the mean over the classes that occur in ``truth``.
    """
    guess = probability.argmax(axis=1)
    right = truth == guess
    f1 = [
        2.0 * (right & (truth == label)).sum() / ((truth == label).sum() + (guess == label).sum())
        for label in np.unique(truth)
    ]
    clipped = np.clip(probability[np.arange(len(truth)), truth], 1e-12, 1.0)
    return {
        "loss": float(-np.log(clipped).mean()),
        "accuracy": float(right.mean()),
        "macro_f1": float(np.mean(f1)),
    }
