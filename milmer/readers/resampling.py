"""One trial of a long recording, resampled to another rate."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

_MARGIN = 1.0  # s read on both sides of a trial, so that resampling has no edge inside it


def resampled_trial(
    read: Callable[[int, int], np.ndarray],
    samples: int,
    sfreq: float,
    target: float,
    start: float,
    seconds: float,
) -> np.ndarray:
    """``seconds`` of a recording from ``start`` s on, at ``target`` Hz.

    ``read(first, stop)`` returns samples (channel, sample) of the recording, which has ``samples``
    at ``sfreq`` Hz. Returns (channel, sample) without each channel's mean. Beyond the ends of the
    recording its first and last sample are repeated.
    """
    from scipy.signal import resample_poly

    ratio = Fraction(target / sfreq).limit_denominator(1000)
    # A margin of whole steps, so that a sample of the slow rate falls on the first of the trial.
    margin = ratio.denominator * round(_MARGIN * sfreq / ratio.denominator)
    length = round(seconds * target)
    first = round(start * sfreq) - margin
    last = first + 2 * margin + -(-length * ratio.denominator // ratio.numerator)
    x = read(max(first, 0), min(last, samples))
    outside = (max(-first, 0), max(last - samples, 0))
    if any(outside):
        x = np.pad(x, ((0, 0), outside), mode="edge")
    # Zero phase; removes first what lies above half the new rate.
    x = resample_poly(x - x.mean(axis=1, keepdims=True), ratio.numerator, ratio.denominator, axis=1)
    begin = margin * ratio.numerator // ratio.denominator
    x = x[:, begin : begin + length]  # (channel, sample)
    return x - x.mean(axis=1, keepdims=True)
