"""The table of a baseline on a fold."""

from typing import Self

from pydantic import Field, model_validator

from milmer.contracts.facts import Facts
from milmer.contracts.tables import LABELLED, Table


class _Facts(Facts):
    protocol: str
    fold: str
    leaky: bool
    labels: list[str]
    permuted: bool
    shares: list[float]
    rejected: dict[str, int] = Field({})

    @model_validator(mode="after")
    def _a_share_a_class(self) -> Self:
        if len(self.shares) != len(self.labels):
            raise ValueError("shares are not of the labels")
        return self


BASELINE = Table(
    "baseline", LABELLED, optional={"experiment_id": "integer"}, facts=_Facts, predicted=True
)
