"""How results are summarised: the part of the section ``report`` that the tables depend on.

What the report alone looks at stands beside it, so that a new option there reruns no table.
"""

from pydantic import Field

from milmer.options import Options

TABLES = ("folds", "subjects", "summary", "inflation", "ablation", "tests")
TABLES += ("calibration", "confusion", "literature")
"""All tables, each written as CSV and Parquet."""

READABLE = ("summary", "inflation", "ablation", "tests")
"""Those that are also written as Markdown and LaTeX."""

SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "auroc": "AUROC",
}
"""Metrics that people are shown, and how they are headed; all others are in CSV and Parquet."""


class SummaryOptions(Options):
    """How results are summarised."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Level of the intervals.")
    resamples: int = Field(10_000, ge=100, description="Bootstrap samples and sign flips.")
    seed: int = Field(0, ge=0, description="Draws the resamples.")
