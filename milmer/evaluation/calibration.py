"""How far a model's confidence is what it says: reliability and expected calibration error.

Guo et al. 2017, "On calibration of modern neural networks": 15 bins of equal width of the
confidence, which is the largest probability, and the mean gap between confidence and accuracy,
weighted by how many predictions a bin holds. By segment, over all folds and seeds together.
"""

import numpy as np
import pandas as pd

from milmer.evaluation.runs import Run, groups, pooled
from milmer.metrics import probabilities

BINS = 15


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """One row a bin ``(low, high]``: ``count``, mean ``confidence`` and ``accuracy``, or null.

    ``truth`` (row,), ``probability`` (row, class).
    """
    confidence = probability.max(axis=1)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    right = probability.argmax(axis=1) == truth
    held = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": right.astype(float)})
    by_bin = held.groupby("bin").agg(
        count=("confidence", "size"),
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
    )
    table = pd.DataFrame({"bin": np.arange(bins), "low": edges[:-1], "high": edges[1:]})
    table = table.merge(by_bin, left_on="bin", right_index=True, how="left")
    return table.assign(count=table["count"].fillna(0).astype(int))


def expected_calibration_error(table: pd.DataFrame) -> float:
    """The error of a table of :func:`reliability`."""
    gap = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    return float((gap * table["count"]).sum() / table["count"].sum())


def calibration_table(runs: list[Run]) -> pd.DataFrame:
    """Reliability of each experiment and protocol, with its ``ece`` in every row."""
    parts = []
    for group in groups(runs):
        predictions, first = pooled(group), group[0]
        probability = probabilities(predictions, first.labels)
        table = reliability(predictions["label"].to_numpy(), probability)
        table.insert(0, "experiment", first.experiment)
        table.insert(1, "protocol", first.protocol)
        table["ece"] = expected_calibration_error(table)
        parts.append(table.assign(note=first.note))
    return pd.concat(parts, ignore_index=True)
