"""Options of the stage ``evaluate``; loads nothing heavy, for the plan."""

from pydantic import Field

from milmer.options import Options


class EvaluateOptions(Options):
    """Which runs of an experiment and protocol are evaluated."""

    folds: list[str] = Field(min_length=1)
    seeds: list[int] = Field([0], min_length=1)
