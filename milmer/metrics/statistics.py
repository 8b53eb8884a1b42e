"""Intervals and tests over subjects: subjects are what is drawn, never segments.

Both are null below six subjects: a two-sided sign-flip test of five cannot reach 0.05. Intervals
are Student's, which hold the mean of few subjects where bootstraps do not, as
benchmarks/intervals.py measures. Leave-one-subject-out folds share their training data, so their
intervals and p-values are approximate; the tables say so.
"""

import itertools

import numpy as np
from scipy import stats

FEWEST = 6
"""The number of subjects below which intervals and tests are null."""


def t_interval(values: np.ndarray, confidence: float) -> tuple[float, float] | None:
    """Student's interval of the mean of ``values`` (subject,); None below :data:`FEWEST`."""
    values = np.asarray(values, float)
    n = len(values)
    if n < FEWEST:
        return None
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def sign_flip_test(differences: np.ndarray, resamples: int, seed: int) -> float | None:
    """Two-sided p-value of a paired permutation test on ``differences`` (subject,).

    Enumerates all 2^n sign patterns if there are at most ``resamples`` of them; otherwise draws
    that many and adds the observed one. None for fewer than :data:`FEWEST` subjects.
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
    """Holm's step-down correction (1979); nulls stay null and are not counted."""
    ranked = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(ranked):
        running = max(running, min(1.0, p * (len(ranked) - rank)))
        adjusted[i] = running
    return adjusted
