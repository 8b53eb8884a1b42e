"""Intervals and tests, checked against SciPy and by hand."""

import numpy as np
import pytest
from scipy import stats

from milmer.evaluation.statistics import bootstrap_interval, holm, sign_flip_test

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
