"""What a run was planned with, its code and its raw files, and that its jobs read nothing else.

A result is never made of what Snakemake does not know of: a file that is edited while a run goes
on, and put back before it ends, would leave results that nothing makes again.
"""

import functools
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from milmer import fingerprints
from milmer.errors import MilmerError

NOTE = "MILMER_PLANNED"
"""In the environment of a run's jobs: the file that holds the hashes of each command's modules."""

DIGESTS = "milmer-digests.json"
"""Beside that file: digests of raw files by path, with the size and time that they had."""

_REMEDY = "start the run again"
_code: dict[str, str] = {}  # hashes of this command's modules, as planned
_read: dict[str, list[int]] = {}  # size and time of each raw file that this job has read


def hold_to_plan(command: str) -> None:
    """Let this process be ``command`` of a run, with no other code than the run was planned with.

    Raises :class:`MilmerError` if the code is another; so does :func:`require_planned` from now on.
    """
    if note := os.environ.get(NOTE):
        with suppress(OSError, ValueError, LookupError, TypeError):  # of a run that is over
            _code.update(json.loads(Path(note).read_text(encoding="utf-8"))["code"][command])
    require_planned()


def require_planned() -> None:
    """Refuse to go on where code, or a raw file that was read, has changed since the plan."""
    for module, planned in _code.items():
        if fingerprints.module_hash(module) != planned:
            name = fingerprints.module_file(module)
            raise MilmerError("changed after this run began", where=name, remedy=_REMEDY)
    for path, before in _read.items():
        if state(path) != before:
            raise MilmerError("changed while it was read", where=path, remedy=_REMEDY)


def raw_digest(path: Path) -> str:
    """The SHA-256 of a raw file's bytes, remembered if it was planned with.

    In a job of a run, raises :class:`MilmerError` if the content is not that of the plan.
    """
    place, now = os.path.abspath(path), state(path)
    planned = _planned_digests().get(place)
    digest = planned[2] if planned and planned[:2] == now else _sha256_once(place, *now)
    if planned and digest != planned[2]:
        raise MilmerError("changed after this run began", where=path, remedy=_REMEDY)
    if NOTE in os.environ:
        _read[place] = now
    return digest


def state(path: Path | str) -> list[int]:
    """Size and time of a file, as :data:`DIGESTS` holds them; zeros where there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return [0, 0]
    return [about.st_size, about.st_mtime_ns]


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _sha256_once(path: str, size: int, time: int) -> str:
    """The same, computed once a process as long as size and time stay."""
    return sha256(path)


def remembered(memory: Path) -> dict[str, Any]:
    """What such a file holds: size, time and digest by absolute path."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@functools.cache
def _planned_digests() -> dict[str, Any]:
    note = os.environ.get(NOTE)
    return remembered(Path(note).with_name(DIGESTS)) if note else {}
