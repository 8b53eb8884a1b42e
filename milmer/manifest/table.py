"""The manifest: a table of one row a trial, as CSV, TSV or Parquet, read and checked.

CSV needs the standard library only: the Snakefile reads the manifest each time it is parsed.
"""

import difflib
import hashlib
import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from milmer.data.place import parse_place
from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.plain_text import unseen_character
from milmer.readers.cells import Cells, read_cells

REQUIRED = ("subject", "trial", "stimulus", "eeg_file")
RATING_COLUMNS = ("valence", "arousal", "dominance", "liking", "familiarity")
COLUMNS = (
    *REQUIRED,
    *("session", "group"),
    *("eeg_start", "eeg_stop", "video_file"),
    *("video_start", "video_offset", "video_rate", "video_times", "face"),
    *RATING_COLUMNS,
    "label",
)
"""All columns that are read, in the order in which they are written."""

SUBJECT = "[A-Za-z0-9_][A-Za-z0-9_-]{0,99}"
"""Pattern of a subject's name."""

_GREATEST = 2**31 - 1  # numbers of trials and stimuli are stored in 32 bits
_EMPTY = ("", "n/a", "nan", "null", "none")
_EMPTY_NAMES = ("", "n/a", "nan")  # a label may be called none
_RATES = 0.5, 2.0  # of two clocks: frames/s in that column are a mistake
_CLOCKS = ("video_start", "video_offset", "video_times")  # one of them says when a video begins
_TIMES = {"eeg_start": ("eeg_start",), "eeg_stop": ("eeg_stop",), **dict.fromkeys(_CLOCKS, _CLOCKS)}
_ALSO_CALLED = {
    **{"onset": "eeg_start", "eeg_onset": "eeg_start", "start": "eeg_start", "begin": "eeg_start"},
    **{"end": "eeg_stop", "eeg_end": "eeg_stop", "stop": "eeg_stop", "offset": "eeg_stop"},
    **{"duration": "eeg_stop", "eeg_duration": "eeg_stop", "eeg_seconds": "eeg_stop"},
    **{"video_onset": "video_start"},
}


@dataclass(frozen=True)
class Row:
    """A trial of the manifest; None is an empty cell.

    ``eeg_start`` and ``eeg_stop`` are times in s in the EEG file (None: its beginning, its end),
    ``video_start`` is the time in s in the video file at which the trial starts, below 0 where the
    camera starts later. In its place, ``video_offset`` is where the video begins on the EEG's
    clock, or ``video_times`` a table of when each frame does. A second of the video lasts
    ``video_rate`` s of the EEG. ``experiment_id`` is the number of the stimulus, ``face`` which
    of several people in the video it is (:mod:`milmer.data.place`). ``trial`` is unique within the
    subject, ``name`` is the lab's own number. Trials of one ``group`` are never divided. Files are
    relative to the manifest's folder.
    """

    subject: str
    trial: int
    stimulus: str
    eeg_file: str | None
    eeg_start: float | None
    eeg_stop: float | None
    video_file: str | None
    video_start: float | None
    video_offset: float | None
    video_rate: float | None
    video_times: str | None
    ratings: Mapping[str, float]
    label: str | None
    session: str | None
    group: str | None
    line: int
    name: str
    experiment_id: int = 0
    face: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The trials of a manifest by subject, in the order of presentation.

    ``ignored`` are columns that are not read.
    """

    path: Path
    trials: Mapping[str, list[Row]]
    ignored: list[str]

    @property
    def folder(self) -> Path:
        """The folder that its files are relative to."""
        return self.path.parent

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return sorted(self.trials)

    @property
    def rows(self) -> list[Row]:
        """All trials."""
        return [row for subject in self.subjects for row in self.trials[subject]]

    @property
    def classes(self) -> list[str]:
        """All names in the column label, sorted."""
        return sorted({row.label for row in self.rows if row.label is not None})

    def at(self, file: str) -> Path:
        """The path of a file that a row names."""
        return Path(os.path.normpath(self.folder / file))

    def relative(self, file: str | None) -> str | None:
        """The name of such a file in results: relative to the manifest's folder."""
        if file is None:
            return None
        if os.path.isabs(file):
            file = os.path.relpath(file, os.path.abspath(self.folder))
        return Path(os.path.normpath(file)).as_posix()

    def of(self, subject: str) -> list[Row]:
        """The trials of a subject; raises :class:`MilmerError` where there are none."""
        if subject not in self.trials:
            raise MilmerError(f"no row of {subject}", where=self.path, remedy="run snakemake again")
        return self.trials[subject]

    def require_eeg(self, subject: str) -> None:
        """Refuse a subject none of whose rows names an EEG file."""
        if not any(row.eeg_file for row in self.of(subject)):
            raise MilmerError(
                "no row names an EEG file",
                where=f"{self.path}: {subject}",
                remedy="leave the subject out of dataset.subjects",
            )

    def require_file(self, row: Row, column: str) -> None:
        """Refuse a row whose file of that column is not there; an empty cell is fine."""
        name = getattr(row, column)
        if name is None or (column == "eeg_file" and self.at(name).is_dir()):
            return
        if not self.at(name).is_file():
            raise self.error(
                row,
                f"{column}: no such file: {name}",
                remedy="paths are relative to the manifest's folder",
            )

    @property
    def notes(self) -> list[str]:
        """Lines for people: columns that are not read, names that differ in case only."""
        lines = [
            f"column {name} is not read" + (f"; is it {near}?" if (near := nearest(name)) else "")
            for name in self.ignored
        ]
        for column in ("label", "stimulus"):
            spellings: dict[str, set[str]] = {}
            for name in {getattr(row, column) for row in self.rows} - {None}:
                spellings.setdefault(name.casefold(), set()).add(name)
            lines += [
                f"{column}: {', '.join(sorted(names))} differ in case only and count as different"
                for _, names in sorted(spellings.items())
                if len(names) > 1
            ]
        return lines

    def digest(self, subject: str) -> str:
        """A digest of the rows from which a subject's table of trials is made."""
        rows = [asdict(row) | {"line": 0} for row in self.of(subject)]
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def error(self, row: Row, problem: str, *, remedy: str = "") -> MilmerError:
        """An error about a row."""
        session = f" session {row.session}" if row.session else ""
        where = f"{self.path}: line {row.line} ({row.subject}{session} trial {row.name})"
        return MilmerError(problem, where=where, remedy=remedy)


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    Raises :class:`MilmerError` with the line and the column of the first wrong cell. The files that
    it names are not checked.
    """
    path = Path(path)
    if not path.is_file():
        raise MilmerError(
            f"no such file: {path}",
            where="dataset.manifest",
            remedy="set it to your table of trials",
        )
    cells = read_cells(path)
    header = cells.columns
    for name in header:
        if character := unseen_character(name):
            raise MilmerError(
                f"the column {name[:80]!r} holds the character {character}",
                where=path,
                remedy="rename or remove it",
            )
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        optional = ", ".join(name for name in COLUMNS if name not in REQUIRED)
        raise MilmerError(
            f"no column {missing[0]}",
            where=path,
            remedy=f"expected {', '.join(REQUIRED)} and, optionally, {optional}",
        )
    rows = [_row(cells, line, row) for line, row in cells.rows]
    if not rows:
        raise MilmerError("holds no rows", where=path, remedy="add a row for each trial")
    _require_times(path, header, rows)
    trials: dict[str, list[Row]] = {}
    for row in sorted(_numbered(rows), key=lambda row: (_natural(row.session or ""), row.trial)):
        trials.setdefault(row.subject, []).append(row)
    _require_distinct(path, trials)
    trials = {subject: _over_sessions(rows) for subject, rows in trials.items()}
    return Manifest(path, trials, [name for name in header if name not in COLUMNS])


def nearest(column: str) -> str | None:
    """The column whose name is most like that of a ``column`` that is not read."""
    near = difflib.get_close_matches(column, [*COLUMNS, *_ALSO_CALLED], 1, 0.75)
    return _ALSO_CALLED.get(near[0], near[0]) if near else None


# ------------------------------------------------------------------------- reading


def _require_times(path: Path, header: list[str], rows: list[Row]) -> None:
    """Refuse a misnamed column of times: each trial would be the whole of a file of several."""
    for name in header:
        column = nearest(name)
        if name in COLUMNS or any(other in header for other in _TIMES.get(column, header)):
            continue
        names = (getattr(row, f"{column.partition('_')[0]}_file") for row in rows)
        files = Counter(filter(None, names))
        file, count = next(iter(files.most_common()), ("", 0))
        if count > 1:
            length = "duration" in name or "seconds" in name
            raise MilmerError(
                f"no column {column}, and {count} trials are of {file}",
                where=path,
                remedy=f"make it of eeg_start and {name}"
                if length
                else f"rename the column {name} to {column}",
            )


def _row(table: Cells, line: int, cells: Mapping[str, str]) -> Row:
    def wrong(column: str, problem: str, *, remedy: str = "correct the cell") -> MilmerError:
        return MilmerError(problem, where=f"{table.path}: line {line}: {column}", remedy=remedy)

    def text(column: str) -> str | None:
        value = cells.get(column, "")
        if character := unseen_character(value):
            raise wrong(
                column,
                f"{value[:80]!r} holds the character {character}",
                remedy="use names of letters, digits and signs that can be seen",
            )
        named = column in ("subject", "stimulus", "label")
        return None if value.lower() in (_EMPTY_NAMES if named else _EMPTY) else value

    def number(column: str, least: float = -math.inf) -> float | None:
        value = text(column)
        if value is None:
            return None
        parsed = table.number(value)
        if not math.isfinite(parsed) or parsed < least:
            kind = "a number" if least < 0 else f"a number from {least:g} on"
            raise wrong(column, f"{shortened(value)} is not {kind}")
        return parsed

    subject, stimulus = text("subject"), text("stimulus")
    if subject is None or not re.fullmatch(SUBJECT, subject):
        raise wrong(
            "subject",
            f"{shortened(subject or '')} is not a name of at most 100 letters, digits, hyphens and "
            "underscores",
        )
    if stimulus is None:
        raise wrong("stimulus", "is empty", remedy="give trials of the same stimulus one name")
    trial = number("trial", 0)
    if trial is None or trial != int(trial) or trial > _GREATEST:
        raise wrong(
            "trial", f"{shortened(cells['trial'])} is not a whole number: the trial's position"
        )
    start, stop = number("eeg_start", 0), number("eeg_stop", 0)
    if stop is not None and stop <= (start or 0):
        raise wrong("eeg_stop", f"{stop:g} s is not after eeg_start ({start or 0:g} s)")
    clock = [n for n in _CLOCKS if text(n) is not None]
    if clock and (len(clock) > 1 or (clock[0] == "video_times" and text("video_rate"))):
        raise wrong(
            clock[-1],
            f"stands beside {clock[0] if len(clock) > 1 else 'video_rate'}",
            remedy="give video_start, or video_offset, or video_times",
        )
    rate = number("video_rate")
    if rate is not None and not _RATES[0] <= rate <= _RATES[1]:
        raise wrong(
            "video_rate",
            f"{rate:g} is not the rate of a clock, which is about 1",
            remedy="give the s of EEG that a second of video lasts",
        )
    face = text("face")
    try:
        face = face and " ".join(face.lower().split())
        parse_place(face or "left")
    except ValueError as error:
        raise wrong(
            "face",
            f"{shortened(face)} is not left, right or a box",
            remedy="give the box as left, top, width and height in px, separated by blanks",
        ) from error
    ratings = {scale: r for scale in RATING_COLUMNS if (r := number(scale)) is not None}
    return Row(
        subject,
        int(trial),
        stimulus,
        text("eeg_file"),
        start,
        stop,
        text("video_file"),
        number("video_start"),
        number("video_offset"),
        rate,
        text("video_times"),
        ratings,
        text("label"),
        text("session"),
        text("group"),
        line,
        f"{int(trial)}",
        face=face,
    )


def _numbered(rows: list[Row]) -> Iterator[Row]:
    """The rows with an experiment_id each, the same for all presentations of a stimulus.

    Stimuli that are all whole numbers keep them; else they are numbered from 1 in the order of
    their names over the whole manifest, so that a number is the same stimulus for all subjects.
    """
    names = sorted({row.stimulus for row in rows})
    whole = all(re.fullmatch(r"0|[1-9]\d{0,8}", name) for name in names)
    number = {name: int(name) if whole else i for i, name in enumerate(names, 1)}
    for row in rows:
        yield replace(row, experiment_id=number[row.stimulus])


def _natural(name: str) -> list[int | str]:
    """A key that sorts names by the numbers in them."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _over_sessions(rows: list[Row]) -> list[Row]:
    """A subject's rows under numbers that are unique over its sessions, if it has several."""
    if len({row.session for row in rows}) < 2:
        return rows
    return [replace(row, trial=i) for i, row in enumerate(rows, 1)]


def _require_distinct(path: Path, trials: Mapping[str, list[Row]]) -> None:
    for subject, rows in trials.items():
        for first, second in itertools.pairwise(rows):
            if (first.session, first.trial) == (second.session, second.trial):
                session = f" of session {first.session}" if first.session else ""
                raise MilmerError(
                    f"{subject} has trial {first.trial}{session} twice",
                    where=f"{path}: lines {first.line} and {second.line}",
                    remedy="number a subject's trials in the order of presentation",
                )
    alike: dict[str, str] = {}
    for subject in sorted(trials):
        other = alike.setdefault(subject.lower(), subject)
        if other != subject:
            raise MilmerError(
                f"{other} and {subject} differ in case only",
                where=f"{path}: subject",
                remedy="rename one of them",
            )
