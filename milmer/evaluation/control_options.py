"""Options of the stage ``controls``; loads nothing heavy, for the Snakefile."""

from pydantic import Field

from milmer.options import Options


class DrawsOptions(Options):
    """The part that a user sets, in the section ``report``."""

    control_draws: int = Field(
        200,
        ge=1,
        description="Draws of permuted labels for each control; all permutations where there are "
        "fewer.",
    )


class ControlsOptions(DrawsOptions):
    """``folds`` are the names of the splits to read."""

    folds: list[str] = Field([])
    seed: int = Field(0, ge=0)
