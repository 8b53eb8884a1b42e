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


SOURCES = {
    **dict.fromkeys(("eeg_digest", "video_digest"), "text?"),
    **dict.fromkeys(("eeg_start", "video_start"), "measure?"),
}
"""Columns that say which recording a trial is of, and where in it the trial begins, in s."""

SPLIT = Table(
    "split",
    {**LABELLED, "experiment_id": "integer", "part": "text"},
    optional={"session": "text?", "group": "text?", **SOURCES},
    facts=SplitFacts,
)
