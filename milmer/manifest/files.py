"""What the makers of a first manifest have in common: names of files, and patterns."""

import os
import re
from pathlib import Path

from milmer.errors import MilmerError

VIDEO = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".ts", ".wmv")
"""Suffixes of videos that are looked for beside recordings."""


def beside(file: Path, out: Path) -> str:
    """The name of a ``file`` in the manifest ``out``: relative to its folder."""
    return Path(os.path.relpath(file, out.parent)).as_posix()


def compiled(pattern: str | None, where: str) -> re.Pattern[str] | None:
    """A regular expression that a person gave; raises :class:`MilmerError` where it is none."""
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise MilmerError(
            f"{pattern!r} is not a regular expression ({error})", where=where, remedy="correct it"
        ) from error
