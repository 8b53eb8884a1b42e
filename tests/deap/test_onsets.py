"""Markers are matched to the ratings by time, whatever its unit and whichever are missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer.deap.onsets import UNITS, match_onsets


def rhythm(trials=40, seed=0):
    """Onsets in s as in DEAP: a music video about every 90 s."""
    return np.cumsum(np.random.default_rng(seed).uniform(75, 110, trials))


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_of_start_time_is_inferred(unit):
    onsets = rhythm()
    np.testing.assert_array_equal(match_onsets(onsets / unit, onsets, 0), onsets)


def test_deaps_start_times_are_in_ten_thousandths_of_a_second():
    """Documented as µs; the last trial of s01 starts at 36,420,779, which is 3642 s."""
    onsets = 60 + rhythm() / rhythm()[-1] * 3642.0779
    start_time = 1e4 * (onsets - 60)
    assert round(start_time[-1]) == 36_420_779
    np.testing.assert_array_equal(match_onsets(start_time, onsets, 60), onsets)


def test_37_onsets_of_40_as_in_s28_are_matched_by_time():
    onsets, lost = rhythm(), [23, 24, 25]
    matched = match_onsets(1e4 * onsets, np.delete(onsets, lost), 0)
    assert np.flatnonzero(np.isnan(matched)).tolist() == lost
    assert matched[26:].tolist() == onsets[26:].tolist()


@pytest.mark.parametrize("lost", [[0], [39], [0, 1, 39], [3, 17, 18]], ids=str)
def test_missing_onsets_are_found_by_their_time(lost):
    onsets = rhythm()
    matched = match_onsets(1e4 * (onsets - 7), np.delete(onsets, lost), 7)
    assert np.flatnonzero(np.isnan(matched)).tolist() == lost
    assert np.delete(matched, lost).tolist() == np.delete(onsets, lost).tolist()


@pytest.mark.parametrize("begin", [0.5, 194.5])
@pytest.mark.parametrize("lost", [0, 7])
def test_in_an_even_rhythm_the_start_of_the_experiment_decides(lost, begin):
    onsets = begin + 9.5 + 19.0 * np.arange(8)
    matched = match_onsets(1e4 * (onsets - begin - 0.5), np.delete(onsets, lost), begin)
    assert matched.tolist() == [*onsets[:lost], pytest.approx(np.nan, nan_ok=True),
                                *onsets[lost + 1 :]]  # fmt: skip


@pytest.mark.parametrize("unknown", [[0], [2, 5], [1, 7]], ids=str)
def test_a_trial_without_a_start_time_alone_has_no_onset(unknown):
    onsets = rhythm(8)
    start_time = 1e4 * onsets
    start_time[unknown] = np.nan
    expected = onsets.copy()
    expected[unknown] = np.nan
    np.testing.assert_array_equal(match_onsets(start_time, onsets, 0), expected)


@pytest.mark.parametrize(
    ("trials", "strange", "absent", "matched"),
    [(8, 0, 2, 6), (8, 4, 4, 4), (8, 4, 5, 0), (20, 0, 14, 6), (6, 14, 0, 6), (7, 3, 3, 4)],
)
def test_half_of_the_fewer_of_onsets_and_trials_must_fit(trials, strange, absent, matched, refused):
    """Of ``trials`` onsets ``absent`` were not recorded, ``strange`` ones were."""
    onsets, others = rhythm(trials, 3), 9000 + rhythm(20, 5)[:strange]
    recorded = np.concatenate([onsets[absent:], others])
    if matched:
        found = match_onsets(1e4 * onsets, recorded, 0)
        np.testing.assert_array_equal(found[absent:], onsets[absent:])
        assert np.isnan(found).sum() == trials - matched
        return
    with refused(f"{len(recorded)} music videos start, and only 3 of them within 2 s"):
        match_onsets(1e4 * onsets, recorded, 0)


def test_an_onset_that_fits_no_trial_is_left_out():
    onsets = rhythm()
    extra = np.sort(np.append(onsets, onsets[4] + 33))  # a video that was started again
    np.testing.assert_array_equal(match_onsets(1e4 * onsets, extra, 0), onsets)


def test_without_any_start_time_as_many_onsets_go_by_their_order(refused):
    onsets, unknown = rhythm(), np.full(40, np.nan)
    np.testing.assert_array_equal(match_onsets(unknown, onsets, 0), onsets)
    with refused("37 music videos start", "40 trials", "Start_time"):
        match_onsets(unknown, onsets[:37], 0)
    with refused("40 music videos start", "39 trials", "Start_time"):
        match_onsets(unknown[:39], onsets, 0)


def test_another_subjects_recording_is_refused(refused):
    with refused("40 music videos start", "recording of this subject"):
        match_onsets(1e4 * rhythm(seed=1), rhythm(seed=2), 0)


def test_a_recording_without_onsets_is_refused(refused):
    with refused("no marker (status 4)"):
        match_onsets(rhythm(), np.array([]), 0)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    trials=st.integers(3, 40),
    unit=st.sampled_from([1e-6, 1e-4, 1e-3, 1.0]),
    lost=st.floats(0, 0.4),
    offset=st.floats(0, 300),
)
def test_any_part_of_the_onsets_is_matched(seed, trials, unit, lost, offset):
    r = np.random.default_rng(seed)
    onsets = rhythm(trials, seed) + offset
    kept = np.sort(r.permutation(trials)[: max(2, round(trials * (1 - lost)))])
    start_time = (onsets - offset + r.uniform(-0.2, 0.2, trials)) / unit
    unknown = r.random(trials) < 0.1
    start_time[unknown] = np.nan
    expected = np.full(trials, np.nan)
    expected[kept] = onsets[kept]
    expected[unknown] = np.nan
    if np.isfinite(expected).sum() > 1:
        matched = match_onsets(start_time, onsets[kept], offset)
        np.testing.assert_array_equal(matched, expected)
