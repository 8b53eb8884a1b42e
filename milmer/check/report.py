"""The report of ``milmer check``: facts, findings and needs in one object, as text and as JSON."""

from dataclasses import asdict, dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from milmer import storage
from milmer.check import text
from milmer.check.deap import DeapFacts, Subject, inspect_copy
from milmer.check.deap_findings import copy_findings, disk
from milmer.check.findings import Finding
from milmer.check.manifest import ManifestFacts, inspect_manifest
from milmer.check.manifest_findings import manifest_findings
from milmer.check.needs import Need, needs
from milmer.check.rehearsal import rehearse
from milmer.check.target import Target
from milmer.config import Config
from milmer.data.labels import QUADRANTS
from milmer.deap.layout import EEG_KINDS
from milmer.readers.video import Clip


@dataclass(frozen=True)
class Report:
    """All about a dataset; of a copy of DEAP also what a first run needs.

    ``free`` are the bytes on the disk of ``directory``, where the run will be.
    """

    facts: DeapFacts | ManifestFacts
    findings: list[Finding]
    needs: list[Need] = field(default_factory=list)
    directory: Path = Path()
    free: int = 0

    @property
    def errors(self) -> list[Finding]:
        """What would stop a run."""
        return [finding for finding in self.findings if finding.stops]

    @property
    def warnings(self) -> list[Finding]:
        """What most likely spoils results."""
        return [finding for finding in self.findings if finding.warns]

    @property
    def notes(self) -> list[Finding]:
        """What only costs data, or is good to know."""
        return [finding for finding in self.findings if not finding.stops | finding.warns]

    def screen(self) -> str:
        """The report as text for people."""
        lines = text.overview(self.facts)
        for title, findings in (
            ("ERROR", self.errors),
            ("WARNING", self.warnings),
            ("NOTE", self.notes),
        ):
            lines += [""] * bool(findings) + text.finding_lines(title, findings)
        if any(need.count for need in self.needs):
            lines += ["", *text.need_lines(self.needs, self.facts.quick, self.free, self.directory)]
        verdict = text.verdict(
            len(self.errors), len(self.warnings), len(self.notes), self.facts.quick
        )
        return "\n".join([*lines, "", verdict])

    def as_json(self) -> dict[str, Any]:
        """Plain values; the keys are documented in docs/data.md and docs/own-data.md."""
        deap = isinstance(self.facts, DeapFacts)
        content = _deap(self.facts) if deap else _manifest(self.facts)
        estimate = {
            "needs": {
                need.stage: {"count": need.count, "bytes": need.bytes, "seconds": need.seconds}
                for need in self.needs
            },
            "free_bytes": self.free,
        }
        return {
            "root" if deap else "manifest": str(self.facts.place),
            "usable": not self.errors,
            "quick": self.facts.quick,
            **content,
            "errors": [_finding(error) for error in self.errors],
            "warnings": [_finding(warning) for warning in self.warnings],
            "notes": [_finding(note) for note in self.notes],
            **(estimate if deap else {}),
        }


def check(target: Target, quick: bool, directory: Path) -> Report:
    """Check a dataset whose results are to go to ``directory``; see :mod:`milmer.check.target`.

    A configuration is rehearsed too, unless ``quick``: where stages stop is then said by them.
    """
    dataset = target.dataset
    if dataset.kind == "manifest":
        manifest = inspect_manifest(dataset, target.labels, quick)
        return Report(manifest, _rehearsed(target, quick, manifest_findings(manifest)))
    copy = inspect_copy(dataset.root, dataset.source, quick)
    estimate, free = (
        needs(copy, target.config or Config()),
        storage.free_bytes(directory / "results"),
    )
    findings = disk(sum(need.bytes for need in estimate), free, directory) + copy_findings(copy)
    return Report(copy, _rehearsed(target, quick, findings), estimate, directory, free)


_SAID_BY_STAGES = ("dataset", "subjects", "ratings", "labels", "trials", "classes", "eeg", "onsets")
_SAID_BY_STAGES += ("channels", "rates", "rejected", "unlabelled", "samples")
_SAID_BY_STAGES += ("video", "clips", "video_times", "clips_times")


def _rehearsed(target: Target, quick: bool, findings: list[Finding]) -> list[Finding]:
    if quick or target.user is None:
        return findings
    others = [finding for finding in findings if finding.about not in _SAID_BY_STAGES]
    return [*rehearse(target.user), *others]


def _finding(finding: Finding) -> dict[str, Any]:
    return {"about": finding.about, "subjects": list(finding.subjects), "text": finding.text}


def _deap(facts: DeapFacts) -> dict[str, Any]:
    return {
        "source": facts.source,
        "eeg": {kind: facts.kind(kind) for kind in EEG_KINDS},
        "ratings": _relative(facts.ratings, facts.place),
        "subjects": {name: _subject(facts, s) for name, s in facts.subjects.items()},
    }


def _subject(facts: DeapFacts, subject: Subject) -> dict[str, Any]:
    quadrants = [trial.quadrant for trial in subject.trials]
    return {
        "eeg": {kind: _relative(path, facts.place) for kind, path in subject.eeg.items()},
        "eeg_read": subject.eeg_read,
        "labels_agree": subject.labels_agree,
        "familiarity": subject.familiarity,
        "trials": [
            {
                "trial": trial.trial,
                "experiment_id": trial.experiment_id,
                "quadrant": trial.quadrant,
                "eeg_seconds": trial.seconds,
                "video": trial.trial in subject.clips,
            }
            for trial in subject.trials
        ],
        "quadrants": {quadrant: quadrants.count(quadrant) for quadrant in QUADRANTS},
        "clips": {str(trial): _clip(clip) for trial, clip in subject.clips.items()},
        "status": subject.status and asdict(subject.status),
    }


def _relative(path: Path | None, root: Path) -> str | None:
    return path and path.relative_to(root).as_posix()


def _manifest(facts: ManifestFacts) -> dict[str, Any]:
    return {
        "classes": facts.class_names,
        "subjects": {
            subject: [
                {
                    "trial": row.trial,
                    "experiment_id": row.experiment_id,
                    "stimulus": row.stimulus,
                    "class": facts.classes.get((subject, row.trial)),
                    "eeg_seconds": None if isnan(s := facts.seconds_of(row)) else s,
                    "video": row.video_file is not None,
                }
                for row in facts.rows_of(subject)
            ]
            for subject in facts.subjects
        },
        "eeg": {name: content and asdict(content) for name, content in facts.eeg.items()},
        "video": {
            name: clip and {**_clip(clip), "by_time": clip.kind != "count"}
            for name, clip in facts.video.items()
        },
    }


def _clip(clip: Clip | None) -> dict[str, Any] | None:
    return clip and {
        "fps": clip.fps,
        "frames": clip.frames,
        "width": clip.width,
        "height": clip.height,
        "seconds": clip.seconds,
    }
