"""A small made-up study that is uneven on purpose, so that no two mistakes cancel out.

Three subjects of different length, of whom s02 has no video. Trials are shown in another order than
that of their experiment_ids, which have gaps; one has no EEG, one is not rated, one is rated 0, and
classes are uneven. Bags hold four instances, of which more are valid in some than are chosen and
none in the first of s01. Every number says where it belongs: see :func:`eeg_of`, :func:`tokens_of`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.faces import FACES, FOUND
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.contracts.trials import TRIALS as TABLE

NUMBER = {"s01": 1, "s02": 2, "s03": 3}
CHANNELS = ("Fz", "Cz", "Pz", "C3", "Oz")
SAMPLES = 24
SFREQ = 8.0
INSTANCES = 4
SEGMENTATION = {"seconds": 3.0, "overlap": 0.0}

# experiment_id, trial, seconds of EEG, valence, arousal
TRIALS = {
    "s01": [
        (1, 4, 9, 8, 7),
        (2, 1, 6, 2, 8.5),
        (3, 5, 3, 7, 6),
        (5, 2, 9.5, 0, 3),
        (8, 3, 6, 6, 9),
    ],
    "s02": [(2, 3, 6, 3, 2), (3, 1, 12, 9, 1.5), (4, 2, np.nan, 8, 8), (8, 4, 3, 5.5, 6.5)],
    "s03": [
        *[(1, 6, 3, 1.5, 9), (2, 2, 6, 6.5, 4), (4, 5, 6, 7.5, 7), (5, 1, 9, 8.5, 2)],
        *[(7, 3, 3, np.nan, 5), (8, 4, 12, 5.5, 8)],
    ],
}

# Frames of the bag of each segment in turn, of which some are of a face that was not detected.
_FRAMES = {"s01": (0, 4, 3, 4, 2, 1), "s03": (3, 1, 4, 4, 2)}
_UNDETECTED = {"s01": {2, 9, 11}, "s03": {3, 12, 13}}


@dataclass(frozen=True)
class Study:
    """The study's files by subject; those of faces and tokens are of ``s01`` and ``s03``."""

    trials: dict[str, Path]
    segments: dict[str, Path]
    faces: dict[str, Path]
    tokens: dict[str, Path]


def segments_of(subject: str) -> list[tuple[int, int]]:
    """Trial and position of each segment of 3 s, in their order, that of experiment_ids."""
    lengths = [(trial, seconds) for _, trial, seconds, *_ in TRIALS[subject] if seconds == seconds]
    return [
        (trial, position) for trial, seconds in lengths for position in range(int(seconds // 3))
    ]


def eeg_of(subject: str, trial: int, position: int) -> np.ndarray:
    """EEG (channel, sample) of a segment, which is in no other segment."""
    place = 1000 * NUMBER[subject] + 50 * trial + 10 * position
    samples = np.arange(len(CHANNELS))[:, None] + np.arange(SAMPLES) / SAMPLES
    return (place + samples).astype(np.float32)


def tokens_of(subject: str, frame: int) -> np.ndarray:
    """Tokens (token, dim) of a frame."""
    place = 100 * NUMBER[subject] + frame
    return (place + np.array([[0, 0.25, 0.5], [0.75, 0.5, 0]])).astype(np.float16)


def grey_of(subject: str, frame: int) -> int:
    """The grey of the picture of a frame."""
    return {"s01": 0, "s03": 110}[subject] + 3 * frame


def bags_of(subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Bags (segment, instance) of frames, −1 where there is none, and which frames show a face."""
    counts = [_FRAMES[subject][i % len(_FRAMES[subject])] for i in range(len(segments_of(subject)))]
    bag, first = np.full((len(counts), INSTANCES), -1, np.int32), 0
    for row, count in enumerate(counts):
        bag[row, :count] = np.arange(first, first + count)
        first += count
    return bag, ~np.isin(np.arange(first), list(_UNDETECTED[subject]))


def trials_of(subject: str) -> pd.DataFrame:
    """The table of trials of a subject, as the stage ``trials`` makes it."""
    columns = ["experiment_id", "trial", "eeg_seconds", "valence", "arousal"]
    table = pd.DataFrame(TRIALS[subject], columns=columns)
    table = table.astype({"experiment_id": "int32", "trial": "int32"})
    table.insert(0, "subject", subject)
    return table.assign(
        video_file=f"{subject}.avi" if subject in _FRAMES else None,
        eeg_file=np.where(table["eeg_seconds"].notna(), f"{subject}.bdf", None),
    )


def complete_trials(table: pd.DataFrame) -> pd.DataFrame:
    """A table of trials with all columns of its contract: those that it lacks are null."""
    lacking = {name: kind for name, kind in TABLE.columns.items() if name not in table}
    nulls = {name: np.nan if kind == "measure?" else None for name, kind in lacking.items()}
    return table.assign(**nulls | {"trial_name": table["trial"].astype(str)})


def write_trials(folder: Path, table: pd.DataFrame) -> Path:
    """Write a subject's table of trials, with the columns that it lacks."""
    path, table = folder / f"{table['subject'].iloc[0]}.parquet", complete_trials(table)
    storage.write_table(path, table, storage.provenance("trials", "milmer.errors", {}, {}))
    return path


def write_study(folder: Path) -> Study:
    """Write all files of the study."""
    trials = {s: write_trials(folder / "trials", trials_of(s)) for s in TRIALS}
    segments = {s: write_segments(folder / "segments", s, trials[s]) for s in TRIALS}
    faces = {s: write_faces(folder / "faces", s, trials[s]) for s in _FRAMES}
    tokens = {s: write_tokens(folder / "tokens", s, faces[s]) for s in _FRAMES}
    return Study(trials, segments, faces, tokens)


def write_segments(
    folder: Path,
    subject: str,
    trials: Path,
    channels: Sequence[str] = CHANNELS,
    sfreq: float = SFREQ,
    samples: int = SAMPLES,
    segmentation: Mapping[str, float] = SEGMENTATION,
    rejected: Mapping[int, bytes] | None = None,
) -> Path:
    """Write a subject's EEG segments; ``rejected`` says why some cannot be used, by row."""
    eeg = np.stack([eeg_of(subject, *segment) for segment in segments_of(subject)])
    start = np.array([3.0 * position for _, position in segments_of(subject)])
    about = {"options": {"segmentation": segmentation}, "inputs": {"trials": trials}}
    why = [(rejected or {}).get(row, b"") for row in range(len(eeg))]
    shown = {trial: e for e, trial, *_ in TRIALS[subject]}
    content = {"eeg": eeg[..., :samples], "start": start, "rejected": why}
    content["experiment_id"] = [shown[trial] for trial, _ in segments_of(subject)]
    attributes = {"channels": json.dumps(channels), "sfreq": sfreq, "cleaned": "{}"}
    return _write(folder, subject, SEGMENTS, about, content, attributes)


def write_faces(
    folder: Path,
    subject: str,
    trials: Path,
    segmentation: Mapping[str, float] = SEGMENTATION,
) -> Path:
    """Write a subject's face crops, of one grey each."""
    bag, detected = bags_of(subject)
    pictures = [np.full((16, 16, 3), grey_of(subject, n), np.uint8) for n in range(len(detected))]
    content = {
        "image": [cv2.imencode(".jpg", picture)[1].ravel() for picture in pictures],
        "box": np.zeros((len(detected), 4)),
        "score": np.ones(len(detected)),
        "time": np.arange(len(detected)) / 10,
        "detected": detected,
        "faces_seen": detected.astype(int),
        "track": detected.astype(int),
        "bag": bag,
        **{f"clip_{name}": [0] for name in FOUND},
    }
    about = {"options": {"segmentation": segmentation}, "inputs": {"trials": trials}}
    return _write(folder, subject, FACES, about, content)


def write_tokens(folder: Path, subject: str, faces: Path) -> Path:
    """Write the tokens of a subject's crops; only those of a detected face are valid."""
    bag, detected = bags_of(subject)
    valid = np.array([[frame >= 0 and detected[frame] for frame in row] for row in bag])
    tokens = np.stack([tokens_of(subject, frame) for frame in range(len(detected))])
    content = {"tokens": tokens, "bag": bag, "valid": valid}
    about = {"options": {}, "inputs": {"faces": faces}}
    return _write(folder, subject, TOKENS, about, content)


def _write(folder, subject, contract, about, content, attributes=None) -> Path:
    """Write a subject's file; its rows are the segments, in the grid of 3 s."""
    grid = np.array(segments_of(subject), np.int32)
    content = content | {"trial": grid[:, 0], "position": grid[:, 1]}
    path = folder / f"{subject}.h5"
    provenance = storage.provenance(contract.stage, "milmer.errors", **about)
    with storage.new_h5(path, contract, provenance) as file:
        for name, array in contract.schema.items():
            if array.dtype == "jpeg":
                kind, count = h5py.vlen_dtype(np.uint8), len(content[name])
                images = file.create_dataset(name, count, kind, maxshape=(None,))
                for i, image in enumerate(content[name]):
                    images[i] = image
            else:
                file[name] = np.asarray(content[name]).astype(array.dtype)
        file.attrs.update(attributes or {})
    return path
