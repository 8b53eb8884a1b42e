import math

import pytest
from pydantic import ValidationError

from milmer.data.segmentation import SegmentationOptions, segment_grid


def grid(trials, seconds=3.0, overlap=0.0):
    return segment_grid(trials, SegmentationOptions(seconds=seconds, overlap=overlap))


def test_segments_stand_in_the_order_of_the_trials():
    assert grid([(2, 6.0), (1, 9.0)]) == [(2, 0, 0), (2, 1, 3), (1, 0, 0), (1, 1, 3), (1, 2, 6)]


@pytest.mark.parametrize(
    ("eeg_seconds", "seconds", "count"),
    [
        (60, 3, 20),
        (12, 3, 4),
        (11.99, 3, 3),
        (11.9999, 3, 3),
        (11.99999, 3, 4),
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


@pytest.mark.parametrize(
    ("overlap", "starts"),
    [
        (1.5, [0, 1.5, 3, 4.5, 6, 7.5, 9]),
        (2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (1, [0, 2, 4, 6, 8]),
        (2.7, [0.3 * i for i in range(31)]),
    ],
)
def test_overlapping_segments_end_within_the_trial(overlap, starts):
    found = grid([(7, 12.0)], overlap=overlap)
    assert [s.start for s in found] == pytest.approx(starts)
    assert [s.position for s in found] == list(range(len(starts)))


@pytest.mark.parametrize("overlap", [3, 4, -1])
def test_an_overlap_goes_forward(overlap):
    with pytest.raises(ValidationError):
        SegmentationOptions(overlap=overlap)
