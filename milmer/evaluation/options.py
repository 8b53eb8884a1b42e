"""The section ``report``: how results are summarised, explained and shown; and the baseline."""

from typing import Literal

from pydantic import Field

from milmer.options import Options, execution

BASELINE = "band_power"
"""The baseline's name in the tables; with other labels than the default their name follows."""

TABLES = ("folds", "subjects", "summary", "inflation", "ablation", "tests")
TABLES += ("calibration", "confusion", "literature")
"""All tables, each written as CSV and Parquet."""

READABLE = ("summary", "inflation", "ablation", "tests")
"""Those that are also written as Markdown and LaTeX."""


class BandPowerOptions(Options):
    """The baseline: fixed in advance, and not in the configuration, so that none can tune it."""

    bands: list[tuple[float, float]] = Field(
        [(4, 8), (8, 13), (13, 30), (30, 45)],
        description="Theta, alpha, beta and gamma in Hz: what DEAP's preprocessing leaves.",
    )
    c: float = Field(1.0, gt=0, description="Inverse strength of the regularisation.")


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
