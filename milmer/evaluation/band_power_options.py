"""The baseline's options, apart from the report's, so that none of those reruns it."""

from pydantic import Field

from milmer.options import Options


class BandPowerOptions(Options):
    """The baseline: fixed in advance, and not in the configuration, so that none can tune it."""

    bands: list[tuple[float, float]] = Field(
        [(4, 8), (8, 13), (13, 30), (30, 45)],
        description="Theta, alpha, beta and gamma in Hz: what DEAP's preprocessing leaves.",
    )
    c: float = Field(1.0, gt=0, description="Inverse strength of the regularisation.")
