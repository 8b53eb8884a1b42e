"""The section ``protocols``, and what the stage ``split`` depends on."""

from pydantic import Field, field_validator

from milmer.data.options import LabelsOptions
from milmer.data.segmentation import SegmentationOptions
from milmer.options import Options
from milmer.splits.protocols import ProtocolName


class ProtocolsOptions(Options):
    """How data is split into training, validation and test parts."""

    names: list[ProtocolName] = Field(
        ["trial", "loso"],
        min_length=1,
        description="trial, session, loso, stimulus; `segment` is the published one, and leaks.",
    )
    folds: int = Field(5, ge=2, le=10_000, description="Folds of the protocols trial and stimulus.")
    validation: float = Field(
        0.2, ge=0, lt=1, description="Part of the training groups held out to choose the epoch."
    )
    repeats: int = Field(1, ge=1, description="Runs of each fold, with seeds seed, seed+1, …")
    seed: int = Field(0, ge=0, description="Draws the splits; also the first run's seed.")

    @field_validator("names")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("names one protocol twice")
        return names


class SplitOptions(Options):
    """What the stage ``split`` depends on."""

    labels: LabelsOptions = LabelsOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    folds: int = ProtocolsOptions.model_fields["folds"]  # type: ignore[assignment]
    validation: float = ProtocolsOptions.model_fields["validation"]  # type: ignore[assignment]
    seed: int = ProtocolsOptions.model_fields["seed"]  # type: ignore[assignment]
