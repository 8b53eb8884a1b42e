"""What ``milmer check`` finds in a manifest and in the recordings that it names.

The stages' own functions look into the files, so that what would stop a stage is told in its
words; one file that is wrong hides no other.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.check.deap_findings import Finding
from milmer.check.ranges import places, span
from milmer.data.labels import DROPPED, label, label_names, thresholds
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.data.segmentation import SegmentationOptions, segment_grid
from milmer.errors import MilmerError
from milmer.manifest.table import RATING_COLUMNS, Manifest, Row, nearest, read_manifest
from milmer.manifest.trials import span_of
from milmer.readers.eeg import EEGFile
from milmer.readers.seekable_video import probe
from milmer.readers.video import Clip
from milmer.runtime.progress import track
from milmer.splits.options import ProtocolsOptions

_COVERED = 0.05  # s of video that may be missing without a word


@dataclass(frozen=True)
class Recorded:
    """What an EEG file holds of what is asked for: names of channels, rate in Hz, length in s."""

    channels: tuple[str, ...]
    sfreq: float
    seconds: float


@dataclass
class Own:
    """What a manifest names and what was found there, and the ``findings`` so far.

    ``eeg`` and ``video`` are by file as the manifest names it, None where it cannot be read;
    ``seconds`` (of EEG, NaN where there is none) and ``classes`` are by subject and trial.
    """

    manifest: Manifest
    subjects: list[str]
    quick: bool
    eeg: dict[str, Recorded | None] = field(default_factory=dict)
    video: dict[str, Clip | None] = field(default_factory=dict)
    seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    classes: dict[tuple[str, int], str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def rows(self, subject: str | None = None) -> list[Row]:
        """Trials of a subject, or of all that are used."""
        used = self.subjects if subject is None else [subject]
        return [row for name in used for row in self.manifest.trials[name]]

    @property
    def stops(self) -> bool:
        """Whether something would stop a run."""
        return any(finding.stops for finding in self.findings)

    def stop(self, about: str, text: str, *subjects: str) -> None:
        """Note what would stop a run."""
        self.findings.append(Finding(about, text, subjects, stops=True))

    def note(self, about: str, text: str, *subjects: str) -> None:
        """Note what only costs data, or is good to know."""
        self.findings.append(Finding(about, text, subjects))

    @contextmanager
    def telling(self, about: str, subject: str) -> Iterator[None]:
        """Keep an error for people and go on."""
        try:
            yield
        except MilmerError as error:
            self.stop(about, str(error), subject)


def look(dataset: DatasetOptions, labels: LabelsOptions | None, quick: bool) -> Own:
    """Look at all that a manifest names; ``labels`` None takes what its columns allow.

    Raises :class:`MilmerError` where the manifest itself cannot be read.
    """
    manifest = read_manifest(dataset.manifest or "")
    wanted = manifest.subjects if dataset.subjects == "all" else dataset.subjects
    own = Own(manifest, [s for s in wanted if s in manifest.trials], quick)
    if absent := [s for s in wanted if s not in manifest.trials]:
        own.stop("subjects", f"dataset.subjects: no row of {', '.join(absent)}", *absent)
    for name in manifest.ignored:
        near = nearest(name)
        own.note("columns", f"the column {name} is not read{f'; is it {near}?' if near else ''}")
    if manifest.repeated:
        own.note("repeated", "stimuli are shown again: each time is a trial of the same stimulus")
    for subject in track(own.subjects, "subjects"):
        _look_into(own, subject, dataset)
    _channels(own, dataset)
    _classes(own, labels)
    _trials(own)
    _videos(own)
    return own


def _look_into(own: Own, subject: str, dataset: DatasetOptions) -> None:
    """Open the files of a subject, each once."""
    files: dict[str, EEGFile] = {}
    if not any(row.eeg_file for row in own.rows(subject)):
        own.stop("eeg", f"{subject}: no row names an EEG file", subject)
    for row in own.rows(subject):
        key = (subject, row.trial)
        own.seconds[key] = np.nan
        for column, name in (("eeg", row.eeg_file), ("video", row.video_file)):
            held = getattr(own, column)
            if name is None or name in held:
                continue
            held[name] = None
            with own.telling(column, subject):
                if not own.manifest.at(name).is_file():
                    raise own.manifest.error(row, f"{column}_file: no such file: {name}")
                if not own.quick:
                    held[name] = _opened(own.manifest.at(name), column, dataset)
        if row.eeg_file and own.eeg[row.eeg_file]:
            with own.telling("eeg", subject):
                own.seconds[key] = span_of(own.manifest, row, files)[1]


def _opened(path: Path, column: str, dataset: DatasetOptions) -> Recorded | Clip:
    if column == "video":
        return probe(path)
    file = EEGFile(path, dataset.channels, dataset.missing_channels)
    for pair in (dataset.heog, dataset.veog):
        if pair:
            file.require(pair)
    return Recorded(file.channels, file.sfreq, file.seconds)


def _channels(own: Own, dataset: DatasetOptions) -> None:
    """Files that differ in their channels or their rate."""
    known = {name: held for name, held in own.eeg.items() if held}
    kinds = Counter(held.channels for held in known.values())
    if len(kinds) > 1:
        usual = max(kinds, key=kinds.__getitem__)
        others = [name for name, held in known.items() if held.channels != usual]
        common = [n for n in usual if all(n in held.channels for held in known.values())]
        own.stop(
            "channels",
            f"{len(others)} of {len(known)} EEG files have other channels, or in another order, "
            f"first {others[0]}; set dataset.channels, all have {', '.join(common) or 'none'}",
        )
    rates = Counter(held.sfreq for held in known.values())
    if len(rates) > 1:
        told = ", ".join(f"{rate:g} Hz ({count} files)" for rate, count in sorted(rates.items()))
        if dataset.sfreq is None:
            own.stop("rates", f"EEG of {told}; set dataset.sfreq to the rate of all")
        else:
            own.note("rates", f"EEG of {told}; all is brought to {dataset.sfreq:g} Hz")


def _classes(own: Own, labels: LabelsOptions | None) -> None:
    """Which class each trial has, and classes with fewer trials than folds."""
    rows = own.rows()
    named = own.manifest.classes
    rated = {scale for row in rows for scale in row.ratings}
    if labels is None:
        quadrant = {"valence", "arousal"} <= rated
        scheme = "quadrant" if quadrant else "label" if named else min(rated, default="quadrant")
        labels = LabelsOptions.model_validate({"scheme": scheme})
    labels = labels.with_classes(named)
    if absent := [scale for scale in labels.scales if scale not in rated]:
        own.stop("labels", f"labels.scheme {labels.scheme} needs a column {absent[0]}")
        return
    if labels.scheme == "label" and len(labels.classes or ()) < 2:
        own.stop("labels", "labels.scheme label needs two names or more in the column label")
        return
    table = pd.DataFrame(
        [
            {s: row.ratings.get(s, np.nan) for s in RATING_COLUMNS} | {"label": row.label}
            for row in rows
        ]
    )
    own.names = label_names(labels)
    found = label(table, thresholds(table, labels), labels)
    without = {}
    for row, number in zip(rows, found, strict=True):
        if number == DROPPED:
            without.setdefault(row.subject, []).append(row.trial)
        else:
            own.classes[row.subject, row.trial] = own.names[number]
    if without:
        own.note("unlabelled", f"left out, no label or rating: {places(without)}", *without)
    folds = ProtocolsOptions().folds
    for subject in own.subjects:
        counts = Counter(c for (s, _), c in own.classes.items() if s == subject)
        few = [f"{name} {counts[name]}" for name in own.names if counts[name] < folds]
        if few:
            own.note(
                "classes",
                f"{subject}: fewer trials than the {folds} folds: {', '.join(few)}",
                subject,
            )


def _trials(own: Own) -> None:
    """Trials without EEG, and those too short for a segment."""
    if own.quick:
        return
    options, folds = SegmentationOptions(), ProtocolsOptions().folds
    short: dict[str, list[int]] = {}
    without: dict[str, list[int]] = {}
    for subject in own.subjects:
        count = 0
        for row in own.rows(subject):
            seconds = own.seconds[subject, row.trial]
            if row.eeg_file is None:
                without.setdefault(subject, []).append(row.trial)
            elif segment_grid([(1, seconds)], options):
                count += 1
            elif not np.isnan(seconds):
                short.setdefault(subject, []).append(row.trial)
        if 0 < count < folds:
            own.stop(
                "trials",
                f"{subject}: {count} trials cannot make {folds} folds; set protocols.folds to less",
                subject,
            )
    if without:
        own.note("no_eeg", f"no EEG, left out: {places(without)}", *without)
    if short:
        text = f"shorter than a segment of {options.seconds:g} s, left out: {places(short)}"
        own.note("trials_short", text, *short)


def _videos(own: Own) -> None:
    """Trials without video, and EEG and video of different length."""
    filmed = {row.subject for row in own.rows() if row.video_file}
    missing: dict[str, list[int]] = {}
    for row in own.rows():
        if row.subject in filmed and not row.video_file:
            missing.setdefault(row.subject, []).append(row.trial)
    if missing:
        own.note("no_video", f"no face video: {places(missing)}", *missing)
    if unseen := [s for s in own.subjects if s not in filmed]:
        own.note("eeg_without_video", f"no face video, EEG alone is used: {', '.join(unseen)}")
    ends: dict[str, list[int]] = {}
    lacks = []
    for row in own.rows():
        clip, seconds = own.video.get(row.video_file or ""), own.seconds[row.subject, row.trial]
        if clip is None:
            continue
        start = row.video_start or 0.0
        left = clip.seconds - start
        if left <= 0:
            text = f"video_start {start:g} s lies beyond the end of {row.video_file}"
            error = own.manifest.error(row, f"{text} ({clip.seconds:.2f} s)")
            own.stop("video", str(error), row.subject)
        elif seconds - left > _COVERED:
            ends.setdefault(row.subject, []).append(row.trial)
            lacks.append(seconds - left)
    if ends:
        text = f"video ends before the EEG, by {span(lacks, '{:.2f}')} s: {places(ends)}"
        own.note("lengths", text, *ends)
