"""A first manifest from an EEG-BIDS folder (Pernet et al. 2019), read with MNE-BIDS.

BIDS does not define trials. Here a trial is an event with a duration; a recording without such
events is one trial. The stimulus is the event's ``stim_file``, else its ``trial_type``, which is
also the label. Review the manifest before you use it.
"""

import csv
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from milmer import storage
from milmer.errors import MilmerError
from milmer.limits import require_size
from milmer.manifest.table import COLUMNS, RATING_COLUMNS
from milmer.plain_text import as_cell

_EEG = [".edf", ".bdf", ".set", ".vhdr", ".fif"]
_VIDEO = (".mp4", ".mkv", ".mov", ".avi", ".webm")
_log = logging.getLogger(__name__)


def write_first(bids: Path, out: Path, task: str | None = None) -> str:
    """Write a manifest of the folder ``bids`` to ``out``; return a line that says what it holds.

    ``task`` limits it to the recordings of one task. Paths are relative to the folder of ``out``.
    Raises :class:`MilmerError` where the folder holds no EEG, or where ``out`` exists.
    """
    if os.path.lexists(out):
        raise MilmerError("exists already", where=out, remedy="give a new name")
    if not bids.is_dir():
        raise MilmerError("no such folder", where=bids, remedy="give a BIDS folder")
    rows = list(_rows(bids, out.parent, task))
    if not rows:
        of = f" of task {task}" if task else ""
        raise MilmerError(
            f"holds no EEG recording{of}",
            where=bids,
            remedy="recordings are sub-*/eeg/*_eeg.edf, .bdf, …",
        )
    subjects = {row["subject"] for row in rows}
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
    return f"{len(rows)} trials of {len(subjects)} subjects"


def _rows(bids: Path, folder: Path, task: str | None) -> Iterator[dict[str, Any]]:
    import mne_bids

    recordings = mne_bids.find_matching_paths(
        bids, datatypes="eeg", suffixes="eeg", extensions=_EEG, tasks=task, check=False
    )
    trial: dict[str, int] = {}
    for path in sorted(recordings, key=lambda path: str(path.fpath)):
        subject = re.sub("[^A-Za-z0-9_]", "", path.subject or "")
        video = _video(path.fpath)
        for event in _events(path.fpath) or [{"stimulus": path.task or path.fpath.stem}]:
            trial[subject] = trial.get(subject, 0) + 1
            row = {"subject": subject, "trial": trial[subject], **event}
            row["eeg_file"] = _beside(path.fpath, folder)
            if video is not None:
                row["video_file"] = _beside(video, folder)
                row["video_start"] = event.get("eeg_start", 0)
            yield row


def _events(eeg: Path) -> list[dict[str, Any]]:
    """The events of a recording that have a duration, in the order of time."""
    path = eeg.with_name(re.sub(r"_eeg$", "_events.tsv", eeg.stem))
    if not path.is_file():
        return []
    require_size(path)
    try:
        table = pd.read_csv(path, sep="\t", na_values="n/a")
        timed = table[["onset", "duration"]].apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError, KeyError) as error:
        raise MilmerError(
            f"cannot be read as events ({error})",
            where=path,
            remedy="it needs columns onset and duration, separated by tabs",
        ) from error
    lasting = table[(timed["duration"] > 0) & (timed["onset"] >= 0)].sort_values("onset")
    if lasting.empty and len(table):
        _log.warning("%s: no event has a duration; the recording counts as one trial", path)
    events = []
    for i, row in lasting.iterrows():
        kind = _text(row.get("trial_type")) or _text(row.get("value"))
        event = {
            "stimulus": _text(row.get("stim_file")) or kind or f"{eeg.stem} {len(events) + 1}",
            "eeg_start": float(timed.loc[i, "onset"]),
            "eeg_stop": round(float(timed.loc[i].sum()), 9),
            "label": kind,
        }
        event |= {s: float(row[s]) for s in RATING_COLUMNS if s in row and pd.notna(row[s])}
        events.append(event)
    return events


def _video(eeg: Path) -> Path | None:
    """A video with the entities of a recording, in a folder of the same session."""
    stem = eeg.stem.removesuffix("_eeg")
    session = eeg.parent.parent
    files = sorted(session.glob(f"*/{stem}_*"))
    return next((path for path in files if path.suffix.lower() in _VIDEO), None)


def _beside(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value).strip()
