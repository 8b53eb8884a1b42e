"""The section ``report``: how results are summarised and explained."""

from pydantic import Field

from milmer.options import Options, execution


class ReportOptions(Options):
    """How results are summarised."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the intervals.")
    resamples: int = Field(10_000, ge=100, description="Bootstrap samples and sign flips.")
    seed: int = Field(0, ge=0, description="Draws the resamples.")
    explain: int = Field(
        64,
        ge=0,
        description="Test segments of a run by which is told which channels and which part of the "
        "face its model goes by; 0 leaves that out.",
    )


class ExplainOptions(Options):
    """What the stage ``explain`` depends on."""

    segments: int = Field(ReportOptions.model_fields["explain"].default, ge=1)
    threads: int = Field(2, ge=1)
    device: str = execution("auto")
