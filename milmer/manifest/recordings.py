"""A subject's EEG of a manifest, trial by trial, for the stage ``segments``."""

from pathlib import Path

import numpy as np
import pandas as pd

from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.errors import MilmerError
from milmer.readers.amplitude import require_plausible_amplitude
from milmer.readers.eeg import EEGFile


def read_recording(root: Path, trials: pd.DataFrame, options: RecordingOptions) -> Recording:
    """Read the trials with EEG of a subject's table; files are relative to ``root``.

    Each trial begins with what the recording holds of the 3 s before it, which absorb the edge of
    the filters. Raises :class:`MilmerError` where a file cannot be read, or where two files differ
    in channels or rate.
    """
    eeg, eog, before = {}, {}, {}
    gaps, marks, bads, dropped = {}, {}, {}, {}
    channels, rate, first, positions = None, None, None, None
    for name, rows in trials[trials["eeg_file"].notna()].groupby("eeg_file", sort=True):
        file = EEGFile(Path(root) / name, options.channels, options.missing_channels)
        if channels is None:
            channels, rate, first = file.channels, options.sfreq or file.sfreq, file.path
            positions = file.positions
        _require_alike(first, channels, rate, file, options)
        dropped[str(name)] = file.dropped
        for row in rows.itertuples():
            lead = lead_of(row.eeg_start - file.part(row.eeg_start).start, rate)
            start, seconds = row.eeg_start - lead, lead + row.eeg_seconds
            span = (row.eeg_start, row.eeg_start + row.eeg_seconds)
            key = int(row.experiment_id)
            before[key] = lead
            eeg[key] = file.trial(start, seconds, rate)
            gaps[key], marks[key], bads[key] = file.gaps_in(*span), file.marks_in(*span), file.bads
            if options.heog and options.veog:
                pairs = (options.heog, options.veog)
                eog[key] = np.stack([file.bipolar(p, start, seconds, rate) for p in pairs])
        require_plausible_amplitude([eeg[int(e)] for e in rows["experiment_id"]], rate, file.path)
    return Recording(
        eeg,
        eog or None,
        referenced=False,
        channels=tuple(channels or ()),
        sfreq=float(rate or 0),
        baseline=before,
        without_eog=not eog,
        gaps=gaps,
        marks=marks,
        bads=bads,
        positions=positions,
        dropped=dropped,
    )


def lead_of(start: float, rate: float) -> float:
    """Seconds before a trial that starts at ``start`` s, in whole samples at ``rate`` Hz."""
    return BASELINE_SECONDS if start >= BASELINE_SECONDS else int(start * rate) / rate


def _require_alike(
    first: Path, channels: tuple[str, ...], rate: float, file: EEGFile, options: RecordingOptions
) -> None:
    if file.channels != channels:
        only = [name for name in channels if name not in file.channels]
        only += [name for name in file.channels if name not in channels]
        difference = f"{', '.join(only)} in only one" if only else "in another order"
        raise MilmerError(
            f"not the channels of {first} ({difference})",
            where=file.path,
            remedy="name those to read in dataset.channels",
        )
    if options.sfreq is None and file.sfreq != rate:
        raise MilmerError(
            f"{file.sfreq:g} Hz, and {first} has {rate:g} Hz",
            where=file.path,
            remedy="set dataset.sfreq to a rate for all recordings",
        )
