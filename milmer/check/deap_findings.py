"""What the facts about a copy of DEAP mean: what would stop a run, and what only costs data.

Each check looks at one thing and yields findings; add a new one beside them and list it in
:data:`CHECKS`. Protocols and segments are those of the default options.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from milmer.check.deap import DeapFacts, Subject, Trial
from milmer.check.findings import Finding, note_at, note_on, small_classes, too_few_trials
from milmer.check.ranges import names, span
from milmer.data.labels import QUADRANTS
from milmer.data.segmentation import SegmentationOptions, segment_grid
from milmer.deap.layout import has_clip
from milmer.readers.video import Clip

_FOLDERS = {
    "dat": "data_preprocessed_python",
    "mat": "data_preprocessed_matlab",
    "bdf": "data_original",
}
"""Where DEAP has each kind of EEG file."""

_RATINGS = "metadata_csv"
_SMALL = 0.5  # part of the usual size below which a file is reported
_BARELY = 0.05  # s of video that a segment may lack without a note


def copy_findings(facts: DeapFacts) -> list[Finding]:
    """The results of all checks of a copy."""
    return [finding for check in CHECKS for finding in check(facts)]


def disk(needed: int, free: int, folder: Path) -> list[Finding]:
    """The error of a disk that is too small for the files of a first run."""
    if needed <= free:
        return []
    text = (
        f"{folder.absolute()}: {free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed; put "
        "the working directory on a larger disk (snakemake --directory)"
    )
    return [Finding("disk", text, stops=True)]


def _problems(facts: DeapFacts) -> Iterator[Finding]:
    """What a stage would stop at; a note where no run reads the file."""
    for problem in facts.problems:
        subject = facts.subjects.get(problem.subject or "")
        used = subject is None or problem.subject in facts.used
        if subject and subject.trials and problem.trial is not None:
            used &= problem.trial in {trial.trial for trial in subject.trials}
        yield problem.finding(stops=used)


def _left_out(facts: DeapFacts) -> Iterator[Finding]:
    others = {n: s for n, s in facts.subjects.items() if n not in facts.used}
    elsewhere: dict[str, list[str]] = {}
    for name, subject in others.items():
        if subject.eeg:
            elsewhere.setdefault(", .".join(subject.eeg), []).append(name)
    for kinds, subjects in elsewhere.items():
        text = f"left out, EEG only as .{kinds} but .{facts.source} is read: {names(subjects)}"
        yield Finding("other_kind", text, tuple(subjects))
    yield from note_on(
        "video_without_eeg",
        "left out, face video but no EEG: {}",
        [name for name, subject in others.items() if not subject.eeg],
    )
    if len(facts.used) == 1:
        alone = next(iter(facts.used))
        text = f"only {alone}: protocol loso is left out, it needs two subjects"
        yield Finding("one_subject", text, (alone,))


def _without_video(facts: DeapFacts) -> Iterator[Finding]:
    without = [name for name, subject in facts.used.items() if not subject.clips]
    for in_deap, reason in ((False, "as in DEAP"), (True, "though DEAP has it")):
        yield from note_on(
            "eeg_without_video",
            f"no face video, {reason}; only EEG is used: {{}}",
            [name for name in without if has_clip(name, 1) == in_deap],
        )


def _trials(facts: DeapFacts) -> Iterator[Finding]:
    segmented = {
        name: _segmented(facts, subject)
        for name, subject in facts.used.items()
        if subject.eeg_read is not False and subject.trials  # else reported already
    }
    yield from too_few_trials({name: len(trials) for name, trials in segmented.items()})
    for name, trials in segmented.items():
        clips = facts.subjects[name].clips
        if trials and clips and not any(trial.trial in clips for trial in trials):
            text = f"{name}: no trial has both EEG and face video; nothing to crop"
            yield Finding("trials", text, (name,), stops=True)


def _unrated(facts: DeapFacts) -> Iterator[Finding]:
    spare = {
        name: subject.eeg_trials - len(subject.trials)
        for name, subject in facts.used.items()
        if subject.eeg_trials and 0 < len(subject.trials) < subject.eeg_trials
    }
    counts = ", ".join(f"{name} ({count})" for name, count in spare.items())
    text = f"left out, trials without a rating: {counts}"
    yield from note_on("trials_unrated", text, list(spare))


def _cut_short(facts: DeapFacts) -> Iterator[Finding]:
    short = {}
    for name, subject in facts.used.items():
        lengths = Counter(trial.seconds for trial in subject.with_eeg)
        usual = lengths.most_common(1)[0][0] if lengths else 0
        short[name] = [t.trial for t in subject.with_eeg if t.seconds != usual]
    yield from note_at("trials_short", "trials that are cut short: {}", short)


def _missing_clips(facts: DeapFacts) -> Iterator[Finding]:
    """Clips that subjects with video lack, here only and in DEAP as well."""
    for in_deap, about, text in (
        (True, "clips_missing", "no face video, though DEAP has it: {}"),
        (False, "clips_not_in_deap", "no face video, as in DEAP: {}"),
    ):
        missing = {
            name: [
                trial.trial
                for trial in subject.trials
                if trial.trial not in subject.clips and has_clip(name, trial.trial) == in_deap
            ]
            for name, subject in facts.used.items()
            if subject.clips
        }
        yield from note_at(about, text, missing)


def _unrated_clips(facts: DeapFacts) -> Iterator[Finding]:
    unrated = {
        name: sorted(set(subject.clips) - {trial.trial for trial in subject.trials})
        for name, subject in facts.used.items()
        if subject.trials
    }
    yield from note_at("clips_unrated", "left out, face video of unrated trials: {}", unrated)


def _short_clips(facts: DeapFacts) -> Iterator[Finding]:
    """Clips that end within the last segment of their EEG, as DEAP's do, or before it."""
    partial: dict[str, list[float]] = {}
    early = {}
    for name, subject in facts.used.items():
        for trial, clip in _filmed(facts, subject):
            last = segment_grid([(1, trial.seconds)], SegmentationOptions())[-1]
            seconds = clip.seconds - last.start
            if seconds <= 0:
                early.setdefault(name, []).append((trial, clip))
            elif seconds < SegmentationOptions().seconds - _BARELY:
                partial.setdefault(name, []).append(seconds)
    if partial:
        seconds = span([s for lengths in partial.values() for s in lengths], "{:.2f}")
        whole = SegmentationOptions().seconds
        text = f"video covers {seconds} of {whole:g} s of a trial's last segment: {{}}"
        yield from note_on("clips_short", text, list(partial))
    if early:
        clips = "; ".join(
            f"{name} trial {trial.trial} ({clip.seconds:.1f} of {trial.seconds:g} s)"
            for name, pairs in early.items()
            for trial, clip in pairs
        )
        yield Finding("clips_end_early", f"clips that end early: {clips}", tuple(early))


def _clip_notes(facts: DeapFacts) -> Iterator[Finding]:
    """What is unusual about the times of clips, or damaged."""
    for (name, trial), clip in facts.clips.items():
        for note in clip.notes if clip else ():
            yield Finding("clips_times", f"{name} trial {trial}: video: {note}", (name,))


def _unlike_clips(facts: DeapFacts) -> Iterator[Finding]:
    usual = usual_picture(facts)
    unlike: dict[str, list[int]] = {}
    for (name, trial), clip in facts.clips.items():
        if clip and _picture(clip) != usual:
            unlike.setdefault(name, []).append(trial)
    yield from note_at("clips_unlike", f"clips of other size or rate than {usual}: {{}}", unlike)


def _classes(facts: DeapFacts) -> Iterator[Finding]:
    trials = {
        name: [trial.quadrant for trial in _segmented(facts, subject)]
        for name, subject in facts.used.items()
    }
    yield from small_classes(trials, QUADRANTS)


def _familiarity(facts: DeapFacts) -> Iterator[Finding]:
    text = "no ratings of familiarity, which nothing needs: {}"
    without = [name for name, subject in facts.used.items() if subject.familiarity is False]
    yield from note_on("familiarity", text, without)


def _elsewhere(facts: DeapFacts) -> Iterator[Finding]:
    """Files in other folders than DEAP's; they are found by their names."""
    if facts.ratings:
        folder = facts.ratings.parent.relative_to(facts.place)
        if folder != Path(_RATINGS):
            yield Finding("ratings_elsewhere", f"the ratings are in {folder}/, not in {_RATINGS}/")
    folders: dict[str, list[str]] = {}
    for name, subject in facts.used.items():
        folder = subject.eeg[facts.source].parent.relative_to(facts.place)
        if folder != Path(_FOLDERS[facts.source]):
            folders.setdefault(f"{folder}/", []).append(name)
    for folder, subjects in folders.items():
        usual = _FOLDERS[facts.source]
        text = f".{facts.source} files are in {folder}, not in {usual}/: {{}}"
        yield from note_on("eeg_elsewhere", text, subjects)


def _packed(facts: DeapFacts) -> Iterator[Finding]:
    if facts.packed:
        yield Finding("packed", f"not unpacked: {', '.join(facts.packed)}")


def _sizes(facts: DeapFacts) -> Iterator[Finding]:
    """In a quick check: EEG files that are much smaller than the others."""
    if not facts.quick or facts.source == "mat":  # a .mat is compressed
        return
    sizes = {name: subject.size for name, subject in facts.used.items() if subject.size}
    usual = median(sizes.values()) if sizes else 0
    small = [name for name, size in sizes.items() if size < _SMALL * usual]
    text = f".{facts.source} files of less than half the usual size, perhaps cut off: {{}}"
    yield from note_on("eeg_small", text, small)


def _status(facts: DeapFacts) -> Iterator[Finding]:
    status = {name: s.status for name, s in facts.used.items() if s.status}
    for about, text, has in (
        ("status_unnamed", "the status channel has no name: {}", lambda s: not s.named),
        ("status_spare", "another channel has no name: {}", lambda s: s.spare),
        ("status_upper_bits", "status words carry more than the code: {}", lambda s: s.upper_bits),
        ("onsets_unknown", "onsets that fit no trial: {}", lambda s: s.unknown_onsets),
    ):
        yield from note_on(about, text, [name for name, channel in status.items() if has(channel)])
    units: dict[float, list[str]] = {}
    for name, channel in status.items():
        if channel.unit:
            units.setdefault(channel.unit, []).append(name)
    for unit, subjects in units.items():
        yield from note_on("start_time", f"the unit of Start_time is {unit:g} s: {{}}", subjects)
    missing = {
        name: [t.trial for t in facts.subjects[name].trials if t.seconds is None]
        for name in status
        if facts.subjects[name].with_eeg
    }
    yield from note_at("onsets_missing", "no onset, hence no EEG: {}", missing)


CHECKS: tuple[Callable[[DeapFacts], Iterator[Finding]], ...] = (
    _problems,
    _trials,
    _left_out,
    _without_video,
    _missing_clips,
    _unrated_clips,
    _short_clips,
    _clip_notes,
    _unlike_clips,
    _status,
    _unrated,
    _cut_short,
    _classes,
    _familiarity,
    _elsewhere,
    _packed,
    _sizes,
)
"""All checks, in the order of the report."""


def usual_picture(facts: DeapFacts) -> str:
    """Size and rate of most clips."""
    kinds = Counter(_picture(clip) for clip in facts.clips.values() if clip)
    return max(kinds, key=kinds.__getitem__, default="")


# ------------------------------------------------------------------------- details


def _picture(clip: Clip) -> str:
    return f"{clip.width} x {clip.height}, {clip.fps:.0f} fps"


def _segmented(facts: DeapFacts, subject: Subject) -> list[Trial]:
    """Trials with a segment; in a quick check all trials."""
    if facts.quick:
        return subject.trials
    options = SegmentationOptions()
    return [t for t in subject.with_eeg if segment_grid([(1, t.seconds)], options)]


def _filmed(facts: DeapFacts, subject: Subject) -> list[tuple[Trial, Clip]]:
    """Trials with segments and video, and their clips."""
    trials = _segmented(facts, subject)
    return [(t, subject.clips[t.trial]) for t in trials if subject.clips.get(t.trial)]
