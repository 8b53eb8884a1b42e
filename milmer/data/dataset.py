"""What the workflow needs to know of a dataset. Imports nothing heavy: the Snakefile uses it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from milmer.data.options import LabelsOptions
from milmer.errors import MilmerError


class Use(NamedTuple):
    """A recording or video of a subject, which is that of no other.

    ``line`` of a manifest names it first; ``faces`` are whose its rows take of a video, ``groups``
    those of the subject's trials.
    """

    subject: str
    path: Path
    line: int | None = None
    faces: frozenset[str | None] = frozenset({None})
    groups: frozenset[str] = frozenset()


class Dataset(ABC):
    """Subjects, and the files and triggers of each.

    ``root`` is the folder that files in tables of trials are relative to; ``source`` is the kind
    of EEG in a word; ``preprocessed``: whether it is DEAP's preprocessed EEG; ``subjects`` are
    those that take part, ``with_video`` those of them with face video; ``subject_pattern`` is a
    regular expression that all names of subjects match.
    """

    trials_module: str
    """The module of the stage ``trials``."""

    recordings_module: str
    """The module that reads its recordings for the stage ``segments``."""

    root: str
    source: str
    preprocessed: bool
    subject_pattern: str
    subjects: list[str]
    with_video: list[str]
    notes: Sequence[str] = ()
    """Remarks for the user before a run."""

    sessions: Mapping[str, int] = {}
    """How many sessions a subject has; one where none is named."""

    held_out_with: Mapping[str, str] = {}
    """Subjects that share a group, and are held out together: to the first of them."""

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return self.root

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes if trials have labels by name."""
        return None

    @abstractmethod
    def lacks(self, labels: LabelsOptions) -> str | None:
        """Why trials cannot be labelled as ``labels`` say; None if they can."""

    @abstractmethod
    def eeg_files(self, subject: str) -> list[str]:
        """The subject's EEG files."""

    @abstractmethod
    def video_files(self, subject: str) -> list[str]:
        """The subject's videos."""

    @abstractmethod
    def uses(self) -> Iterator[Use]:
        """Each recording and video of each subject that is there, once."""

    def problems(self, subject: str) -> Iterator[MilmerError]:
        """What of a subject's files is not there."""
        yield from ()

    def longest(self, subject: str) -> float | None:
        """The longest of the subject's trials in s, where that is known without its recording."""
        return None

    @abstractmethod
    def trials_files(self) -> list[str]:
        """Files other than EEG from which the tables of trials are made."""

    @abstractmethod
    def trials_json(self, subject: str) -> str:
        """Options of the stage ``trials``."""

    @abstractmethod
    def trials_trigger(self, subject: str) -> str:
        """What else the subject's table of trials depends on."""

    @abstractmethod
    def trials_arguments(self) -> list[str]:
        """Arguments of the stage ``trials`` that change no result."""
