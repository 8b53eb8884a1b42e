"""A first manifest from an EEG-BIDS folder (Pernet et al. 2019), read with MNE-BIDS.

BIDS does not say what a trial is. Here it is an event of some duration; a recording without such
events is one trial. What was shown is the event's ``stim_file``, else its ``trial_type``, which is
the label too. A person looks through it before it is used.
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
from milmer.manifest.table import COLUMNS, RATING_COLUMNS

_EEG = [".edf", ".bdf", ".set", ".vhdr", ".fif"]
_VIDEO = (".mp4", ".mkv", ".mov", ".avi", ".webm")
_log = logging.getLogger(__name__)


def write_first(bids: Path, out: Path, task: str | None = None) -> str:
    """Write a manifest of the folder ``bids`` to ``out``; returns what it holds in words.

    ``task`` takes the recordings of that task alone. Paths are relative to the folder of ``out``.
    Raises :class:`MilmerError` where the folder holds no EEG, or where ``out`` is there already.
    """
    if out.exists():
        raise MilmerError(f"{out}: is there already; give a new name")
    if not bids.is_dir():
        raise MilmerError(f"{bids}: no such folder")
    rows = list(_rows(bids, out.parent, task))
    if not rows:
        of = f" of task {task}" if task else ""
        raise MilmerError(f"{bids}: holds no EEG recording{of} as sub-*/eeg/*_eeg.edf, .bdf, …")
    subjects = {row["subject"] for row in rows}
    columns = [name for name in COLUMNS if any(row.get(name, "") != "" for row in rows)]
    with (
        storage.replacing(out) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return f"{len(rows)} trials of {len(subjects)} subjects"


def _rows(bids: Path, folder: Path, task: str | None) -> Iterator[dict[str, Any]]:
    import mne_bids

    found = mne_bids.find_matching_paths(
        bids, datatypes="eeg", suffixes="eeg", extensions=_EEG, tasks=task, check=False
    )
    trial: dict[str, int] = {}
    for path in sorted(found, key=lambda path: str(path.fpath)):
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
    """The events of some duration of a recording, in the order of time."""
    path = eeg.with_name(re.sub(r"_eeg$", "_events.tsv", eeg.stem))
    if not path.is_file():
        return []
    try:
        table = pd.read_csv(path, sep="\t", na_values="n/a")
        timed = table[["onset", "duration"]].apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError, KeyError) as error:
        raise MilmerError(f"{path}: cannot be read as events ({error})") from error
    lasting = table[(timed["duration"] > 0) & (timed["onset"] >= 0)].sort_values("onset")
    if lasting.empty and len(table):
        _log.warning("%s: no event has a duration; the recording is taken for one trial", path)
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
    """A video beside a recording, or in a folder of the same session, with its entities."""
    stem = eeg.stem.removesuffix("_eeg")
    session = eeg.parent.parent
    found = [path for path in sorted(session.glob(f"*/{stem}_*")) if path.suffix.lower() in _VIDEO]
    return found[0] if found else None


def _beside(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value).strip()
