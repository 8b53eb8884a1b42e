"""The segment grid: the one place that cuts a trial's time into segments.

EEG segments and face bags both come from here, so that row i of one is row i of the other.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from milmer.options import Options


class SegmentationOptions(Options):
    """How a trial is cut into segments."""

    seconds: float = Field(3.0, gt=0, description="Length of a segment in s.")


class Segment(NamedTuple):
    """A segment's place: the stimulus, its number within the trial from 0, its start in s."""

    experiment_id: int
    position: int
    start: float


def segment_grid(
    trials: Iterable[tuple[int, float]], options: SegmentationOptions
) -> list[Segment]:
    """All whole segments of ``trials``, pairs of experiment_id and seconds of EEG.

    The order is the one order everywhere: experiment_id, then position. A trial without EEG
    (its length is NaN) has none.
    """
    return [
        Segment(int(experiment_id), position, position * options.seconds)
        for experiment_id, eeg_seconds in sorted(trials)
        # A tolerance of a millisecond: 12 s that are recorded as 11.9999 s hold four segments.
        for position in range(_whole(eeg_seconds + 1e-3, options.seconds))
    ]


def _whole(seconds: float, length: float) -> int:
    return int(seconds / length) if seconds == seconds else 0
