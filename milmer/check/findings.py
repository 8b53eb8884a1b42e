"""What ``milmer check`` reports: findings, and the checks that any dataset takes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from milmer.check.ranges import names, places
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.splits.options import ProtocolsOptions


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``about`` is a word for scripts.

    ``stops``: it is an error; ``warns``: a warning.
    """

    about: str
    text: str
    subjects: tuple[str, ...] = ()
    stops: bool = False
    warns: bool = False


@dataclass(frozen=True)
class Problem:
    """What would stop a stage, in the stage's own words; ``about`` is a word for scripts."""

    about: str
    text: str
    subject: str | None = None
    trial: int | None = None

    def finding(self, stops: bool = True) -> Finding:
        """The problem as an error, or as a note where no run looks at the file."""
        return Finding(self.about, self.text, (self.subject,) if self.subject else (), stops)


@dataclass(kw_only=True)
class Facts:
    """What a dataset contains; with ``quick`` neither EEG nor video was opened."""

    quick: bool = False
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def collecting(
        self, about: str, subject: str | None = None, trial: int | None = None
    ) -> Iterator[None]:
        """Record an error as a problem and go on."""
        try:
            yield
        except MilmerError as error:
            self.problems.append(Problem(about, str(error), subject, trial))


def note_on(about: str, text: str, subjects: Sequence[str]) -> Iterator[Finding]:
    """A note on ``subjects``, if there are any; ``{}`` in ``text`` stands for their names."""
    if subjects:
        yield Finding(about, text.format(names(subjects)), tuple(subjects))


def note_at(about: str, text: str, trials: Mapping[str, list[int]]) -> Iterator[Finding]:
    """A note on trials by subject, if there are any; ``{}`` in ``text`` stands for them."""
    trials = {subject: numbers for subject, numbers in trials.items() if numbers}
    if trials:
        yield Finding(about, text.format(places(trials)), tuple(trials))


def too_few_trials(counts: Mapping[str, int]) -> Iterator[Finding]:
    """Errors of subjects that the folds cannot divide; ``counts`` are trials with a segment."""
    folds, length = ProtocolsOptions().folds, SegmentationOptions().seconds
    few: dict[int, list[str]] = {}
    for subject, count in counts.items():
        if not count:
            text = f"{subject}: no trial is as long as a segment ({length:g} s)"
            yield Finding("trials", f"{text}; shorten segmentation.seconds", (subject,), stops=True)
        elif count < folds:
            few.setdefault(count, []).append(subject)
    for count, subjects in few.items():
        text = f"{names(subjects)}: {count} trials per subject are too few for {folds} folds"
        yield Finding("trials", f"{text}; lower protocols.folds", tuple(subjects), stops=True)


def small_classes(trials: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Iterator[Finding]:
    """Notes on classes with fewer trials than folds; ``trials`` are the classes of a subject's.

    Classes that are alike share a line.
    """
    folds = ProtocolsOptions().folds
    alike: dict[str, list[str]] = {}
    subjects: dict[str, list[str]] = {}
    for name in classes:
        few: dict[int, list[str]] = {}
        for subject, labels in trials.items():
            if labels and (count := list(labels).count(name)) < folds:
                few.setdefault(count, []).append(subject)
        text = "; ".join(f"{count or 'none'} of {names(few[count])}" for count in sorted(few))
        alike.setdefault(text, []).append(name)
        subjects[text] = sorted(subject for group in few.values() for subject in group)
    for text, group in alike.items():
        line = f"{', '.join(group)}: fewer trials than the {folds} folds: {text}"
        yield from note_on("classes", line, subjects[text])
