"""A subject's EEG of a manifest, trial by trial, as the stage ``segments`` takes it."""

from pathlib import Path

import numpy as np
import pandas as pd

from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.errors import MilmerError
from milmer.readers.eeg import EEGFile


def read_recording(root: Path, trials: pd.DataFrame, options: RecordingOptions) -> Recording:
    """Read the trials with EEG of a subject's table; their files lie below ``root``.

    In front of each trial stands what the recording holds of the 3 s before it, so that it
    absorbs the filters' edge. Raises :class:`MilmerError` where a file cannot be read, or where
    two of them differ in channels or rate.
    """
    eeg, eog, before = {}, {}, {}
    channels, rate, first = None, None, None
    for name, rows in trials[trials["eeg_file"].notna()].groupby("eeg_file", sort=True):
        file = EEGFile(Path(root) / name, options.channels, options.missing_channels)
        if channels is None:
            channels, rate, first = file.channels, options.sfreq or file.sfreq, file.path
        _require_alike(first, channels, rate, file, options)
        for row in rows.itertuples():
            lead = lead_of(row.eeg_start, rate)
            start, seconds = row.eeg_start - lead, lead + row.eeg_seconds
            key = int(row.experiment_id)
            before[key] = lead
            eeg[key] = file.trial(start, seconds, rate)
            if options.heog and options.veog:
                pairs = (options.heog, options.veog)
                eog[key] = np.stack([file.bipolar(p, start, seconds, rate) for p in pairs])
    return Recording(
        eeg,
        eog or None,
        referenced=False,
        channels=tuple(channels or ()),
        sfreq=float(rate or 0),
        baseline=before,
        without_eog=not eog,
    )


def lead_of(start: float, rate: float) -> float:
    """Seconds in front of a trial that starts at ``start`` s, in whole samples of ``rate``."""
    return BASELINE_SECONDS if start >= BASELINE_SECONDS else int(start * rate) / rate


def _require_alike(
    first: Path, channels: tuple[str, ...], rate: float, file: EEGFile, options: RecordingOptions
) -> None:
    if file.channels != channels:
        only = [name for name in channels if name not in file.channels]
        only += [name for name in file.channels if name not in channels]
        told = f"{', '.join(only)} in one alone" if only else "in another order"
        raise MilmerError(
            f"{file.path}: not the channels of {first} ({told}); name those to take in "
            "dataset.channels"
        )
    if options.sfreq is None and file.sfreq != rate:
        raise MilmerError(
            f"{file.path}: {file.sfreq:g} Hz, and {first} has {rate:g} Hz; set dataset.sfreq to "
            "the rate that all are to be brought to"
        )
