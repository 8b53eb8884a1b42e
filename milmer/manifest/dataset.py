"""A lab's own recordings as the workflow sees them: the dataset of a manifest."""

import json
from collections.abc import Iterable
from pathlib import Path

from milmer.data.dataset import Dataset
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.errors import MilmerError
from milmer.manifest.shared import require_own
from milmer.manifest.table import SUBJECT, Manifest
from milmer.readers.sidecars import companions


class ManifestDataset(Dataset):
    """The subjects of a manifest that ``options`` name.

    Raises :class:`MilmerError` where one of them has no row or no EEG, where a file is missing, or
    where two of them have the same.
    """

    trials_module = "milmer.manifest.trials"
    recordings_module = "milmer.manifest.recordings"
    subject_pattern = SUBJECT
    source = "manifest"
    preprocessed = False

    def __init__(self, manifest: Manifest, options: DatasetOptions):
        self._manifest = manifest
        self.root = str(manifest.folder)
        wanted = manifest.subjects if options.subjects == "all" else options.subjects
        if absent := [s for s in wanted if s not in manifest.trials]:
            raise MilmerError(
                f"no row of {', '.join(absent)}",
                where=f"dataset.subjects: {manifest.path}",
                remedy="leave them out",
            )
        self.subjects = list(wanted)
        for subject in self.subjects:
            self._require_files(subject)
        require_own(manifest, self.subjects)
        self.sessions = {s: self._sessions(s) for s in self.subjects}
        self.held_out_with = self._tied()
        self.with_video = [s for s in self.subjects if self.video_files(s)]
        self.notes = [f"{manifest.path}: {text}" for text in manifest.notes]

    @property
    def place(self) -> str:
        """The manifest."""
        return str(self._manifest.path)

    @property
    def classes(self) -> list[str]:
        """All names in the column label, including those of subjects that take no part."""
        return self._manifest.classes

    def lacks(self, labels: LabelsOptions) -> str | None:
        """What the columns do not say."""
        return missing_labels(self._manifest, labels)

    def eeg_files(self, subject: str) -> list[str]:
        """The subject's recordings with all files that they consist of."""
        files = self._files(row.eeg_file for row in self._manifest.of(subject))
        parts = [part for file in files for part in (file, *companions(file))]
        return [str(part) for part in parts if not part.is_dir()]

    def video_files(self, subject: str) -> list[str]:
        """The subject's videos, and the times of their frames."""
        rows = self._manifest.of(subject)
        files = self._files(name for row in rows for name in (row.video_file, row.video_times))
        return [str(file) for file in files]

    def trials_files(self) -> list[str]:
        """None: what counts is a digest of the subject's rows, not the time of the manifest."""
        return []

    def trials_json(self, subject: str) -> str:
        """A digest of the subject's rows."""
        return json.dumps({"rows": self._manifest.digest(subject)})

    def trials_trigger(self, subject: str) -> str:
        """Empty: the rows say everything."""
        return ""

    def trials_arguments(self) -> list[str]:
        """The path of the manifest."""
        return ["--manifest", str(self._manifest.path)]

    def _files(self, names: Iterable[str | None]) -> list[Path]:
        return [self._manifest.at(name) for name in sorted({name for name in names if name})]

    def _sessions(self, subject: str) -> int:
        return len({row.session for row in self._manifest.of(subject) if row.eeg_file})

    def _tied(self) -> dict[str, str]:
        """The first of the subjects that share groups with a subject, directly or not."""
        first = {subject: subject for subject in self.subjects}
        seen: dict[str, str] = {}
        for row in (row for s in self.subjects for row in self._manifest.of(s) if row.group):
            a, b = first[row.subject], first[seen.setdefault(row.group, row.subject)]
            first = {s: min(a, b) if f in (a, b) else f for s, f in first.items()}
        return first

    def _require_files(self, subject: str) -> None:
        self._manifest.require_eeg(subject)
        checked: set[str | None] = set()
        for row in self._manifest.of(subject):
            for column in ("eeg_file", "video_file", "video_times"):
                if (name := getattr(row, column)) not in checked:
                    self._manifest.require_file(row, column)
                    checked.add(name)


def missing_labels(manifest: Manifest, labels: LabelsOptions) -> str | None:
    """What the columns of a manifest lack for these labels, as a line; None where nothing."""
    path = manifest.path
    if labels.scheme == "label":
        absent = [name for name in labels.classes or [] if name not in manifest.classes]
        if absent:
            return f"labels.classes: no row of {path} has the label {', '.join(absent)}"
        if len(labels.classes or manifest.classes) < 2:
            return f"{path}: labels.scheme label needs two names or more in the column label"
        return None
    rated = {scale for row in manifest.rows for scale in row.ratings}
    absent = [scale for scale in labels.scales if scale not in rated]
    if not absent:
        return None
    hint = "; set labels.scheme to label" if manifest.classes else ""
    return f"{path}: labels.scheme {labels.scheme} needs a column {absent[0]}{hint}"
