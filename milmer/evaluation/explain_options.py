"""Options of the stage ``explain``, set by the sections ``report`` and ``training``."""

from pydantic import Field

from milmer.options import Options, execution


class ExplainOptions(Options):
    """How many test segments explain a run, and what computes them."""

    segments: int = Field(64, ge=1)
    threads: int = Field(2, ge=1)
    device: str = execution("auto")
