"""The table of a baseline under a protocol."""

from pydantic import Field

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


BASELINE = Table(
    "baseline",
    {**LABELLED, **dict.fromkeys(("fold", "eeg", "tokens"), "text")},
    optional={"experiment_id": "integer"},
    facts=_Facts,
    predicted=True,
    key=("eeg", "tokens", *SEGMENT),
    may_be_empty=True,
)
