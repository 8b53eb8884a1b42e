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
    from mne.filter import create_filter

    # The length of the data only decides over a warning, which short trials would give.
    taps = create_filter(None, sfreq, *band, verbose="error")
    filtered = np.empty(eeg.shape, np.float64)
    for index in np.ndindex(eeg.shape[:-2]):  # a trial at a time fits into the cache
        filtered[index] = _convolve(eeg[index], taps)
    return filtered


def _convolve(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Convolve ``x`` (..., sample) with symmetric ``taps``, undelayed, by one FFT.

    The same as ``mne.filter.filter_data`` to 1e-12 µV, which goes channel by channel and adds up
    pieces: all channels at once and in one piece are 2.5 times as fast. The edges are continued
    as it does: mirrored in the end point and, where the data is too short for that, by zeros.
    """
    from scipy import fft

    samples, half = x.shape[-1], len(taps) // 2
    k = min(half, samples - 1)
    first, last = x[..., :1], x[..., -1:]
    edged = np.concatenate(
        [2 * first - x[..., k:0:-1], x, 2 * last - x[..., -2 : -k - 2 : -1]], axis=-1, dtype=float
    )
    length = fft.next_fast_len(edged.shape[-1] + len(taps) - 1, real=True)
    spectrum = fft.rfft(edged, length)
    spectrum *= fft.rfft(taps, length)
    return fft.irfft(spectrum, length, overwrite_x=True)[..., k + half : k + half + samples]
