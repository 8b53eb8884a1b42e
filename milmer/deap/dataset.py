"""A copy of DEAP as the workflow sees it."""

import json
from collections.abc import Iterator
from pathlib import Path

from milmer.data.dataset import Dataset, Use
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.deap.layout import Copy, no_eeg, ratings_file
from milmer.errors import MilmerError


class DeapDataset(Dataset):
    """The subjects of a copy of DEAP that ``options`` name.

    Raises :class:`MilmerError` where one of them has no EEG of the chosen kind.
    """

    trials_module = "milmer.deap.trials"
    recordings_module = "milmer.deap.recordings"
    subject_pattern = r"s\d\d"

    def __init__(self, copy: Copy, options: DatasetOptions):
        self._copy = copy
        self.root = options.root
        wanted = copy.subjects if options.subjects == "all" else options.subjects
        self._require("recording", wanted, copy.subjects)
        self.source = copy.source(options.source, wanted)
        self.preprocessed = self.source != "bdf"
        with_eeg = copy.eeg.get(self.source, {})
        self.subjects = [s for s in copy.subjects if s in with_eeg and s in wanted]
        if not self.subjects:
            raise no_eeg(copy, self.source)
        if options.subjects != "all":
            self._require(f".{self.source} file", wanted, self.subjects)
        self._ratings = str(ratings_file(copy))
        self.with_video = [s for s in self.subjects if copy.videos.get(s)]

    def _require(self, what: str, wanted: list[str], subjects: list[str]) -> None:
        if absent := sorted(set(wanted) - set(subjects)):
            raise MilmerError(
                f"{self._copy.root} holds no {what} of {', '.join(absent)}",
                where="dataset.subjects",
                remedy="leave them out",
            )

    def lacks(self, labels: LabelsOptions) -> str | None:
        """Why trials cannot get these labels: DEAP has ratings, but no column of labels."""
        if labels.scheme == "label":
            return "labels.scheme label needs a manifest with a column label; DEAP has ratings"
        return None

    def eeg_files(self, subject: str) -> list[str]:
        """The subject's EEG file."""
        return [str(self._copy.eeg[self.source][subject])]

    def video_files(self, subject: str) -> list[str]:
        """The subject's clips, by trial."""
        return [str(p) for _, p in sorted(self._copy.videos.get(subject, {}).items())]

    def uses(self) -> Iterator[Use]:
        """The subjects' EEG files of the chosen kind and their clips."""
        for subject in self.subjects:
            for file in (*self.eeg_files(subject), *self.video_files(subject)):
                yield Use(subject, Path(file))

    def trials_files(self) -> list[str]:
        """The ratings."""
        return [self._ratings]

    def trials_json(self, subject: str) -> str:
        """The kind of EEG."""
        return json.dumps({"source": self.source})

    def trials_trigger(self, subject: str) -> str:
        """Which trials have a clip: the table of trials names them."""
        return json.dumps(sorted(self._copy.videos.get(subject, {})))

    def trials_arguments(self) -> list[str]:
        """None."""
        return []
