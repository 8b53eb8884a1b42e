"""What is done along time to whole trials: high-pass, notch, band-pass, baseline.

The filters are MNE's default zero-phase FIR designs (Hamming window, transition bands from the
edge frequencies; Gramfort et al. 2013), run over the last axis.
"""

from typing import Literal

import numpy as np

from milmer.errors import MilmerError

_STILL = 1e-3  # µV; no amplifier is that quiet, so what varies less is rounding


def high_pass(eeg: np.ndarray, sfreq: float, edge: float) -> np.ndarray:
    """Take what is slower than ``edge`` Hz from ``eeg`` (..., sample)."""
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, edge, None, verbose="error")


def notched(eeg: np.ndarray, sfreq: float, frequency: float | None) -> np.ndarray:
    """Take the mains of ``frequency`` Hz from ``eeg`` (..., sample); null leaves it as it is.

    Raises :class:`MilmerError` where the rate cannot hold that frequency.
    """
    if frequency is None:
        return eeg
    if frequency >= sfreq / 2:
        raise MilmerError(f"eeg.notch: {frequency:g} Hz is not below half the rate of {sfreq:g} Hz")
    from mne.filter import notch_filter

    return notch_filter(eeg.astype(np.float64, copy=False), sfreq, frequency, verbose="error")


def band_pass(eeg: np.ndarray, sfreq: float, band: tuple[float, float] | None) -> np.ndarray:
    """Filter ``eeg`` (..., sample) to ``band`` in Hz; null leaves it as it is.

    Raises :class:`MilmerError` where the rate cannot hold that band.
    """
    if band is None:
        return eeg
    if band[1] >= sfreq / 2:
        raise MilmerError(f"eeg.band: {band[1]:g} Hz is not below half the rate of {sfreq:g} Hz")
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, *band, verbose="error")


def baseline_corrected(
    trial: np.ndarray, baseline_samples: int, how: Literal["none", "subtract", "zscore"]
) -> np.ndarray:
    """Set ``trial`` (channel, sample) in µV against its first ``baseline_samples``.

    ``subtract`` takes their mean from each channel; ``zscore`` also divides by their standard
    deviation, so that the result has no unit. A channel whose baseline stands still (below
    0.001 µV) has no scale: it is divided by 1 µV. The baseline itself comes back in front.
    """
    if how == "none":
        return trial
    before = trial[:, :baseline_samples]
    centred = trial - before.mean(axis=1, keepdims=True)
    if how == "subtract":
        return centred
    scale = before.std(axis=1, keepdims=True)
    return centred / np.where(scale < _STILL, 1.0, scale)
