"""Positions of EEG channels on the head, by their names in the 10–20 system and its extensions.

DEAP's 32 channels keep the positions of BioSemi's cap. Others take those of the 10–05 system
(Oostenveld & Praamstra 2001), as MNE defines them.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from milmer.errors import MilmerError

if TYPE_CHECKING:
    import mne

MOST_INTERPOLATED = 1 / 4
"""Largest share of the channels that may be interpolated from the others."""

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


def info(channels: list[str]) -> "mne.Info":
    """MNE's description of EEG ``channels`` with their positions; each channel must have one."""
    import mne

    description = mne.create_info(list(channels), 1.0, "eeg")
    description.set_montage(montage(channels))
    return description


@cache
def interpolation(channels: tuple[str, ...], bad: tuple[str, ...]) -> np.ndarray:
    """The matrix (channel, channel) that interpolates ``bad`` and leaves the others alone.

    Spherical splines (Perrin et al. 1989) as MNE computes them. A channel without a position on
    the head is not used. Raises :class:`MilmerError` where a bad channel has none.
    """
    import mne

    positions = placed_names()
    placed = [i for i, name in enumerate(channels) if name.lower() in positions]
    unplaced = [name for name in bad if name.lower() not in positions]
    if unplaced:
        raise MilmerError(
            "no name of the 10–20 system, so it has no position at which to interpolate it",
            where=", ".join(unplaced),
            remedy="leave it out of dataset.channels, or set eeg.bad_channels to keep",
        )
    # MNE's output for one unit at each channel in turn is the matrix that it applies.
    units = mne.io.RawArray(
        np.eye(len(placed)), info([channels[i] for i in placed]), verbose="error"
    )
    units.info["bads"] = list(bad)
    matrix = np.eye(len(channels))
    matrix[np.ix_(placed, placed)] = units.interpolate_bads(verbose="error").get_data()
    return matrix
