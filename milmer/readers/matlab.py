"""MATLAB files of level 5: arrays of numbers, and whether a file's structures are sound.

A file is a sequence of arrays, each compressed or not: flags, dimensions and a name, then the
numbers, column by column. Arrays of other names are passed over. A length is compared with what
the file stores before memory is asked for.
"""

import io
import math
import mmap
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from milmer.errors import MilmerError

# A compressed array may take this many bytes, and so many times what the file stores of it: zeros
# come to a thousand times, EEG to less than four.
_MOST_BYTES, _MOST_TIMES = 64 << 20, 20
_MOST_ARRAYS = 1000
_HEADER = 1024  # bytes; more than any part of an array's header takes

_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _DIMENSIONS, _NAME = 6, 5, 1
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes of full arrays of numbers: double to uint64
_COMPLEX = 0x08
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_UTF8 = 16
_TEXTS = {_UTF8: 1, 17: 2, 18: 4}
_DEEPEST = 50


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of ``names`` in a file, as far as it holds them.

    Raises :class:`MilmerError` for MATLAB 7.3 and for damaged headers; errors about damaged
    compression pass through.
    """
    with open(path, "rb") as file:
        try:
            return _arrays(file, names)
        except MilmerError as error:
            raise error.within(path) from None


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the arrays of numbers in a file; raises as :func:`read_arrays`."""
    with open(path, "rb") as file:
        try:
            return {name: shape for name, shape in _arrays(file, None).items() if shape}
        except MilmerError as error:
            raise error.within(path) from None


def require_sound(path: Path, most: int) -> None:
    """Refuse a file whose parts do not fit into each other: SciPy does not survive some.

    ``most`` are the bytes to which it may grow when it is decompressed. Files older than level 5
    pass. Raises :class:`MilmerError`.
    """
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        if order is None or path.stat().st_size == 128:
            return
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    at, total = 128, 0
    try:
        while at < len(content):
            kind, size = struct.unpack_from(f"{order}II", content, at)
            part = content[at + 8 : at + 8 + size]
            at += 8 + size
            if kind not in (_MATRIX, _COMPRESSED) or at > len(content):
                raise ValueError("a part of it goes beyond its end, or back")
            if kind == _COMPRESSED:
                stream = zlib.decompressobj()
                part = memoryview(stream.decompress(part, most - total + 1))
                if total + len(part) <= most and not stream.eof:
                    raise ValueError("a part of it is cut off")
                kind, part, _ = (
                    _element(part, 0, order) if total + len(part) <= most else (14, part, 0)
                )
            total += len(part)
            if total > most:
                raise MilmerError(
                    f"grows beyond {most:,} bytes when it is decompressed", where=path
                )
            if kind != _MATRIX:
                raise ValueError("the header of an array is damaged")
            _require_matrix(part, order, 0)
    except (struct.error, zlib.error, ValueError) as error:
        raise MilmerError(
            f"is damaged and cannot be read ({error})", where=path, remedy="copy it again"
        ) from error


def _require_matrix(content: memoryview, order: str, depth: int) -> None:
    """Raise ValueError for an array whose parts are not those that its header announces."""
    if not len(content):
        return
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    elements = _Elements(content, order)
    (word,) = struct.unpack_from(f"{order}I", elements.next(_FLAGS, size=8))
    array_class, is_complex = word & 0xFF, bool((word >> 8) & _COMPLEX)
    if array_class == _OPAQUE:
        for _ in range(3):
            elements.next(_NAME)
        return _require_matrix(elements.next(_MATRIX), order, depth + 1)
    dimensions = elements.next(_DIMENSIONS)
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    count = math.prod(shape)
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("an array has no such dimensions")
    elements.next(_NAME)
    if array_class in _NUMERIC:
        for _ in range(1 + is_complex):
            elements.next(*_NUMBERS, count=count)
    elif array_class == _CHAR:
        elements.next(*_NUMBERS, *_TEXTS, count=count)
    elif array_class == _SPARSE:
        rows, columns = elements.next(_DIMENSIONS), elements.next(_DIMENSIONS)
        if len(columns) != 4 * (shape[1] + 1):
            raise ValueError("a sparse array is damaged")
        stored = struct.unpack_from(f"{order}i", columns, len(columns) - 4)[0]
        if not 0 <= stored <= len(rows) // 4:
            raise ValueError("a sparse array is damaged")
        for _ in range(1 + is_complex):
            elements.next(*_NUMBERS)
    else:
        if array_class == _OBJECT:
            elements.next(_NAME)
        if array_class in (_STRUCT, _OBJECT):
            (width,) = struct.unpack(f"{order}i", elements.next(_DIMENSIONS, size=4))
            names = elements.next(_NAME)
            if width < 1 or len(names) % width:
                raise ValueError("the names of a structure are damaged")
            count *= len(names) // width
        elif array_class == _FUNCTION:
            count = 1
        elif array_class != _CELL:
            raise ValueError(f"arrays have no class {array_class}")
        for _ in range(count):
            _require_matrix(elements.next(_MATRIX), order, depth + 1)


class _Elements:
    """The elements of an array, one after the other."""

    def __init__(self, content: memoryview, order: str):
        self._content, self._order, self._at = content, order, 0

    def next(self, *kinds: int, size: int | None = None, count: int | None = None) -> memoryview:
        """The content of the next one, of one of ``kinds``, and with as many bytes or numbers."""
        kind, content, self._at = _element(self._content, self._at, self._order)
        if kind not in kinds or size not in (None, len(content)):
            raise ValueError("the header of an array is damaged")
        if count is not None:
            width = np.dtype(_NUMBERS.get(kind, f"u{_TEXTS.get(kind, 1)}")).itemsize
            # A text in UTF-8 may take more bytes than it has characters.
            if len(content) != count * width and not (kind == _UTF8 and len(content) >= count):
                raise ValueError("an array is not as large as its header says")
        return content


def _element(content: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Kind and content of the element at a byte, and where the next one begins."""
    kind, size = struct.unpack_from(f"{order}II", content, at)
    if within := kind >> 16:
        if within > 4:
            raise ValueError("the header of an array is damaged")
        return kind & 0xFFFF, content[at + 4 : at + 4 + within], at + 8
    end = at + 8 + size
    if end > len(content):
        raise ValueError("a part of it goes beyond its end, or back")
    return kind, content[at + 8 : end], end + -size % 8


def _arrays(file: BinaryIO, names: tuple[str, ...] | None) -> dict[str, Any]:
    """The arrays of ``names``; without them the shapes of all."""
    order = _byte_order(file.read(128))
    arrays: dict[str, Any] = {}
    at, end = 128, file.seek(0, io.SEEK_END)
    for _ in range(_MOST_ARRAYS):
        if at == end:
            return arrays
        file.seek(at)
        kind, size, content = _tag(file, order)
        at += 8 + size
        if kind not in (_MATRIX, _COMPRESSED) or content is not None or at > end:
            raise MilmerError("damaged or cut off", remedy="copy it again")
        stream, most = file, size
        if kind == _COMPRESSED:
            stream, most = _Inflated(file, size), _MOST_BYTES + _MOST_TIMES * size
            stream = io.BufferedReader(stream, _HEADER)
            if _tag(stream, order)[0] != _MATRIX:
                raise _damaged_header()
        name, shape = _header(stream, order)
        if names is None:
            arrays[name] = shape
            continue
        if name not in names or name in arrays:
            continue
        arrays[name] = _numbers(stream, shape, most, order)
        # What is left is padding. A compressed array is read to the checksum at its end.
        if file.tell() > at or (kind == _COMPRESSED and len(stream.read(8)) == 8):
            raise _damaged_header()
    raise MilmerError(f"holds more than {_MOST_ARRAYS:,} arrays", remedy="store fewer in it")


def _byte_order(head: bytes) -> str:
    if head[:8] == b"\x89HDF\r\n\x1a\n" or head[124:126] in (b"\x00\x02", b"\x02\x00"):
        raise MilmerError(
            "a MATLAB 7.3 file, and an older one is expected", remedy="save it with -v7"
        )
    order = {b"IM": "<", b"MI": ">"}.get(head[126:])
    if order is None or head[124:126] != struct.pack(f"{order}H", 0x0100):
        raise MilmerError("not a MATLAB file, or damaged or cut off", remedy="copy it again")
    return order


def _header(stream: BinaryIO, order: str) -> tuple[str, tuple[int, ...] | None]:
    """An array's name and its shape; no shape where it is not one of real numbers."""
    flags = _part(stream, order, _FLAGS)
    lengths = _part(stream, order, _DIMENSIONS)
    name = str(_part(stream, order, _NAME), "latin1")
    if len(flags) != 8 or len(lengths) % 4:
        raise _damaged_header()
    word = struct.unpack(f"{order}II", flags)[0]
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths)
    numeric = word & 0xFF in _NUMERIC and not (word >> 8) & _COMPLEX
    return name, shape if numeric and 2 <= len(shape) <= 3 and min(shape) >= 0 else None


def _numbers(stream: BinaryIO, shape: tuple | None, most: int, order: str) -> np.ndarray:
    """Read an array of at most ``most`` bytes."""
    kind, size, content = _tag(stream, order)
    if shape is None or kind not in _NUMBERS:
        raise _damaged_header()
    dtype = np.dtype(order + _NUMBERS[kind])
    if size != math.prod(shape) * dtype.itemsize:
        raise _damaged_header()
    if size > most:
        raise MilmerError(
            f"an array is to have {size:,} bytes, and the file has room for {most:,}",
            remedy="copy it again",
        )
    if content is None:
        content = memoryview(np.empty(size, np.uint8))
        if stream.readinto(content) != size:
            raise MilmerError("damaged or cut off", remedy="copy it again")
    array = np.frombuffer(content, dtype).reshape(shape, order="F")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _part(stream: BinaryIO, order: str, expected: int) -> bytes:
    """A part of an array's header, without the padding to eight bytes behind it."""
    kind, size, content = _tag(stream, order)
    if kind != expected or size > _HEADER:
        raise _damaged_header()
    if content is None:
        content = stream.read(size)
        stream.read(-size % 8)
    if len(content) != size:
        raise _damaged_header()
    return content


def _tag(stream: BinaryIO, order: str) -> tuple[int, int, bytes | None]:
    """Type and length of what follows, and its content if that is in the tag itself."""
    tag = stream.read(8)
    if len(tag) < 8:
        raise _damaged_header()
    kind, size = struct.unpack(f"{order}II", tag)
    if size_within := kind >> 16:
        return kind & 0xFFFF, size_within, tag[4:][:size_within]
    return kind, size, None


class _Inflated(io.RawIOBase):
    """What the next ``left`` bytes of a file inflate to."""

    def __init__(self, file: BinaryIO, left: int):
        self._file, self._left = file, left
        self._stream = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._stream.eof:
            content = self._stream.unconsumed_tail
            if not content:
                content = self._file.read(min(self._left, 1 << 16))
                self._left -= len(content)
            inflated = self._stream.decompress(content, min(len(buffer), 1 << 20))
            if inflated or not content:
                buffer[: len(inflated)] = inflated
                return len(inflated)
        return 0


def _damaged_header() -> MilmerError:
    return MilmerError("the header of an array is damaged", remedy="copy it again")
