"""Which part of a recording is predicted, and how."""

from typing import Literal

from pydantic import Field

from milmer.options import FilePath, Options, execution


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
    backbone: str | None = execution(None, description="Directory or hub name of the backbone.")
    detector_model: FilePath | None = execution(None, description="The face detector's model file.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")
