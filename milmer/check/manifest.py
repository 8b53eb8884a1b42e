"""What a manifest names, and what its recordings contain; nothing is judged here.

The stages' own functions open the files, so that an error here reads as it does in a run. A file
that is wrong hides no other: its error is added to :attr:`Facts.problems`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.check.findings import Facts, Problem
from milmer.data.labels import DROPPED, label, label_names, thresholds
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.data.segmentation import SegmentationOptions, segment_grid
from milmer.faces.clocks import read_times
from milmer.manifest.dataset import ManifestDataset, missing_labels
from milmer.manifest.table import RATING_COLUMNS, Manifest, Row, read_manifest
from milmer.manifest.trials import span_of, trial_groups
from milmer.plan.copies import copies
from milmer.readers.amplitude import require_plausible_amplitude, sampled
from milmer.readers.eeg import EEGFile
from milmer.readers.seekable_video import probe
from milmer.readers.video import Clip
from milmer.runtime.progress import track

_AT_ONCE = 60.0  # s that are read to see whether they are finite


@dataclass(frozen=True)
class EEGContent:
    """What an EEG file contains: the channels that are read, rate in Hz, length in s.

    ``dropped`` says why channels are not read, ``unclear`` are those without a known unit and
    ``bads`` those that the file calls bad.
    """

    channels: tuple[str, ...]
    sfreq: float
    seconds: float
    dropped: Mapping[str, str] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()
    bads: tuple[str, ...] = ()


@dataclass
class ManifestFacts(Facts):
    """What a manifest names and what its files contain.

    ``eeg`` and ``video`` are by file as the manifest names it, None where it was not opened or
    cannot be read; ``seconds`` (of EEG, NaN where there is none) and ``classes`` are by subject and
    trial, ``class_names`` all classes in their order. ``flaws`` says by subject and trial what of
    it a run rejects.
    """

    manifest: Manifest
    dataset: DatasetOptions
    subjects: list[str] = field(default_factory=list)
    eeg: dict[str, EEGContent | None] = field(default_factory=dict)
    video: dict[str, Clip | None] = field(default_factory=dict)
    seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    classes: dict[tuple[str, int], str] = field(default_factory=dict)
    flaws: dict[tuple[str, int], str] = field(default_factory=dict)
    groups: dict[tuple[str, int], str] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """Where the manifest is."""
        return self.manifest.path

    @property
    def rows(self) -> list[Row]:
        """The trials of all subjects that are used."""
        return [row for subject in self.subjects for row in self.manifest.trials[subject]]

    def rows_of(self, subject: str) -> list[Row]:
        """The trials of a subject."""
        return self.manifest.trials[subject]

    def seconds_of(self, row: Row) -> float:
        """The length of a trial's EEG in s; NaN without EEG, or where it was not opened."""
        return self.seconds[row.subject, row.trial]

    def has_segment(self, row: Row) -> bool:
        """Whether a trial's EEG holds a segment; in a quick check whether it has EEG."""
        if self.quick:
            return row.eeg_file is not None
        return bool(segment_grid([(1, self.seconds_of(row))], SegmentationOptions()))


def inspect_manifest(
    dataset: DatasetOptions, labels: LabelsOptions | None, quick: bool
) -> ManifestFacts:
    """Inspect all files that a manifest names; ``labels`` None takes what its columns allow.

    Raises :class:`MilmerError` where the manifest itself cannot be read.
    """
    manifest = read_manifest(dataset.manifest or "")
    facts = ManifestFacts(manifest, dataset, quick=quick)
    for subject in manifest.subjects if dataset.subjects == "all" else dataset.subjects:
        with facts.collecting("subjects", subject):
            manifest.of(subject)
            facts.subjects.append(subject)
    for subject in track(facts.subjects, "subjects"):
        _inspect_subject(facts, subject)
    if not quick:
        with facts.collecting("samples"):
            for _, error in copies(ManifestDataset(manifest, dataset)):
                raise error
    labels = labels or _default_labels(manifest)
    if (lack := missing_labels(manifest, labels)) is not None:
        facts.problems.append(Problem("labels", lack))
    else:
        _classify(facts, labels.with_classes(manifest.classes))
    return facts


def _inspect_subject(facts: ManifestFacts, subject: str) -> None:
    """Open the files of a subject, each once."""
    open_files: dict[str, EEGFile] = {}
    files: dict[str, EEGFile] = {}
    manifest = facts.manifest
    with facts.collecting("eeg", subject):
        manifest.require_eeg(subject)
    rows, spans = facts.rows_of(subject), []
    for row in rows:
        facts.seconds[subject, row.trial] = np.nan
        spans.append((np.nan, np.nan))
        for kind, name in (("eeg", row.eeg_file), ("video", row.video_file)):
            contents = getattr(facts, kind)
            if name is None or name in contents:
                continue
            contents[name] = None
            with facts.collecting(kind, subject):
                manifest.require_file(row, f"{kind}_file")
                if not facts.quick:
                    path = manifest.at(name)
                    if kind == "video":
                        manifest.require_file(row, "video_times")
                        times = row.video_times and read_times(manifest.at(row.video_times))
                        contents[name] = probe(path, times=times)
                    else:
                        contents[name], files[name] = _open(path, facts.dataset)
        if row.eeg_file and facts.eeg[row.eeg_file]:
            with facts.collecting("eeg", subject):
                spans[-1] = start, seconds = span_of(manifest, row, open_files)
                facts.seconds[subject, row.trial] = seconds
                if row.eeg_file in files and (flaw := _flaw(files[row.eeg_file], start, seconds)):
                    facts.flaws[subject, row.trial] = flaw
    if not facts.quick:
        with facts.collecting("samples", subject):
            groups = trial_groups(manifest, rows, spans, open_files)
            facts.groups |= {(subject, r.trial): g for r, g in zip(rows, groups, strict=True) if g}


def _flaw(file: EEGFile, start: float, seconds: float) -> str | None:
    """Why a trial, or a segment of it, is rejected whatever the options; None where it is not."""
    stop = start + seconds
    if file.gaps_in(start, stop):
        return "not recorded without a gap"
    if marks := file.marks_in(start, stop):
        return f"marked {marks[0].description}"
    for first in np.arange(start, stop, _AT_ONCE):
        x = file.trial(first, min(_AT_ONCE, stop - first), file.sfreq)
        if not np.isfinite(x).all():
            return "not finite"
    return None


def _open(path: Path, dataset: DatasetOptions) -> tuple[EEGContent, EEGFile]:
    file = EEGFile(path, dataset.channels, dataset.missing_channels)
    for pair in (dataset.heog, dataset.veog):
        if pair:
            file.require(pair)
    require_plausible_amplitude(sampled(file), file.sfreq, path)
    content = EEGContent(
        file.channels, file.sfreq, file.seconds, file.dropped, file.unclear, file.bads
    )
    return content, file


def _default_labels(manifest: Manifest) -> LabelsOptions:
    """The labels that a manifest allows: quadrants, names, or the first of its ratings."""
    rated = {scale for row in manifest.rows for scale in row.ratings} - {"familiarity"}
    quadrant = {"valence", "arousal"} <= rated
    scheme = "quadrant" if quadrant else "label" if manifest.classes else min(rated, default="")
    return LabelsOptions.model_validate({"scheme": scheme or "quadrant"})


def _classify(facts: ManifestFacts, labels: LabelsOptions) -> None:
    """Which class each trial has."""
    rows = facts.rows
    table = pd.DataFrame(
        [
            {s: row.ratings.get(s, np.nan) for s in RATING_COLUMNS} | {"label": row.label}
            for row in rows
        ],
        columns=[*RATING_COLUMNS, "label"],
    )
    facts.class_names = label_names(labels)
    numbers = label(table, thresholds(table, labels), labels)
    for row, number in zip(rows, numbers, strict=True):
        if number != DROPPED:
            facts.classes[row.subject, row.trial] = facts.class_names[number]
