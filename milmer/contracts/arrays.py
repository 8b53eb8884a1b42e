"""The contract of an HDF5 file: its datasets, how their sizes fit together, its attributes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from milmer.contracts.facts import AGAIN, Facts, require
from milmer.errors import MilmerError
from milmer.limits import parse_json


@dataclass(frozen=True)
class Array:
    """The contract of one HDF5 dataset: its dtype and the names of its dimensions.

    Dimensions of the same name have the same length throughout a file. ``jpeg`` is a variable
    number of bytes an element, ``S16`` a word of up to 16. The values are below the length of the
    dimension ``indexes``.
    """

    dtype: str
    dims: tuple[str, ...]
    indexes: str = ""


Schema = Mapping[str, Array]

GRID = {"trial": Array("int32", ("segment",)), "position": Array("int32", ("segment",))}
"""The segment grid, by row."""


@dataclass(frozen=True)
class Arrays:
    """The contract of a stage's HDF5 file.

    ``attributes`` are those that readers count on; ``channels`` and ``parts`` among them name the
    elements along the dimensions ``channel`` and ``part``.
    """

    stage: str
    schema: Schema
    attributes: type[Facts] | None = None

    def require(self, file: h5py.File, path: Path) -> None:
        """Refuse a file of the stage that does not hold what its readers count on."""
        sizes = require_arrays(file, self.schema, path, AGAIN)
        if self.attributes is None:
            return
        facts = {name: attribute(file, name, path) for name in self.attributes.model_fields}
        require(self.attributes, facts, path)
        for names in facts.keys() & {"channels", "parts"}:
            if (count := len(facts[names])) != (size := sizes[names.removesuffix("s")]):
                raise MilmerError(
                    f"names {count} {names}, and holds {size}", where=path, remedy=AGAIN
                )


def require_arrays(file: h5py.File, schema: Schema, path: Path, remedy: str = "") -> dict[str, int]:
    """The length of each dimension; refuses a file whose datasets are not those of ``schema``."""
    sizes: dict[str, int] = {}
    if problem := _difference(file, schema, sizes):
        raise MilmerError(problem, where=path, remedy=remedy)
    return sizes


def _difference(file: h5py.File, schema: Schema, sizes: dict[str, int]) -> str | None:
    """How a file differs from ``schema``; fills in ``sizes``."""
    if set(file) != set(schema):
        return f"datasets {sorted(file)}, expected {sorted(schema)}"
    for name in sorted(schema):
        data, array = file[name], schema[name]
        if not isinstance(data, h5py.Dataset) or data.ndim != len(array.dims):
            shape = data.shape if isinstance(data, h5py.Dataset) else None
            return f"{name} has shape {shape}, expected {array.dims}"
        for dim, size in zip(array.dims, data.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                return f"{name} has {size} along {dim}, others {sizes[dim]}"
        if array.dtype != kind(data):
            return f"{name} is {kind(data)}, expected {array.dtype}"
    for name, array in schema.items():
        if array.indexes and np.max(file[name][()], initial=-1) >= sizes[array.indexes]:
            return f"{name} goes beyond the {sizes[array.indexes]} along {array.indexes}"
    return None


def kind(data: h5py.Dataset) -> str:
    """The dtype's name as in :class:`Array`."""
    base = h5py.check_vlen_dtype(data.dtype)
    if base is not None:
        return "jpeg" if base == np.uint8 else f"{base} of any length"
    if data.dtype.kind == "S":
        return data.dtype.str.strip("|")
    return data.dtype.name if data.dtype.isnative else data.dtype.str


def scalar(file: h5py.File, name: str) -> Any:
    """An attribute that is one text or number; None where it is missing or anything else.

    An array of texts is never read: all could refer to one long text in the file.
    """
    if name not in file.attrs or file.attrs.get_id(name).shape != ():
        return None
    value = file.attrs[name]
    return value.item() if isinstance(value, np.generic) else value


def attribute(
    file: h5py.File, name: str, path: Path, mapping: Callable[[dict], Any] | None = None
) -> Any:
    """An attribute of a file of ours: a number, or a text in JSON, which is parsed."""
    value = scalar(file, name)
    if value is None:
        raise MilmerError(f"does not say its {name}: damaged", where=path, remedy=AGAIN)
    return parse_json(value, path, AGAIN, mapping) if isinstance(value, str | bytes) else value
