"""Intervals and tests, checked against SciPy and by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from milmer.metrics.statistics import bootstrap_interval, holm, sign_flip_test

VALUES = np.array([0.31, 0.42, 0.28, 0.55, 0.37, 0.46, 0.39, 0.44])


def test_the_interval_is_scipys_percentile_bootstrap():
    ours = bootstrap_interval(VALUES, 0.95, 20_000, 0)
    theirs = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.005)


@pytest.mark.parametrize("count", [8, 14])
def test_the_sign_flip_test_is_scipys_paired_permutation_test(count):
    differences = np.random.default_rng(2).normal(0.3, 1, count)
    theirs = stats.permutation_test(
        (differences, np.zeros(count)),
        lambda a, b: (a - b).mean(),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    assert sign_flip_test(differences, 10_000, 0) == pytest.approx(theirs, abs=0.015)


def test_both_are_null_below_six_subjects():
    assert bootstrap_interval(VALUES[:5], 0.95, 1000, 0) is None
    assert sign_flip_test(VALUES[:5], 1000, 0) is None
    assert sign_flip_test(VALUES[:6], 1000, 0) == 2 / 64


def test_equal_experiments_are_not_told_apart():
    assert sign_flip_test(np.zeros(8), 1000, 0) == 1.0


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([]) == []


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [6, 22])
def test_the_interval_follows_its_level_and_the_number_of_subjects(confidence, count):
    values = np.random.default_rng(count).uniform(0.2, 0.6, count)
    ours = bootstrap_interval(values, confidence, 20_000, 0)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=confidence,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low))


def test_an_exact_sign_flip_test_is_scipys_to_the_last_digit():
    differences = np.array([0.1, -0.05, 0.2, 0.15, 0.0, 0.1, 0.05, -0.02])
    theirs = stats.permutation_test(
        (differences, np.zeros(8)),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    assert sign_flip_test(differences, 10_000, 0) == pytest.approx(theirs, rel=1e-12)


def test_holm_is_the_closed_test_by_bonferroni():
    """An hypothesis is rejected if Bonferroni rejects every set of hypotheses that it is in."""
    rng = np.random.default_rng(3)
    for count in (1, 2, 4, 6):
        p = rng.uniform(0, 0.3, count).round(3).tolist()
        sets = [c for n in range(1, count + 1) for c in itertools.combinations(range(count), n)]
        expected = [
            max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s)
            for i in range(count)
        ]
        assert holm(p) == pytest.approx(expected)
