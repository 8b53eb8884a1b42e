"""Which trials and segments cannot be used, and why.

A rejected segment stays in the segments file and in every split, with its reason; whoever reads it
leaves it out.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from milmer.data.recording import Recording
from milmer.data.segmentation import Segment
from milmer.eeg.options import RejectOptions

_log = logging.getLogger(__name__)


class Rejection(NamedTuple):
    """Why something cannot be used: one of the words of the segments file, and what it was."""

    why: str
    detail: str


def unusable_trials(recording: Recording, use_eog: bool) -> dict[int, Rejection]:
    """The trials that have a gap or values that are not finite, in EOG too if that is used."""
    rejected = {}
    for trial, gaps in recording.gaps.items():
        if gaps:
            text = ", ".join(f"{start:.2f} to {stop:.2f} s" for start, stop in gaps)
            rejected[trial] = Rejection("gap", f"not recorded from {text}")
    eog = (recording.eog or {}) if use_eog else {}
    for trial, eeg in recording.eeg.items():
        names = [
            name
            for name, x in zip(recording.channels, eeg, strict=True)
            if not np.isfinite(x).all()
        ]
        names += ["EOG"] if not np.isfinite(eog.get(trial, 0.0)).all() else []
        if names:
            rejected.setdefault(trial, Rejection("not finite", ", ".join(names)))
    return rejected


def marked(
    segment: Segment, seconds: float, marks: Sequence[tuple[float, float, str]]
) -> Rejection | None:
    """The rejection of a segment of ``seconds`` that overlaps one of ``marks``."""
    for start, stop, description in marks:
        # A boundary has no length.
        if start < segment.start + seconds and (segment.start < stop or segment.start <= start):
            return Rejection("mark", description)
    return None


def out_of_range(
    raw: np.ndarray, filtered: np.ndarray, channels: Sequence[str], options: RejectOptions
) -> Rejection | None:
    """The rejection of a segment in which a channel is flat, or moves too much.

    ``raw`` and ``filtered`` (channel, sample) are the segment in µV before it was cleaned and after
    it was filtered, of the ``channels`` that were good in its trial.
    """
    if not len(channels):
        return None
    if options.flat is not None:
        flat = np.flatnonzero(np.ptp(raw, axis=1) <= options.flat)
        if flat.size:
            return Rejection("flat", ", ".join(channels[i] for i in flat))
    if options.amplitude is not None:
        moved = np.ptp(filtered, axis=1)
        if moved.max() > options.amplitude:
            return Rejection("amplitude", f"{channels[moved.argmax()]} {moved.max():.0f} µV")
    return None


def report_rows(rejected: Mapping[Segment, Rejection]) -> list[dict[str, Any]]:
    """What the segments file tells of them: a row a trial and rejection, as plain JSON values."""
    positions: dict[tuple[int, Rejection], list[int]] = {}
    for segment, rejection in rejected.items():
        positions.setdefault((segment.trial, rejection), []).append(segment.position)
    return [
        {"trial": trial, "positions": where, **rejection._asdict()}
        for (trial, rejection), where in positions.items()
    ]


def log_rejected(name: str, segments: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Log how many segments of a recording were rejected, and each trial's reason."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["why"]] += len(row["positions"])
    if not counts:
        return
    reasons = ", ".join(f"{why} {count}" for why, count in counts.most_common())
    _log.warning("%s: %d of %d segments rejected: %s", name, counts.total(), segments, reasons)
    for row in rows:
        _log.info(
            "trial %d, %d segments: %s (%s)",
            row["trial"],
            len(row["positions"]),
            row["why"],
            row["detail"],
        )
