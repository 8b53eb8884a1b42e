"""How results are summarised: the part of the section ``report`` that the tables depend on.

Options of the report alone are in ``report/options.py``, so that a new one reruns no table.
"""

from pydantic import Field

from milmer.options import Options

TABLES = ("folds", "subjects", "summary", "inflation", "ablation", "tests")
TABLES += ("baselines", "controls", "calibration", "confusion", "literature", "skipped")
"""All tables, each written as CSV and Parquet."""

READABLE = ("summary", "inflation", "ablation", "tests", "baselines", "controls")
"""Tables that are also written as Markdown and LaTeX."""

METRIC_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "auroc": "AUROC",
}
"""The metrics in readable tables and their headings; the others are in CSV and Parquet only."""


class SummaryOptions(Options):
    """How results are summarised."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of the intervals.")
    resamples: int = Field(
        10_000, ge=100, description="Number of sign flips that a test draws where there are more."
    )
    seed: int = Field(0, ge=0, description="Seed of draws: sign flips and permuted labels.")
