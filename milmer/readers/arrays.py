"""Arrays of EEG in ``.npy`` and ``.mat`` files: (channel, sample) or (sample, channel, trial)."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from milmer.claims import require_self_contained
from milmer.errors import MilmerError
from milmer.readers.claims import EXPANSION
from milmer.readers.descriptions import Description, read_description
from milmer.readers.edf import damaged
from milmer.readers.matlab import array_shapes, read_arrays

SUFFIXES = (".npy", ".mat")


def open_array(path: Path) -> tuple[Any, Description]:
    """The array and what is said of it; a ``.npy`` or ``.mat`` 7.3 is read when it is sliced.

    Raises :class:`MilmerError` where the description is missing or does not fit, or where the file
    is damaged or holds no such array.
    """
    description = read_description(path)
    if description is None or None in (description.channels, description.sfreq, description.unit):
        raise MilmerError(
            "is an array without a description",
            where=path,
            remedy=f"write {path.with_suffix('.json').name} with channels, sfreq and unit: "
            '{"channels": ["Fz", …], "sfreq": 250, "unit": "µV"}',
        )
    try:
        array = _npy(path) if path.suffix.lower() == ".npy" else _mat(path, description.variable)
    except MilmerError:
        raise
    except Exception as error:  # a damaged header can raise anything
        raise damaged(path, error) from error
    names = description.channels or []
    if array.dtype.kind not in "fiu" or len(array.shape) not in (2, 3) or 0 in array.shape:
        raise MilmerError(
            f"holds an array {tuple(array.shape)} of {array.dtype}",
            where=path,
            remedy="store numbers as (channel, sample) or (sample, channel, trial)",
        )
    axis = len(array.shape) - 2  # of the channels
    if array.shape[axis] != len(names):
        order = "(channel, sample)" if axis == 0 else "(sample, channel, trial)"
        raise MilmerError(
            f"is an array {tuple(array.shape)}, read as {order}, and {len(names)} channels are "
            "named",
            where=path,
            remedy=f"turn it, or change {path.with_suffix('.json').name}",
        )
    return array, description


def cut(array: Any, channels: list[int], first: int, stop: int) -> np.ndarray:
    """Samples ``first`` to ``stop`` of ``channels``, counted over all trials: (channel, sample)."""
    if len(array.shape) == 2:
        return np.asarray(array[:, first:stop], float)[channels]
    trial, begin = divmod(first, array.shape[0])
    end = min(begin + stop - first, array.shape[0])
    return np.asarray(array[begin:end, :, trial], float).T[channels]


def mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names of the arrays in a ``.mat``, and their shapes as MATLAB sees them.

    Raises :class:`MilmerError` where it is damaged.
    """
    try:
        if not h5py.is_hdf5(path):
            return array_shapes(path)
        with h5py.File(path, "r") as file:
            return {k: v.shape[::-1] for k, v in file.items() if isinstance(v, h5py.Dataset)}
    except MilmerError:
        raise
    except Exception as error:  # a damaged header can raise anything
        raise damaged(path, error) from error


def _npy(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _mat(path: Path, variable: str | None) -> Any:
    if h5py.is_hdf5(path):
        file = h5py.File(path, "r")
        require_self_contained(file, path, EXPANSION)
        shapes = {k: v.shape for k, v in file.items() if isinstance(v, h5py.Dataset)}
        return _Turned(file[_chosen(path, shapes, variable)])
    name = _chosen(path, array_shapes(path), variable)
    return read_arrays(path, (name,))[name]


def _chosen(path: Path, arrays: dict[str, tuple], variable: str | None) -> str:
    """The name of the array: ``variable``, else the only one that is large enough for EEG."""
    names = [variable] if variable else [k for k, s in arrays.items() if len(s) > 1 and min(s) > 1]
    if len(names) != 1 or names[0] not in arrays:
        raise MilmerError(
            f"holds {len(names)} arrays ({', '.join(names) or 'none of numbers'})"
            if not variable
            else f"holds no array {variable}",
            where=path,
            remedy=f"say which in {path.with_suffix('.json').name}: "
            '"variable": one of ' + (", ".join(arrays) or "none"),
        )
    return names[0]


class _Turned:
    """An array of HDF5 as MATLAB sees it: with its axes in the other order."""

    def __init__(self, data: h5py.Dataset):
        self._data, self.dtype, self.shape = data, data.dtype, data.shape[::-1]

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self._data[index[::-1]].T
