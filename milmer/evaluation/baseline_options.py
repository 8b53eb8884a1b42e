"""The baselines: names, what they read and their options; nothing heavy, for the Snakefile.

How each computes stands in :mod:`milmer.evaluation.baselines`. Options are fixed in advance, and
not in the configuration, so that none can tune them.
"""

from dataclasses import dataclass

from pydantic import Field

from milmer.options import Options

VARIANT = "default"
"""The variant of ``eeg`` that baselines read, whatever an experiment takes: that as configured."""


class BandPowerOptions(Options):
    """Logistic regression on log band power."""

    bands: list[tuple[float, float]] = Field(
        [(4, 8), (8, 13), (13, 30), (30, 45)],
        description="Theta, alpha, beta and gamma in Hz: what DEAP's preprocessing leaves.",
    )
    c: float = Field(1.0, gt=0, description="Inverse strength of the regularisation.")


@dataclass(frozen=True)
class Baseline:
    """A simple method: its name in sentences, the modality that it sees, and its options."""

    title: str
    modality: str
    options: Options


BASELINES = {"band_power": Baseline("log band power", "eeg", BandPowerOptions())}
"""All baselines by their name: the folder of their files and their column of the tables."""
