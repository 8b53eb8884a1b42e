"""The section ``report``: how results are summarised, explained and shown."""

from typing import Any, Literal

from pydantic import Field

from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.options import SummaryOptions
from milmer.options import Options


class ReportOptions(SummaryOptions):
    """How results are summarised and shown."""

    faces: Literal["none", "blurred", "shown"] = Field(
        "none",
        description="Pictures of chosen frames in the report. They show participants: `shown` only "
        "where the dataset's licence allows it for each of them; `blurred` leaves of a face what "
        "8 x 8 points hold.",
    )
    explain: int = Field(
        ExplainOptions.model_fields["segments"].default,
        ge=0,
        description="Test segments of a run by which is told which channels and which part of the "
        "face its model goes by; 0 leaves that out.",
    )


class Shown(Options):
    """An experiment: its folds by protocol, how it differs, and whose data it looks at.

    ``eeg`` and ``faces`` are the variants that it takes; null where it looks at none.
    """

    folds: dict[str, list[str]]
    changes: dict[str, Any] = Field({})
    eeg: str | None = None
    faces: str | None = None


class ReportStageOptions(Options):
    """What the stage ``report`` depends on. ``source`` is the kind of EEG files that were read."""

    report: ReportOptions = ReportOptions()
    experiments: dict[str, Shown] = Field({})
    seeds: list[int] = Field([0])
    subjects: list[str] = Field([])
    source: str = "dat"

    def variants(self, kind: str) -> list[str]:
        """Variants of ``eeg`` or ``faces`` that experiments take, each once."""
        taken = [getattr(experiment, kind) for experiment in self.experiments.values()]
        return list(dict.fromkeys(variant for variant in taken if variant))
