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


@pytest.mark.parametrize("lost", [0, 7])
def test_in_an_even_rhythm_the_start_of_the_experiment_decides(lost):
    onsets = 10 + 19.0 * np.arange(8)
    matched = match_onsets(1e4 * (onsets - 1), np.delete(onsets, lost), 0.5)
    assert np.flatnonzero(np.isnan(matched)).tolist() == [lost]


def test_an_onset_that_fits_no_trial_is_left_out():
    onsets = rhythm()
    extra = np.sort(np.append(onsets, onsets[4] + 33))  # a video that was started again
    np.testing.assert_array_equal(match_onsets(1e4 * onsets, extra, 0), onsets)


def test_without_any_start_time_as_many_onsets_go_by_their_order(refused):
    onsets, unknown = rhythm(), np.full(40, np.nan)
    np.testing.assert_array_equal(match_onsets(unknown, onsets, 0), onsets)
    with refused("37 music videos start", "40 trials", "Start_time"):
        match_onsets(unknown, onsets[:37], 0)


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
    matched = match_onsets(start_time, onsets[kept], offset)
    assert np.flatnonzero(~np.isnan(matched)).tolist() == kept.tolist()
    assert matched[kept].tolist() == onsets[kept].tolist()
