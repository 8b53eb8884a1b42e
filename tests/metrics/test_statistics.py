"""Intervals and tests, checked against SciPy and by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from milmer.metrics.statistics import (
    detectable_effect,
    effect_size,
    holm,
    sign_flip_test,
    subjects_needed,
    t_interval,
)

VALUES = np.array([0.31, 0.42, 0.28, 0.55, 0.37, 0.46, 0.39, 0.44])


def test_drawn_signs_give_nearly_scipys_paired_permutation_test():
    differences = np.random.default_rng(2).normal(0.3, 1, 14)
    theirs = stats.permutation_test(
        (differences, np.zeros(14)),
        lambda a, b: (a - b).mean(),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    assert sign_flip_test(differences, 10_000, 0) == pytest.approx(theirs, abs=0.015)


def test_all_are_null_below_six_subjects():
    assert t_interval(VALUES[:5], 0.95) is None
    low, high = t_interval(VALUES[:6], 0.95)
    assert low < VALUES[:6].mean() < high
    assert effect_size(VALUES[:5], 0.95) is None
    assert effect_size(VALUES[:6], 0.95) is not None
    assert detectable_effect(5, 0.05) is None
    assert sign_flip_test(VALUES[:5], 1000, 0) is None
    assert sign_flip_test(VALUES[:6], 1000, 0) == 2 / 64


def test_equal_experiments_are_not_told_apart():
    assert sign_flip_test(np.zeros(8), 1000, 0) == 1.0


def test_drawn_signs_never_give_a_p_of_zero():
    """Of so many differences of one sign no drawn pattern is as large but the observed one."""
    differences = np.linspace(1, 2, 40)
    assert sign_flip_test(differences, 100, 0) == pytest.approx(1 / 101)
    assert sign_flip_test(-differences, 999, 0) == pytest.approx(1 / 1000)


def test_signs_are_enumerated_where_there_are_no_more_than_resamples():
    assert sign_flip_test(VALUES[:6], 64, 0) == 2 / 64
    drawn = sign_flip_test(VALUES[:6] - 0.35, 63, 0) * 64
    assert drawn == pytest.approx(round(drawn))
    assert sign_flip_test(VALUES[:6], 63, 0) != 2 / 64


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e9 / 3])
def test_p_does_not_depend_on_the_unit(scale):
    """Sums of equal size in another order differ by rounding, which counts as equal."""
    differences = np.array([0.1, 0.2, -0.3, 0.1, 0.2, 0.3, -0.1, 0.7])
    tenths = np.round(differences * 10).astype(int)
    signs = np.array(list(itertools.product((1, -1), repeat=8)))
    expected = (abs(signs @ tenths) >= abs(tenths.sum())).mean()
    assert sign_flip_test(differences * scale, 10_000, 0) == expected


def test_the_seed_and_the_number_of_subjects_decide_the_draw_and_nothing_else():
    values = np.random.default_rng(0).normal(0.2, 1, 40)
    np.random.seed(1)  # noqa: NPY002, not read
    p = sign_flip_test(values, 500, 3)
    np.random.seed(2)  # noqa: NPY002
    assert sign_flip_test(values, 500, 3) == p == sign_flip_test(-values, 500, 3)
    assert len({sign_flip_test(values, 500, seed) for seed in range(8)}) > 4
    # A subject whose difference is 0 changes no sum, only what is drawn.
    assert len({sign_flip_test([*values, *[0.0] * n], 500, 3) for n in range(8)}) > 4


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([]) == []


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [6, 22])
def test_the_interval_is_scipys(confidence, count):
    values = np.random.default_rng(count).uniform(0.2, 0.6, count)
    theirs = stats.ttest_1samp(values, 0.3).confidence_interval(confidence)
    assert t_interval(values, confidence) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.3])
def test_the_interval_of_an_effect_holds_what_a_test_does_not_reject(shift):
    """At an end of the interval the observed t is as rare as the level says."""
    differences = VALUES - 0.4 + shift
    d, low, high = effect_size(differences, 0.9)
    root = np.sqrt(len(VALUES))
    t = stats.ttest_1samp(differences, 0).statistic
    assert d == pytest.approx(t / root)
    assert low < d < high
    assert stats.nct.sf(t, 7, low * root) == pytest.approx(0.05, abs=1e-6)
    assert stats.nct.cdf(t, 7, high * root) == pytest.approx(0.05, abs=1e-6)
    assert effect_size(-differences, 0.9) == pytest.approx((-d, -high, -low))
    assert effect_size(np.full(8, 0.3), 0.9) is None


def test_intervals_of_effects_hold_the_true_one():
    rng = np.random.default_rng(0)
    found = [effect_size(rng.normal(0.6, 1, 8), 0.9)[1:] for _ in range(400)]
    assert np.mean([low < 0.6 < high for low, high in found]) == pytest.approx(0.9, abs=0.045)


@pytest.mark.parametrize(("subjects", "level"), [(6, 0.05), (10, 0.05), (32, 0.025)])
def test_the_detectable_effect_is_found_with_its_power(subjects, level):
    d = detectable_effect(subjects, level, 0.7)
    drawn = np.random.default_rng(subjects).normal(d, 1, (20_000, subjects))
    p = stats.ttest_1samp(drawn, 0, axis=1).pvalue
    assert (p < level).mean() == pytest.approx(0.7, abs=0.012)


def test_the_detectable_effect_is_that_of_the_usual_tables():
    """A paired t-test of 34 pairs finds d = 0.5 with a power of 0.80 (Cohen 1988)."""
    assert detectable_effect(34, 0.05) == pytest.approx(0.496, abs=0.002)


@pytest.mark.parametrize("level", [0.1, 0.0625, 0.05, 0.01])
@pytest.mark.parametrize("tests", [1, 2, 3, 8])
def test_with_so_many_subjects_and_no_less_the_smallest_p_passes_holm(tests, level):
    """By brute force: all subjects differ to the same side, all other hypotheses have p = 1."""

    def passes(subjects):
        p = sign_flip_test(np.arange(1, subjects + 1), 2**subjects, 0)
        return p is not None and holm([p, *[1.0] * (tests - 1)])[0] < level

    assert [passes(n) for n in range(1, 14)].index(True) + 1 == subjects_needed(tests, level)


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(8)
    for count in (1, 2, 3, 5, 9):
        p = rng.uniform(0, 0.2, count)
        theirs = multipletests(p, method="holm")[1]
        assert holm(p.tolist()) == pytest.approx(theirs)


@pytest.mark.parametrize("power", [0.5, 0.8])
def test_the_detectable_effect_is_that_of_statsmodels(power):
    for subjects, level in ((6, 0.05), (10, 0.05 / 3), (32, 0.025)):
        theirs = TTestPower().solve_power(nobs=subjects, alpha=level, power=power)
        assert detectable_effect(subjects, level, power) == pytest.approx(theirs, rel=1e-4)


def test_the_interval_is_that_of_statsmodels():
    theirs = DescrStatsW(VALUES).tconfint_mean(alpha=0.1)
    assert t_interval(VALUES, 0.9) == pytest.approx(theirs)


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
