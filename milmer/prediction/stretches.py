"""Stretches of recordings, in which segments follow one another: what is predicted.

A new recording is one stretch: the time that both its EEG and its video cover. Of a subject's table
of trials each trial is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.trials import TRIALS
from milmer.data.segmentation import Segment, SegmentationOptions, segment_grid
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import ReadRecording, subject_segments
from milmer.errors import MilmerError
from milmer.faces.clocks import on_trial, times_of
from milmer.faces.crops import place_of
from milmer.prediction.eeg import unrejected
from milmer.prediction.faces import BagReader
from milmer.prediction.recipe import EEGRecipe
from milmer.prediction.seen import Content
from milmer.readers.video import Clip


class EEGPart(Protocol):
    """EEG from which segments can be prepared."""

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments of ``grid``, float32 (channel, sample), in their order; None: unusable."""


@dataclass(frozen=True)
class VideoPart:
    """A video, the frames of each segment, and which of several people's faces it is."""

    path: Path
    clip: Clip
    numbers: list[np.ndarray]
    face: str | None = None


@dataclass(frozen=True)
class Stretch:
    """Segments of one recording: those of ``grid``, which begins at ``start`` s.

    ``about`` are columns of the predictions, ``notes`` remarks for people. ``offset`` is the start
    of the video in s, ``contents`` are the recording and the video.
    """

    about: dict[str, Any]
    grid: list[Segment]
    start: float
    eeg: EEGPart | None
    video: VideoPart | None
    offset: float = 0.0
    notes: list[str] = field(default_factory=list)
    contents: Sequence[Content] = ()


@dataclass(frozen=True)
class Span:
    """What is predicted of a recording: ``start`` to ``stop`` s; the video begins at ``offset``."""

    start: float | None = None
    stop: float | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("stop", self.stop)):
            if value is not None and not 0 <= value < np.inf:
                raise MilmerError("must be 0 s or more", where=f"--{name} {value:g}")
        if self.start is not None and self.stop is not None and self.stop <= self.start:
            raise MilmerError(
                f"must be after --start {self.start:g}", where=f"--stop {self.stop:g}"
            )

    def over(
        self, seconds: float | None, name: str, clip: Clip | None, coverage: float
    ) -> tuple[float, float, list[str]]:
        """Where the grid begins and how far it may reach, in s, and remarks on what is left out.

        ``seconds`` is the length of the EEG (None: there is none), ``coverage`` how much of the
        last segment the video may lack, in s.
        """
        offset = self.offset or 0.0
        begin, notes = self.start or 0.0, []
        end = clip.seconds if seconds is None else seconds
        if clip is not None and seconds is not None:
            if offset >= seconds or offset + clip.seconds <= 0:
                raise MilmerError(
                    f"the EEG lasts {seconds:.1f} s and the video is from {offset:.1f} to "
                    f"{offset + clip.seconds:.1f} s: they have no time in common",
                    where=name,
                    remedy="see --offset",
                )
            if offset > begin:
                notes.append(f"The video begins at {offset:.1f} s: nothing is predicted before it.")
                begin = offset
        if self.stop is not None and self.stop > end + 1e-3:
            raise MilmerError(f"ends at {end:.2f} s, before --stop {self.stop:g}", where=name)
        if begin >= end:
            raise MilmerError(f"ends at {end:.2f} s, before --start {begin:g}", where=name)
        if self.stop is not None:
            return begin, min(self.stop, end), notes
        return begin, end + (coverage if seconds is None else 0.0), notes


def whole_segments(
    name: str, seconds: float, options: SegmentationOptions, number: int = 0
) -> list[Segment]:
    """The segments of one stretch; raises :class:`MilmerError` where it is too short for any."""
    grid = segment_grid([(number, seconds)], options)
    if not grid:
        raise MilmerError(
            f"{seconds:.2f} s hold no segment",
            where=name,
            remedy=f"the model requires {options.seconds:g} s or more",
        )
    return grid


def covered(grid: list[Segment], video: VideoPart) -> tuple[list[Segment], VideoPart, list[str]]:
    """The segments before the video's end, and remarks on what is left out."""
    filmed = [i for i, numbers in enumerate(video.numbers) if numbers.size]
    if not filmed:
        raise MilmerError(
            "covers no segment", where=video.path, remedy="see --offset, --start and --stop"
        )
    count = filmed[-1] + 1
    if count == len(grid):
        return grid, video, []
    kept = replace(video, numbers=video.numbers[:count])
    lost = len(grid) - count
    note = f"The video ends {lost} segments before the EEG: nothing is predicted there."
    return grid[:count], kept, [note]


class _CutEEG:
    """The segments of a trial, already prepared."""

    def __init__(self, eeg: np.ndarray, rejected: np.ndarray):
        self._eeg, self._rejected = eeg, rejected

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments, float32 (channel, sample); None if rejected."""
        yield from unrejected(self._eeg[: len(grid)], self._rejected[: len(grid)])


def recording_reader(options: SegmentsOptions) -> ReadRecording:
    """The reader of the dataset that these options of the stage ``segments`` belong to."""
    if options.recording is None:
        from milmer.deap.recordings import read_recording
    else:
        from milmer.manifest.recordings import read_recording
    return read_recording


def table_stretches(
    trials: Path,
    root: Path,
    preparation: EEGRecipe | None,
    segmentation: SegmentationOptions,
    bags: BagReader | None,
) -> tuple[list[Stretch], dict[str, str]]:
    """A subject's trials by the table of the stage ``trials``, and the digests of its EEG.

    The EEG is read and cleaned as in the stage ``segments``, all trials at once.
    """
    table = storage.read_table(trials, TRIALS)
    segments = None
    if preparation is not None:
        options = preparation.options
        segments = subject_segments(trials, root, options, recording_reader(options))
        _require_alike(trials, segments.channels, segments.sfreq, preparation)
    lengths = zip(table["trial"], table["eeg_seconds"], strict=True)
    grid = segment_grid(lengths, segmentation)
    clips = table.dropna(subset=["video_file"])
    filmed = {row.trial: row for row in clips.itertuples()}
    rows_of = table.set_index("trial", drop=False)
    stretches, left_out = [], []
    for trial, stimulus in zip(table["trial"], table["experiment_id"], strict=True):
        rows = [i for i, s in enumerate(grid) if s.trial == trial]
        if not rows or (bags is not None and trial not in filmed):
            left_out.append(int(trial))
            continue
        trial_grid, video = [grid[i] for i in rows], None
        if bags is not None:
            row = filmed[trial]
            path = Path(root) / row.video_file
            clip = on_trial(row, bags.probe(path, times_of(row, root)), path)
            numbers = bags.numbers(trial_grid, clip, 0.0)
            video = VideoPart(path, clip, numbers, place_of(row))
        about = {
            "subject": table["subject"].iloc[0],
            "trial": int(trial),
            "experiment_id": int(stimulus),
        }
        eeg = _CutEEG(segments.eeg[rows], segments.rejected[rows]) if segments else None
        row = rows_of.loc[trial]
        contents = [
            Content(digest, 0.0 if pd.isna(start) else start, stimulus if pd.isna(start) else None)
            for digest, start in (
                (row["eeg_digest"] if eeg else None, row["eeg_start"]),
                (row["video_digest"] if video else None, row["video_start"]),
            )
            if not pd.isna(digest)
        ]
        stretches.append(Stretch(about, trial_grid, 0.0, eeg, video, contents=contents))
    if not stretches:
        raise MilmerError("no trial has all the EEG and video that the model needs", where=trials)
    if left_out:
        note = f"Left out, without EEG or video: trials {sorted(left_out)}."
        stretches[0].notes.append(note)
    return stretches, segments.inputs if segments else {}


def _require_alike(
    path: Path, channels: Sequence[str], sfreq: float, preparation: EEGRecipe
) -> None:
    """Refuse EEG whose channels or rate are not those of the training data."""
    if list(channels) != list(preparation.channels) or sfreq != preparation.sfreq:
        raise MilmerError(
            f"its EEG has {len(channels)} channels at {sfreq:g} Hz, but the model requires the "
            f"{len(preparation.channels)} of its training data, in their order, at "
            f"{preparation.sfreq:g} Hz",
            where=path,
        )
