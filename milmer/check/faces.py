"""A look at a few frames of each video, by the decoder, the detector and the options of a run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.check.findings import Finding
from milmer.check.ranges import places, span
from milmer.data.segmentation import segment_grid
from milmer.faces.clocks import on_trial, times_of
from milmer.faces.cropper import Cropper, Found
from milmer.faces.crops import (
    NO_FACE_REMEDY,
    nothing_to_crop,
    numbers_of,
    place_of,
    probe_of,
    union,
)
from milmer.faces.options import FaceStageOptions
from milmer.readers.video import Clip

FRAMES = 3  # of a trial that are looked at
_BARELY = 0.05  # s after a trial's start at which its video may begin without a note


class Look:
    """What a few frames of the videos show, with the options of a variant of ``faces``.

    Trials by subject: ``faceless`` show no face, ``several`` more than one; ``late`` is by how
    many s the first picture comes after the trial's start.
    """

    def __init__(self, options: FaceStageOptions):
        self._options = options
        self._probe = probe_of(options.faces)
        self.faceless: dict[str, list[int]] = {}
        self.several: dict[str, list[int]] = {}
        self.late: dict[str, dict[int, float]] = {}

    def at(
        self,
        subject: str,
        table: pd.DataFrame,
        root: Path,
        stage: Callable[..., AbstractContextManager[None]],
    ) -> None:
        """Look at the videos of a subject's ``table``; ``stage`` collects what each stops at."""
        lengths = zip(table["trial"], table["eeg_seconds"], strict=True)
        grid = segment_grid(lengths, self._options.segmentation)
        clips = table.dropna(subset=["video_file"])
        with stage("faces", subject):
            if not grid or clips.empty:
                raise nothing_to_crop(subject)
            with Cropper(self._options.faces) as cropper:
                for row in clips.itertuples():
                    with stage("faces", subject):
                        path = root / row.video_file
                        clip = on_trial(row, self._probe(path, times_of(row, root)), path)
                        if (late := clip.time(0)) > _BARELY:
                            self.late.setdefault(subject, {})[int(row.trial)] = late
                        wanted = union(numbers_of(grid, row.trial, clip, self._options))
                        frames = _found(cropper, path, clip, _few(wanted), place_of(row))
                        self._note(subject, int(row.trial), frames)

    def _note(self, subject: str, trial: int, frames: list[Found]) -> None:
        if any(frame.searched for frame in frames) and not any(frame.detected for frame in frames):
            self.faceless.setdefault(subject, []).append(trial)
        if any(frame.several for frame in frames):
            self.several.setdefault(subject, []).append(trial)

    def findings(self) -> Iterator[Finding]:
        """What was seen, over all subjects."""
        if self.faceless:
            text = f"no face in the {FRAMES} frames that were looked at: {places(self.faceless)}"
            yield Finding("no_face", f"{text}; {NO_FACE_REMEDY}", tuple(self.faceless), warns=True)
        if self.several:
            remedy = "say whose is meant by the manifest's column face, or look at contact sheets"
            text = f"several faces: {places(self.several)}; {remedy}"
            yield Finding("several_faces", text, tuple(self.several))
        if self.late:
            seconds = span([s for trials in self.late.values() for s in trials.values()], "{:.2f}")
            text = f"the first picture comes {seconds} s after the trial starts: "
            yield Finding("first_frames", text + places(self.late), tuple(self.late))


def _few(wanted: np.ndarray) -> np.ndarray:
    """A few of the frames ``wanted``, evenly spaced."""
    if not len(wanted):
        return wanted
    return wanted[np.unique(np.linspace(0, len(wanted) - 1, FRAMES).round().astype(int))]


def _found(
    cropper: Cropper, path: Path, clip: Clip, few: np.ndarray, place: str | None
) -> list[Found]:
    """What is found in each frame, or in all of them where the file has to be read from its start.

    One by one, nothing between them is decoded.
    """
    parts = np.split(few, len(few)) if clip.seekable and len(few) else [few]
    return [cropper.crops(path, clip, part, place)[0] for part in parts if len(part)]
