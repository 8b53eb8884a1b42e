"""A subject's EEG, trial by trial, whichever kind of file it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.deap import bdf
from milmer.deap.layout import BASELINE_SECONDS, GENEVA, PERIPHERAL, SFREQ
from milmer.deap.readers import read_preprocessed

EOG_ROWS = [PERIPHERAL.index(name) for name in bdf.EOG]


@dataclass(frozen=True)
class Recording:
    """One subject's EEG.

    ``eeg`` maps experiment_id to (channel, sample) in µV, with ``baseline`` s before the music
    video in front, of all trials or by experiment_id; ``eog`` maps to (2, sample), hEOG and vEOG,
    and is None where they were not recorded. ``referenced``: whether the common average was taken
    out already. ``without_eog``: EOG is not to be expected, so that its lack is no error.
    """

    eeg: dict[int, np.ndarray]
    eog: dict[int, np.ndarray] | None
    referenced: bool
    channels: tuple[str, ...] = tuple(GENEVA)
    sfreq: float = SFREQ
    baseline: float | Mapping[int, float] = BASELINE_SECONDS
    without_eog: bool = False

    def before(self, experiment_id: int) -> float:
        """Seconds that stand in front of a trial."""
        if isinstance(self.baseline, Mapping):
            return self.baseline[experiment_id]
        return self.baseline


def read_recording(path: Path, trials: pd.DataFrame) -> Recording:
    """Read the trials with EEG of a subject's table from the file that it names, at ``path``."""
    wanted = trials[trials["eeg_file"].notna()]
    if path.suffix.lower() == ".bdf":
        ids = wanted["experiment_id"].tolist()
        starts = dict(zip(ids, wanted["eeg_start"], strict=True))
        seconds = dict(zip(ids, wanted["eeg_seconds"], strict=True))
        eeg, eog = bdf.read_trials(path, starts, seconds)
        return Recording(eeg, eog, referenced=False)
    content = read_preprocessed(path)
    rows = {int(e): int(e) - 1 for e in wanted["experiment_id"] if e <= len(content.eeg)}
    eeg = {e: content.eeg[row] for e, row in rows.items()}
    eog = {e: content.peripheral[row, EOG_ROWS] for e, row in rows.items()}
    return Recording(eeg, eog, referenced=True)
