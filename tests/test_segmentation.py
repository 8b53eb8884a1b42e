import math

import pytest

from milmer.segmentation import SegmentationOptions, segment_grid


def grid(trials, seconds=3.0):
    return segment_grid(trials, SegmentationOptions(seconds=seconds))


def test_segments_stand_in_the_one_order():
    assert grid([(2, 6.0), (1, 9.0)]) == [(1, 0, 0), (1, 1, 3), (1, 2, 6), (2, 0, 0), (2, 1, 3)]


@pytest.mark.parametrize(
    ("eeg_seconds", "seconds", "count"),
    [
        (60, 3, 20),
        (12, 3, 4),
        (11.99, 3, 3),
        (11.9999, 3, 4),
        (12.0001, 3, 4),
        (2, 3, 0),
        (6, 0.1, 60),
        (6, 0.3, 20),
        (6, 1.2, 5),
    ],
)
def test_whole_segments_only(eeg_seconds, seconds, count):
    assert len(grid([(1, eeg_seconds)], seconds)) == count


def test_a_trial_without_eeg_has_no_segment():
    assert grid([(1, math.nan), (2, 3.0)]) == [(2, 0, 0.0)]
    assert grid([]) == []
