"""A lab's own recordings as the workflow sees them, by their manifest."""

import json
from collections.abc import Iterable
from pathlib import Path

from milmer.data.dataset import Dataset
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.errors import MilmerError
from milmer.manifest.table import SUBJECT, Manifest, nearest
from milmer.readers.sidecars import companions


class ManifestDataset(Dataset):
    """The subjects of a manifest that ``options`` ask for; errors are for people."""

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
            raise MilmerError(f"dataset.subjects: {manifest.path}: no row of {', '.join(absent)}")
        self.subjects = list(wanted)
        for subject in self.subjects:
            self._require_files(subject)
        self.with_video = [s for s in self.subjects if self.video_files(s)]
        self.notes = [
            f"{manifest.path}: the column {name} is not read"
            + (f"; is it {near}?" if (near := nearest(name)) else "")
            for name in manifest.ignored
        ]

    @property
    def place(self) -> str:
        """The manifest."""
        return str(self._manifest.path)

    @property
    def classes(self) -> list[str]:
        """All names in the column label, of subjects that take no part too."""
        return self._manifest.classes

    def lacks(self, labels: LabelsOptions) -> str | None:
        """What the columns do not say."""
        path = self._manifest.path
        if labels.scheme == "label":
            known = self.classes
            absent = [name for name in labels.classes or [] if name not in known]
            if absent:
                return f"labels.classes: no row of {path} has the label {', '.join(absent)}"
            if len(labels.classes or known) < 2:
                return f"{path}: labels.scheme label needs two names or more in the column label"
            return None
        rated = {scale for row in self._manifest.rows for scale in row.ratings}
        absent = [scale for scale in labels.scales if scale not in rated]
        if not absent:
            return None
        hint = "; set labels.scheme to label" if self.classes else ""
        return f"{path}: labels.scheme {labels.scheme} needs a column {absent[0]}{hint}"

    def eeg_files(self, subject: str) -> list[str]:
        """The subject's recordings with all files that they are made of."""
        files = self._files(row.eeg_file for row in self._manifest.of(subject))
        return [str(part) for file in files for part in (file, *companions(file))]

    def video_files(self, subject: str) -> list[str]:
        """The subject's videos."""
        files = self._files(row.video_file for row in self._manifest.of(subject))
        return [str(file) for file in files]

    def trials_files(self) -> list[str]:
        """None: of the manifest a subject's own rows count, not the file's time."""
        return []

    def trials_json(self, subject: str) -> str:
        """A digest of the subject's rows."""
        return json.dumps({"rows": self._manifest.digest(subject)})

    def trials_trigger(self, subject: str) -> str:
        """Nothing that the rows do not say."""
        return ""

    def trials_arguments(self) -> list[str]:
        """Where the manifest is."""
        return ["--manifest", str(self._manifest.path)]

    def _files(self, names: Iterable[str | None]) -> list[Path]:
        return [self._manifest.at(name) for name in sorted({name for name in names if name})]

    def _require_files(self, subject: str) -> None:
        rows = self._manifest.of(subject)
        there: set[str] = set()
        if not any(row.eeg_file for row in rows):
            raise MilmerError(f"{self._manifest.path}: {subject}: no row names an EEG file")
        for row in rows:
            for column, name in (("eeg_file", row.eeg_file), ("video_file", row.video_file)):
                if name is None or name in there:
                    continue
                if not self._manifest.at(name).is_file():
                    raise self._manifest.error(row, f"{column}: no such file: {name}")
                there.add(name)
