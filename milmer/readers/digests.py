"""Content digests and sizes of the files that a recording consists of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from milmer.errors import MilmerError
from milmer.limits import read_errors, require_file
from milmer.planned import raw_digest
from milmer.readers.sidecars import companions

_BLOCK = 1 << 16  # bytes


def eeg_digests(root: Path, files: Sequence[str]) -> dict[str, str]:
    """The digest of each recording, by its name among a stage's inputs.

    ``files`` are relative to ``root``; a single one is named ``eeg``, several are ``eeg000``,
    ``eeg001`` … A recording of several files, such as BrainVision's, has one digest for all.
    """
    names = ["eeg"] if len(files) == 1 else [f"eeg{i:03d}" for i in range(len(files))]
    return {n: _digest(Path(root) / file) for n, file in zip(names, files, strict=True)}


def sample_files(path: Path) -> list[Path]:
    """The files that hold the samples of a recording or video: not headers, markers, sidecars."""
    parts, suffix = companions(path), path.suffix.lower()
    if path.is_dir():
        return parts
    if suffix in (".vhdr", ".ahdr"):
        return parts[:1]
    if suffix == ".set" and parts:
        return parts
    return [path, *parts] if suffix == ".fif" else [path]


def samples_digest(path: Path) -> str:
    """The digest of the samples of a recording or video, the same for a copy of another name."""
    return _joint([_digest_of(file) for file in sample_files(path)])


def sample_sizes(path: Path) -> tuple[int, ...]:
    """Bytes of the files that hold the samples of a recording or video."""
    return tuple(file.stat().st_size for file in sample_files(path))


def samples_glimpse(path: Path) -> str:
    """A digest of a few blocks of the samples: of two that differ in it no more has to be read."""
    content = hashlib.sha256()
    for file in sample_files(path):
        size = file.stat().st_size
        with read_errors(file), open(file, "rb") as stream:
            for start in (0, size // 2, max(0, size - _BLOCK)):
                stream.seek(start)
                content.update(stream.read(_BLOCK))
    return content.hexdigest()


def _digest(path: Path) -> str:
    files = [*([] if path.is_dir() else [path]), *companions(path)]
    return _joint([_digest_of(file) for file in files])


def _joint(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def _digest_of(file: Path) -> str:
    require_file(file)
    with read_errors(file):
        return raw_digest(file)


def file_size(path: Path) -> int:
    """Bytes of a file; raises :class:`MilmerError` where it is missing or empty."""
    with read_errors(path):
        size = path.stat().st_size
    if not size:
        raise MilmerError("is empty (0 bytes)", where=path, remedy="copy it again")
    return size
