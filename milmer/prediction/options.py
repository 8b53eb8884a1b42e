"""Which part of a recording is predicted, and how."""

from typing import Literal

from pydantic import Field, field_validator

from milmer.data.place import parse_place
from milmer.options import FilePath, Options, execution

SIZES = ("detection_size", "second_detection_size")


class PredictOptions(Options):
    """Options of the command ``predict``, apart from the model and the recording."""

    offset: float | None = Field(None, description="Start of the video in the EEG, in s.")
    start: float | None = Field(None, description="Start of the predictions, in s.")
    stop: float | None = Field(None, description="End of the predictions, in s.")
    trial: int | None = Field(None, ge=1, description="Trial in a .dat or .mat of DEAP.")
    missing_channels: Literal["refuse", "interpolate"] | None = Field(
        None, description="What to do if the EEG lacks channels; null: as in training."
    )
    use_eog: bool = Field(True, description="Remove eye artefacts as in training.")
    face: str | None = Field(
        None, description="Which of several people in the video: left, right or a box in px."
    )
    detection_size: int | None = Field(
        None, ge=64, description="px of pictures searched for faces; null: as in training."
    )
    second_detection_size: int | None = Field(
        None, ge=64, description="px of the second search; null: as in training."
    )
    backbone: str | None = execution(None, description="Directory or hub name of the backbone.")
    detector_model: FilePath | None = execution(None, description="The face detector's model file.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")

    @field_validator("face")
    @classmethod
    def _place(cls, face: str | None) -> str | None:
        try:
            parse_place(face or "left")
        except ValueError as error:
            raise ValueError("neither left, right nor 'LEFT TOP WIDTH HEIGHT' in px") from error
        return face

    @property
    def faces(self) -> dict[str, int]:
        """Options of the section ``faces`` that are not those of the training."""
        sizes = {name: getattr(self, name) for name in SIZES}
        return {name: size for name, size in sizes.items() if size is not None}
