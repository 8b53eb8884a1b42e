"""The section ``report``: how results are summarised, explained and shown."""

from typing import Any, Literal

from pydantic import Field

from milmer.evaluation.control_options import DrawsOptions
from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.options import SummaryOptions
from milmer.options import Options


class ReportOptions(DrawsOptions, SummaryOptions):
    """How results are summarised and shown."""

    faces: Literal["none", "blurred", "shown"] = Field(
        "none",
        description="Pictures of chosen frames in the report. They show participants: use `shown` "
        "only if the dataset's licence allows it for each of them; `blurred` reduces a face to "
        "8 x 8 points.",
    )
    explain: int = Field(
        ExplainOptions.model_fields["segments"].default,
        ge=0,
        description="Number of test segments of a run from which to compute which EEG channels and "
        "parts of the face its model relies on; 0 skips this.",
    )


class ReportedExperiment(Options):
    """An experiment: its folds by protocol, its changes, and the data that it uses.

    ``eeg`` and ``faces`` are the variants that it uses; null if it uses none.
    """

    folds: dict[str, list[str]]
    changes: dict[str, Any] = Field({})
    eeg: str | None = None
    faces: str | None = None


class ReportStageOptions(Options):
    """Options of the stage ``report``. ``source`` is the kind of EEG files that were read."""

    report: ReportOptions = ReportOptions()
    experiments: dict[str, ReportedExperiment] = Field({})
    seeds: list[int] = Field([0])
    subjects: list[str] = Field([])
    source: str = "dat"

    def variants(self, kind: str) -> list[str]:
        """The variants of ``eeg`` or ``faces`` that experiments use, each once."""
        variants = [getattr(experiment, kind) for experiment in self.experiments.values()]
        return list(dict.fromkeys(variant for variant in variants if variant))
