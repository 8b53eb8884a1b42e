"""Which music video starts at which place of a continuous recording.

A recording holds a marker where each music video starts, in the order of presentation, and some may
be missing (DEAP's s28 holds 37 of 40). So markers are matched to the ratings' ``Start_time`` and
never by counting alone. Its unit is documented as µs and is really 1e-4 s: it is inferred here,
together with the difference between the two clocks, as the pair that explains most markers.
"""

import numpy as np

from milmer.errors import MilmerError

UNITS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Units of Start_time in s that are tried."""

TOLERANCE = 2.0
"""Greatest difference in s between a marker and the Start_time that it is matched to."""


def match_onsets(start_time: np.ndarray, onsets: np.ndarray, begin: float) -> np.ndarray:
    """The onset in s of each trial, NaN where it is missing: float64 (trial,).

    ``start_time`` (trial,) is the ratings' in any decimal unit, NaN where unknown; ``onsets``
    (onset,) are the places of markers in s, rising; ``begin`` the place in s where the experiment
    starts, near which Start_time counts from: it decides where a regular rhythm leaves a choice.
    Without any Start_time, as many onsets as trials are taken in their order.

    Raises :class:`MilmerError` where markers and ratings do not fit.
    """
    known = np.isfinite(start_time)
    if not len(onsets):
        raise MilmerError("no marker (status 4) says where a music video starts")
    if not known.any():
        if len(onsets) != len(start_time):
            raise MilmerError(
                f"{len(onsets)} music videos start, the ratings name {len(start_time)} trials, and "
                "without their Start_time it is not known which are missing"
            )
        return onsets.astype(np.float64)
    best = max(
        _candidates(start_time[known], onsets),
        key=lambda found: (found[0], -abs(found[2] - begin)),
    )
    count, unit, offset = best
    if count < max(1, min(known.sum(), len(onsets)) / 2):
        raise MilmerError(
            f"{len(onsets)} music videos start, and only {count} of them within {TOLERANCE:g} s of "
            "a Start_time in the ratings; is it the recording of this subject?"
        )
    matched = np.full(len(start_time), np.nan)
    trial, onset = _pairs(start_time[known] * unit + offset, onsets)
    matched[np.flatnonzero(known)[trial]] = onsets[onset]
    return matched


def _candidates(start_time: np.ndarray, onsets: np.ndarray) -> list[tuple[int, float, float]]:
    """How many markers each unit and offset explain, where one marker fits one trial exactly."""
    found = []
    for unit in UNITS:
        seconds = start_time * unit
        for offset in np.unique(np.round(onsets[:, None] - seconds, 3)):
            found.append((len(_pairs(seconds + offset, onsets)[0]), unit, offset))
    return found


def _pairs(expected: np.ndarray, onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trials and onsets that are nearest to each other, and within the tolerance."""
    distance = np.abs(expected[:, None] - onsets)  # (trial, onset)
    nearest, back = distance.argmin(1), distance.argmin(0)
    trial = np.arange(len(expected))
    mutual = (back[nearest] == trial) & (distance[trial, nearest] <= TOLERANCE)
    return trial[mutual], nearest[mutual]
