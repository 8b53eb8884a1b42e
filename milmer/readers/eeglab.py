"""What EEGLAB's ``.set`` says of its data: the file that holds them, and how many epochs."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from milmer.limits import TEXT_BYTES


def data_file(path: Path) -> str | None:
    """The name of the ``.fdt`` that a ``.set`` names; None where it names none.

    A ``.set`` with its data inside is large, and is not looked into.
    """
    if path.stat().st_size > TEXT_BYTES:
        return None
    name = _field(path, "data")
    return name if isinstance(name, str) and name.lower().endswith(".fdt") else None


def trials(path: Path) -> int:
    """How many epochs it holds; 1 where it does not say."""
    with suppress(TypeError, ValueError):
        return int(_field(path, "trials"))
    return 1


def _field(path: Path, name: str) -> Any:
    import h5py
    import scipy.io

    from milmer.readers.matlab import require_sound

    with suppress(Exception):  # a damaged file can raise anything, and its reader says so
        if not h5py.is_hdf5(path):
            require_sound(path, 4 * TEXT_BYTES + 20 * path.stat().st_size)
            content = scipy.io.loadmat(path, variable_names=["EEG", name], simplify_cells=True)
            return content.get("EEG", content)[name]
        with h5py.File(path, "r") as file:
            values = file.get("EEG", file)[name][()].ravel()
        return "".join(map(chr, values)) if values.dtype.kind == "u" else values[0]
    return None
