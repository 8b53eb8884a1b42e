"""The table of a baseline under a protocol."""

from typing import Self

from pydantic import Field, model_validator

from milmer.contracts.facts import Facts
from milmer.contracts.tables import LABELLED, SEGMENT, Table


class _Fold(Facts):
    fold: str
    eeg: str
    tokens: str
    shares: list[float]
    left_out: dict[str, int] = Field({})
    validated: float | None
    skipped: str | None


class _Facts(Facts):
    protocol: str
    leaky: bool
    labels: list[str]
    permuted: bool
    folds: list[_Fold]

    @model_validator(mode="after")
    def _a_share_a_class(self) -> Self:
        if any(len(fold.shares) != len(self.labels) for fold in self.folds):
            raise ValueError("shares are not of the labels")
        return self


BASELINE = Table(
    "baseline",
    {**LABELLED, **dict.fromkeys(("fold", "eeg", "tokens"), "text")},
    optional={"experiment_id": "integer"},
    facts=_Facts,
    predicted=True,
    key=("eeg", "tokens", *SEGMENT),
    may_be_empty=True,
)
