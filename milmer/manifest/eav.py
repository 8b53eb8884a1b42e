"""A first manifest of EAV (Lee et al. 2024, Zenodo 10205702): EEG and video of conversations.

Of each subject there is an array of EEG (sample, channel, trial), 30 channels at 500 Hz, and a clip
of 20 s a trial, ``001_Trial_01_Listening_Neutral.mp4``; clip i belongs to trial i. Someone listens,
then speaks: both clips of such an interaction are one group. The array itself does not say its
channels, so a JSON file is written beside it.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from milmer import storage
from milmer.errors import MilmerError
from milmer.manifest.files import VIDEO, beside
from milmer.readers.arrays import mat_shapes
from milmer.readers.matlab import read_arrays

_CHANNELS = (
    "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 CP5 CP1 CP2 CP6 P7 P3 Pz P4 P8 PO9 O1 "
    "Oz O2 PO10"
)
_COUNT, _SFREQ, _SECONDS = 30, 500, 20
_EMOTIONS = ("Neutral", "Sadness", "Anger", "Happiness", "Calmness")
_TASKS = ("Listening", "Speaking")  # the rows of the labels: emotions, each in both tasks
_NAME = re.compile(r"(\d+)_[^_]+_[^_]+_([A-Za-z]+)_([A-Za-z]+).*")


def eav_rows(folder: Path, out: Path) -> list[dict[str, Any]]:
    """The rows of a manifest ``out``; raises :class:`MilmerError` where names and labels differ."""
    arrays = sorted(
        (path for path in folder.glob("subject*/EEG/*_eeg.mat")),
        key=lambda path: (len(path.name), path.name),
    )
    if not arrays:
        raise MilmerError(
            "holds no subject*/EEG/*_eeg.mat", where=folder, remedy="give the folder of EAV"
        )
    return [row for path in arrays for row in _subject(path, out)]


def _subject(eeg: Path, out: Path) -> list[dict[str, Any]]:
    count = _describe(eeg)
    labels = _labels(eeg.with_name(f"{eeg.stem}_label.mat"), count)
    clips = _clips(eeg.parent.parent / "Video", labels)
    subject = eeg.parent.parent.name
    rows, interaction = [], 0
    for i, (task, emotion) in enumerate(labels):
        spoken_first = i == 0 and task == _TASKS[1]
        interaction += task == _TASKS[0] or spoken_first
        row = {
            "subject": subject,
            "trial": i + 1,
            "stimulus": f"{emotion} {interaction:03d}",
            "group": f"{subject} {interaction:03d}",
            "eeg_file": beside(eeg, out),
            "eeg_start": i * _SECONDS,
            "eeg_stop": (i + 1) * _SECONDS,
            "label": emotion,
        }
        rows.append(row | ({"video_file": beside(clips[i], out)} if i in clips else {}))
    return rows


def _describe(eeg: Path) -> int:
    """Write what the array does not say beside it; returns how many trials it holds."""
    shapes = mat_shapes(eeg)
    names = [name for name in ("seg", "seg1") if len(shapes.get(name, ())) == 3]
    shape = shapes[names[0]] if names else ()
    if shape[:2] != (_SFREQ * _SECONDS, _COUNT):
        raise MilmerError(
            f"holds no array seg or seg1 (10000, 30, trial) but {shapes}",
            where=eeg,
            remedy="give EAV as it is published",
        )
    description = {
        "channels": _CHANNELS.split(),
        "sfreq": _SFREQ,
        "unit": "µV",
        "variable": names[0],
    }
    path = eeg.with_suffix(".json")
    if not path.exists():
        try:
            with storage.replacing(path) as partial:
                partial.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            raise MilmerError(
                f"cannot be written ({error.strerror})",
                where=path,
                remedy="make a folder of links to EAV (cp -rs) and give that",
            ) from error
    return shape[2]


def _labels(path: Path, count: int) -> list[tuple[str, str]]:
    """Task and emotion of each trial."""
    if not path.is_file():
        raise MilmerError("no such file", where=path, remedy="copy it there")
    label = read_arrays(path, ("label",)).get("label", np.zeros((0, 0)))
    if label.shape != (2 * len(_EMOTIONS), count) or not ((label > 0).sum(axis=0) == 1).all():
        raise MilmerError(
            f"holds no array label (10, {count}) with a 1 in each column, but {label.shape}",
            where=path,
            remedy="give the labels of this array",
        )
    rows = (label > 0).argmax(axis=0)
    return [(_TASKS[row % 2], _EMOTIONS[row // 2]) for row in rows]


def _clips(folder: Path, labels: list[tuple[str, str]]) -> dict[int, Path]:
    """The clip of each trial by its place in the array."""
    clips: dict[int, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in VIDEO:
            continue
        match = _NAME.fullmatch(path.stem)
        i = int(match[1]) - 1 if match else -1
        if match is None or not 0 <= i < len(labels) or i in clips:
            raise MilmerError(
                f"is not the clip of one of {len(labels)} trials",
                where=path,
                remedy="names are as 001_Trial_01_Listening_Neutral.mp4",
            )
        task, emotion = match[2].capitalize(), match[3].capitalize()
        if (task, emotion) != labels[i]:
            raise MilmerError(
                f"trial {i + 1} is {' '.join(labels[i])} by its label, and {task} {emotion} by its "
                "clip",
                where=path,
                remedy="check that both are of one subject",
            )
        clips[i] = path
    return clips
