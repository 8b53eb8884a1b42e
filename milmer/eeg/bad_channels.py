"""Finds channels that measured nothing, or something other than the brain.

A channel is judged trial by trial: its movement from sample to sample (the median of its absolute
first differences) is compared with the median over channels. Drift and offsets have no effect on
that, nor do blinks, which are slow and rare. What all channels share, such as mains against the
amplifier's reference, or a bad channel that an average reference spread over the others, is
subtracted before extreme channels are looked for.

A channel that was flat before someone else took the average reference now carries the mean of the
others and looks alive: it cannot be found.
"""

from collections.abc import Mapping, Sequence

import numpy as np

FLAT = 1 / 20
"""A channel that moves at most this share of the median over channels is flat."""

EXTREME = 8.0
"""A channel that moves more than this many times the median over channels is extreme."""

_EVERY = 4  # every fourth difference gives the same median in a quarter of the time


def find_bad_channels(
    eeg: Mapping[int, np.ndarray],
    channels: list[str],
    marked: Mapping[int, Sequence[str]] | None = None,
) -> dict[int, dict]:
    """The bad channels of each trial that has any: trial → channel → why.

    ``eeg`` maps a trial to (channel, sample) in µV, ``marked`` to the channels that its file
    calls bad; the reason is ``flat``, ``extreme`` or ``marked``.
    """
    bad_by_trial = {}
    for trial, x in eeg.items():
        flat, extreme = _flat_and_extreme(x)
        called_bad = (marked or {}).get(trial, ())
        bad = {
            name: "flat" if flat[i] else "extreme" if extreme[i] else "marked"
            for i, name in enumerate(channels)
            if flat[i] or extreme[i] or name in called_bad
        }
        if bad:
            bad_by_trial[trial] = bad
    return bad_by_trial


def _flat_and_extreme(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two bool (channel,): which are flat, and which are extreme."""
    steps = x[:, 1::_EVERY] - x[:, :-1:_EVERY]  # (channel, step)
    movement = np.median(np.abs(steps), axis=1)
    unshared = np.median(np.abs(steps - np.median(steps, axis=0)), axis=1)
    return movement <= FLAT * np.median(movement), unshared > EXTREME * np.median(unshared)
