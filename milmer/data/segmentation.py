"""The segment grid: the one place that cuts a trial's time into segments.

EEG segments and face bags both come from here, so that row i of one is row i of the other.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field, model_validator

from milmer.errors import MilmerError
from milmer.options import Options

_ROUNDING = 5e-5  # s


class SegmentationOptions(Options):
    """How a trial is cut into segments."""

    seconds: float = Field(3.0, gt=0, description="Length of a segment in s.")
    overlap: float = Field(
        0.0,
        ge=0,
        description="Seconds that a segment shares with the next; not allowed with the protocol "
        "`segment` or eeg.layout `as_published`.",
    )

    @model_validator(mode="after")
    def _forward(self) -> "SegmentationOptions":
        if self.overlap >= self.seconds:
            raise ValueError(f"overlap: must be less than seconds ({self.seconds:g})")
        return self


class Segment(NamedTuple):
    """A segment's place: the trial, its number within the trial from 0, its start in s."""

    trial: int
    position: int
    start: float


def segment_grid(
    trials: Iterable[tuple[int, float]], options: SegmentationOptions
) -> list[Segment]:
    """All whole segments of ``trials``, pairs of trial and length of the EEG in s.

    In the order of ``trials``, which is that of the subject's table everywhere, then of position.
    A trial without EEG, whose length is NaN, has no segments.
    """
    step = options.seconds - options.overlap
    return [
        Segment(int(trial), position, position * step)
        for trial, eeg_seconds in trials
        # Tolerates rounding, not a sample: 12 s that lack one have three segments of 3 s.
        for position in range(_whole(eeg_seconds + _ROUNDING, options.seconds, step))
    ]


def no_segment(seconds: float, options: SegmentationOptions, where: object) -> MilmerError:
    """The error of trials of at most ``seconds``, none of which is as long as a segment."""
    return MilmerError(
        f"trials of {seconds:g} s hold no segment of {options.seconds:g} s",
        where=where,
        remedy="lower segmentation.seconds",
    )


def _whole(seconds: float, length: float, step: float) -> int:
    # Also false for NaN, the length of a trial without EEG.
    return 1 + int((seconds - length) / step) if seconds >= length else 0
