"""The table of the stage ``split``."""

from pydantic import Field

from milmer.contracts.facts import Facts
from milmer.contracts.tables import LABELLED, Table


class SplitFacts(Facts):
    """What a split decided."""

    protocol: str
    fold: str
    leaky: bool
    labels: list[str]
    scheme: str
    permuted: bool = False
    warnings: list[str]
    validation_groups: list[str] = Field([])


SPLIT = Table(
    "split",
    {**LABELLED, "experiment_id": "integer", "part": "text"},
    optional={"session": "text?", "group": "text?"},
    facts=SplitFacts,
)
