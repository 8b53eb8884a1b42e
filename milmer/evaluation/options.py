"""The section ``report``: how results are summarised."""

from pydantic import Field

from milmer.options import Options


class ReportOptions(Options):
    """How results are summarised."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the intervals.")
    resamples: int = Field(10_000, ge=100, description="Bootstrap samples and sign flips.")
    seed: int = Field(0, ge=0, description="Draws the resamples.")
