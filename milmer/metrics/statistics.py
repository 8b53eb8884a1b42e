"""Intervals and tests over subjects: what is exchanged is the subject, never the segment.

Both are null below six subjects: a sign-flip test of five cannot reach 0.05 two-sided, and a
bootstrap of so few says little. Folds of leave-one-subject-out share their training data, so that
their intervals and p-values are approximate; the tables say so.
"""

import itertools

import numpy as np

FEWEST = 6
"""Subjects below which intervals and tests are null."""


def bootstrap_interval(
    values: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of ``values`` (subject,)."""
    values = np.asarray(values, float)
    if len(values) < FEWEST:
        return None
    rng = np.random.default_rng([seed, len(values)])
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sign_flip_test(differences: np.ndarray, resamples: int, seed: int) -> float | None:
    """Two-sided p-value of a paired permutation test on ``differences`` (subject,).

    All 2^n sign patterns where they are no more than ``resamples``, else that many random ones
    and the observed one.
    """
    differences = np.asarray(differences, float)
    n = len(differences)
    if n < FEWEST:
        return None
    exact = 2**n <= resamples
    if exact:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    else:
        signs = np.random.default_rng([seed, n]).choice([-1.0, 1.0], (resamples, n))
    observed = abs(differences.sum())
    # Sums of the same numbers in another order differ in the last digits.
    as_large = np.abs(signs @ differences) >= observed - 1e-9 * max(1.0, observed)
    return float(as_large.mean() if exact else (as_large.sum() + 1) / (resamples + 1))


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down correction; nulls stay null and are not counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(known):
        running = max(running, min(1.0, p * (len(known) - rank)))
        adjusted[i] = running
    return adjusted
