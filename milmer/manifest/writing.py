"""Writes a first manifest, from whatever describes recordings: BIDS, LSL, an open dataset."""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from milmer import storage
from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.manifest.bids import bids_rows
from milmer.manifest.eav import eav_rows
from milmer.manifest.mahnob import mahnob_rows
from milmer.manifest.table import COLUMNS, SUBJECT
from milmer.manifest.xdf import xdf_rows
from milmer.plain_text import as_cell, unseen_character

MAKERS: dict[str, tuple[Callable[..., list[dict[str, Any]]], tuple[str, ...]]] = {
    "bids": (bids_rows, ("task", "camera", "events", "seconds")),
    "xdf": (xdf_rows, ("marker", "camera", "seconds")),
    "eav": (eav_rows, ()),
    "mahnob": (mahnob_rows, ()),
}
"""What makes the rows of each kind of folder, and the choices that it takes."""


def write_first(kind: str, folder: Path, out: Path, **choices: Any) -> str:
    """Write the recordings in ``folder`` as the manifest ``out``; choices of None are none.

    Returns a line that says what it holds. Raises :class:`MilmerError` where there is no such
    folder, where ``out`` exists, or where the folder does not hold what its ``kind`` says.
    """
    if kind not in MAKERS:
        raise MilmerError(
            f"{kind!r} is not a kind of folder", where="--from", remedy=f"give {', '.join(MAKERS)}"
        )
    make, names = MAKERS[kind]
    choices = {name: value for name, value in choices.items() if value is not None}
    if foreign := [name for name in choices if name not in names]:
        raise MilmerError(
            f"does not go with --from {kind}", where=f"--{foreign[0]}", remedy="leave it out"
        )
    if os.path.lexists(out):
        raise MilmerError("exists already", where=out, remedy="give a new name")
    if not folder.is_dir():
        raise MilmerError("no such folder", where=folder, remedy="give the folder of recordings")
    rows = make(folder, out, **choices)
    for row in rows:
        _require_names(row)
    columns = [name for name in COLUMNS if any(row.get(name, "") != "" for row in rows)]
    with (
        storage.replacing(out) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: as_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows
        )
    return f"{len(rows)} trials of {len({row['subject'] for row in rows})} subjects"


def _require_names(row: dict[str, Any]) -> None:
    """Refuse names that no manifest can hold, before they are written and another has to."""
    for column, value in row.items():
        if isinstance(value, str) and (character := unseen_character(value)):
            raise MilmerError(
                f"{column} {shortened(value)} holds the character {character}",
                where=row["eeg_file"],
                remedy="give it another name",
            )
    if not re.fullmatch(SUBJECT, row["subject"]):
        raise MilmerError(
            f"{shortened(row['subject'])} is not a name of letters, digits and underscores",
            where=row["eeg_file"],
            remedy="give the subject another name",
        )
