"""Positions of EEG channels on the head, by their names in the 10–20 system and its extensions.

DEAP's 32 channels keep the positions of BioSemi's cap. Others take those of the 10–05 system
(Oostenveld & Praamstra 2001), as MNE defines them.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from milmer.errors import MilmerError

if TYPE_CHECKING:
    import mne

MOST_INTERPOLATED = 1 / 4
"""Largest share of the channels that may be interpolated from the others."""

FEWEST_GOOD = 4
"""Good channels with a position that an interpolation needs at least."""

Positions = Mapping[str, Sequence[float]]
"""Where channels are, by name: x, y and z in m in the frame of the head."""

_CENTRE = (0.0, 0.0, 0.04)  # of a head in m
_BIOSEMI = "biosemi32"
_10_05 = ("colin27_1005", "standard_1005")  # its names in MNE 1.13 and in earlier versions


@cache
def _montage(channels: frozenset[str]) -> "mne.channels.DigMontage":
    from mne.channels import get_builtin_montages, make_standard_montage

    biosemi = make_standard_montage(_BIOSEMI)
    if channels <= set(biosemi.ch_names):
        return biosemi
    available = get_builtin_montages()
    return make_standard_montage(next(name for name in _10_05 if name in available))


def montage(channels: list[str]) -> "mne.channels.DigMontage":
    """A montage with the positions of all ``channels`` that have one."""
    return _montage(frozenset(channels))


@cache
def placed_names() -> dict[str, str]:
    """Names of the 10–05 system as they are written, by the name in lower case."""
    return {name.lower(): name for name in _montage(frozenset(["no channel"])).ch_names}


def info(channels: list[str], positions: Positions | None = None) -> "mne.Info":
    """MNE's description of EEG ``channels`` with their positions; each channel must have one.

    ``positions`` are those of a file; without them names have those of the 10–20 system.
    """
    import mne

    description = mne.create_info(list(channels), 1.0, "eeg")
    if positions is None:
        description.set_montage(montage(channels))
    else:
        sites = {name: np.array(positions[name]) for name in channels}
        description.set_montage(mne.channels.make_dig_montage(sites, coord_frame="head"))
    return description


def interpolation(
    channels: Sequence[str], bad: Sequence[str], positions: Positions | None = None
) -> np.ndarray:
    """The matrix (channel, channel) that interpolates ``bad`` and leaves the others alone.

    Spherical splines (Perrin et al. 1989) as MNE computes them. ``positions`` are those of a file;
    without them names have those of the 10–20 system. A channel without a position is not used.
    Raises :class:`MilmerError` where a bad channel has none, or where fewer than
    :data:`FEWEST_GOOD` others have one.
    """
    return _interpolation(tuple(channels), tuple(bad), _sites(channels, positions))


def can_interpolate(
    channels: Sequence[str], bad: Iterable[str], positions: Positions | None = None
) -> bool:
    """Whether :func:`interpolation` has positions enough."""
    placed = dict(_sites(channels, positions))
    lost = set(bad)
    return lost <= placed.keys() and len(placed) - len(lost) >= FEWEST_GOOD


def without_position(channels: Sequence[str], positions: Positions | None = None) -> set[str]:
    """Those of ``channels`` that have no position."""
    return {*channels} - dict(_sites(channels, positions)).keys()


def _sites(
    channels: Sequence[str], positions: Positions | None
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Channels with a position, and the file's; empty ones are those of the 10–20 system."""
    if positions is None:
        places = placed_names()
        return tuple(sorted((n, ()) for n in channels if n.lower() in places))
    return tuple(sorted((n, tuple(positions[n])) for n in channels if n in positions))


@cache
def _interpolation(
    channels: tuple[str, ...], bad: tuple[str, ...], sites: tuple[tuple[str, tuple], ...]
) -> np.ndarray:
    import mne

    points = dict(sites)
    placed = [i for i, name in enumerate(channels) if name in points]
    if unplaced := [name for name in bad if name not in points]:
        raise MilmerError(
            "no name of the 10–20 system, and the file has no position for it, so it is not known "
            "where to interpolate it",
            where=", ".join(unplaced),
            remedy="leave it out of dataset.channels, or set eeg.bad_channels to keep",
        )
    if (good := len(placed) - len(bad)) < FEWEST_GOOD:
        raise MilmerError(
            f"only {good} good channels have a position, too few to interpolate from",
            where=", ".join(bad),
            remedy="leave it out of dataset.channels, or set eeg.bad_channels to keep",
        )
    names = [channels[i] for i in placed]
    description = info(names, points if any(points.values()) else None)
    # MNE's output for one unit at each channel in turn is the matrix that it applies.
    units = mne.io.RawArray(np.eye(len(placed)), description, verbose="error")
    units.info["bads"] = list(bad)
    try:
        units.interpolate_bads(verbose="error")
    except (RuntimeError, ValueError):  # too few or too flat a cap for MNE to fit a sphere to
        units.interpolate_bads(origin=_CENTRE, verbose="error")
    matrix = np.eye(len(channels))
    matrix[np.ix_(placed, placed)] = units.get_data()
    return matrix
