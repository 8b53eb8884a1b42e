"""The tables of a trained fold, which the stage ``train`` writes."""

from typing import Any, Self

from pydantic import Field, model_validator

from milmer.contracts.split import SplitFacts
from milmer.contracts.tables import LABELLED, Table


class _Facts(SplitFacts):
    seed: int
    select: str
    epoch: int
    epochs: int | None = Field(None)
    classes: list[int]
    segments: dict[str, int]
    subjects: dict[str, int]
    without_valid_face: dict[str, int]
    rejected: dict[str, int]
    logit_shares: dict[str, float] = Field({})
    modalities: list[str]
    num_instances: int
    holds_backbone: bool
    parameters: int
    trained_on: list[str] = Field([])
    init: dict[str, Any] | None = Field(None)

    @model_validator(mode="after")
    def _a_count_a_class(self) -> Self:
        if len(self.classes) != len(self.labels):
            raise ValueError("classes are not of the labels")
        return self


_OPTIONAL = {"experiment_id": "integer", "chosen": "numbers?", "scores": "numbers?"}

PREDICTIONS = Table("predictions", LABELLED, optional=_OPTIONAL, facts=_Facts, predicted=True)
VALIDATION = Table(
    "validation", LABELLED, optional=_OPTIONAL, facts=_Facts, predicted=True, may_be_empty=True
)
HISTORY = Table(
    "history",
    {"epoch": "integer", "train_loss": "number?"},
    optional={
        "test_probabilities": "numbers?",
        **dict.fromkeys(("val_macro_f1", "test_accuracy"), "number?"),
    },
    facts=_Facts,
)
RUN = (PREDICTIONS, VALIDATION, HISTORY)
