"""What a copy of DEAP holds, gathered subject by subject; nothing is judged here.

The stages' own functions read the files, so that what would stop a stage is told in its words. A
file that cannot be read hides no other: the line stands among the copy's :attr:`Facts.problems`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.data.labels import label, label_names, thresholds
from milmer.data.options import LabelsOptions
from milmer.deap import bdf
from milmer.deap.layout import EEG_KINDS, Copy, no_eeg, ratings_file, scan
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.ratings import check_labels, read_ratings
from milmer.deap.trials import locate
from milmer.errors import MilmerError
from milmer.readers.video import Clip, probe_constant_rate
from milmer.runtime.progress import track


@dataclass(frozen=True)
class Problem:
    """What would stop a stage, in its words; ``about`` is a word for scripts."""

    about: str
    text: str
    subject: str | None = None
    trial: int | None = None


@dataclass
class Trial:
    """A rated trial: its class, and the length in s of its EEG, None where there is none."""

    trial: int
    experiment_id: int
    quadrant: str
    seconds: float | None = None


@dataclass(frozen=True)
class Status:
    """How a recording's status channel is, and where its onsets and the ratings do not fit.

    ``unit`` is that of Start_time in s, None where it cannot be told.
    """

    named: bool
    spare: int
    upper_bits: bool
    unknown_onsets: int
    unit: float | None


@dataclass
class Subject:
    """What there is of one subject.

    ``eeg`` maps each kind to its file; ``clips`` maps trials to what each clip holds, None where
    it was not looked into or cannot be read. Of the EEG file that is read: ``size`` in bytes where
    that is all that is looked at, ``eeg_read`` whether it can be read, ``held`` its trials (None of
    one long recording), ``labels_agree`` whether its labels are the ratings, ``status`` of a
    recording. Each is None where it was not looked into.
    """

    eeg: dict[str, Path]
    clips: dict[int, Clip | None]
    trials: list[Trial] = field(default_factory=list)
    familiarity: bool | None = None
    eeg_read: bool | None = None
    size: int | None = None
    held: int | None = None
    labels_agree: bool | None = None
    status: Status | None = None

    @property
    def with_eeg(self) -> list[Trial]:
        """The rated trials that have EEG."""
        return [trial for trial in self.trials if trial.seconds is not None]


@dataclass
class Facts:
    """What a copy holds. ``source`` is the kind of EEG that is read where ``wanted`` is asked for.

    With ``quick`` no EEG and no clip was looked into. ``packed`` are archives beside the files.
    """

    root: Path
    wanted: str
    quick: bool
    source: str | None = None
    ratings: Path | None = None
    packed: list[str] = field(default_factory=list)
    subjects: dict[str, Subject] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def telling(
        self, about: str, subject: str | None = None, trial: int | None = None
    ) -> Iterator[None]:
        """Keep an error for people as a problem and go on."""
        try:
            yield
        except MilmerError as error:
            self.problems.append(Problem(about, str(error), subject, trial))

    def kind(self, kind: str) -> list[str]:
        """Subjects with an EEG file of that kind."""
        return [name for name, subject in self.subjects.items() if kind in subject.eeg]

    @property
    def used(self) -> dict[str, Subject]:
        """The subjects that a run takes: those with EEG of the kind that is read."""
        return {name: self.subjects[name] for name in self.kind(self.source or "")}

    @property
    def clips(self) -> dict[tuple[str, int], Clip | None]:
        """All clips by subject and trial."""
        return {(s, t): c for s, held in self.subjects.items() for t, c in held.clips.items()}


def gather(root: str | Path, wanted: str = "auto", quick: bool = False) -> Facts:
    """Look at all that lies below ``root``; never raises for what is wrong with it."""
    facts = Facts(Path(root), wanted, quick)
    copy = ratings = None
    with facts.telling("dataset"):
        copy = scan(root)
    if copy is None:
        return facts
    archives = [*facts.root.glob("*.zip"), *facts.root.glob("*/*.zip")]
    facts.packed = sorted(path.relative_to(root).as_posix() for path in archives)
    facts.source = copy.source(wanted, copy.subjects)
    with facts.telling("dataset"):
        if not copy.eeg.get(facts.source):
            raise no_eeg(copy, facts.source)
    facts.ratings = copy.ratings
    with facts.telling("ratings"):
        ratings = read_ratings(ratings_file(copy))
    for name in track(copy.subjects, "subjects"):
        facts.subjects[name] = _look(facts, copy, name, ratings)
    return facts


def _look(facts: Facts, copy: Copy, name: str, ratings: pd.DataFrame | None) -> Subject:
    files = {kind: copy.eeg[kind][name] for kind in EEG_KINDS if name in copy.eeg.get(kind, {})}
    videos = copy.videos.get(name, {})
    subject = Subject(files, dict.fromkeys(sorted(videos)))
    own = None
    if ratings is not None:
        with facts.telling("ratings", name):
            own = _own(copy, ratings, name)
            subject.familiarity = bool(own["familiarity"].notna().any())
            subject.trials = _trials(own)
    eeg = files.get(facts.source)
    if eeg is not None:
        with facts.telling("eeg", name):
            if facts.quick:
                subject.size = _size(eeg)
            else:
                subject.eeg_read = False
                read = _read_bdf if facts.source == "bdf" else _read_preprocessed
                read(facts, name, subject, eeg, own)
    for trial in subject.clips:
        with facts.telling("clips", name, trial):
            if facts.quick:
                _size(videos[trial])
            else:
                subject.clips[trial] = probe_constant_rate(videos[trial])
    return subject


def _own(copy: Copy, ratings: pd.DataFrame, name: str) -> pd.DataFrame:
    """The ratings of one subject."""
    own = ratings[ratings["subject"] == name].reset_index(drop=True)
    if own.empty:
        raise MilmerError(f"{copy.ratings}: no ratings of {name}")
    return own


def _size(path: Path) -> int:
    """Bytes of a file, which is not empty."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MilmerError(f"{path}: cannot be read ({error.strerror})") from error
    if not size:
        raise MilmerError(f"{path}: is empty (0 bytes); copy it again")
    return size


def _trials(own: pd.DataFrame) -> list[Trial]:
    options = LabelsOptions()
    names = label_names(options)
    classes = label(own, thresholds(own, options), options)
    rows = zip(own["trial"], own["experiment_id"], classes, strict=True)
    return [Trial(int(trial), int(e), names[c]) for trial, e, c in rows]


def _read_preprocessed(
    facts: Facts, name: str, subject: Subject, path: Path, own: pd.DataFrame | None
) -> None:
    content = read_preprocessed(path)
    subject.eeg_read, subject.held = True, len(content.eeg)
    if own is None:
        return
    for trial in subject.trials:
        if trial.experiment_id <= subject.held:
            trial.seconds = content.seconds
    subject.labels_agree = False
    with facts.telling("labels", name):
        check_labels(name, own, content.labels, path)
        subject.labels_agree = True


def _read_bdf(
    facts: Facts, name: str, subject: Subject, path: Path, own: pd.DataFrame | None
) -> None:
    markers = bdf.read_markers(path)
    bdf.read_trials(path, {}, {})  # no trial: only whether the channels are there
    subject.eeg_read = True
    subject.status = Status(markers.named, markers.spare, markers.upper_bits, 0, None)
    if own is None:
        return
    with facts.telling("onsets", name):
        start_time = own["start_time"].to_numpy()
        found = locate(name, path, markers, own, start_time)
        for trial, seconds in zip(subject.trials, found.seconds, strict=True):
            trial.seconds = None if np.isnan(seconds) else float(seconds)
        subject.status = Status(
            markers.named,
            markers.spare,
            markers.upper_bits,
            len(found.unknown),
            _unit(start_time, found.starts),
        )


def _unit(start_time: np.ndarray, starts: np.ndarray) -> float | None:
    """The decimal unit in s of Start_time, from how far apart trials are in it and in s."""
    known = np.isfinite(start_time) & np.isfinite(starts)
    apart = np.ptp(start_time[known]) if known.sum() > 1 else 0.0
    return 10.0 ** round(np.log10(np.ptp(starts[known]) / apart)) if apart else None
