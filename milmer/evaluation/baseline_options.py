"""The baselines: their names, inputs and options; loads nothing heavy, for the Snakefile.

:mod:`milmer.evaluation.baselines` computes them. Their options are fixed in advance and not part of
the configuration, so that nobody can tune them.
"""

from dataclasses import dataclass

from pydantic import Field

from milmer.options import Options

VARIANT = "default"
"""The variant of ``eeg`` that baselines read, whichever an experiment uses: the configured one."""


class BandPowerOptions(Options):
    """Logistic regression on log band power."""

    bands: list[tuple[float, float]] = Field(
        [(4, 8), (8, 13), (13, 30), (30, 45)],
        description="Theta, alpha, beta and gamma in Hz; DEAP's preprocessing keeps no others.",
    )
    c: float = Field(1.0, gt=0, description="Inverse of the regularisation strength.")


@dataclass(frozen=True)
class Baseline:
    """A simple method: its name in prose, the modality that it uses, and its options."""

    title: str
    modality: str
    options: Options


BASELINES = {"band_power": Baseline("log band power", "eeg", BandPowerOptions())}
"""All baselines by name, which is also the folder of their files and their column in tables."""
