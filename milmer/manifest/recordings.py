"""A subject's EEG of a manifest, trial by trial, for the stage ``segments``."""

import logging
from pathlib import Path

import pandas as pd

from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.errors import MilmerError
from milmer.readers.amplitude import require_plausible_amplitude
from milmer.readers.eeg import EEGFile
from milmer.readers.parts import read_with_margins

_log = logging.getLogger(__name__)


def read_recording(
    root: Path,
    trials: pd.DataFrame,
    options: RecordingOptions,
    margin: int = int(BASELINE_SECONDS),
) -> Recording:
    """Read the trials with EEG of a subject's table; files are relative to ``root``.

    Each trial comes with up to ``margin`` s that the recording holds before and after it, which
    absorb the edges of the filters. Raises :class:`MilmerError` where a file cannot be read, or
    where two files differ in channels or rate.
    """
    pairs = (options.heog, options.veog) if options.heog and options.veog else None
    eeg, eog, before = {}, {}, {}
    gaps, marks, bads, dropped = {}, {}, {}, {}
    channels, rate, first, positions = None, None, None, None
    for name, rows in trials[trials["eeg_file"].notna()].groupby("eeg_file", sort=True):
        file = EEGFile(Path(root) / name, options.channels, options.missing_channels)
        if channels is None:
            channels, rate, first = file.channels, options.sfreq or file.sfreq, file.path
            positions = file.positions
        _require_alike(first, channels, rate, file, options)
        if pairs is None and file.eog_candidates:
            _log.warning(
                "%s: %s look like EOG; name them in dataset.heog and dataset.veog to remove blinks",
                file.path,
                ", ".join(file.eog_candidates),
            )
        dropped[str(name)] = file.dropped
        for row in rows.itertuples():
            span = (row.eeg_start, row.eeg_start + row.eeg_seconds)
            key = int(row.trial)
            eeg[key], bipolar, before[key] = read_with_margins(
                file, row.eeg_start, row.eeg_seconds, rate, margin, pairs
            )
            gaps[key], marks[key], bads[key] = file.gaps_in(*span), file.marks_in(*span), file.bads
            if bipolar is not None:
                eog[key] = bipolar
        require_plausible_amplitude([eeg[int(trial)] for trial in rows["trial"]], rate, file.path)
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
