"""Content digests and sizes of the files that a recording consists of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from milmer import storage
from milmer.errors import MilmerError
from milmer.readers.sidecars import companions


def eeg_digests(root: Path, files: Sequence[str]) -> dict[str, str]:
    """The digest of each recording, by its name among a stage's inputs.

    ``files`` are relative to ``root``; a single one is named ``eeg``, several are ``eeg000``,
    ``eeg001`` … A recording of several files, such as BrainVision's, has one digest for all.
    """
    names = ["eeg"] if len(files) == 1 else [f"eeg{i:03d}" for i in range(len(files))]
    return {n: _digest(Path(root) / file) for n, file in zip(names, files, strict=True)}


def _digest(path: Path) -> str:
    files = [*([] if path.is_dir() else [path]), *companions(path)]
    parts = [storage.digest(file) for file in files]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def file_size(path: Path) -> int:
    """Bytes of a file; raises :class:`MilmerError` where it is missing or empty."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise MilmerError(f"cannot be read ({error.strerror})", where=path) from error
    if not size:
        raise MilmerError("is empty (0 bytes)", where=path, remedy="copy it again")
    return size
