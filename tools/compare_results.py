#!/usr/bin/env python3
"""Compare two folders of results bit by bit, provenance aside.

    tools/compare_results.py results.before results

What a stage computes is compared: each HDF5 dataset and attribute, each Parquet column, each tensor
of a .safetensors file, each value of a .json file, and text tables (.csv, .md, .tex) line by line;
files of any other kind by their bytes. Two values are the same if they have the same type and the
same bits; a NaN equals any NaN. What says how a result came about is left aside: provenance,
digests, versions. Logs, timings, pictures, pages and prose (README.md, conclusions.md) are not
compared.

Each difference is one line: the file, the part of it, the first row that differs and its values in
both folders. ``--except`` leaves out files (``runs/*/metrics.json``) or parts of files
(``*/model/config.json:dtype``); ``*`` stands for anything, slashes too. The exit status is 0 if
nothing differs, 1 if something does, 2 if there is nothing to compare.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import safetensors

PROVENANCE = {"provenance", "digest", "code", "versions", "transformers_version"}
PROSE = {"README.md", "conclusions.md"}
NOT_COMPARED = {"logs": "logs", "benchmarks": "timings", ".svg": "pictures", ".html": "pages"}
BLOCK = 1 << 24  # bytes compared at once


@dataclass(frozen=True)
class Part:
    """A named part of a file: what kind of thing it is, its type, its shape and its values.

    ``values`` is sliced by row: an array, or a dataset that stays on the disk.
    """

    kind: str
    type: str
    shape: tuple[int, ...]
    values: Any


def main() -> None:
    """Compare two folders as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, help="one folder of results")
    parser.add_argument("b", type=Path, help="the other")
    parser.add_argument(
        "--except",
        dest="exceptions",
        metavar="GLOB",
        action="append",
        default=[],
        help="files (`path`) or parts (`path:part`) to leave out; can be repeated",
    )
    arguments = parser.parse_args()
    for folder in (arguments.a, arguments.b):
        if not folder.is_dir():
            sys.exit(_failed(f"{folder}: no such folder"))
    comparison = Comparison(arguments.a, arguments.b, arguments.exceptions)
    for difference in comparison.differences():
        print(difference)
    for line in comparison.summary():
        print(line)
    if not comparison.compared:
        sys.exit(_failed("no file was compared"))
    sys.exit(1 if comparison.count else 0)


class Comparison:
    """The differences of two folders, and how much was compared."""

    def __init__(self, a: Path, b: Path, exceptions: list[str]):
        self.folders = (a, b)
        self.compared: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.excepted: dict[str, dict[str, str]] = {pattern: {} for pattern in exceptions}
        self.count = 0

    def differences(self) -> Iterator[str]:
        """One line a difference, in the order of files."""
        a, b = (_files(folder) for folder in self.folders)
        for path in sorted(a | b):
            if reason := _not_compared(path):
                self.skipped[reason] += 1
            elif not self._excepted(path.as_posix(), "files"):
                self.compared["files"] += 1
                for difference in self._of_file(path, path in a, path in b):
                    self.count += 1
                    yield f"{path.as_posix()}: {difference}"

    def summary(self) -> Iterator[str]:
        """What was compared, what was left out, and the verdict."""
        yield f"compared: {_counts(self.compared) or 'nothing'}"
        for pattern, places in self.excepted.items():
            counts = Counter(places.values())
            yield f"left out by --except {pattern}: {_counts(counts) or 'nothing'}"
        if self.skipped:
            yield f"not compared: {_counts(self.skipped)}"
        if self.compared:
            yield f"{self.count} differences" if self.count else "nothing differs"

    def _of_file(self, path: Path, in_a: bool, in_b: bool) -> Iterator[str]:
        if not (in_a and in_b):
            yield f"only in {self.folders[0 if in_a else 1]}"
            return
        with ExitStack() as stack:
            read = READERS.get(path.suffix, _bytes)
            try:
                a, b = (read(folder / path, stack) for folder in self.folders)
            except Exception as error:
                yield f"cannot be read: {str(error).splitlines()[0]}"
                return
            a, b = self._without_exceptions(path, a), self._without_exceptions(path, b)
            if list(a) != list(b) and set(a) == set(b):
                yield "the same parts in another order"
            for name in a | b:
                place = f"{name}: " if name else ""
                if not (name in a and name in b):
                    yield f"{place}only in {self.folders[0 if name in a else 1]}"
                    continue
                self.compared[a[name].kind] += 1
                for difference in _of_part(a[name], b[name]):
                    yield place + difference

    def _without_exceptions(self, path: Path, parts: dict[str, Part]) -> dict[str, Part]:
        return {
            name: part
            for name, part in parts.items()
            if not self._excepted(f"{path.as_posix()}:{name}", part.kind)
        }

    def _excepted(self, place: str, kind: str) -> bool:
        for pattern, places in self.excepted.items():
            if (":" in pattern) == (":" in place) and fnmatchcase(place, pattern):
                places[place] = kind
                return True
        return False


def _of_part(a: Part, b: Part) -> Iterator[str]:
    """What differs between two parts of the same name."""
    if a.type != b.type:
        yield f"{a.type} in A, {b.type} in B"
        return
    if a.shape != b.shape:
        yield f"shape {a.shape} in A, {b.shape} in B"
        if len(a.shape) != len(b.shape) or a.shape[1:] != b.shape[1:]:
            return
    if not a.shape:
        if _unequal(a.values, b.values).any():
            yield f"{_text(a.values[0])} in A, {_text(b.values[0])} in B"
        return
    first, count = None, 0
    for start, stop in _blocks(a, min(len(a.values), len(b.values))):
        x, y = np.asarray(a.values[start:stop]), np.asarray(b.values[start:stop])
        unequal = _unequal(x, y)
        if unequal.any():
            count += np.count_nonzero(unequal.reshape(len(unequal), -1).any(axis=1))
            if first is None:
                index = np.unravel_index(np.argmax(unequal), unequal.shape)
                first = (start + int(index[0]), *map(int, index[1:])), x[index], y[index]
    if first is not None:
        index, x, y = first
        row = f"line {index[0] + 1}" if a.type == "text" else f"row {index[0]}"
        place = f" at {index}" if len(index) > 1 else ""
        more = f" and {count - 1} more" if count > 1 else ""
        yield f"{row}{place}{more}: {_text(x)} in A, {_text(y)} in B"


def _blocks(part: Part, rows: int) -> Iterator[tuple[int, int]]:
    row = part.values.dtype.itemsize * math.prod(part.shape[1:])
    step = max(1, BLOCK // max(1, row))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def _unequal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays of one type and shape differ in a bit; a NaN equals any NaN."""
    if a.dtype.hasobject:
        pairs = zip(a.ravel(), b.ravel(), strict=True)
        return np.array([_plain(x) != _plain(y) for x, y in pairs], bool).reshape(a.shape)
    if a.tobytes() == b.tobytes():
        return np.zeros(a.shape, bool)
    bits = [np.ascontiguousarray(x)[..., None].view(np.uint8) for x in (a, b)]
    unequal = (bits[0] != bits[1]).any(axis=-1)
    return unequal & ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else unequal


def _plain(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _text(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes (SHA-256 {sha256(value).hexdigest()[:12]}…)"
    return str(value).rstrip("\n")


# ------------------------------------------------------- the parts of a file, by kind


def _hdf5(path: Path, stack: ExitStack) -> dict[str, Part]:
    file = stack.enter_context(h5py.File(path))
    parts = _attributes(file, "")

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        parts.update(_attributes(item, name))
        if isinstance(item, h5py.Dataset):
            element = h5py.check_vlen_dtype(item.dtype)
            dtype = str(item.dtype) if element is None else f"variable length of {element}"
            values = item if item.ndim else np.atleast_1d(item[()])
            parts[name] = Part("datasets", dtype, item.shape, values)

    file.visititems(add)
    return parts


def _attributes(item: h5py.Dataset | h5py.Group, name: str) -> dict[str, Part]:
    return {
        f"{name}@{key}": _leaf("attributes", value)
        for key, value in sorted(item.attrs.items())
        if key not in PROVENANCE
    }


def _parquet(path: Path, stack: ExitStack) -> dict[str, Part]:
    table = pq.read_table(path)
    return {
        field.name: _rows("columns", str(field.type), map(repr, column.to_pylist()))
        for field, column in zip(table.schema, table.columns, strict=True)
    }


def _tensors(path: Path, stack: ExitStack) -> dict[str, Part]:
    parts = {}
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        shape, size = tuple(tensor["shape"]), math.prod(tensor["shape"])
        itemsize = len(tensor["data"]) // max(1, size)
        values = np.frombuffer(tensor["data"], TENSORS.get(tensor["dtype"], f"V{itemsize}"))
        parts[name] = Part("tensors", tensor["dtype"], shape, values.reshape(shape or 1))
    return dict(sorted(parts.items()))


TENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BOOL": "?"}


def _json(path: Path, stack: ExitStack) -> dict[str, Part]:
    parts: dict[str, Part] = {}

    def add(name: str, value: Any) -> None:
        entries = dict(enumerate(value)) if isinstance(value, list) else value
        if not isinstance(entries, dict) or not entries:
            parts[name] = _leaf("values", value)
            return
        for key, entry in entries.items():
            if key not in PROVENANCE:
                add(f"{name}.{key}" if name else str(key), entry)

    add("", json.loads(path.read_text(encoding="utf-8")))
    return dict(sorted(parts.items()))


def _lines(path: Path, stack: ExitStack) -> dict[str, Part]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return {"": _rows("text tables", "text", lines)}


def _bytes(path: Path, stack: ExitStack) -> dict[str, Part]:
    return {"": Part("other files", "bytes", (), np.array([path.read_bytes()], object))}


READERS: dict[str, Callable[[Path, ExitStack], dict[str, Part]]] = {
    ".h5": _hdf5,
    ".parquet": _parquet,
    ".safetensors": _tensors,
    ".json": _json,
    **dict.fromkeys((".csv", ".md", ".tex"), _lines),
}


def _leaf(kind: str, value: Any) -> Part:
    """A single value, or an array as an attribute holds it."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return Part(kind, str(array.dtype), array.shape, np.atleast_1d(array))
    return Part(kind, type(value).__name__, (), np.array([repr(value)], object))


def _rows(kind: str, dtype: str, texts: Iterable[str]) -> Part:
    values = np.array(list(texts), object)
    return Part(kind, dtype, values.shape, values)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def _not_compared(path: Path) -> str | None:
    if path.name in PROSE:
        return "pages of prose"
    return NOT_COMPARED.get(path.parts[0]) or NOT_COMPARED.get(path.suffix)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
