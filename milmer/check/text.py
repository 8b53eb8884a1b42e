"""The report as one screen of at most 100 columns, which also reads well in a log."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from milmer.check.deap import Facts, Subject
from milmer.check.deap_findings import Finding, usual_picture
from milmer.check.ranges import names, span
from milmer.check.report import Report
from milmer.deap.layout import EEG_KINDS, has_clip

WIDTH = 100

_ERRORS = 8  # that are shown; all of them are in the JSON
_SUBJECTS = 46  # columns for the names of equal subjects
_TRIALS = range(1, 41)  # of DEAP, where the ratings do not say
_STAGES = {"runs": "training one experiment"}  # where the stage's name does not say it


def screen(report: Report) -> str:
    """The report as text."""
    facts = report.facts
    lines = [*_head(facts), "", *_table(facts)] if facts.subjects else [str(facts.root)]
    for title, found in (("ERROR", report.errors), ("NOTE", report.notes)):
        lines += [""] * bool(found) + told(title, found)
    if any(need.count for need in report.needs):
        lines += ["", *_needs(report)]
    return "\n".join(
        [*lines, "", verdict(len(report.errors), len(report.notes), report.facts.quick)]
    )


def _head(facts: Facts) -> Iterator[str]:
    yield f"{facts.root}" + (" (--quick: EEG and videos were not read)" if facts.quick else "")
    kinds = [f".{k} {names(facts.kind(k))}" for k in EEG_KINDS if facts.kind(k)]
    reads = f".{facts.source} is read" + (" (auto)" if facts.wanted == "auto" else "")
    yield from _entry("EEG", f"{', '.join(kinds) or 'none'}; {reads}")
    if facts.ratings:
        rated = {n: len(s.trials) for n, s in facts.subjects.items() if s.trials}
        where = facts.ratings.relative_to(facts.root).as_posix()
        text = f"{where}: {sum(rated.values()):,} trials of {names(rated) or 'none of them'}"
        yield from _entry("ratings", text)
    yield from _entry("video", "; ".join(_videos(facts)))


def _videos(facts: Facts) -> Iterator[str]:
    clips = facts.clips
    if not clips:
        yield "none"
        return
    in_deap = sum(has_clip(n, trial) for n in facts.subjects for trial in _numbers(facts, n))
    yield f"{len(clips):,} clips of {names(name for name, _ in clips)}"
    yield f"DEAP has {in_deap:,} of these trials"
    if known := [clip for clip in clips.values() if clip]:
        yield f"{usual_picture(facts)}, {span([clip.seconds for clip in known], '{:.1f}')} s"


def _entry(title: str, text: str) -> list[str]:
    return wrapped(f"{title:9}", text)


def _numbers(facts: Facts, name: str) -> Sequence[int]:
    """Trials of a subject, those of DEAP where the ratings do not say."""
    return [trial.trial for trial in facts.subjects[name].trials] or _TRIALS


def _table(facts: Facts) -> list[str]:
    """One row for all subjects that are alike."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, subject in facts.subjects.items():
        rows.setdefault(_row(facts, name, subject), []).append(name)
    middle = [] if facts.quick else ["seconds"]
    middle += [] if facts.quick or facts.source == "bdf" else ["labels"]
    heads = ["subjects", "rated", "with EEG", *middle, "clips", "in DEAP"]
    table = []
    for cells, alike in [(tuple(heads[1:]), None), *rows.items()]:
        first = wrap(names(alike), _SUBJECTS) if alike else heads[:1]
        table += [(part, *(cells if i == 0 else [""] * len(cells))) for i, part in enumerate(first)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _row(facts: Facts, name: str, subject: Subject) -> tuple[str, ...]:
    seconds = [trial.seconds for trial in subject.with_eeg]
    eeg = "–"
    if facts.source in subject.eeg:
        eeg = {None: "yes", False: "damaged"}.get(subject.eeg_read, str(len(seconds)))
    cells = [str(len(subject.trials) or "–"), eeg]
    if not facts.quick:
        cells.append(span(seconds) if seconds else "–")
        if facts.source != "bdf":
            cells.append({None: "–", True: "agree", False: "DIFFER"}[subject.labels_agree])
    in_deap = sum(has_clip(name, trial) for trial in _numbers(facts, name))
    return (*cells, str(len(subject.clips) or "–"), str(in_deap or "–"))


def told(title: str, found: list[Finding]) -> list[str]:
    """Findings under ``title``, a line or more each."""
    shown = found[:_ERRORS] if title == "ERROR" else found
    lines = [line for finding in shown for line in wrapped(f"{title:5} ", finding.text)]
    if more := found[len(shown) :]:
        subjects = {name for finding in more for name in finding.subjects}
        of = f", of {names(subjects)}" if subjects else ""
        text = f"… and {len(more)} more{of}; --json lists them all"
        lines += wrapped(f"{title:5} ", text)
    return lines


def _needs(report: Report) -> Iterator[str]:
    yield "A first run with the default options, estimated for a 2-core CPU without a GPU;"
    assumed = "trials as long as DEAP's; " if report.facts.quick else ""
    yield f"{assumed}{_size(report.free)} free in {report.directory.absolute()}:"
    for need in report.needs:
        yield _line(
            _STAGES.get(need.stage, need.stage),
            f"{need.count:,} {need.what}",
            need.bytes,
            need.seconds,
        )
    sizes, times = zip(*((need.bytes, need.seconds) for need in report.needs), strict=True)
    yield _line("all of these", "", sum(sizes), sum(times))


def _line(stage: str, what: str, size: int, seconds: float) -> str:
    return f"  {stage:26}{what:>18}{_size(size):>12}{_duration(seconds):>12}"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def verdict(errors: int, notes: int, quick: bool) -> str:
    """The last line."""
    said = f"{notes} note{'s' * (notes != 1)}"
    if not errors:
        usable = "No error in names, sizes and ratings" if quick else "Usable: no error"
        return f"{usable}, {said}."
    return f"{errors} error{'s' * (errors != 1)} to put right before the first run, {said}."


def wrapped(title: str, text: str) -> list[str]:
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
