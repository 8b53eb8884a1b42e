"""A first manifest from an EEG-BIDS folder (Pernet et al. 2019).

BIDS does not define trials. Here a trial is an event with a duration; a recording without such
events is one trial. The stimulus is the event's ``stim_file``, else its ``trial_type``, which is
also the label. Review the manifest before you use it.
"""

import logging
import math
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.manifest.files import VIDEO, beside, compiled
from milmer.manifest.table import RATING_COLUMNS
from milmer.readers.cells import Cells, read_cells

_EEG = (".edf", ".bdf", ".set", ".vhdr", ".fif")
_log = logging.getLogger(__name__)


def bids_rows(
    bids: Path,
    out: Path,
    task: str | None = None,
    camera: str | None = None,
    events: str | None = None,
    seconds: float | None = None,
) -> list[dict[str, Any]]:
    """The rows of a manifest ``out``; derivatives and source data are left out.

    ``task`` limits it to the recordings of one task, ``events`` to trial types that match this
    regular expression; ``camera`` is a word in the names of the videos to use, ``seconds`` the
    length of events without one. Raises :class:`MilmerError` where the folder holds no such EEG,
    where events cannot be read, or where it is not clear which video is meant.
    """
    pattern = compiled(events, "--events")
    recordings = [
        path
        for path in sorted(bids.glob("sub-*/**/eeg/*_eeg.*"))
        if path.suffix.lower() in _EEG
        and task in (None, _entities(path).get("task"))
        and int(_entities(path).get("split", 1)) == 1  # MNE reads what follows it
    ]
    if not recordings:
        of = f" of task {task}" if task else ""
        raise MilmerError(
            f"holds no EEG recording{of}",
            where=bids,
            remedy="recordings are sub-*/eeg/*_eeg.edf, .bdf, …",
        )
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for path in recordings:
        subject, entities = path.relative_to(bids).parts[0].removeprefix("sub-"), _entities(path)
        video = _video(path, camera)
        begin = None if video is None else _offset(path, video)
        if video is not None and begin is None:
            _log.warning(
                "%s: taken to begin with the EEG, since no _scans.tsv says when they began", video
            )
        trials = _events(path, pattern, seconds)
        if not trials and pattern is None:
            trials = [{"stimulus": entities.get("task") or path.stem}]
        for event in trials:
            counts[subject] += 1
            row = {"subject": subject, "session": entities.get("ses", ""), "trial": counts[subject]}
            row |= event | {"eeg_file": beside(path, out)}
            if video is not None:
                start = event.get("eeg_start", 0)
                row["video_file"] = beside(video, out)
                row |= {"video_start": start} if begin is None else {"video_offset": begin}
            rows.append(row)
    if not rows:
        raise MilmerError(
            f"no event is of a type that matches {events}",
            where=bids,
            remedy="change --events, or give --seconds to events without a duration",
        )
    return rows


def _entities(path: Path) -> dict[str, str]:
    """The entities in a name: ``{"sub": "01", "task": "films"}``."""
    return dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)", path.name))


def _events(
    eeg: Path, pattern: re.Pattern[str] | None, seconds: float | None
) -> list[dict[str, Any]]:
    """The events of a recording that are trials, in the order of time."""
    path = eeg.with_name(re.sub(r"_eeg$", "_events.tsv", eeg.stem))
    if not path.is_file():
        return []
    table = read_cells(path)
    for column in ("onset", "duration"):
        if column not in table.columns:
            raise MilmerError(
                f"no column {column}", where=path, remedy="events have onset and duration, in s"
            )
    events: list[dict[str, Any]] = []
    for line, cells in table.rows:
        kind = _text(cells, "trial_type") or _text(cells, "value")
        onset, duration = (table.number(cells[column]) for column in ("onset", "duration"))
        if not duration > 0:
            duration = seconds or math.nan
        lasting = onset >= 0 and duration > 0 and math.isfinite(onset + duration)
        if lasting and (pattern is None or pattern.fullmatch(kind)):
            events.append(_event(table, line, cells, kind, onset, duration))
    if not events and table.rows and pattern is None:
        _log.warning(
            "%s: no event has a duration, so that the recording is one trial; --seconds gives "
            "them one",
            path,
        )
    events.sort(key=lambda event: event["eeg_start"])
    for number, event in enumerate(events, 1):
        event["stimulus"] = event["stimulus"] or f"{eeg.stem} {number}"
    return events


def _event(
    table: Cells, line: int, cells: dict[str, str], kind: str, onset: float, duration: float
) -> dict[str, Any]:
    rated = {scale: text for scale in RATING_COLUMNS if (text := _text(cells, scale))}
    ratings = {scale: table.number(text) for scale, text in rated.items()}
    if wrong := [scale for scale, rating in ratings.items() if not math.isfinite(rating)]:
        problem = f"{wrong[0]} {shortened(rated[wrong[0]])} is not a number"
        raise MilmerError(problem, where=f"{table.path}: line {line}")
    return {
        "stimulus": _text(cells, "stim_file") or kind,
        "eeg_start": onset,
        "eeg_stop": round(onset + duration, 9),
        "label": kind,
        **ratings,
    }


def _video(eeg: Path, camera: str | None) -> Path | None:
    """The video with the entities of a recording, in a folder of the same session."""
    stem = eeg.stem.removesuffix("_eeg")
    files = [
        path for path in sorted(_session(eeg).glob(f"*/{stem}_*")) if path.suffix.lower() in VIDEO
    ]
    if camera is not None:
        files = [path for path in files if camera in re.split("[_.-]", path.name[len(stem) :])]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise MilmerError(
            f"{len(files)} videos of one recording: {names}",
            where=eeg,
            remedy="choose one by a word of its name: --camera WORD",
        )
    return files[0] if files else None


def _offset(eeg: Path, video: Path) -> float | None:
    """When the video begins in s of the EEG, by ``_scans.tsv``; None where that does not say."""
    session = _session(eeg)
    scans = next(iter(sorted(session.glob("*_scans.tsv"))), None)
    if scans is None:
        return None
    began = {}
    for line, cells in read_cells(scans).rows:
        for path in (eeg, video):
            text = _text(cells, "acq_time")
            if text and _text(cells, "filename") == path.relative_to(session).as_posix():
                try:
                    began[path] = datetime.fromisoformat(text)
                except ValueError as error:
                    raise MilmerError(
                        f"{text} is no date and time",
                        where=f"{scans}: line {line}: acq_time",
                        remedy="write it as 2026-11-28T09:30:00.250",
                    ) from error
    if len(began) < 2:
        return None
    if not any(when.microsecond for when in began.values()):
        _log.warning("%s: times to whole seconds; faces may be up to 1 s off", scans)
    try:
        return round((began[video] - began[eeg]).total_seconds(), 6)
    except TypeError as error:  # one in UTC, one without a zone
        raise MilmerError(
            f"only one of {eeg.name} and {video.name} has a time zone",
            where=f"{scans}: acq_time",
            remedy="write both in the same way",
        ) from error


def _session(eeg: Path) -> Path:
    return eeg.parent.parent


def _text(cells: dict[str, str], column: str) -> str:
    value = cells.get(column, "")
    return "" if value.lower() in ("", "n/a") else value
