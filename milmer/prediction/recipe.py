"""What a trained model remembers of its preprocessing: the file beside its weights, validated."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

from milmer import storage
from milmer.backbone.options import FrozenOptions
from milmer.data.segmentation import SegmentationOptions
from milmer.eeg.options import SegmentsOptions
from milmer.errors import MilmerError
from milmer.faces.options import FaceStageOptions
from milmer.options import Options
from milmer.training.recipe import FILE

PREPROCESSED = ("dat", "mat")
"""Kinds of EEG that were referenced and cleared of eye artefacts by someone else."""


class RememberedEEG(Options):
    """How the EEG was prepared: ``channels`` in their order, ``sfreq`` in Hz, and the options.

    ``source`` is the kind of file; ``artefacts`` the method that removed them; ``trial_seconds``
    the length of the longest trial, which was filtered as a whole.
    """

    channels: list[str]
    sfreq: float
    trial_seconds: float
    options: SegmentsOptions
    source: Literal["dat", "mat", "bdf", "manifest"]
    artefacts: str


class RememberedFaces(Options):
    """How faces were found and cropped, and which backbone made tokens of them.

    ``detector_model`` and ``fingerprint`` are digests of the detector's file and of the backbone's
    weights; ``backbone`` and ``fingerprint`` are null where the model holds its backbone.
    """

    options: FaceStageOptions
    detector_model: str | None
    use_borrowed_boxes: bool
    backbone: FrozenOptions | None
    fingerprint: str | None


class Computed(Options):
    """How the model computed when it was tested."""

    bfloat16: bool
    batch_size: int
    threads: int


class Remembered(Options):
    """All of it, with the names of the classes and what the model card warns of."""

    format: Literal[1]
    eeg: RememberedEEG | None
    face: RememberedFaces | None
    labels: list[str]
    temperature: float | None
    computed: Computed
    card: dict[str, Any]

    @property
    def segmentation(self) -> SegmentationOptions:
        """How time is cut."""
        return (self.eeg or self.face).options.segmentation

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a model's folder; what is wrong with it is told in one line."""
        path = folder / FILE
        if not path.is_file():
            there = (folder / "config.json").is_file()
            raise MilmerError(
                f"{folder}: holds no {FILE}; "
                + ("train it again with this version" if there else "give a run's folder model/")
            )
        try:
            with storage.read_errors(path):
                text = path.read_text(encoding="utf-8")
            return cls.model_validate_json(text)
        except (ValidationError, UnicodeDecodeError) as error:
            raise MilmerError(
                f"{path}: damaged, or of another version of milmer; train the model again"
            ) from error
