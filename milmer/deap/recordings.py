"""A subject's EEG of DEAP, trial by trial: .dat, .mat or .bdf."""

from pathlib import Path

import pandas as pd

from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.deap import bdf
from milmer.deap.layout import GENEVA, PERIPHERAL, SFREQ
from milmer.deap.preprocessed import read_preprocessed
from milmer.readers.amplitude import require_plausible_amplitude

EOG_ROWS = [PERIPHERAL.index(name) for name in bdf.EOG_ELECTRODES]


def read_recording(
    root: Path,
    trials: pd.DataFrame,
    options: RecordingOptions | None = None,
    margin: int = int(BASELINE_SECONDS),
) -> Recording:
    """Read the trials with EEG of a subject's table from its file below ``root``.

    ``options`` are for recordings of a manifest; DEAP's files need none. Of a ``.bdf`` up to
    ``margin`` s before and after each trial are read; preprocessed files hold 3 s before it and
    nothing after it. Raises
    :class:`MilmerError` where the file is missing or damaged.
    """
    wanted = trials[trials["eeg_file"].notna()]
    path = Path(root) / wanted["eeg_file"].iloc[0]
    if path.suffix.lower() == ".bdf":
        numbers = wanted["trial"].tolist()
        starts = dict(zip(numbers, wanted["eeg_start"], strict=True))
        seconds = dict(zip(numbers, wanted["eeg_seconds"], strict=True))
        recording = bdf.read_trials(path, starts, seconds, margin)
        require_plausible_amplitude(list(recording.eeg.values()), SFREQ, path)
        return recording
    content = read_preprocessed(path)
    # Rows are sorted by stimulus.
    stimuli = zip(wanted["trial"], wanted["experiment_id"], strict=True)
    rows = {int(t): int(e) - 1 for t, e in stimuli if 0 < e <= len(content.eeg)}
    eeg = {trial: content.eeg[row] for trial, row in rows.items()}
    require_plausible_amplitude(list(eeg.values()), SFREQ, path)
    eog = {trial: content.peripheral[row, EOG_ROWS] for trial, row in rows.items()}
    return Recording(eeg, eog, referenced=True, channels=tuple(GENEVA), sfreq=SFREQ)
