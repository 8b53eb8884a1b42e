"""Band-pass filtering of whole trials."""

import numpy as np

from milmer.errors import MilmerError


def band_pass(eeg: np.ndarray, sfreq: float, band: tuple[float, float] | None) -> np.ndarray:
    """Filter ``eeg`` (..., sample) to ``band`` in Hz; null leaves it as it is.

    The filter is MNE's default zero-phase FIR design (Hamming window, transition bands from the
    edge frequencies; Gramfort et al. 2013), run over the last axis.
    """
    if band is None:
        return eeg
    if band[1] >= sfreq / 2:
        raise MilmerError(f"eeg.band: {band[1]:g} Hz is not below half the rate of {sfreq:g} Hz")
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, *band, verbose="error")
