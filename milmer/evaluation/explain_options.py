"""What the stage ``explain`` depends on: what the section ``report`` and the training ask of it."""

from pydantic import Field

from milmer.options import Options, execution


class ExplainOptions(Options):
    """What the stage ``explain`` depends on."""

    segments: int = Field(64, ge=1)
    threads: int = Field(2, ge=1)
    device: str = execution("auto")
