"""A lab's own recordings as the workflow sees them: the dataset of a manifest."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from milmer.data.dataset import Dataset, Use
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.errors import MilmerError
from milmer.manifest.table import SUBJECT, Manifest, Row
from milmer.readers.sidecars import companions


class ManifestDataset(Dataset):
    """The subjects of a manifest that ``options`` name.

    Raises :class:`MilmerError` where one of them has no row.
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

    def uses(self) -> Iterator[Use]:
        """The recordings and videos that rows name."""
        for subject in self.subjects:
            rows = self._manifest.of(subject)
            groups = frozenset(row.group for row in rows if row.group)
            of_file: dict[Path, list[Row]] = {}
            for row in rows:
                for name in filter(None, (row.eeg_file, row.video_file)):
                    of_file.setdefault(self._manifest.at(name), []).append(row)
            for path, named in of_file.items():
                faces = frozenset(row.face for row in named)
                if path.exists():
                    yield Use(subject, path, named[0].line, faces, groups)

    def problems(self, subject: str) -> Iterator[MilmerError]:
        """A subject without EEG, and files that are not there, by the first row that names each."""
        rows, checked = self._manifest.of(subject), set()
        if not any(row.eeg_file for row in rows):
            yield MilmerError(
                "no row names an EEG file",
                where=f"{self._manifest.path}: {subject}",
                remedy="leave the subject out of dataset.subjects",
            )
        for row in rows:
            for column in ("eeg_file", "video_file", "video_times"):
                name = getattr(row, column)
                if name is None or name in checked:
                    continue
                checked.add(name)
                path = self._manifest.at(name)
                if not (path.is_file() or (column == "eeg_file" and path.is_dir())):
                    yield self._manifest.error(
                        row,
                        f"{column}: no such file: {name}",
                        remedy="paths are relative to the manifest's folder",
                    )

    def longest(self, subject: str) -> float | None:
        """The longest of the subject's trials in s, where each row says when it ends."""
        rows = [row for row in self._manifest.of(subject) if row.eeg_file]
        lengths = [
            row.eeg_stop - (row.eeg_start or 0.0) for row in rows if row.eeg_stop is not None
        ]
        return max(lengths) if lengths and len(lengths) == len(rows) else None

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
