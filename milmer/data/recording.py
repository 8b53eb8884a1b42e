"""A subject's EEG, trial by trial, of any origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

BASELINE_SECONDS = 3.0
"""Seconds before the music video at the beginning of a preprocessed trial."""


@dataclass(frozen=True)
class Recording:
    """One subject's EEG.

    ``eeg`` maps a trial to (channel, sample) in µV at ``sfreq`` Hz, beginning ``baseline`` s
    before the music video, the same for all trials or by trial; ``eog`` maps to
    (2, sample), hEOG and vEOG, and is None if they were not recorded. ``referenced``: whether the
    common average was already removed. ``without_eog``: no EOG is expected, so it is no error if
    it is missing. ``gaps`` in a trial are (start, stop) and its ``marks`` (start, stop,
    description), in s from its start, by trial; a trial with a gap may lack ``eeg``.
    ``bads`` are the channels that a trial's file calls bad. ``positions`` (x, y, z) in m by
    channel are None where those of the 10–20 system hold; ``dropped`` says by file which channels
    are not read, and why.
    """

    eeg: dict[int, np.ndarray]
    eog: dict[int, np.ndarray] | None
    referenced: bool
    channels: tuple[str, ...]
    sfreq: float
    baseline: float | Mapping[int, float] = BASELINE_SECONDS
    without_eog: bool = False
    gaps: Mapping[int, Sequence[tuple[float, float]]] = field(default_factory=dict)
    marks: Mapping[int, Sequence[tuple[float, float, str]]] = field(default_factory=dict)
    bads: Mapping[int, Sequence[str]] = field(default_factory=dict)
    positions: Mapping[str, Sequence[float]] | None = None
    dropped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def before(self, trial: int) -> float:
        """Seconds of baseline at the beginning of a trial."""
        if isinstance(self.baseline, Mapping):
            return self.baseline[trial]
        return self.baseline
