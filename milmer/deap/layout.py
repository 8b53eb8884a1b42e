"""Where the files of a copy of DEAP are, and the order of its channels.

Uses the standard library only: the Snakefile scans the dataset each time it is parsed.
File names and channel orders are those of the dataset's own documentation (Koelstra et al. 2012).
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from milmer.errors import MilmerError

GENEVA = [
    "Fp1",
    "AF3",
    "F3",
    "F7",
    "FC5",
    "FC1",
    "C3",
    "T7",
    "CP5",
    "CP1",
    "P3",
    "P7",
    "PO3",
    "O1",
    "Oz",
    "Pz",
    "Fp2",
    "AF4",
    "Fz",
    "F4",
    "F8",
    "FC6",
    "FC2",
    "Cz",
    "C4",
    "T8",
    "CP6",
    "CP2",
    "P4",
    "P8",
    "PO4",
    "O2",
]
"""EEG channels of the preprocessed files, and of the recordings of s23 to s32."""

TWENTE = [
    "Fp1",
    "AF3",
    "F7",
    "F3",
    "FC1",
    "FC5",
    "T7",
    "C3",
    "CP1",
    "CP5",
    "P7",
    "P3",
    "Pz",
    "PO3",
    "O1",
    "Oz",
    "O2",
    "PO4",
    "P4",
    "P8",
    "CP6",
    "CP2",
    "C4",
    "T8",
    "FC6",
    "FC2",
    "F4",
    "F8",
    "AF4",
    "Fp2",
    "Fz",
    "Cz",
]
"""EEG channels of the original recordings of s01 to s22."""

PERIPHERAL = ["hEOG", "vEOG", "zEMG", "tEMG", "GSR", "Resp", "Plet", "Temp"]
"""Channels 33 to 40 of the preprocessed files."""

SFREQ = 128.0
"""Sampling rate of the preprocessed files in Hz."""

EEG_KINDS = ("dat", "mat", "bdf")
"""Kinds of EEG file, the preferred one first."""

_FILMED = range(1, 23)
_WITHOUT_CLIP = {"s03": {40}, "s05": {40}, "s11": {38, 39, 40}, "s14": {40}}
_DEPTH = 4  # folders below the root: one more than DEAP has, for copies unzipped a level deeper
_EEG = re.compile(r"(s\d\d)\.(dat|mat|bdf)$", re.IGNORECASE)
_VIDEO = re.compile(r"(s\d\d)_trial(\d\d)\.avi$", re.IGNORECASE)
_RATINGS = "participant_ratings.csv"


@dataclass
class Copy:
    """What a copy of DEAP holds: paths by kind, subject and trial."""

    root: Path
    eeg: dict[str, dict[str, Path]] = field(default_factory=dict)
    videos: dict[str, dict[int, Path]] = field(default_factory=dict)
    ratings: Path | None = None

    @property
    def subjects(self) -> list[str]:
        """All subjects with EEG of any kind or with video, sorted."""
        return sorted({s for files in self.eeg.values() for s in files} | set(self.videos))

    def source(self, wanted: str, subjects: list[str]) -> str:
        """The kind of EEG file to read: ``wanted``, or for ``auto`` the one most subjects have.

        All subjects get the same kind: a model could recognise differently preprocessed recordings
        by their preprocessing.
        """
        if wanted != "auto":
            return wanted
        return max(EEG_KINDS, key=lambda kind: len(set(subjects) & set(self.eeg.get(kind, {}))))


def scan(root: str | Path) -> Copy:
    """Find EEG files, face videos and ratings below ``root`` by their names.

    Raises :class:`MilmerError` where there is no such folder, or where a file exists twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise MilmerError(
            f"no such folder: {root}", where="dataset.root", remedy="set it to your copy of DEAP"
        )
    copy = Copy(root)
    ratings: dict[str, Path] = {}
    for folder, below, names in os.walk(root, followlinks=True):
        if len(Path(folder).relative_to(root).parts) >= _DEPTH:
            below.clear()
        below.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if match := _EEG.fullmatch(name):
                kind = match[2].lower()
                _add(copy.eeg.setdefault(kind, {}), match[1].lower(), path, root)
            elif match := _VIDEO.fullmatch(name):
                _add(copy.videos.setdefault(match[1].lower(), {}), int(match[2]), path, root)
            elif name.lower() == _RATINGS:
                _add(ratings, _RATINGS, path, root)
    copy.ratings = ratings.get(_RATINGS)
    return copy


def ratings_file(copy: Copy) -> Path:
    """The ratings file of a copy; raises :class:`MilmerError` where there is none."""
    if copy.ratings is None:
        raise MilmerError(
            f"no {_RATINGS} found, the only map from videos to EEG trials",
            where=copy.root,
            remedy="copy DEAP's metadata_csv folder there",
        )
    return copy.ratings


def has_clip(subject: str, trial: int) -> bool:
    """Whether DEAP has a face video of a subject's trial: it has 874, of s01 to s22."""
    return int(subject[1:]) in _FILMED and trial not in _WITHOUT_CLIP.get(subject, ())


def no_eeg(copy: Copy, source: str) -> MilmerError:
    """The error for a copy without any EEG file of the kind ``source``."""
    kinds = ", ".join(f".{kind}" for kind in copy.eeg) or "none"
    return MilmerError(
        f"{copy.root} holds no .{source} file sNN.{source} (EEG files there: {kinds})",
        where="dataset.root",
        remedy="set it to your copy of DEAP, or change dataset.source",
    )


def _add(files: dict, key: str | int, path: Path, root: Path) -> None:
    if key in files:
        if path.exists() and path.resolve() == files[key].resolve():  # a link to it
            return
        first, second = files[key].relative_to(root), path.relative_to(root)
        raise MilmerError(f"holds {first} and {second}", where=root, remedy="keep one of them")
    files[key] = path
