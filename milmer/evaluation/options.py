"""The section ``report``: how results are summarised and shown."""

from typing import Literal

from pydantic import Field

from milmer.options import Options


class SummaryOptions(Options):
    """How results are summarised."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the intervals.")
    resamples: int = Field(10_000, ge=100, description="Bootstrap samples and sign flips.")
    seed: int = Field(0, ge=0, description="Draws the resamples.")


class ReportOptions(SummaryOptions):
    """How results are summarised and shown."""

    faces: Literal["none", "blurred", "shown"] = Field(
        "none",
        description="Pictures of chosen frames in the report. They show participants: `shown` only "
        "where the dataset's licence allows it for each of them; `blurred` leaves of a face what "
        "8 x 8 points hold.",
    )
