"""Where EEG channels lie on the head, by their names in the 10–20 system and its extensions.

DEAP's 32 channels keep the places of BioSemi's cap. Others take those of the 10–05 system
(Oostenveld & Praamstra 2001), as MNE has them.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from milmer.errors import MilmerError

if TYPE_CHECKING:
    import mne

MOST_MADE = 1 / 4
"""Share of the channels up to which the others can stand in for them."""

_SMALL = "biosemi32"
_WHOLE = ("colin27_1005", "standard_1005")  # the names that MNE 1.13 and those before it know


@cache
def _montage(channels: frozenset[str]) -> "mne.channels.DigMontage":
    from mne.channels import get_builtin_montages, make_standard_montage

    small = make_standard_montage(_SMALL)
    if channels <= set(small.ch_names):
        return small
    known = get_builtin_montages()
    return make_standard_montage(next(name for name in _WHOLE if name in known))


def montage(channels: list[str]) -> "mne.channels.DigMontage":
    """A montage that has the ``channels`` that have a place at all."""
    return _montage(frozenset(channels))


@cache
def placed_names() -> dict[str, str]:
    """How each name of the 10–05 system is written, by the name in lower case."""
    return {name.lower(): name for name in _montage(frozenset(["no channel"])).ch_names}


def info(channels: list[str]) -> "mne.Info":
    """MNE's description of EEG ``channels`` with their places; all have to have one."""
    import mne

    made = mne.create_info(list(channels), 1.0, "eeg")
    made.set_montage(montage(channels))
    return made


@cache
def interpolation(channels: tuple[str, ...], bad: tuple[str, ...]) -> np.ndarray:
    """The matrix (channel, channel) that makes ``bad`` from the others and leaves those alone.

    Spherical splines (Perrin et al. 1989) as MNE computes them. A channel whose name has no place
    on the head takes no part. Raises :class:`MilmerError` where a bad channel has none.
    """
    import mne

    known = placed_names()
    placed = [i for i, name in enumerate(channels) if name.lower() in known]
    unplaced = [name for name in bad if name.lower() not in known]
    if unplaced:
        raise MilmerError(
            f"{', '.join(unplaced)}: no name of the 10–20 system, so that it is not known where on "
            "the head to interpolate it; leave it out of dataset.channels, or set eeg.bad_channels "
            "to keep"
        )
    described = info([channels[i] for i in placed])
    # What MNE makes of one unit at each channel in turn is the matrix that it applies.
    units = mne.io.RawArray(np.eye(len(placed)), described, verbose="error")
    units.info["bads"] = list(bad)
    matrix = np.eye(len(channels))
    matrix[np.ix_(placed, placed)] = units.interpolate_bads(verbose="error").get_data()
    return matrix
