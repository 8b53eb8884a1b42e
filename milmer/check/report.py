"""What ``milmer check`` says of a copy: facts, findings and needs in one object, and as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from milmer import storage
from milmer.check.deap import Facts, Subject, gather
from milmer.check.deap_findings import Finding, disk, findings
from milmer.check.needs import Need, needs
from milmer.data.labels import QUADRANTS
from milmer.deap.layout import EEG_KINDS


@dataclass(frozen=True)
class Report:
    """All that is told of a copy; ``free`` are the bytes on the disk of ``directory``."""

    facts: Facts
    findings: list[Finding]
    needs: list[Need]
    directory: Path
    free: int

    @property
    def errors(self) -> list[Finding]:
        """What would stop a run."""
        return [finding for finding in self.findings if finding.stops]

    @property
    def notes(self) -> list[Finding]:
        """What only costs data, or is good to know."""
        return [finding for finding in self.findings if not finding.stops]

    def as_json(self) -> dict[str, Any]:
        """Plain values; the keys are documented in docs/data.md."""
        facts = self.facts
        return {
            "root": str(facts.root),
            "usable": not self.errors,
            "quick": facts.quick,
            "source": facts.source,
            "eeg": {kind: facts.kind(kind) for kind in EEG_KINDS},
            "ratings": _relative(facts.ratings, facts.root),
            "subjects": {n: _subject(facts, s) for n, s in facts.subjects.items()},
            "errors": [_finding(error) for error in self.errors],
            "notes": [_finding(note) for note in self.notes],
            "needs": {
                need.stage: {"count": need.count, "bytes": need.bytes, "seconds": need.seconds}
                for need in self.needs
            },
            "free_bytes": self.free,
        }


def check(root: Path, source: str, quick: bool, directory: Path) -> Report:
    """Look at the copy below ``root``; results are to go to ``directory``."""
    facts = gather(root, source, quick)
    needed, free = needs(facts), storage.free_bytes(directory / "results")
    told = disk(sum(need.bytes for need in needed), free, directory) + findings(facts)
    return Report(facts, told, needed, directory, free)


def _finding(finding: Finding) -> dict[str, Any]:
    return {"about": finding.about, "subjects": list(finding.subjects), "text": finding.text}


def _subject(facts: Facts, subject: Subject) -> dict[str, Any]:
    quadrants = [trial.quadrant for trial in subject.trials]
    return {
        "eeg": {kind: _relative(path, facts.root) for kind, path in subject.eeg.items()},
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
        "clips": {
            str(trial): clip and {**asdict(clip), "seconds": clip.seconds}
            for trial, clip in subject.clips.items()
        },
        "status": subject.status and asdict(subject.status),
    }


def _relative(path: Path | None, root: Path) -> str | None:
    return path and path.relative_to(root).as_posix()
