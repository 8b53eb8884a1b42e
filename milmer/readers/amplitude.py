"""Whether numbers can be EEG in µV, whatever unit a file names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from milmer.errors import MilmerError
from milmer.readers.eeg import EEGFile

PLAUSIBLE = 0.3, 300.0
"""µV that the median channel of EEG has as its band-passed RMS."""

_TRIALS = 5  # looked at, spread over the recording
_SECONDS, _LONGEST = 4.0, 10.0  # of a stretch, and of a trial that is looked at
_BAND = 1.0, 45.0  # Hz


def require_plausible_amplitude(trials: Sequence[np.ndarray], sfreq: float, path: Path) -> None:
    """Refuse ``trials`` (channel, sample) at ``sfreq`` Hz whose amplitude no EEG in µV has.

    Judged is the median, over channels and some of the trials, of the RMS between 1 and 45 Hz.
    Raises :class:`MilmerError` with the likely reason.
    """
    rms = median_rms(trials, sfreq)
    if rms is None or PLAUSIBLE[0] <= rms <= PLAUSIBLE[1]:
        return
    factor = next((f for f in (1e-6, 1e-3, 1e3, 1e6) if 1 <= rms * f <= 150), None)
    reasons = {
        1e-6: "µV saved as if they were V, or raw counts",
        1e-3: "µV saved as if they were mV, or raw counts",
        1e3: "mV saved as if they were µV",
        1e6: "V saved as if they were µV",
    }
    other = "raw counts of the amplifier" if rms > PLAUSIBLE[1] else "no electrode was connected"
    raise MilmerError(
        f"EEG of {rms:.3g} µV (RMS of the median channel, {_BAND[0]:g} to {_BAND[1]:g} Hz), "
        f"expected {PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} µV: {reasons.get(factor, other)}",
        where=path,
        remedy="write the file again in its right unit",
    )


def sampled(file: EEGFile) -> list[np.ndarray]:
    """A few stretches of a recording (channel, sample) at its own rate, spread over it."""
    parts = [part for part in file.parts if part.seconds >= 1.0]
    stretches = []
    for i in range(_TRIALS if parts else 0):
        part = parts[i * len(parts) // _TRIALS]
        start = part.start + (i + 0.5) / _TRIALS * max(part.seconds - _SECONDS, 0.0)
        stretches.append(file.trial(start, min(_SECONDS, part.stop - start), file.sfreq))
    return stretches


def median_rms(trials: Sequence[np.ndarray], sfreq: float) -> float | None:
    """That RMS in µV; None where no sample is finite."""
    from scipy.signal import butter, sosfilt

    chosen = np.unique(np.linspace(0, len(trials) - 1, _TRIALS).round().astype(int))
    high = min(_BAND[1], 0.45 * sfreq)
    if not len(trials) or high <= _BAND[0]:
        return None
    sos = butter(2, (_BAND[0], high), "bandpass", fs=sfreq, output="sos")
    rms = []
    for i in chosen:
        x = trials[i][:, : round(_LONGEST * sfreq)]
        x = x[np.isfinite(x).all(axis=1)]  # (channel, sample)
        settled = min(round(sfreq), x.shape[1] // 2)  # the filter starts from nothing
        if x.size:
            filtered = sosfilt(sos, x - x[:, :1], axis=1)[:, settled:]
            rms.append(np.median(np.sqrt((filtered**2).mean(axis=1))))
    return float(np.median(rms)) if rms else None
