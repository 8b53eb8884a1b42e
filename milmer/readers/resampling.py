"""One trial cut out of a long recording and brought to another rate."""

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
    """``seconds`` of a recording from its second ``start`` on, at ``target`` Hz.

    ``read(first, stop)`` gives the recording's samples (channel, sample), of which there are
    ``samples`` at ``sfreq`` Hz. Returns (channel, sample) less each channel's mean. Beyond the
    recording's ends its first and last sample go on.
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
    # Zero phase, and what lies above the new rate's half is taken out first.
    x = resample_poly(x - x.mean(axis=1, keepdims=True), ratio.numerator, ratio.denominator, axis=1)
    begin = margin * ratio.numerator // ratio.denominator
    x = x[:, begin : begin + length]  # (channel, sample)
    return x - x.mean(axis=1, keepdims=True)
