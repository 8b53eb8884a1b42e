"""How far a model's confidence is what it says, and one number that brings it nearer.

Guo et al. 2017, "On calibration of modern neural networks": reliability in 15 bins of equal width
of the confidence, which is the largest probability; the expected calibration error, the mean gap
between confidence and accuracy, weighted by how many predictions a bin holds; and temperature
scaling, softmax(logits / T), which changes how sure a model is and never what it names.
"""

import numpy as np
import pandas as pd

BINS = 15
TEMPERATURES = 0.05, 20.0
"""The least and the largest temperature that is looked for."""

_EDGE = 1e-3  # of the logarithm: an optimum that near to a bound lies at it
_TINY = np.finfo(np.float32).tiny  # a probability of 0 is one that float32 cannot hold


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


def fit_temperature(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """The temperature T of the least mean cross-entropy on held-out predictions.

    ``truth`` (row,), ``probability`` (row, class) at T = 1. None where there are no rows, or where
    the surer the better (T at its lower bound): then all rows are named rightly, and nothing tells
    how sure of others to be.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return None
    logits = _logits(probability)
    low, high = np.log(TEMPERATURES)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(_log_sum(scaled) - scaled[np.arange(len(truth)), truth]))

    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return None if found.x < low + _EDGE else float(np.exp(found.x))


def apply_temperature(probability: np.ndarray, temperature: float | None) -> np.ndarray:
    """``probability`` (row, class) at another temperature: softmax(log p / T), float64.

    None leaves them as they are.
    """
    if temperature is None:
        return np.asarray(probability, np.float64)
    scaled = _logits(probability) / temperature
    return np.exp(scaled - _log_sum(scaled)[:, None])


def _logits(probability: np.ndarray) -> np.ndarray:
    """Logits up to a constant a row, which softmax does not see."""
    return np.log(np.maximum(np.asarray(probability, np.float64), _TINY))


def _log_sum(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=1)
    return largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
