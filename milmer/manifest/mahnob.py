"""A first manifest of MAHNOB-HCI's emotion elicitation (Soleymani et al. 2012): a session a trial.

A folder ``Sessions/N`` holds a recording of 32 EEG channels (``Part_1_S_Trial1_emotion.bdf``) from
30 s before a film to 30 s after it, the videos of up to six cameras, of which the first is in
colour, and ``session.xml``: subject, film, ratings of 1 to 9, the emotion felt, and the rate of the
cameras. The channel Status marks the film, with which the video begins. Sessions without ratings
(neutral clips before the films, and the experiment on tags) are left out.
"""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from milmer.errors import MilmerError
from milmer.limits import require_size, shortened
from milmer.manifest.files import VIDEO, beside
from milmer.readers.edf import EDFFile
from milmer.readers.video import DECODING_ERRORS, open_container

_RATINGS = {"valence": "feltVlnc", "arousal": "feltArsl", "dominance": "feltCtrl"}
_EMOTIONS = (
    *("neutral", "anger", "disgust", "fear", "joy", "sadness", "surprise", "scream", "bored"),
    *("sleepy", "unknown", "amusement", "anxiety"),
)
"""By their number in ``feltEmo``."""

_BESIDE = 30.0  # s of a recording before and after the film
_SHIFT = 5.0  # s by which the marks of a film may differ from that
_WORD = 0xFFFF  # the bits of a word of Status that hold a mark
_SAME_CLOCK = 0.02  # of a rate: what a header rounds; a video that differs more was converted
_TRIAL = re.compile(r"Part_\d+_[A-Z]_Trial(\d+)_emotion")
_log = logging.getLogger(__name__)


def mahnob_rows(folder: Path, out: Path) -> list[dict[str, Any]]:
    """The rows of a manifest ``out``; raises :class:`MilmerError` for an unreadable session."""
    sessions = sorted(folder.glob("Sessions/*/session.xml")) or sorted(folder.glob("*/session.xml"))
    rows = []
    left_out: Counter[str] = Counter()
    for xml in sessions:
        session = _read(xml)
        recordings = sorted(xml.parent.glob("*_emotion.bdf"))
        if not all(session.get(name) for name in (*_RATINGS.values(), "mediaFile")):
            left_out["no ratings"] += 1
        elif len(recordings) != 1:
            left_out["no recording" if not recordings else "several recordings"] += 1
        else:
            rows.append(_row(xml, session, recordings[0], out))
    if not rows:
        raise MilmerError(
            "holds no Sessions/*/session.xml with ratings and a *_emotion.bdf beside it",
            where=folder,
            remedy="give the folder that holds MAHNOB-HCI's Sessions",
        )
    for reason, count in left_out.items():
        _log.warning("%s: %d sessions are left out: %s", folder, count, reason)
    return sorted(rows, key=lambda row: (row["subject"], row["trial"]))


def _read(path: Path) -> Element:
    require_size(path)
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise MilmerError(
            f"is not XML that is read ({error})", where=path, remedy="copy it again"
        ) from error
    if root.tag != "session":
        raise MilmerError(f"is no session but {shortened(root.tag)}", where=path)
    return root


def _row(xml: Path, session: Element, eeg: Path, out: Path) -> dict[str, Any]:
    subject = session.find("subject")
    number = _number(xml, "subject id", None if subject is None else subject.get("id"))
    match = _TRIAL.fullmatch(eeg.stem)
    if match is None:
        raise MilmerError("is no trial by its name", where=eeg, remedy=f"expected {_TRIAL.pattern}")
    start, stop = _film(eeg)
    row = {
        "subject": f"p{number:02.0f}",
        "trial": int(match[1]),
        "stimulus": session.get("mediaFile"),
        "eeg_file": beside(eeg, out),
        "eeg_start": start,
        "eeg_stop": stop,
        **{scale: _number(xml, name, session.get(name)) for scale, name in _RATINGS.items()},
    }
    if felt := session.get("feltEmo"):
        emotion = _number(xml, "feltEmo", felt)
        if emotion not in range(len(_EMOTIONS)):
            raise MilmerError(f"feltEmo {shortened(felt)} is no number of an emotion", where=xml)
        row["label"] = _EMOTIONS[int(emotion)]
    if (video := _video(xml, session)) is not None:
        row |= {"video_file": beside(video, out), "video_start": 0}
        row["video_rate"] = _video_rate(video, _number(xml, "vidRate", session.get("vidRate")))
    return row


def _number(xml: Path, name: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise MilmerError(f"{name} {shortened(text or '')} is not a number", where=xml)
    return number


def _film(eeg: Path) -> tuple[float, float]:
    """From when to when the film was shown, in s: by the marks, else 30 s from both ends."""
    file = EDFFile(eeg)
    start, stop = _BESIDE, file.seconds - _BESIDE
    if stop <= start:
        raise MilmerError(
            f"lasts {file.seconds:g} s, where 30 s are before the film and 30 s after it", where=eeg
        )
    for signal in file.signals:
        if signal.label.lower() == "status":
            words = file.stored([signal], 0, file.samples(signal))[0] & _WORD
            marked = np.flatnonzero(words != words[0]) / file.rate(signal)
            if len(marked) and max(abs(marked[0] - start), abs(marked[-1] - stop)) <= _SHIFT:
                return round(float(marked[0]), 6), round(float(marked[-1]), 6)
    _log.warning("%s: no marks of the film in Status; it is taken 30 s from both ends", eeg)
    return start, round(stop, 6)


def _video(xml: Path, session: Element) -> Path | None:
    """The video of the colour camera in the session's folder, if it is there."""
    names = [
        track.get("filename") or "" for track in session.iter("track") if track.get("color") == "1"
    ]
    named = [xml.parent / name for name in names if name and Path(name).name == name]
    videos = [path for path in named if path.is_file()] or [
        path for path in sorted(xml.parent.glob("*_C1 *")) if path.suffix.lower() in VIDEO
    ]
    if len(videos) > 1:
        raise MilmerError(
            f"{len(videos)} videos of the colour camera: {', '.join(v.name for v in videos)}",
            where=xml.parent,
            remedy="keep one of them there",
        )
    return videos[0] if videos else None


def _video_rate(video: Path, rate: float) -> float:
    """Seconds of the cameras' clock that a second of the video lasts."""
    try:
        with open_container(video) as container:
            frames = [float(stream.average_rate or 0) for stream in container.streams.video]
    except DECODING_ERRORS as error:
        raise MilmerError(
            f"cannot be read ({error})", where=video, remedy="copy it again"
        ) from error
    factor = frames[0] / rate if frames and rate > 0 else 1.0
    return round(factor, 9) if abs(factor - 1) < _SAME_CLOCK else 1.0
