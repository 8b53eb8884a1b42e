"""The parts of the report as lines of at most 100 columns, which also read well in a log."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from milmer.check.deap import DeapFacts, Subject
from milmer.check.deap_findings import usual_picture
from milmer.check.findings import Finding
from milmer.check.manifest import ManifestFacts
from milmer.check.needs import Need
from milmer.check.ranges import names, span
from milmer.deap.layout import EEG_KINDS, has_clip

WIDTH = 100

_ERRORS = 8  # that are shown; all of them are in the JSON
_SUBJECTS = 46  # columns for the names of equal subjects
_TRIALS = range(1, 41)  # of DEAP, without ratings
_STAGES = {"runs": "training"}  # where the stage's name does not say it


def overview(facts: DeapFacts | ManifestFacts) -> list[str]:
    """What a dataset contains: some lines on all of it, and a table of its subjects."""
    if not facts.subjects:
        return [str(facts.place)]
    if isinstance(facts, DeapFacts):
        entries, rows = _deap_entries(facts), _deap_rows(facts)
    else:
        entries, rows = _manifest_entries(facts), _manifest_rows(facts)
    head = [f"{facts.place}" + (" (--quick: EEG and videos were not read)" if facts.quick else "")]
    head += [line for title, text in entries for line in _wrapped(f"{title:9}", text)]
    return [*head, "", *_table(rows)]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


# ------------------------------------------------------------------------- a copy of DEAP


def _deap_entries(facts: DeapFacts) -> Iterator[tuple[str, str]]:
    kinds = [f".{k} {names(facts.kind(k))}" for k in EEG_KINDS if facts.kind(k)]
    source = f".{facts.source} is read" + (" (auto)" if facts.wanted == "auto" else "")
    yield "EEG", f"{', '.join(kinds) or 'none'}; {source}"
    if facts.ratings:
        rated = {n: len(s.trials) for n, s in facts.subjects.items() if s.trials}
        where = facts.ratings.relative_to(facts.place).as_posix()
        count = sum(rated.values())
        yield "ratings", f"{where}: {count:,} trials of {names(rated) or 'none of them'}"
    yield "video", "; ".join(_videos(facts))


def _videos(facts: DeapFacts) -> Iterator[str]:
    clips = facts.clips
    if not clips:
        yield "none"
        return
    in_deap = sum(has_clip(n, trial) for n in facts.subjects for trial in _trials(facts, n))
    yield f"{len(clips):,} clips of {names(name for name, _ in clips)}"
    yield f"DEAP has {in_deap:,} of these trials"
    if lengths := [clip.seconds for clip in clips.values() if clip]:
        yield f"{usual_picture(facts)}, {span(lengths, '{:.1f}')} s"


def _trials(facts: DeapFacts, name: str) -> Sequence[int]:
    """The trials of a subject; without ratings those of DEAP."""
    return [trial.trial for trial in facts.subjects[name].trials] or _TRIALS


def _deap_rows(facts: DeapFacts) -> list[tuple[str, ...]]:
    """One row for all subjects that are alike, more where their names need more lines."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, subject in facts.subjects.items():
        alike.setdefault(_deap_cells(facts, name, subject), []).append(name)
    middle = [] if facts.quick else ["seconds"]
    middle += [] if facts.quick or facts.source == "bdf" else ["labels"]
    rows = [("subjects", "rated", "with EEG", *middle, "clips", "in DEAP")]
    for cells, subjects in alike.items():
        first, *more = wrap(names(subjects), _SUBJECTS)
        rows += [(first, *cells), *((part, *[""] * len(cells)) for part in more)]
    return rows


def _deap_cells(facts: DeapFacts, name: str, subject: Subject) -> tuple[str, ...]:
    seconds = [trial.seconds for trial in subject.with_eeg]
    eeg = "–"
    if facts.source in subject.eeg:
        eeg = {None: "yes", False: "damaged"}.get(subject.eeg_read, str(len(seconds)))
    cells = [str(len(subject.trials) or "–"), eeg]
    if not facts.quick:
        cells.append(span(seconds) if seconds else "–")
        if facts.source != "bdf":
            cells.append({None: "–", True: "agree", False: "DIFFER"}[subject.labels_agree])
    in_deap = sum(has_clip(name, trial) for trial in _trials(facts, name))
    return (*cells, str(len(subject.clips) or "–"), str(in_deap or "–"))


# ------------------------------------------------------------------------- a manifest


def _manifest_entries(facts: ManifestFacts) -> Iterator[tuple[str, str]]:
    stimuli = len({row.stimulus for row in facts.rows})
    yield "trials", f"{len(facts.rows)} ({len(facts.subjects)} subjects, {stimuli} stimuli)"
    counts = Counter(facts.classes.values())
    yield "classes", ", ".join(f"{name} {counts[name]}" for name in facts.class_names) or "none"
    if facts.eeg:
        yield "EEG", f"{len(facts.eeg)} files"
    yield "video", f"{len(facts.video)} files" if facts.video else "none"


def _manifest_rows(facts: ManifestFacts) -> list[tuple[str, ...]]:
    heads = ("subject", "trials", "with EEG", "seconds", "channels", "Hz", "with video")
    return [heads, *(_manifest_cells(facts, subject) for subject in facts.subjects)]


def _manifest_cells(facts: ManifestFacts, subject: str) -> tuple[str, ...]:
    rows = facts.rows_of(subject)
    files = [row.eeg_file for row in rows if row.eeg_file]
    contents = [content for file in files if (content := facts.eeg[file])]
    seconds = [s for row in rows if not math.isnan(s := facts.seconds_of(row))]
    return (
        subject,
        str(len(rows)),
        str(len(files)),
        span([round(s, 2) for s in seconds]) if seconds else "–",
        span([len(content.channels) for content in contents]) if contents else "–",
        span([content.sfreq for content in contents]) if contents else "–",
        str(sum(row.video_file is not None for row in rows) or "–"),
    )


# ------------------------------------------------------------------------- findings and needs


def finding_lines(title: str, findings: list[Finding]) -> list[str]:
    """Findings under ``title``, a line or more each; of many errors the first."""
    first = findings[:_ERRORS] if title == "ERROR" else findings
    lines = [line for finding in first for line in _wrapped(f"{title:5} ", finding.text)]
    if more := findings[len(first) :]:
        subjects = {name for finding in more for name in finding.subjects}
        of = f", of {names(subjects)}" if subjects else ""
        text = f"… and {len(more)} more{of}; --json lists them all"
        lines += _wrapped(f"{title:5} ", text)
    return lines


def need_lines(needs: Sequence[Need], quick: bool, free: int, directory: Path) -> Iterator[str]:
    """The estimate of disk and time, a line a stage."""
    yield "A first run of the configuration, estimated for a 2-core CPU without a GPU;"
    assumed = "trials as long as DEAP's; " if quick else ""
    yield f"{assumed}{_size(free)} free in {directory.absolute()}:"
    for need in needs:
        stage = _STAGES.get(need.stage, need.stage)
        yield _need_line(stage, f"{need.count:,} {need.what}", need.bytes, need.seconds)
    sizes, times = zip(*((need.bytes, need.seconds) for need in needs), strict=True)
    yield _need_line("all of these", "", sum(sizes), sum(times))


def _need_line(stage: str, what: str, size: int, seconds: float) -> str:
    return f"  {stage:26}{what:>18}{_size(size):>12}{_duration(seconds):>12}"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def verdict(errors: int, warnings: int, notes: int, quick: bool) -> str:
    """The last line."""
    rest = f"{notes} note{'s' * (notes != 1)}"
    if warnings:
        rest = f"{warnings} warning{'s' * (warnings != 1)}, {rest}"
    if not errors:
        usable = "No error in names, sizes and ratings" if quick else "Usable: no error"
        return f"{usable}, {rest}."
    return f"{errors} error{'s' * (errors != 1)} to fix before the first run, {rest}."


def _wrapped(title: str, text: str) -> list[str]:
    """``text`` beside its title; paths are never broken, so that they can be copied."""
    indent = " " * len(title)
    return wrap(
        text,
        WIDTH,
        initial_indent=title,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
