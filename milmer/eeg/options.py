"""The section ``eeg``: from a trial's recording to segments."""

from typing import Literal

from pydantic import Field, model_validator

from milmer.options import Options
from milmer.segmentation import SegmentationOptions


class EEGOptions(Options):
    """From a trial's recording to segments."""

    band: tuple[float, float] | None = Field(
        (1.0, 50.0),
        description="Band-pass in Hz (zero-phase FIR as MNE designs it), or null for none.",
    )
    layout: Literal["channels_by_time", "as_published"] = Field(
        "channels_by_time",
        description="`as_published` scrambles channels and time as the authors' notebook does.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "EEGOptions":
        if self.band is not None and not 0 < self.band[0] < self.band[1]:
            raise ValueError("band: give two rising frequencies above 0 Hz")
        return self


class SegmentsOptions(Options):
    """What the stage ``segments`` depends on."""

    eeg: EEGOptions = EEGOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
