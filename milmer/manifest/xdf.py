"""A first manifest from recordings of the Lab Streaming Layer: EEG, markers and camera in one file.

A marker that matches a pattern begins a trial, which lasts until the next marker of its stream. The
frame times of the camera's stream go into a table beside the manifest, the column ``video_times``.
"""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from milmer import storage
from milmer.errors import MilmerError
from milmer.manifest.files import VIDEO, beside, compiled
from milmer.readers.xdf import XDFEvents, read_xdf_events

_log = logging.getLogger(__name__)


def xdf_rows(
    folder: Path,
    out: Path,
    marker: str | None = None,
    camera: str | None = None,
    seconds: float | None = None,
) -> list[dict[str, Any]]:
    """The rows of a manifest ``out`` of all ``.xdf`` below ``folder``.

    Markers that match the regular expression ``marker`` begin trials; its groups ``stimulus`` and
    ``label`` name them, else its first group, else the whole text. Trials last ``seconds``, or
    until the next marker. ``camera`` is a word in the names of the videos and of the streams of
    frame times to use. Raises :class:`MilmerError` where a file cannot be read, holds no such
    marker, or where it is not clear which video or stream is meant.
    """
    pattern = compiled(marker, "--marker")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".xdf")
    if not files:
        raise MilmerError("holds no .xdf", where=folder, remedy="give the folder of recordings")
    if pattern is None:
        listed = sorted({text for texts in _markers(files[0]).values() for _, text in texts})
        raise MilmerError(
            f"which markers begin a trial? {files[0].name} has {', '.join(listed[:20]) or 'none'}",
            where="--marker",
            remedy="give a regular expression",
        )
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for path in files:
        events = read_xdf_events(path)
        subject, session = _who(path)
        video = _video(path, events, out, camera)
        for start, stop, match in _trials(path, events, pattern, seconds):
            counts[subject] += 1
            groups = match.groupdict()
            text = next(filter(None, match.groups()), match[0])
            rows.append(
                {
                    "subject": subject,
                    "session": session,
                    "trial": counts[subject],
                    "stimulus": groups.get("stimulus") or text,
                    "eeg_file": beside(path, out),
                    "eeg_start": round(start, 6),
                    "eeg_stop": round(stop, 6),
                    "label": groups.get("label") or text,
                    **video,
                }
            )
    return rows


def _markers(path: Path) -> dict[str, list[tuple[float, str]]]:
    return read_xdf_events(path).markers


def _who(path: Path) -> tuple[str, str]:
    """Subject and session of a file: as LabRecorder names it, else its own name."""
    entities = dict(re.findall(r"(?:^|_)(sub|ses)-([A-Za-z0-9]+)", path.name))
    name = entities.get("sub") or re.sub("[^A-Za-z0-9_]", "_", path.stem)
    return name, entities.get("ses", "")


def _trials(
    path: Path, events: XDFEvents, pattern: re.Pattern[str], seconds: float | None
) -> list[tuple[float, float, re.Match[str]]]:
    """Start, stop and marker of each trial, in the order of time."""
    trials, early = [], 0
    for markers in events.markers.values():
        ends = [time for time, _ in markers[1:]] + [events.seconds]
        for (time, text), end in zip(markers, ends, strict=True):
            match = pattern.fullmatch(text)
            stop = time + seconds if seconds else end
            if match and time < 0:
                early += 1
            elif match and stop > time:
                trials.append((time, stop, match))
    if early:
        _log.warning("%s: %d markers before its EEG begins are left out", path, early)
    if not trials:
        listed = sorted({text for markers in events.markers.values() for _, text in markers})
        raise MilmerError(
            f"no marker matches {pattern.pattern}; it has {', '.join(listed[:20]) or 'none'}",
            where=path,
            remedy="change --marker",
        )
    return sorted(trials, key=lambda trial: trial[0])


def _video(path: Path, events: XDFEvents, out: Path, camera: str | None) -> dict[str, str]:
    """The columns about a recording's video; none where it has none, or no times of its frames."""
    words = r"[\W_]+"
    videos = [
        file
        for file in sorted(path.parent.glob(f"{path.stem}*"))
        if file.suffix.lower() in VIDEO
        and (camera is None or camera in re.split(words, file.name[len(path.stem) :]))
    ]
    streams = {
        name: times
        for name, times in events.frames.items()
        if camera is None or len(events.frames) == 1 or camera in re.split(words, name)
    }
    if not videos or not streams:
        if videos:
            _log.warning("%s: left out, %s has no stream of its frame times", videos[0], path.name)
        return {}
    for what, names in (("videos", [v.name for v in videos]), ("streams of frames", [*streams])):
        if len(names) > 1:
            raise MilmerError(
                f"{len(names)} {what}: {', '.join(names)}",
                where=path,
                remedy="choose one by a word of its name: --camera WORD",
            )
    times = out.parent / f"{out.stem}_times" / f"{path.stem}.csv"
    _write_times(times, next(iter(streams.values())))
    return {"video_file": beside(videos[0], out), "video_times": beside(times, out)}


def _write_times(path: Path, times: np.ndarray) -> None:
    if path.exists():
        raise MilmerError("exists already", where=path, remedy="give the manifest another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.replacing(path) as partial:
        partial.write_text("time\n" + "".join(f"{time:.6f}\n" for time in times))
