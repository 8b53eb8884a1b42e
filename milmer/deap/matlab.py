"""MATLAB files of DEAP's kind: two arrays of numbers, ``data`` and ``labels``.

SciPy reads them. It trusts their headers, and some damaged ones crash the whole process, so the
headers of both arrays are checked first: type codes, dimensions and sizes, as in MATLAB's
description of its level 5 format.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milmer.errors import MilmerError

NAMES = ("data", "labels")

_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _DIMENSIONS, _NAME = 6, 5, 1
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # of a number, by its type
_NUMERIC = range(6, 16)  # classes of full arrays of numbers: double to uint64
_COMPLEX = 0x08
_HEADER = 1024  # bytes; more than an array takes without its numbers


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays ``data`` and ``labels`` of a file, as far as it holds them.

    Raises :class:`MilmerError` for MATLAB 7.3 and for damaged headers; SciPy's errors about damaged
    content pass through.
    """
    from scipy.io import loadmat

    with open(path, "rb") as file:
        try:
            _require_sound(file)
        except MilmerError as error:
            raise error.within(path) from None
        file.seek(0)
        return loadmat(file, variable_names=list(NAMES))


def _require_sound(file: BinaryIO) -> None:
    head = file.read(128)
    if head[:8] == b"\x89HDF\r\n\x1a\n" or head[124:126] in (b"\x00\x02", b"\x02\x00"):
        raise MilmerError("a MATLAB 7.3 file; DEAP's are older", remedy="save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(head[126:])
    if order is None or head[124:126] != struct.pack(f"{order}H", 0x0100):
        raise MilmerError("not a MATLAB file, or damaged or cut off", remedy="copy it again")
    for element, size in _elements(file, order):
        if not _is_sound(element, size, order):
            raise MilmerError("the header of an array is damaged", remedy="copy it again")


def _elements(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """The beginning of each array and its size in bytes, compressed or not."""
    end = file.seek(0, 2)
    at = 128
    while at < end:
        file.seek(at)
        kind, size = _tag(file.read(8), order)
        at += 8 + size
        if kind not in (_MATRIX, _COMPRESSED) or at > end:
            raise MilmerError("damaged or cut off", remedy="copy it again")
        content = file.read(min(size, _HEADER))
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, _HEADER)
            inner, size = _tag(content[:8], order)
            if inner != _MATRIX:
                raise MilmerError("damaged", remedy="copy it again")
            content = content[8:]
        yield content, size


def _is_sound(array: bytes, size: int, order: str) -> bool:
    """Whether an array's header fits its size; arrays of other names are never read."""
    try:
        flags, at = _part(array, 0, order, _FLAGS)
        shape, at = _part(array, at, order, _DIMENSIONS)
        name, at = _part(array, at, order, _NAME)
        if name.decode("latin1") not in NAMES:
            return True
        word = struct.unpack(f"{order}I", flags[:4])[0]
        lengths = struct.unpack(f"{order}{len(shape) // 4}i", shape)
        kind, count = _tag(array[at : at + 8], order)
        small = kind >> 16  # up to four bytes are in the tag itself
        kind, count, begins = (kind & 0xFFFF, small, at + 4) if small else (kind, count, at + 8)
        return (
            word & 0xFF in _NUMERIC
            and not (word >> 8) & _COMPLEX
            and 2 <= len(lengths) <= 3
            and min(lengths) >= 0
            and kind in _BYTES
            and count == math.prod(lengths) * _BYTES[kind]
            and begins + count <= size
        )
    except struct.error:  # the array ends within its header
        return False


def _part(array: bytes, at: int, order: str, expected: int) -> tuple[bytes, int]:
    """A part of an array's header at ``at``, and where the next one begins."""
    kind, size = _tag(array[at : at + 8], order)
    if kind >> 16:  # up to four bytes are in the tag itself
        kind, size, begins, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        begins, after = at + 8, at + 8 + -(-size // 8) * 8
    content = array[begins : begins + size]
    if kind != expected or len(content) != size:
        raise struct.error
    return content, after


def _tag(content: bytes, order: str) -> tuple[int, int]:
    return struct.unpack(f"{order}II", content)
