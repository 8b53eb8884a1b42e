"""What of a recording is predicted, and how."""

from typing import Literal

from pydantic import Field

from milmer.options import Options, execution


class PredictOptions(Options):
    """What the command ``predict`` depends on, beside the model and the recording."""

    offset: float | None = Field(None, description="Where the video begins in the EEG, in s.")
    start: float | None = Field(None, description="Where to begin in the recording, in s.")
    stop: float | None = Field(None, description="Where to end, in s.")
    trial: int | None = Field(None, ge=1, description="Trial of a .dat or .mat of DEAP.")
    missing_channels: Literal["refuse", "interpolate"] | None = Field(
        None, description="What is done where the EEG lacks channels; null: as in training."
    )
    use_eog: bool = Field(True, description="Remove eye artefacts by EOG as in training.")
    backbone: str | None = execution(None, description="Where the backbone lies.")
    detector_model: str | None = execution(None, description="The face detector's file.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")
