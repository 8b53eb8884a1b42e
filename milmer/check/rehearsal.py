"""A rehearsal of a configuration: the stages before training, on all its files, for nothing.

What `trials`, `segments` and `split` would stop at is found by running them, with the options of
the plan, into a folder that is removed; so the words are theirs. What they would warn of is noted.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import h5py

from milmer import storage
from milmer.backbone.fetching import require_at_hand
from milmer.check.faces import Look
from milmer.check.findings import Finding
from milmer.check.ranges import names
from milmer.contracts.split import SPLIT
from milmer.contracts.trials import TRIALS
from milmer.deap.recordings import read_recording as read_deap
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import MilmerError
from milmer.faces.options import FaceStageOptions
from milmer.manifest.recordings import read_recording as read_own
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.options import read_options
from milmer.plan import Plan, contents
from milmer.plan.problems import problems
from milmer.runtime.progress import track
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split


@dataclass
class Rehearsal:
    """What the rehearsed stages found."""

    findings: list[Finding] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    """Subjects that a stage stopped at."""
    said: set[str] = field(default_factory=set)
    """Problems that the plan told of already."""
    contents: dict[str, list[str]] = field(default_factory=dict)
    """Subjects by what their segments are, in words."""
    looks: dict[str, Look] = field(default_factory=dict)
    """At videos, by variant of ``faces``."""

    @contextmanager
    def stage(self, name: str, *subjects: str) -> Iterator[None]:
        """Collect what a stage stops at and what it warns of, and go on."""
        handler = _Warnings()
        logger = logging.getLogger("milmer")
        propagates, logger.propagate = logger.propagate, False
        logger.addHandler(handler)
        try:
            yield
        except MilmerError as error:
            self.failed.update(subjects)
            if error.problem not in self.said:
                self.findings.append(Finding(name, str(error), subjects, stops=True))
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagates
        self.findings += [Finding(name, text, subjects) for text in handler.texts]


def rehearse(user: Mapping[str, Any]) -> list[Finding]:
    """The findings of a configuration, merged as the workflow merges it, each once.

    Digests of the dataset's files are remembered in the working directory, for the run to come.
    """
    rehearsal, plan = Rehearsal(), None
    with rehearsal.stage("plan"):
        plan = Plan.read(user)
    if plan is not None:
        for problem in problems(plan):
            rehearsal.failed.update(problem.subjects)
            rehearsal.said.add(problem.error.problem)
            rehearsal.findings.append(
                Finding("plan", str(problem.error), problem.subjects, stops=True)
            )
        rehearsal.findings += [Finding("plan", text) for text in plan.warnings]
        _machine(rehearsal, plan)
        with TemporaryDirectory(prefix="milmer-check-") as folder:
            _stages(rehearsal, plan, Path(folder))
    alike = [
        Finding("segments", f"{names(subjects)}: {text}", tuple(subjects))
        for text, subjects in rehearsal.contents.items()
    ]
    seen = [finding for look in rehearsal.looks.values() for finding in look.findings()]
    return _once([*rehearsal.findings, *seen, *alike])


def _machine(rehearsal: Rehearsal, plan: Plan) -> None:
    """What a configuration asks of this machine: devices, and backbones that are at hand."""
    from milmer.runtime.device import choose_device

    experiments = plan.experiments.by_name.values()
    devices = {experiment.training.device for experiment in experiments}
    for variant in {experiment.backbone for experiment in experiments if experiment.needs_faces}:
        backbone = plan.config.variant("backbone", variant)
        devices.add(backbone.device)
        with rehearsal.stage("backbone"):
            require_at_hand(backbone)
    for device in sorted(devices):
        with rehearsal.stage("device"):
            choose_device(device)


def _stages(rehearsal: Rehearsal, plan: Plan, folder: Path) -> None:
    ready = [s for s in plan.dataset.subjects if s not in rehearsal.failed]
    for subject in track(ready, "rehearses subjects"):
        _subject(rehearsal, plan, subject, folder)
    for labels, protocols in plan.experiments.folds_by_labels().items():
        classes: set[str] = set()
        for protocol, folds in protocols.items():
            for fold in folds:
                wildcards = SimpleNamespace(labels=labels, protocol=protocol, fold=fold)
                subjects = plan.training.fold_subjects(wildcards)
                if rehearsal.failed & set(subjects):
                    continue  # said already
                tables = [_table(folder, subject) for subject in subjects]
                options = read_options(SplitOptions, plan.training.split_json(wildcards))
                with rehearsal.stage("split"):
                    make_split(tables, protocol, fold, options, folder / "split.parquet")
                    split = storage.read_table(folder / "split.parquet", SPLIT)
                    facts = storage.read_provenance(folder / "split.parquet")["facts"]
                    classes.update(facts["labels"][label] for label in split["label"].unique())
        if len(classes) == 1:
            text = f"labels: all trials are of class {classes.pop()}; change labels.threshold"
            rehearsal.findings.append(Finding("classes", text, stops=True))


def _subject(rehearsal: Rehearsal, plan: Plan, subject: str, folder: Path) -> None:
    """The trials and the segments of a subject."""
    dataset, options, table = plan.dataset, plan.config.dataset, _table(folder, subject)
    trials = dataset.trials_json(subject)
    described = options.kind == "manifest"
    with rehearsal.stage("trials", subject):
        contents.content(dataset.eeg_files(subject))
        contents.content(dataset.video_files(subject))
        if described:
            manifest = read_options(ManifestTrialsOptions, trials)
            make_manifest_trials(Path(options.manifest or ""), subject, manifest, table)
        else:
            make_trials(Path(options.root), subject, read_options(TrialsOptions, trials), table)
    if not table.is_file():
        return
    for eeg in plan.experiments.eeg_variants():
        path = folder / "segments.h5"
        with rehearsal.stage("segments", subject):
            how = read_options(SegmentsOptions, plan.config.segments_json(eeg))
            read = read_own if described else read_deap
            make_segments(table, Path(dataset.root), how, path, read)
            rehearsal.contents.setdefault(_told(path), []).append(subject)
            path.unlink()

    for faces in plan.experiments.faces_variants() if subject in dataset.with_video else ():
        how = FaceStageOptions(
            faces=plan.config.variant("faces", faces), segmentation=plan.config.segmentation
        )
        look = rehearsal.looks.setdefault(faces, Look(how))
        look.at(subject, storage.read_table(table, TRIALS), Path(dataset.root), rehearsal.stage)


def _told(path: Path) -> str:
    """What is in a subject's segments, in a line."""
    with h5py.File(path) as file:
        channels, rejected = json.loads(file.attrs["channels"]), file["rejected"].asstr()[()]
        cleaned = json.loads(file.attrs["cleaned"])
        text = f"{len(rejected)} segments of {len(channels)} channels at {file.attrs['sfreq']:g} Hz"
    if reasons := Counter(reason for reason in rejected if reason):
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        text += f", of which {sum(reasons.values())} are rejected ({counts})"
    if dropped := cleaned.get("not_read"):
        text += f"; not read: {names(sorted({name for file in dropped.values() for name in file}))}"
    return text


def _table(folder: Path, subject: str) -> Path:
    return folder / f"{subject}.parquet"


def _once(findings: list[Finding]) -> list[Finding]:
    """Findings of the same text as one, of all its subjects."""
    subjects_of: dict[tuple[str, str, bool, bool], set[str]] = {}
    for finding in findings:
        key = finding.about, finding.text, finding.stops, finding.warns
        subjects_of.setdefault(key, set()).update(finding.subjects)
    return [
        Finding(about, text, tuple(sorted(subjects)), stops, warns)
        for (about, text, stops, warns), subjects in subjects_of.items()
    ]


class _Warnings(logging.Handler):
    """Keeps what stages warn of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
