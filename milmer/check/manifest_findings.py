"""What the facts about a manifest mean: what would stop a run, and what only costs data.

Each check looks at one thing and yields findings; add a new one beside them and list it in
:data:`CHECKS`. Protocols and segments are those of the default options.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import numpy as np

from milmer.check.findings import Finding, note_at, note_on, small_classes, too_few_trials
from milmer.check.manifest import ManifestFacts
from milmer.check.ranges import places, span
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.faces.clocks import on_trial
from milmer.manifest.table import Row
from milmer.manifest.trials import video_clock
from milmer.splits.options import ProtocolsOptions

_BARELY = 0.05  # s of video that a trial may lack without a note


def manifest_findings(facts: ManifestFacts) -> list[Finding]:
    """The results of all checks of a manifest."""
    return [finding for check in CHECKS for finding in check(facts)]


def _problems(facts: ManifestFacts) -> Iterator[Finding]:
    """What a stage would stop at."""
    # Two subjects of one recording have the same one.
    for problem in {problem.text: problem for problem in facts.problems}.values():
        yield problem.finding()


def _columns(facts: ManifestFacts) -> Iterator[Finding]:
    for text in facts.manifest.notes:
        yield Finding("columns", text)


def _repeated(facts: ManifestFacts) -> Iterator[Finding]:
    rows = facts.manifest.rows
    if len({(row.subject, row.stimulus) for row in rows}) < len(rows):
        text = "some stimuli are shown again: each time is a trial of the same stimulus"
        yield Finding("repeated", text)


def _channels(facts: ManifestFacts) -> Iterator[Finding]:
    """Files that differ in their channels."""
    channels = {name: content.channels for name, content in facts.eeg.items() if content}
    montages = Counter(channels.values())
    if len(montages) > 1:
        usual = max(montages, key=montages.__getitem__)
        others = [name for name in channels if channels[name] != usual]
        common = [n for n in usual if all(n in montage for montage in montages)]
        text = (
            f"{len(others)} of {len(channels)} EEG files have other channels or another order, "
            f"first {others[0]}; set dataset.channels, all have {', '.join(common) or 'none'}"
        )
        yield Finding("channels", text, stops=True)


def _rates(facts: ManifestFacts) -> Iterator[Finding]:
    """Files that differ in their rate."""
    rates = Counter(content.sfreq for content in facts.eeg.values() if content)
    if len(rates) > 1:
        text = ", ".join(f"{rate:g} Hz ({count} files)" for rate, count in sorted(rates.items()))
        target = facts.dataset.sfreq
        if target is None:
            text = f"EEG of {text}; set dataset.sfreq to resample it to one rate"
        else:
            text = f"EEG of {text}, all resampled to {target:g} Hz"
        yield Finding("rates", text, stops=target is None)


def _not_read(facts: ManifestFacts) -> Iterator[Finding]:
    """What of the files is not read, or is read in a unit that is not clear."""
    contents = [(name, content) for name, content in facts.eeg.items() if content]
    dropped: dict[str, list[str]] = {}
    for name, content in contents:
        if content.dropped:
            left_out = ", ".join(f"{label} ({why})" for label, why in content.dropped.items())
            text = f"{', '.join(content.channels)} are read; not {left_out}"
            dropped.setdefault(text, []).append(name)
    for text, files in dropped.items():
        yield Finding("channels_not_read", f"of {_files(files)} {text}")
    for about, field, text in (
        ("unit", "unclear", "no known unit, numbers are taken for µV"),
        ("bad_channels", "bads", "the file calls them bad: interpolated (eeg.reject.marks)"),
    ):
        groups: dict[str, list[str]] = {}
        for name, content in contents:
            if names := getattr(content, field):
                groups.setdefault(", ".join(names), []).append(name)
        for names, files in groups.items():
            yield Finding(about, f"of {_files(files)} {names}: {text}")


def _files(names: list[str]) -> str:
    return f"{len(names)} EEG files, first {names[0]}:" if len(names) > 1 else f"{names[0]}"


def _flaws(facts: ManifestFacts) -> Iterator[Finding]:
    """Trials of which something is rejected."""
    reasons: dict[str, list[Row]] = {}
    for row in facts.rows:
        if reason := facts.flaws.get((row.subject, row.trial)):
            reasons.setdefault(reason, []).append(row)
    for reason, rows in reasons.items():
        yield from note_at(
            "rejected", f"rejected, as a whole or in part, {reason}: {{}}", _by_subject(rows)
        )


def _unlabelled(facts: ManifestFacts) -> Iterator[Finding]:
    if facts.class_names:
        rows = [row for row in facts.rows if (row.subject, row.trial) not in facts.classes]
        yield from note_at("unlabelled", "left out, no label or rating: {}", _by_subject(rows))


def _classes(facts: ManifestFacts) -> Iterator[Finding]:
    trials: dict[str, list[str]] = {}
    for (subject, _), name in facts.classes.items():
        trials.setdefault(subject, []).append(name)
    yield from small_classes(trials, facts.class_names)


def _trials(facts: ManifestFacts) -> Iterator[Finding]:
    counts = {}
    for subject in facts.subjects:
        rows = facts.rows_of(subject)
        if any(facts.has_segment(row) or np.isfinite(facts.seconds_of(row)) for row in rows):
            counts[subject] = sum(map(facts.has_segment, rows))
    yield from too_few_trials(counts)  # where no file can be read, that is an error already


def _groups(facts: ManifestFacts) -> Iterator[Finding]:
    """Trials that are never divided, and subjects whose folds they make impossible."""
    folds = ProtocolsOptions().folds
    members: dict[str, dict[str, list[int]]] = {}
    for (subject, trial), group in facts.groups.items():
        members.setdefault(group, {}).setdefault(subject, []).append(trial)
    if members:
        together = "; ".join(places(trials) for trials in members.values())
        text = f"kept together by all protocols but segment, as one group each: {together}"
        yield Finding("groups", text)
    for subject in facts.subjects:
        rows = [row for row in facts.rows_of(subject) if facts.has_segment(row)]
        units = Counter(facts.groups.get((subject, row.trial), row.trial) for row in rows)
        if len(units) < folds <= len(rows):
            group, count = units.most_common(1)[0]
            remedy = "lower protocols.folds, or add trials that share no samples with these"
            text = (
                f"{subject}: {len(units)} groups cannot make {folds} folds: {group!r} holds "
                f"{count / len(rows):.0%} of the trials"
            )
            yield Finding("trials", f"{text}; {remedy}", (subject,), stops=True)


def _without_eeg(facts: ManifestFacts) -> Iterator[Finding]:
    rows = [row for row in facts.rows if row.eeg_file is None]
    yield from note_at("no_eeg", "left out, no EEG: {}", _by_subject(rows))


def _short_trials(facts: ManifestFacts) -> Iterator[Finding]:
    """Trials that are too short for a segment."""
    short = [
        row
        for row in facts.rows
        if np.isfinite(facts.seconds_of(row)) and not facts.has_segment(row)
    ]
    seconds = SegmentationOptions().seconds
    text = f"left out, shorter than a segment of {seconds:g} s: {{}}"
    yield from note_at("trials_short", text, _by_subject(short))


def _without_video(facts: ManifestFacts) -> Iterator[Finding]:
    filmed = {row.subject for row in facts.rows if row.video_file}
    missing = [row for row in facts.rows if row.subject in filmed and not row.video_file]
    yield from note_at("no_video", "no face video: {}", _by_subject(missing))
    without = [subject for subject in facts.subjects if subject not in filmed]
    yield from note_on("eeg_without_video", "no face video; only EEG is used: {}", without)


def _video_covers(facts: ManifestFacts) -> Iterator[Finding]:
    """Videos that show nothing of a trial, or not all of it."""
    late, missed, short, lost = [], [], [], []
    for row in facts.rows:
        clip = facts.video.get(row.video_file or "")
        if clip is None:
            continue
        seconds = facts.seconds_of(row)
        clock = video_clock(facts.manifest, row, row.eeg_start or 0.0)
        about = {"eeg_start": row.eeg_start or 0.0, "eeg_seconds": seconds, "trial": row.trial}
        try:
            path = facts.manifest.at(row.video_file or "")
            video = on_trial(SimpleNamespace(**clock, **about), clip, path)
        except MilmerError as error:
            yield Finding("video", str(error), (row.subject,), stops=True)
            continue
        for lack, rows, lacking in (
            (video.time(0), late, missed),
            (seconds - video.seconds, short, lost),
        ):
            if lack > _BARELY:
                rows.append(row)
                lacking.append(lack)
    for what, rows, lacking in (
        ("begins {} s after", late, missed),
        ("ends {} s before", short, lost),
    ):
        if rows:
            text = f"video {what.format(span(lacking, '{:.2f}'))} the EEG: {{}}"
            yield from note_at("lengths", text, _by_subject(rows))


def _video_notes(facts: ManifestFacts) -> Iterator[Finding]:
    """What is unusual about the times of videos, or damaged."""
    for name, clip in facts.video.items():
        subjects = dict.fromkeys(row.subject for row in facts.rows if row.video_file == name)
        for note in clip.notes if clip else ():
            yield Finding("video_times", f"{name}: {note}", tuple(subjects))


CHECKS: tuple[Callable[[ManifestFacts], Iterator[Finding]], ...] = (
    _problems,
    _columns,
    _repeated,
    _channels,
    _rates,
    _not_read,
    _flaws,
    _unlabelled,
    _classes,
    _trials,
    _groups,
    _without_eeg,
    _short_trials,
    _without_video,
    _video_covers,
    _video_notes,
)
"""All checks, in the order of the report."""


def _by_subject(rows: Iterable[Row]) -> dict[str, list[int]]:
    """Trials by subject."""
    trials: dict[str, list[int]] = {}
    for row in rows:
        trials.setdefault(row.subject, []).append(row.trial)
    return trials
