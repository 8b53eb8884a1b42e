"""Matches the music videos of the ratings to the onsets in a continuous recording.

A recording holds a marker where each music video starts, in the order of presentation, and some may
be missing (DEAP's s28 holds 37 of 40). So markers are matched to the ratings' ``Start_time``, not
just counted. Its unit is documented as µs but really is 1e-4 s: it is inferred here, together with
the difference between the two clocks, as the pair that explains most markers.
"""

import numpy as np

from milmer.errors import MilmerError

UNITS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Units of Start_time in s that are tried."""

TOLERANCE = 2.0
"""Greatest difference in s between a marker and the Start_time it is matched to."""


def match_onsets(start_time: np.ndarray, onsets: np.ndarray, begin: float) -> np.ndarray:
    """The onset in s of each trial, NaN where it is missing: float64 (trial,).

    ``start_time`` (trial,) is the ratings' in any decimal unit, NaN where unknown; ``onsets``
    (onset,) are the times of markers in s, rising; ``begin`` is the time in s at which the
    experiment starts, near the zero of Start_time: it decides where a regular rhythm is ambiguous.
    Without any Start_time, onsets are taken in order where there are as many as trials.

    Raises :class:`MilmerError` where markers and ratings do not fit.
    """
    timed = np.isfinite(start_time)
    if not len(onsets):
        raise MilmerError("no marker (status 4) says where a music video starts")
    if not timed.any():
        if len(onsets) != len(start_time):
            raise MilmerError(
                f"{len(onsets)} music videos start, the ratings name {len(start_time)} trials, and "
                "without their Start_time it is not known which are missing",
                remedy="add Start_time to the ratings, or leave the subject out",
            )
        return onsets.astype(np.float64)
    best = max(
        _candidates(start_time[timed], onsets),
        key=lambda candidate: (candidate[0], -abs(candidate[2] - begin)),
    )
    count, unit, offset = best
    if count < max(1, min(timed.sum(), len(onsets)) / 2):
        raise MilmerError(
            f"{len(onsets)} music videos start, and only {count} of them within {TOLERANCE:g} s of "
            "a Start_time in the ratings",
            remedy="is it the recording of this subject?",
        )
    matched = np.full(len(start_time), np.nan)
    trial, onset = _pairs(start_time[timed] * unit + offset, onsets)
    matched[np.flatnonzero(timed)[trial]] = onsets[onset]
    return matched


def _candidates(start_time: np.ndarray, onsets: np.ndarray) -> list[tuple[int, float, float]]:
    """Number of markers explained by each unit and offset at which one marker fits exactly."""
    candidates = []
    for unit in UNITS:
        seconds = start_time * unit
        for offset in np.unique(np.round(onsets[:, None] - seconds, 3)):
            candidates.append((len(_pairs(seconds + offset, onsets)[0]), unit, offset))
    return candidates


def _pairs(expected: np.ndarray, onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trials and onsets that are nearest to each other and within the tolerance."""
    distance = np.abs(expected[:, None] - onsets)  # (trial, onset)
    nearest, back = distance.argmin(1), distance.argmin(0)
    trial = np.arange(len(expected))
    mutual = (back[nearest] == trial) & (distance[trial, nearest] <= TOLERANCE)
    return trial[mutual], nearest[mutual]
