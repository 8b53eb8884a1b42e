"""What the facts about a copy mean: what would stop a run, and what only costs data.

Each judge looks at one thing and yields findings; a new one is written beside them and listed in
:data:`CHECKS`. Words of protocols and segments are those of the default options.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from milmer.check.deap import Facts, Subject, Trial
from milmer.check.ranges import names, places, span
from milmer.data.labels import QUADRANTS
from milmer.data.segmentation import SegmentationOptions, segment_grid
from milmer.deap.layout import has_clip
from milmer.readers.video import Clip
from milmer.splits.options import ProtocolsOptions

FOLDERS = {
    "dat": "data_preprocessed_python",
    "mat": "data_preprocessed_matlab",
    "bdf": "data_original",
}
"""Where DEAP has each kind of EEG file."""

_RATINGS = "metadata_csv"
_SMALL = 0.5  # part of the usual size below which a file is told of
_BARELY = 0.05  # s of video missing from a segment that are not worth a word


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``about`` is a word for scripts, ``stops``: it is an error."""

    about: str
    text: str
    subjects: tuple[str, ...] = ()
    stops: bool = False


def findings(facts: Facts) -> list[Finding]:
    """All that is to be told of a copy."""
    return [finding for judge in CHECKS for finding in judge(facts)]


def disk(needed: int, free: int, folder: Path) -> list[Finding]:
    """The error of a disk that cannot hold what a first run makes."""
    if needed <= free:
        return []
    text = (
        f"{folder.absolute()}: {free / 1e9:.1f} GB are free and about {needed / 1e9:.1f} GB are "
        "needed; let the working directory be on a larger disk (snakemake --directory)"
    )
    return [Finding("disk", text, stops=True)]


def _problems(facts: Facts) -> Iterator[Finding]:
    """What a stage would stop at; of a file that no run looks at it is a note."""
    for problem in facts.problems:
        subject = facts.subjects.get(problem.subject or "")
        looked_at = subject is None or problem.subject in facts.used
        if subject and subject.trials and problem.trial is not None:
            looked_at &= problem.trial in {trial.trial for trial in subject.trials}
        subjects = (problem.subject,) if problem.subject else ()
        yield Finding(problem.about, problem.text, subjects, stops=looked_at)


def _left_out(facts: Facts) -> Iterator[Finding]:
    others = {n: s for n, s in facts.subjects.items() if n not in facts.used}
    elsewhere: dict[str, list[str]] = {}
    for name, subject in others.items():
        if subject.eeg:
            elsewhere.setdefault(", .".join(subject.eeg), []).append(name)
    for kinds, subjects in elsewhere.items():
        text = f"left out, EEG only as .{kinds} and .{facts.source} is read: {names(subjects)}"
        yield Finding("other_kind", text, tuple(subjects))
    yield from _of(
        "video_without_eeg",
        "left out, face video and no EEG: {}",
        [name for name, subject in others.items() if not subject.eeg],
    )
    if len(facts.used) == 1:
        alone = next(iter(facts.used))
        text = f"{alone} alone: the protocol loso is left out, it needs two subjects"
        yield Finding("one_subject", text, (alone,))


def _without_video(facts: Facts) -> Iterator[Finding]:
    without = [name for name, subject in facts.used.items() if not subject.clips]
    for in_deap, reason in ((False, "as in DEAP"), (True, "DEAP has them")):
        yield from _of(
            "eeg_without_video",
            f"no face video, {reason}; EEG alone is used of {{}}",
            [name for name in without if has_clip(name, 1) == in_deap],
        )


def _trials(facts: Facts) -> Iterator[Finding]:
    folds, least = ProtocolsOptions().folds, SegmentationOptions().seconds
    few: dict[int, list[str]] = {}
    for name, subject in facts.used.items():
        if subject.eeg_read is False or not subject.trials:
            continue  # told already
        segmented = _segmented(facts, subject)
        count = len(segmented)
        if not count:
            text = f"{name}: no trial holds a segment of {least:g} s (segmentation.seconds)"
            yield Finding("trials", text, (name,), stops=True)
        elif count < folds:
            few.setdefault(count, []).append(name)
        if count and subject.clips and not any(t.trial in subject.clips for t in segmented):
            text = f"{name}: no trial has both EEG and face video; nothing to crop"
            yield Finding("trials", text, (name,), stops=True)
    for count, subjects in few.items():
        text = (
            f"{names(subjects)}: {count} trials a subject cannot make {folds} folds; set "
            "protocols.folds to less"
        )
        yield Finding("trials", text, tuple(subjects), stops=True)


def _unrated(facts: Facts) -> Iterator[Finding]:
    spare = {
        name: subject.held - len(subject.trials)
        for name, subject in facts.used.items()
        if subject.held and 0 < len(subject.trials) < subject.held
    }
    listed = ", ".join(f"{name} ({count})" for name, count in spare.items())
    text = f"trials without a rating are left out: {listed}"
    yield from _of("trials_unrated", text, list(spare))


def _broken_off(facts: Facts) -> Iterator[Finding]:
    found = {}
    for name, subject in facts.used.items():
        lengths = Counter(trial.seconds for trial in subject.with_eeg)
        usual = lengths.most_common(1)[0][0] if lengths else 0
        found[name] = [t.trial for t in subject.with_eeg if t.seconds != usual]
    yield from _at("trials_short", "trials that are broken off: {}", found)


def _missing_clips(facts: Facts) -> Iterator[Finding]:
    """Clips that are missing of subjects with video, beyond those that DEAP lacks."""
    for in_deap, about, text in (
        (True, "clips_missing", "face video missing that DEAP has: {}"),
        (False, "clips_not_in_deap", "face video missing as in DEAP: {}"),
    ):
        found = {
            name: [
                trial.trial
                for trial in subject.trials
                if trial.trial not in subject.clips and has_clip(name, trial.trial) == in_deap
            ]
            for name, subject in facts.used.items()
            if subject.clips
        }
        yield from _at(about, text, found)


def _unrated_clips(facts: Facts) -> Iterator[Finding]:
    found = {
        name: sorted(set(subject.clips) - {trial.trial for trial in subject.trials})
        for name, subject in facts.used.items()
        if subject.trials
    }
    yield from _at("clips_unrated", "face video of trials that are not rated, left out: {}", found)


def _short_clips(facts: Facts) -> Iterator[Finding]:
    """Clips that end within the last segment of their EEG, as DEAP's do, and before it."""
    left: dict[str, list[float]] = {}
    early = {}
    for name, subject in facts.used.items():
        for trial, clip in _seen(facts, subject):
            last = segment_grid([(1, trial.seconds)], SegmentationOptions())[-1]
            seconds = clip.seconds - last.start
            if seconds <= 0:
                early.setdefault(name, []).append((trial, clip))
            elif seconds < SegmentationOptions().seconds - _BARELY:
                left.setdefault(name, []).append(seconds)
    if left:
        seconds = span([s for listed in left.values() for s in listed], "{:.2f}")
        whole = SegmentationOptions().seconds
        text = f"a trial's last segment has {seconds} s of video, not {whole:g} s: {names(left)}"
        yield Finding("clips_short", text, tuple(left))
    if early:
        listed = "; ".join(
            f"{name} trial {trial.trial} ({clip.seconds:.1f} of {trial.seconds:g} s)"
            for name, found in early.items()
            for trial, clip in found
        )
        yield Finding("clips_end_early", f"clips that end early: {listed}", tuple(early))


def _unlike_clips(facts: Facts) -> Iterator[Finding]:
    usual = usual_picture(facts)
    found: dict[str, list[int]] = {}
    for (name, trial), clip in facts.clips.items():
        if clip and _picture(clip) != usual:
            found.setdefault(name, []).append(trial)
    yield from _at("clips_unlike", f"clips of another size or rate than {usual}: {{}}", found)


def _classes(facts: Facts) -> Iterator[Finding]:
    """Classes of which a subject has fewer trials than folds, the ones with the same told once."""
    folds = ProtocolsOptions().folds
    found: dict[str, list[str]] = {}
    subjects: dict[str, list[str]] = {}
    for quadrant in QUADRANTS:
        few: dict[int, list[str]] = {}
        for name, subject in facts.used.items():
            trials = _segmented(facts, subject)
            count = sum(trial.quadrant == quadrant for trial in trials)
            if trials and count < folds:
                few.setdefault(count, []).append(name)
        listed = "; ".join(f"{count or 'none'} of {names(few[count])}" for count in sorted(few))
        found.setdefault(listed, []).append(quadrant)
        subjects[listed] = sorted(name for group in few.values() for name in group)
    for listed, quadrants in found.items():
        text = f"{', '.join(quadrants)}: fewer trials than the {folds} folds: {listed}"
        yield from _of("classes", text, subjects[listed])


def _familiarity(facts: Facts) -> Iterator[Finding]:
    text = "no rating of familiarity, which nothing needs: {}"
    without = [name for name, subject in facts.used.items() if subject.familiarity is False]
    yield from _of("familiarity", text, without)


def _elsewhere(facts: Facts) -> Iterator[Finding]:
    """Files that lie elsewhere than in DEAP; they are found by their names."""
    if facts.ratings and (folder := facts.ratings.parent.relative_to(facts.root)) != Path(_RATINGS):
        yield Finding("ratings_elsewhere", f"the ratings lie in {folder}/, not in {_RATINGS}/")
    found: dict[str, list[str]] = {}
    for name, subject in facts.used.items():
        folder = subject.eeg[facts.source].parent.relative_to(facts.root)
        if folder != Path(FOLDERS[facts.source]):
            found.setdefault(f"{folder}/", []).append(name)
    for folder, subjects in found.items():
        usual = FOLDERS[facts.source]
        text = f".{facts.source} files lie in {folder}, not in {usual}/: {{}}"
        yield from _of("eeg_elsewhere", text, subjects)


def _packed(facts: Facts) -> Iterator[Finding]:
    if facts.packed:
        yield Finding("packed", f"not unpacked: {', '.join(facts.packed)}")


def _sizes(facts: Facts) -> Iterator[Finding]:
    """Of a copy that is not read: EEG files that are much smaller than the others."""
    if not facts.quick or facts.source == "mat":  # a .mat is compressed
        return
    sizes = {name: subject.size for name, subject in facts.used.items() if subject.size}
    usual = median(sizes.values()) if sizes else 0
    small = [name for name, size in sizes.items() if size < _SMALL * usual]
    text = f".{facts.source} files of less than half the usual size, cut off? {{}}"
    yield from _of("eeg_small", text, small)


def _status(facts: Facts) -> Iterator[Finding]:
    status = {name: s.status for name, s in facts.used.items() if s.status}
    for about, text, has in (
        ("status_unnamed", "the status channel has no name: {}", lambda s: not s.named),
        ("status_spare", "another channel without a name: {}", lambda s: s.spare),
        ("status_upper_bits", "status words carry more than the code: {}", lambda s: s.upper_bits),
        ("onsets_unknown", "onsets that fit no trial: {}", lambda s: s.unknown_onsets),
    ):
        yield from _of(about, text, [name for name, held in status.items() if has(held)])
    units: dict[float, list[str]] = {}
    for name, held in status.items():
        if held.unit:
            units.setdefault(held.unit, []).append(name)
    for unit, subjects in units.items():
        yield from _of("start_time", f"Start_time counts in units of {unit:g} s: {{}}", subjects)
    missing = {
        name: [t.trial for t in facts.subjects[name].trials if t.seconds is None]
        for name in status
        if facts.subjects[name].with_eeg
    }
    yield from _at("onsets_missing", "no onset, hence no EEG: {}", missing)


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _problems,
    _trials,
    _left_out,
    _without_video,
    _missing_clips,
    _unrated_clips,
    _short_clips,
    _unlike_clips,
    _status,
    _unrated,
    _broken_off,
    _classes,
    _familiarity,
    _elsewhere,
    _packed,
    _sizes,
)
"""What is looked at, in the order in which it is told."""


def usual_picture(facts: Facts) -> str:
    """Size and rate of most clips."""
    kinds = Counter(_picture(clip) for clip in facts.clips.values() if clip)
    return max(kinds, key=kinds.__getitem__, default="")


# ------------------------------------------------------------------------- details


def _picture(clip: Clip) -> str:
    return f"{clip.width} x {clip.height}, {clip.fps:.0f} fps"


def _of(about: str, text: str, subjects: list[str]) -> Iterator[Finding]:
    """A note on ``subjects``, where there are any; ``{}`` in ``text`` are their names."""
    if subjects:
        yield Finding(about, text.format(names(subjects)), tuple(subjects))


def _at(about: str, text: str, trials: dict[str, list[int]]) -> Iterator[Finding]:
    """A note on trials by subject, where there are any."""
    trials = {name: listed for name, listed in trials.items() if listed}
    if trials:
        yield Finding(about, text.format(places(trials)), tuple(trials))


def _segmented(facts: Facts, subject: Subject) -> list[Trial]:
    """Trials that hold a segment, as far as is known."""
    if facts.quick:
        return subject.trials
    least = SegmentationOptions()
    return [t for t in subject.with_eeg if segment_grid([(1, t.seconds)], least)]


def _seen(facts: Facts, subject: Subject) -> list[tuple[Trial, Clip]]:
    """Trials with segments and video, and their clips."""
    trials = _segmented(facts, subject)
    return [(t, subject.clips[t.trial]) for t in trials if subject.clips.get(t.trial)]
