"""The baselines, a row each, and their stage's options; loads nothing heavy, for the Snakefile.

:mod:`milmer.evaluation.baselines` computes them. What they compute is fixed in advance and not part
of the configuration, so that nobody can tune them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import Field

from milmer.options import Options

MODALITY = {"band_power": "eeg", "tangent_space": "eeg", "mean_token": "face"}
"""The features and what they are of."""


class Inputs(NamedTuple):
    """What a model looks at: a variant of ``eeg``, tokens (``faces/backbone``); empty where not."""

    eeg: str = ""
    tokens: str = ""


@dataclass(frozen=True)
class Baseline:
    """A simple method: its name in prose, the features it learns from, and its classifier."""

    title: str
    features: tuple[str, ...]
    classifier: str

    @property
    def modalities(self) -> set[str]:
        """What it looks at."""
        return {MODALITY[name] for name in self.features}

    def of(self, inputs: Inputs) -> Inputs | None:
        """What it looks at of ``inputs``; None where they lack something."""
        needed = Inputs(
            inputs.eeg if "eeg" in self.modalities else "",
            inputs.tokens if "face" in self.modalities else "",
        )
        return needed if len(self.modalities) == sum(map(bool, needed)) else None


BASELINES = {
    "band_power": Baseline(
        "logistic regression on log band power", ("band_power",), "logistic_regression"
    ),
    "band_power_lda": Baseline("shrinkage LDA on log band power", ("band_power",), "lda"),
    "tangent_space_lda": Baseline(
        "shrinkage LDA in the tangent space of covariances in bands", ("tangent_space",), "lda"
    ),
    "mean_token_lda": Baseline("shrinkage LDA on the mean token", ("mean_token",), "lda"),
    "stacked_lda": Baseline(
        "shrinkage LDA on log band power and the mean token, stacked",
        ("band_power", "mean_token"),
        "lda",
    ),
}
"""All baselines by name, which is also that of their files and of their rows in tables."""


class BaselinesOptions(Options):
    """``folds`` are the names of the splits to read, ``inputs`` what experiments look at.

    A file is written for each of ``names``, also if ``inputs`` allow none of it.
    """

    folds: list[str] = Field([])
    names: list[str] = Field([])
    inputs: list[Inputs] = Field([])


def baselines_of(inputs: Sequence[Inputs]) -> Iterator[tuple[str, Inputs]]:
    """Each baseline that any of ``inputs`` allows, with what it looks at, each once."""
    for name, baseline in BASELINES.items():
        for own in dict.fromkeys(baseline.of(each) for each in inputs):
            if own is not None:
                yield name, own
