"""What is predicted: pieces of recordings in which segments follow one another.

A new recording is one piece: the time that both its EEG and its video cover. Of a subject's table
of trials each trial is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from milmer import storage
from milmer.data.segmentation import Segment, SegmentationOptions, segment_grid
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import ReadRecording, subject_segments
from milmer.errors import MilmerError
from milmer.faces.crops import probe_of, starts_of
from milmer.prediction.faces import Bags
from milmer.prediction.recipe import RememberedEEG
from milmer.readers.video import Clip


class EEGPart(Protocol):
    """EEG that gives prepared segments."""

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments of ``grid``, float32 (channel, sample), in their order; None: too bad."""


@dataclass(frozen=True)
class VideoPart:
    """A video, and the frames of each segment."""

    path: Path
    clip: Clip
    numbers: list[np.ndarray]


@dataclass(frozen=True)
class Piece:
    """Segments of one recording: those of ``grid``, which begins at ``start`` s.

    ``about`` are columns of the predictions; ``notes`` remarks for people. ``offset`` is where the
    video begins, in s.
    """

    about: dict[str, Any]
    grid: list[Segment]
    start: float
    eeg: EEGPart | None
    video: VideoPart | None
    offset: float = 0.0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Span:
    """Where a recording is predicted: from ``start`` to ``stop`` s, and where the video begins."""

    start: float | None = None
    stop: float | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("stop", self.stop)):
            if value is not None and not 0 <= value < np.inf:
                raise MilmerError(f"--{name} {value:g}: is to be 0 s or more")
        if self.start is not None and self.stop is not None and self.stop <= self.start:
            raise MilmerError(f"--stop {self.stop:g}: is to be after --start {self.start:g}")

    def over(
        self, seconds: float | None, name: str, clip: Clip | None, coverage: float
    ) -> tuple[float, float, list[str]]:
        """Where to begin and how far the grid may reach, in s, and what is left out.

        ``seconds`` is the length of the EEG (None: there is none), ``coverage`` how much the video
        may lack of the last segment in s.
        """
        offset = self.offset or 0.0
        begin, notes = self.start or 0.0, []
        end = clip.seconds if seconds is None else seconds
        if clip is not None and seconds is not None:
            if offset >= seconds or offset + clip.seconds <= 0:
                raise MilmerError(
                    f"{name}: the EEG lasts {seconds:.1f} s and the video is from {offset:.1f} to "
                    f"{offset + clip.seconds:.1f} s: they have no time in common; see --offset"
                )
            if offset > begin:
                notes.append(f"The video begins at {offset:.1f} s: nothing is predicted before.")
                begin = offset
        if self.stop is not None and self.stop > end + 1e-3:
            raise MilmerError(f"{name}: ends at {end:.2f} s, before --stop {self.stop:g}")
        if begin >= end:
            raise MilmerError(f"{name}: ends at {end:.2f} s, and --start is {begin:g}")
        if self.stop is not None:
            return begin, min(self.stop, end), notes
        return begin, end + (coverage if seconds is None else 0.0), notes


def whole_segments(
    name: str, seconds: float, options: SegmentationOptions, number: int = 0
) -> list[Segment]:
    """The grid of one stretch; refused where it holds none."""
    grid = segment_grid([(number, seconds)], options)
    if not grid:
        raise MilmerError(
            f"{name}: {seconds:.2f} s hold no segment; the model looks at {options.seconds:g} s"
        )
    return grid


def covered(grid: list[Segment], video: VideoPart) -> tuple[list[Segment], VideoPart, list[str]]:
    """The segments before the video's end, and what is left out."""
    there = [i for i, numbers in enumerate(video.numbers) if numbers.size]
    if not there:
        raise MilmerError(f"{video.path}: covers no segment; see --offset, --start and --stop")
    count = there[-1] + 1
    if count == len(grid):
        return grid, video, []
    kept = VideoPart(video.path, video.clip, video.numbers[:count])
    lost = len(grid) - count
    note = f"The video ends {lost} segments before the EEG: nothing is predicted there."
    return grid[:count], kept, [note]


class _Cut:
    """Segments of a trial that are cut already."""

    def __init__(self, eeg: np.ndarray):
        self._eeg = eeg

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray]:
        """The segments, float32 (channel, sample)."""
        yield from self._eeg[: len(grid)]


def reader(options: SegmentsOptions) -> ReadRecording:
    """What reads the recordings that a stage ``segments`` of these options reads."""
    if options.recording is None:
        from milmer.deap.recordings import read_recording
    else:
        from milmer.manifest.recordings import read_recording
    return read_recording


def table_pieces(
    trials: Path,
    root: Path,
    known: RememberedEEG | None,
    segmentation: SegmentationOptions,
    bags: Bags | None,
) -> tuple[list[Piece], dict[str, str]]:
    """A subject's trials by the table that the stage ``trials`` made, and digests of its EEG.

    The EEG is read and cleaned as the stage ``segments`` does it, all trials at once.
    """
    table = storage.read_table(trials, "trials")
    found = None
    if known is not None:
        found = subject_segments(trials, root, known.options, reader(known.options))
        require_alike(trials, found.channels, found.sfreq, known)
    lengths = zip(table["experiment_id"], table["eeg_seconds"], strict=True)
    grid = segment_grid(lengths, segmentation)
    clips = table.dropna(subset=["video_file"])
    look, starts = probe_of(clips), starts_of(clips)
    names = dict(zip(clips["experiment_id"], clips["video_file"], strict=True))
    numbers = dict(zip(table["experiment_id"], table["trial"], strict=True))
    pieces, without = [], []
    for experiment_id in sorted(table["experiment_id"]):
        rows = [i for i, s in enumerate(grid) if s.experiment_id == experiment_id]
        if not rows or (bags is not None and experiment_id not in names):
            without.append(int(numbers[experiment_id]))
            continue
        own, video = [grid[i] for i in rows], None
        if bags is not None:
            path, start = Path(root) / names[experiment_id], starts[experiment_id]
            clip = look(path)
            video = VideoPart(path, clip, bags.numbers(own, clip, start))
        about = {
            "subject": table["subject"].iloc[0],
            "trial": int(numbers[experiment_id]),
            "experiment_id": int(experiment_id),
        }
        offset = -float(starts[experiment_id]) if video else 0.0
        eeg = _Cut(found.eeg[rows]) if found else None
        pieces.append(Piece(about, own, 0.0, eeg, video, offset))
    if not pieces:
        raise MilmerError(f"{trials}: no trial has all that the model looks at")
    if without:
        pieces[0].notes.append(f"Left out, without EEG or video: trials {sorted(without)}.")
    return pieces, {} if found is None else found.inputs


def require_alike(path: Path, channels: Sequence[str], sfreq: float, known: RememberedEEG) -> None:
    """Refuse EEG whose channels or rate are not those of the training data."""
    if list(channels) != list(known.channels) or sfreq != known.sfreq:
        raise MilmerError(
            f"{path}: its EEG has {len(channels)} channels at {sfreq:g} Hz; the model looks at "
            f"{len(known.channels)} at {known.sfreq:g} Hz, in their order"
        )
