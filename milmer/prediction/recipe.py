"""What a trained model remembers of its preprocessing: the file beside its weights, validated."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, field_validator

from milmer.backbone.options import FrozenOptions
from milmer.contracts.facts import having
from milmer.data.segmentation import SegmentationOptions
from milmer.eeg.options import Alignment, SegmentsOptions
from milmer.errors import MilmerError
from milmer.evaluation import model_card
from milmer.evaluation.model_card import statement
from milmer.faces.options import FaceStageOptions
from milmer.limits import read_json, require_size
from milmer.metrics.calibration import TEMPERATURES
from milmer.model.configuration import NetworkConfig
from milmer.options import Options, read_options
from milmer.prediction.seen import Seen
from milmer.splits.protocols import ProtocolName
from milmer.training.recipe import FILE

Section = TypeVar("Section", bound=Options)

PREPROCESSED = ("dat", "mat")
"""Kinds of EEG that were referenced and cleared of eye artefacts by someone else."""

_SHORTEST = 0.01  # seconds from one segment to the next
_MOST_INSTANCES = 10_000


_Counts = Annotated[dict[str, int], having("train", "val", "test")]
_Scores = Annotated[dict[str, float | None], having(*model_card.SCORES)]


class EEGRecipe(Options):
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
    alignment: Alignment = Field("none")

    @field_validator("channels")
    @classmethod
    def _distinct(cls, channels: list[str]) -> list[str]:
        if len(set(channels)) < len(channels):
            raise ValueError("names a channel twice")
        return channels


class FaceRecipe(Options):
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
    batch_size: int = Field(ge=1, le=65536)
    threads: int = Field(ge=1, le=1024)


class Continued(Options):
    """What a model took over from the one that it continues from."""

    weights: str
    fold: str | None
    taken: int
    new: list[str]
    checked: bool


class RunFacts(Options):
    """What the model was trained and tested on; see :func:`milmer.training.recipe.shared_facts`."""

    protocol: ProtocolName
    fold: str
    seed: int
    labels: list[str]
    scheme: str
    leaky: bool
    permuted: bool
    warnings: list[str]
    select: str
    epoch: int
    epochs: int | None = Field(None)
    refit: bool = Field(False)
    logit_shares: dict[str, float] = Field({})
    segments: _Counts
    subjects: _Counts
    classes: list[int]
    without_valid_face: dict[str, int]
    rejected: dict[str, int] = Field({})
    modalities: list[str]
    num_instances: int
    holds_backbone: bool
    parameters: int
    trained_on: list[str] | None = Field(None)
    init: Continued | None = Field(None)


class Evaluation(Options):
    """The numbers that the stage ``evaluate`` put beside the model."""

    format: Literal[1]
    segment: _Scores
    trial: _Scores
    majority: Annotated[dict[str, float], having("segment", "trial")]
    calibration: Annotated[dict[str, float | None], having("ece", "temperature", "tempered_ece")]
    caveat: str = Field("")

    @field_validator("calibration")
    @classmethod
    def _temperature(cls, calibration: dict[str, float | None]) -> dict[str, float | None]:
        low, high = TEMPERATURES
        value = calibration["temperature"]
        if value is not None and not 0.99 * low < value < 1.01 * high:  # rounding
            raise ValueError(f"the temperature {value} is not from {low} to {high}")
        return calibration


class Recipe(Options):
    """All of it, with the names of the classes and what the model card warns of.

    ``run`` is null for a converted checkpoint, of whose training nothing is known. ``seen`` lists
    what was in the parts of the split, by subject.
    """

    format: Literal[3]
    eeg: EEGRecipe | None
    face: FaceRecipe | None
    labels: list[str]
    computed: Computed
    run: RunFacts | None
    seen: list[list[Seen]] = Field([])
    evaluation: Evaluation | None = Field(None, exclude=True)

    @property
    def segmentation(self) -> SegmentationOptions:
        """How time is cut."""
        return (self.eeg or self.face).options.segmentation

    @property
    def temperature(self) -> float | None:
        """The temperature of its probabilities, where evaluating the model gave one."""
        return None if self.evaluation is None else self.evaluation.calibration["temperature"]

    @property
    def card(self) -> dict[str, Any]:
        """What has to go along with every prediction; see the model card."""
        evaluation = self.evaluation and self.evaluation.model_dump()
        return statement(self.run and self.run.model_dump(), evaluation)

    def of_converted(self, labels: list[str]) -> Self:
        """The same preprocessing for a converted checkpoint that tells ``labels`` apart."""
        computed = self.computed.updated({"bfloat16": False})  # as the authors' code
        return self.updated(
            {"labels": labels, "computed": computed, "run": None, "seen": [], "evaluation": None}
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file of a model's folder; what is wrong with it is told in one line."""
        path = folder / FILE
        if not path.is_file():
            trained = (folder / "config.json").is_file()
            raise MilmerError(
                f"holds no {FILE}",
                where=folder,
                remedy="train it again with this version, or name a run that prepares recordings "
                "as a converted checkpoint needs them (--like)"
                if trained
                else "give a run's folder model/",
            )
        for file in folder.glob("*.json"):  # also those that others read
            require_size(file)
        recipe = _read(cls, path, "train the model again")
        if (path := folder / model_card.FILE).is_file():
            recipe = recipe.updated({"evaluation": _read(Evaluation, path, "evaluate it again")})
        return recipe


def require_fit(
    recipe: Recipe, config: NetworkConfig, folder: Path, like: str | Path | None
) -> None:
    """Refuse a recipe that is not for the model in ``folder``, or of absurd sizes.

    ``like`` is the folder that it was read from, if another.
    """
    eeg, face = recipe.eeg, recipe.face
    modalities = {name for name, part in (("eeg", eeg), ("face", face)) if part is not None}
    fits = modalities == {*config.model.modalities} and len(recipe.labels) == config.num_labels
    if fits:
        grid = recipe.segmentation
        fits = grid.seconds - grid.overlap >= _SHORTEST
    if fits and eeg is not None:
        fits = len(eeg.channels) == config.num_channels
        fits &= abs(eeg.sfreq * grid.seconds - config.num_samples) <= 1
    if fits and face is not None:
        fits &= config.num_instances <= face.options.faces.instances <= _MOST_INSTANCES
        fits &= face.backbone is not None or config.backbone_config is not None
    if fits:
        return
    if like is None:
        raise MilmerError(
            f"its {FILE} is not that of the model", where=folder, remedy="train the model again"
        )
    raise MilmerError(
        "does not prepare what the model looks at: "
        f"{config.num_channels} channels of {config.num_samples} samples and "
        f"{config.num_instances} faces",
        where=like,
        remedy="give --like a run of these",
    )


def _read(model: type[Section], path: Path, remedy: str) -> Section:
    try:
        return read_options(model, read_json(path, remedy), str(path))
    except MilmerError as error:
        problem = "damaged, or of another version of milmer"
        raise MilmerError(problem, where=path, remedy=remedy) from error
