"""Intervals, tests and effects over subjects: subjects are what is drawn, never segments.

All are null below six subjects: a two-sided sign-flip test of five cannot reach 0.05. Intervals
are Student's, which hold the mean of few subjects where bootstraps do not, as
benchmarks/intervals.py measures. Leave-one-subject-out folds share their training data, so their
intervals and p-values are approximate; the tables say so.
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np
from scipy import special, stats

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


def effect_size(differences: np.ndarray, confidence: float) -> tuple[float, float, float] | None:
    """Cohen's d of paired ``differences`` (subject,), their mean in standard deviations.

    With its interval, from noncentral t distributions (Cumming and Finch 2001). None below
    :data:`FEWEST` or where no difference differs.
    """
    differences = np.asarray(differences, float)
    n, spread = len(differences), differences.std(ddof=1) if len(differences) > 1 else 0.0
    if n < FEWEST or spread <= 1e-12 * max(1.0, np.abs(differences).max()):
        return None
    d = differences.mean() / spread
    t = d * np.sqrt(n)
    reach = 10 + 2 * abs(t)

    def center(share: float) -> float:
        return _root(lambda c: special.nctdtr(n - 1, c, t) - share, t - reach, t + reach)

    low, high = center((1 + confidence) / 2), center((1 - confidence) / 2)
    return float(d), low / np.sqrt(n), high / np.sqrt(n)


@functools.cache
def detectable_effect(subjects: int, level: float, power: float = 0.8) -> float | None:
    """The least d that a two-sided paired t-test at ``level`` finds with ``power``.

    A sign-flip test finds nearly the same. None below :data:`FEWEST`.
    """
    if subjects < FEWEST:
        return None
    freedom, root = subjects - 1, np.sqrt(subjects)
    limit = stats.t.ppf(1 - level / 2, freedom)

    def missing(d: float) -> float:
        above = stats.nct.sf(limit, freedom, d * root)
        return power - above - stats.nct.cdf(-limit, freedom, d * root)

    return _root(missing, 0.0, 10.0)


def subjects_needed(tests: int, level: float) -> int:
    """How many subjects it takes until Holm's correction over ``tests`` can let one pass."""
    n = FEWEST
    while tests * 2.0 ** (1 - n) >= level:
        n += 1
    return n


def _root(decreasing: Callable[[float], float], low: float, high: float) -> float:
    """Where a decreasing function is zero."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if decreasing(middle) > 0 else (low, middle)
    return (low + high) / 2


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
