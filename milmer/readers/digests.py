"""Content digests of recordings that consist of one file or of several."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from milmer import storage
from milmer.readers.sidecars import companions


def eeg_digests(root: Path, files: Sequence[str]) -> dict[str, str]:
    """The digest of each recording, by its name among a stage's inputs.

    ``files`` are relative to ``root``; a single one is named ``eeg``, several are ``eeg000``,
    ``eeg001`` … A recording of several files, such as BrainVision's, has one digest for all.
    """
    names = ["eeg"] if len(files) == 1 else [f"eeg{i:03d}" for i in range(len(files))]
    return {n: _digest(Path(root) / file) for n, file in zip(names, files, strict=True)}


def _digest(path: Path) -> str:
    parts = [storage.digest(file) for file in (path, *companions(path))]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()
