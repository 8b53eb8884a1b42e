"""Channels that measured nothing, or something else than the brain, found and made anew.

A channel is judged trial by trial on how much it moves from sample to sample (the median of its
absolute first differences) against the median over channels. That is blind to drift and offsets,
and to blinks, which are slow and rare. What all channels share, as mains against the amplifier's
own reference or a bad channel that an average reference spread, is taken away before extremes are
looked for.

A channel that was flat before someone else took the average reference is the others' mean now and
looks alive: it cannot be found.
"""

from collections.abc import Mapping

import numpy as np

FLAT = 1 / 20
"""A channel that moves less than this share of the median over channels is flat."""

EXTREME = 8.0
"""A channel that moves more than this many times the median over channels is extreme."""

_EVERY = 4  # each fourth difference tells the same median in a quarter of the time


def find_bad_channels(eeg: Mapping[int, np.ndarray], channels: list[str]) -> dict[int, dict]:
    """For each trial with bad channels, by its experiment_id: channel → ``flat`` or ``extreme``.

    ``eeg`` maps experiment_id to (channel, sample) in µV.
    """
    found = {}
    for experiment_id, trial in eeg.items():
        flat, extreme = _judged(trial)
        bad = {
            name: "flat" if flat[i] else "extreme"
            for i, name in enumerate(channels)
            if flat[i] or extreme[i]
        }
        if bad:
            found[experiment_id] = bad
    return found


def _judged(trial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps = trial[:, 1::_EVERY] - trial[:, :-1:_EVERY]  # (channel, step)
    moved = np.median(np.abs(steps), axis=1)
    alone = np.median(np.abs(steps - np.median(steps, axis=0)), axis=1)
    return moved <= FLAT * np.median(moved), alone > EXTREME * np.median(alone)
