"""How well a model's confidence matches its accuracy, and the temperature that calibrates it.

After Guo et al. 2017, "On calibration of modern neural networks": reliability in 15 bins of equal
width of the confidence, which is the largest probability; the expected calibration error, which is
the gap between confidence and accuracy averaged over the bins, weighted by their counts; and
temperature scaling, softmax(logits / T), which changes the confidence and never the predicted
class.
"""

import numpy as np
import pandas as pd

BINS = 15
FEWEST = 50
"""The least number of rows from which a temperature is fitted for use."""

TEMPERATURES = 0.05, 20.0
"""The bounds of the search for a temperature."""

_PARTS = 5  # of the groups, each left out once
_EDGE = 1e-3  # of the logarithm: an optimum this close to a bound counts as lying on it
_TINY = np.finfo(np.float32).tiny  # stands for a probability of 0, which underflowed in float32


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """One row per bin ``(low, high]``: ``count``, mean ``confidence`` and ``accuracy``.

    ``truth`` (row,), ``probability`` (row, class). The means of an empty bin are null.
    """
    confidence = probability.max(axis=1)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    right = probability.argmax(axis=1) == truth
    rows = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": right.astype(float)})
    by_bin = rows.groupby("bin").agg(
        count=("confidence", "size"),
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
    )
    table = pd.DataFrame({"bin": np.arange(bins), "low": edges[:-1], "high": edges[1:]})
    table = table.merge(by_bin, left_on="bin", right_index=True, how="left")
    return table.assign(count=table["count"].fillna(0).astype(int))


def expected_calibration_error(table: pd.DataFrame) -> float:
    """The expected calibration error, between 0 and 1, of a table from :func:`reliability`."""
    gap = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    return float((gap * table["count"]).sum() / table["count"].sum())


def fit_temperature(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """The temperature T that minimises the mean cross-entropy of held-out predictions.

    ``truth`` (row,), ``probability`` (row, class) at T = 1. None if there are no rows, or if the
    optimum lies at the lower bound: then every row is classified correctly, and nothing says how
    confident the model should be of others.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return None
    logits = _logits(probability)
    low, high = np.log(TEMPERATURES)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(_log_sum(scaled) - scaled[np.arange(len(truth)), truth]))

    optimum = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return None if optimum.x < low + _EDGE else float(np.exp(optimum.x))


def validated_temperature(
    truth: np.ndarray, probability: np.ndarray, groups: np.ndarray
) -> float | None:
    """The temperature of :func:`fit_temperature` where it holds, else None.

    It takes at least 50 rows, and a lower loss at temperatures that were each fitted without a
    fifth of the ``groups`` (row,), measured on that fifth.
    """
    if len(truth) < FEWEST:
        return None
    places = np.unique(groups, return_inverse=True)[1] % _PARTS
    gained = 0.0
    for part in np.unique(places):
        left_out = places == part
        temperature = fit_temperature(truth[~left_out], probability[~left_out])
        scaled = apply_temperature(probability[left_out], temperature)
        rows = np.arange(left_out.sum()), truth[left_out]
        gained += float((_log_p(scaled)[rows] - _log_p(probability[left_out])[rows]).sum())
    return fit_temperature(truth, probability) if gained > 0 else None


def apply_temperature(probability: np.ndarray, temperature: float | None) -> np.ndarray:
    """``probability`` (row, class) at another temperature: softmax(log p / T), float64.

    With the temperature None the probabilities are left as they are.
    """
    if temperature is None:
        return np.asarray(probability, np.float64)
    scaled = _logits(probability) / temperature
    return np.exp(scaled - _log_sum(scaled)[:, None])


def _log_p(probability: np.ndarray) -> np.ndarray:
    """Logarithms (row, class) of probabilities, finite also where one underflowed."""
    logits = _logits(probability)
    return logits - _log_sum(logits)[:, None]


def _logits(probability: np.ndarray) -> np.ndarray:
    """Logits, up to a constant per row, to which softmax is invariant."""
    return np.log(np.maximum(np.asarray(probability, np.float64), _TINY))


def _log_sum(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=1)
    return largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
