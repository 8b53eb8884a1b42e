"""What was found of a manifest as one screen, and as JSON."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from milmer.check.manifest import Own
from milmer.check.ranges import span
from milmer.check.text import told, verdict, wrapped
from milmer.readers.seekable_video import TimedClip


def screen(own: Own) -> str:
    """The text for people."""
    lines = [*_head(own), "", *_table(own)]
    stops, notes = _sorted(own)
    for title, found in (("ERROR", stops), ("NOTE", notes)):
        lines += [""] * bool(found) + told(title, found)
    return "\n".join([*lines, "", verdict(len(stops), len(notes), own.quick)])


def as_json(own: Own) -> dict[str, Any]:
    """Plain values; the keys are documented in docs/own-data.md."""
    stops, notes = _sorted(own)
    return {
        "manifest": str(own.manifest.path),
        "usable": not stops,
        "quick": own.quick,
        "classes": own.names,
        "subjects": {
            subject: [
                {
                    "trial": row.trial,
                    "experiment_id": row.experiment_id,
                    "stimulus": row.stimulus,
                    "class": own.classes.get((subject, row.trial)),
                    "eeg_seconds": _plain(own.seconds[subject, row.trial]),
                    "video": row.video_file is not None,
                }
                for row in own.rows(subject)
            ]
            for subject in own.subjects
        },
        "eeg": {
            name: held and {"channels": held.channels, "sfreq": held.sfreq, "seconds": held.seconds}
            for name, held in own.eeg.items()
        },
        "video": {
            name: clip
            and {
                "fps": clip.fps,
                "frames": clip.frames,
                "width": clip.width,
                "height": clip.height,
                "seconds": clip.seconds,
                "by_time": isinstance(clip, TimedClip),
            }
            for name, clip in own.video.items()
        },
        "errors": [_finding(finding) for finding in stops],
        "notes": [_finding(finding) for finding in notes],
    }


def _sorted(own: Own) -> tuple[list, list]:
    return [f for f in own.findings if f.stops], [f for f in own.findings if not f.stops]


def _finding(finding: Any) -> dict[str, Any]:
    return {"about": finding.about, "subjects": list(finding.subjects), "text": finding.text}


def _plain(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds


def _head(own: Own) -> Iterator[str]:
    yield f"{own.manifest.path}" + (" (--quick: EEG and videos were not read)" if own.quick else "")
    rows = own.rows()
    stimuli = len({row.stimulus for row in rows})
    text = f"{len(rows)} of {len(own.subjects)} subjects, {stimuli} stimuli"
    yield from wrapped(f"{'trials':9}", text)
    counts = Counter(own.classes.values())
    listed = ", ".join(f"{name} {counts[name]}" for name in own.names)
    yield from wrapped(f"{'classes':9}", listed or "none")
    if own.eeg:
        yield from wrapped(f"{'EEG':9}", f"{len(own.eeg)} files")
    yield from wrapped(f"{'video':9}", f"{len(own.video)} files" if own.video else "none")


def _table(own: Own) -> list[str]:
    heads = ("subject", "trials", "with EEG", "seconds", "channels", "Hz", "with video")
    table = [heads, *(_row(own, subject) for subject in own.subjects)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _row(own: Own, subject: str) -> tuple[str, ...]:
    rows = own.rows(subject)
    held = [own.eeg[row.eeg_file] for row in rows if row.eeg_file]
    known = [one for one in held if one]
    seconds = [s for row in rows if not math.isnan(s := own.seconds[subject, row.trial])]
    return (
        subject,
        str(len(rows)),
        str(len(held)),
        span([round(s, 2) for s in seconds]) if seconds else "–",
        span([len(one.channels) for one in known]) if known else "–",
        span([one.sfreq for one in known]) if known else "–",
        str(sum(row.video_file is not None for row in rows) or "–"),
    )
