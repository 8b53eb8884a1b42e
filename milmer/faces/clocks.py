"""A video on the clock of the EEG.

A camera may begin after a trial, run a little faster than the EEG's clock, or come with the time of
each of its frames, as recorders of the Lab Streaming Layer store them.
"""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.readers.cells import read_cells
from milmer.readers.video import Clip


def times_of(trial: Any, root: Path) -> Path | None:
    """The table of when each frame of a trial's video is shown; None where there is none.

    ``trial`` is a row of a table of trials, whose files are relative to ``root``.
    """
    name = getattr(trial, "video_times", None)
    return Path(root) / name if isinstance(name, str) else None


def on_trial(trial: Any, clip: Clip, path: Path) -> Clip:
    """The ``clip`` in ``path`` on the clock of a ``trial``, of which 0 s is the trial's start.

    With a table of times the ``clip`` is on the clock of the EEG already; else the trial starts at
    ``video_start`` s of the video, below 0 where the camera starts later, and a second of the video
    lasts ``video_rate`` s. Raises :class:`MilmerError` where it shows nothing of the trial.
    """
    if times_of(trial, path) is not None:
        start, rate = trial.eeg_start if math.isfinite(trial.eeg_start) else 0.0, 1.0
        remedy = "correct video_times or eeg_start in the manifest"
    else:
        start, rate = trial.video_start, getattr(trial, "video_rate", 1.0)
        remedy = "correct video_start, or video_offset and video_rate, in the manifest"
    clip = dataclasses.replace(clip, times=(clip.times - start) * rate, fps=clip.fps / rate)
    begin, end = clip.time(0), clip.seconds
    if end <= 0 or begin >= trial.eeg_seconds:
        problem = (
            f"ends {-end:.2f} s before trial {trial.trial} starts"
            if end <= 0
            else f"begins {begin:.2f} s after the start of trial {trial.trial}, when it is over"
        )
        raise MilmerError(problem, where=path, remedy=remedy)
    return clip


def read_times(path: Path) -> np.ndarray:
    """When each frame begins, in s of the EEG's clock, float64 (frame,): a table's column time.

    Raises :class:`MilmerError` with the line of a time that is no number or not after the last.
    """
    table = read_cells(path)
    if "time" not in table.columns:
        raise MilmerError(
            "no column time", where=path, remedy="give the time of each frame in s of the EEG"
        )
    times = []
    for line, cells in table.rows:
        times.append(table.number(cells["time"]))
        if not math.isfinite(times[-1]):
            problem = f"{shortened(cells['time'])} is not a number"
            raise MilmerError(problem, where=f"{path}: line {line}: time", remedy="correct it")
    for i, (before, after) in enumerate(itertools.pairwise(times), 1):
        if after <= before:
            raise MilmerError(
                f"{after:g} s is not after {before:g} s",
                where=f"{path}: line {table.rows[i][0]}: time",
                remedy="give frames in the order in which they are shown",
            )
    if len(times) < 2:
        raise MilmerError("holds no times", where=path, remedy="give one of each frame")
    return np.array(times)
