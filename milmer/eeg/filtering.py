"""Operations along time on whole trials: high-pass, notch, band-pass and baseline correction.

The filters are MNE's default zero-phase FIR designs (Hamming window, transition bands from the
edge frequencies; Gramfort et al. 2013), applied along the last axis.
"""

from typing import Literal

import numpy as np

from milmer.eeg.options import require_below_nyquist

_NOTCH_REACH = 3.3  # s; half of the filter that MNE designs for transitions of 0.5 Hz
_FLAT = 1e-3  # µV; no amplifier is that quiet: a smaller spread is rounding


def high_pass(eeg: np.ndarray, sfreq: float, edge: float) -> np.ndarray:
    """High-pass ``eeg`` (..., sample) at ``edge`` Hz."""
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, edge, None, verbose="error")


def low_pass(eeg: np.ndarray, sfreq: float, edge: float) -> np.ndarray:
    """Low-pass ``eeg`` (..., sample) at ``edge`` Hz."""
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, None, edge, verbose="error")


def notch(eeg: np.ndarray, sfreq: float, frequency: float | None) -> np.ndarray:
    """Filter mains of ``frequency`` Hz out of ``eeg`` (..., sample); null leaves it unchanged.

    Raises :class:`MilmerError` if the frequency is not below half the rate ``sfreq``.
    """
    if frequency is None:
        return eeg
    require_below_nyquist("eeg.notch", frequency, sfreq)
    from mne.filter import notch_filter

    return notch_filter(eeg.astype(np.float64, copy=False), sfreq, frequency, verbose="error")


def band_pass(eeg: np.ndarray, sfreq: float, band: tuple[float, float] | None) -> np.ndarray:
    """Band-pass ``eeg`` (..., sample) to ``band`` in Hz; null leaves it unchanged.

    Raises :class:`MilmerError` if the upper edge is not below half the rate ``sfreq``.
    """
    if band is None:
        return eeg
    require_below_nyquist("eeg.band", band[1], sfreq)
    from mne.filter import filter_data

    return filter_data(eeg.astype(np.float64, copy=False), sfreq, *band, verbose="error")


def filter_margin(sfreq: float, frequency: float | None, band: tuple[float, float] | None) -> float:
    """Seconds before and after a sample at ``sfreq`` Hz that notch and band-pass look at."""
    from mne.filter import create_filter

    seconds = 0.0 if frequency is None else _NOTCH_REACH
    if band is not None and band[1] < sfreq / 2:
        seconds += len(create_filter(None, sfreq, *band, verbose="error")) / 2 / sfreq
    return seconds


def correct_baseline(
    trial: np.ndarray, baseline: np.ndarray, method: Literal["subtract", "zscore"]
) -> np.ndarray:
    """Express ``trial`` (channel, sample) in µV relative to its ``baseline`` (channel, sample).

    ``subtract`` takes the mean of the baseline from each channel; ``zscore`` also divides by its
    standard deviation, so that the result has no unit. A channel whose baseline is flat (a spread
    below 0.001 µV) is divided by 1 µV instead.
    """
    centred = trial - baseline.mean(axis=1, keepdims=True)
    if method == "subtract":
        return centred
    scale = baseline.std(axis=1, keepdims=True)
    return centred / np.where(scale < _FLAT, 1.0, scale)
