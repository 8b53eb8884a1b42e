"""What a copy of DEAP contains, subject by subject; nothing is judged here.

The stages' own functions read the files, so that an error here reads as it does in a run. A file
that cannot be read hides no other: its error is added to :attr:`Facts.problems`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.check.findings import Facts
from milmer.data.labels import label, label_names, thresholds
from milmer.data.options import LabelsOptions
from milmer.deap import bdf
from milmer.deap.layout import EEG_KINDS, Copy, no_eeg, ratings_file, scan
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.ratings import check_labels, ratings_of, read_ratings
from milmer.deap.trials import locate
from milmer.readers.digests import file_size
from milmer.readers.seekable_video import probe
from milmer.readers.video import Clip
from milmer.runtime.progress import track


@dataclass
class Trial:
    """A rated trial: its class, and the length of its EEG in s, None without EEG."""

    trial: int
    experiment_id: int
    quadrant: str
    seconds: float | None = None


@dataclass(frozen=True)
class Status:
    """Properties of a recording's status channel, and how its onsets fit the ratings.

    ``named``: it has a name; ``spare``: other channels without a name; ``upper_bits``: its words
    carry more than the code. ``unit`` is that of Start_time in s, None where it is unclear.
    """

    named: bool
    spare: int
    upper_bits: bool
    unknown_onsets: int
    unit: float | None


@dataclass
class Subject:
    """The files of one subject and what they contain.

    ``eeg`` maps each kind to its file, ``clips`` trials to their video (None: not opened, or
    unreadable). The other fields describe the EEG file that is read: ``size`` in bytes (of a quick
    check), whether it can be read, how many trials a preprocessed file contains, whether its labels
    equal the ratings, and the ``status`` channel of a recording. Each is None where it was not
    checked.
    """

    eeg: dict[str, Path]
    clips: dict[int, Clip | None]
    trials: list[Trial] = field(default_factory=list)
    familiarity: bool | None = None
    eeg_read: bool | None = None
    size: int | None = None
    eeg_trials: int | None = None
    labels_agree: bool | None = None
    status: Status | None = None

    @property
    def with_eeg(self) -> list[Trial]:
        """The rated trials that have EEG."""
        return [trial for trial in self.trials if trial.seconds is not None]


@dataclass
class DeapFacts(Facts):
    """What a copy contains.

    ``wanted`` is the option ``dataset.source``, ``source`` the kind of EEG that is read for it;
    ``packed`` are archives beside the files.
    """

    place: Path
    wanted: str
    source: str | None = None
    ratings: Path | None = None
    packed: list[str] = field(default_factory=list)
    subjects: dict[str, Subject] = field(default_factory=dict)

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
        return {
            (name, trial): clip
            for name, subject in self.subjects.items()
            for trial, clip in subject.clips.items()
        }


def inspect_copy(root: str | Path, wanted: str = "auto", quick: bool = False) -> DeapFacts:
    """Inspect all files below ``root``; never raises for what is wrong with them."""
    facts = DeapFacts(Path(root), wanted, quick=quick)
    copy = ratings = None
    with facts.collecting("dataset"):
        copy = scan(root)
    if copy is None:
        return facts
    archives = [*facts.place.glob("*.zip"), *facts.place.glob("*/*.zip")]
    facts.packed = sorted(path.relative_to(root).as_posix() for path in archives)
    facts.source = copy.source(wanted, copy.subjects)
    with facts.collecting("dataset"):
        if not copy.eeg.get(facts.source):
            raise no_eeg(copy, facts.source)
    facts.ratings = copy.ratings
    with facts.collecting("ratings"):
        ratings = read_ratings(ratings_file(copy))
    for name in track(copy.subjects, "subjects"):
        facts.subjects[name] = _inspect_subject(facts, copy, name, ratings)
    return facts


def _inspect_subject(
    facts: DeapFacts, copy: Copy, name: str, all_ratings: pd.DataFrame | None
) -> Subject:
    files = {kind: copy.eeg[kind][name] for kind in EEG_KINDS if name in copy.eeg.get(kind, {})}
    videos = copy.videos.get(name, {})
    subject = Subject(files, dict.fromkeys(sorted(videos)))
    ratings = None
    if all_ratings is not None:
        with facts.collecting("ratings", name):
            ratings = ratings_of(name, all_ratings, copy.ratings)
            subject.familiarity = bool(ratings["familiarity"].notna().any())
            subject.trials = _trials(ratings)
    eeg = files.get(facts.source)
    if eeg is not None:
        with facts.collecting("eeg", name):
            if facts.quick:
                subject.size = file_size(eeg)
            else:
                subject.eeg_read = False
                read = _read_bdf if facts.source == "bdf" else _read_preprocessed
                read(facts, name, subject, eeg, ratings)
    for trial in subject.clips:
        with facts.collecting("clips", name, trial):
            if facts.quick:
                file_size(videos[trial])
            else:
                subject.clips[trial] = probe(videos[trial])
    return subject


def _trials(ratings: pd.DataFrame) -> list[Trial]:
    options = LabelsOptions()
    names = label_names(options)
    classes = label(ratings, thresholds(ratings, options), options)
    rows = zip(ratings["trial"], ratings["experiment_id"], classes, strict=True)
    return [Trial(int(trial), int(e), names[c]) for trial, e, c in rows]


def _read_preprocessed(
    facts: DeapFacts, name: str, subject: Subject, path: Path, ratings: pd.DataFrame | None
) -> None:
    content = read_preprocessed(path)
    subject.eeg_read, subject.eeg_trials = True, len(content.eeg)
    if ratings is None:
        return
    for trial in subject.trials:
        if trial.experiment_id <= subject.eeg_trials:
            trial.seconds = content.seconds
    subject.labels_agree = False
    with facts.collecting("labels", name):
        check_labels(name, ratings, content.labels, path)
        subject.labels_agree = True


def _read_bdf(
    facts: DeapFacts, name: str, subject: Subject, path: Path, ratings: pd.DataFrame | None
) -> None:
    markers = bdf.read_markers(path)
    bdf.read_trials(path, {}, {})  # no trial: only whether the channels are there
    subject.eeg_read = True
    subject.status = Status(markers.named, markers.spare, markers.upper_bits, 0, None)
    if ratings is None:
        return
    with facts.collecting("onsets", name):
        start_time = ratings["start_time"].to_numpy()
        onsets = locate(name, path, markers, ratings, start_time)
        for trial, seconds in zip(subject.trials, onsets.seconds, strict=True):
            trial.seconds = None if np.isnan(seconds) else float(seconds)
        subject.status = replace(
            subject.status,
            unknown_onsets=len(onsets.unknown),
            unit=_unit(start_time, onsets.starts),
        )


def _unit(start_time: np.ndarray, starts: np.ndarray) -> float | None:
    """The decimal unit in s of Start_time, from how far apart trials are in it and in s."""
    both = np.isfinite(start_time) & np.isfinite(starts)
    apart = np.ptp(start_time[both]) if both.sum() > 1 else 0.0
    return 10.0 ** round(np.log10(np.ptp(starts[both]) / apart)) if apart else None
