"""Pickles of NumPy arrays, read as data: nothing that a pickle names is called.

A pickle is a program for a small machine with a stack, and Python's own machine calls whatever
function the program names. This one calls none: it notes what would be called as a record. Arrays
of numbers are made afterwards, from the records that spell one as NumPy does.

A length is compared with the rest of the file before memory is asked for, and a program has at
most ``MOST_STEPS`` steps, so a small file cannot take much memory: a file of DEAP has about 80.
"""

import codecs
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milmer.errors import MilmerError

MOST_STEPS = 100_000

# NumPy's names for arrays, before and after its move to numpy._core. `_codecs.encode` is how
# protocol 2 spells bytes written by Python 3; `_frombuffer` makes the arrays of protocol 5.
_NAMES = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}

# The opcodes by what they do, named as in Python's pickletools. Those of classes, extensions and
# objects outside the file are missing: no array needs them.
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}  # NONE, NEWTRUE, NEWFALSE
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}  # BININT, 1 and 2; BINFLOAT
_TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}  # BINUNICODE; short; 8
# BINSTRING and SHORT_BINSTRING, Python 2's; BINBYTES; short; 8; BYTEARRAY8
_BYTES = {b"T": "<i", b"U": "<B", b"B": "<I", b"C": "<B", b"\x8e": "<Q", b"\x96": "<Q"}
_GETS = {b"h": "<B", b"j": "<I"}  # BINGET, LONG_BINGET
_PUTS = {b"q": "<B", b"r": "<I"}  # BINPUT, LONG_BINPUT
_TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}  # EMPTY_TUPLE, TUPLE1 to 3


class _Pairs(list):
    """A dict as its pairs of key and value: nothing of the file is hashed or compared."""


@dataclass(slots=True, eq=False)
class _Call:
    """A function's name, the arguments that it would be called with and the object's state."""

    function: object
    arguments: object
    state: object = None


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray | None]:
    """The arrays of ``names`` in a pickled dict, as far as it holds them.

    None stands for what is no array of numbers. Raises :class:`MilmerError` where the pickle asks
    for anything but arrays or an array does not fit its bytes; a damaged file may raise others.
    """
    with open(path, "rb") as file:
        try:
            content = _Machine(file).run()
            pairs = content if isinstance(content, _Pairs) else []
            records = {name: value for key, value in pairs if (name := _text(key)) in names}
            return {name: _array(name, record) for name, record in records.items()}
        except MilmerError as error:
            raise error.within(path) from None


class _Machine:
    def __init__(self, file: BinaryIO):
        self._file = file
        self._left = os.fstat(file.fileno()).st_size  # bytes
        self._stack: list = []
        self._below: list[list] = []  # the stacks below each mark
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(MOST_STEPS):
            opcode = self._read(1)
            if opcode == b".":
                return self._stack.pop()
            self._step(opcode)
        raise MilmerError(
            f"the pickle has more than {MOST_STEPS:,} steps; arrays take a few dozen",
            remedy="copy it again from DEAP",
        )

    def _step(self, opcode: bytes) -> None:
        stack = self._stack
        match opcode:
            case _ if opcode in _CONSTANTS:
                stack.append(_CONSTANTS[opcode])
            case _ if opcode in _NUMBERS:
                stack.append(self._number(_NUMBERS[opcode]))
            case _ if opcode in _TEXTS:
                content = self._read(self._number(_TEXTS[opcode]))
                stack.append(str(content, "utf-8", "surrogatepass"))
            case _ if opcode in _BYTES:
                stack.append(self._bytes(self._number(_BYTES[opcode])))
            case _ if opcode in _GETS:
                stack.append(self._memo[self._number(_GETS[opcode])])
            case _ if opcode in _PUTS:
                self._memo[self._number(_PUTS[opcode])] = stack[-1]
            case _ if opcode in _TUPLES:
                items = [stack.pop() for _ in range(_TUPLES[opcode])]
                stack.append(tuple(reversed(items)))
            case b"I":  # INT, and how protocol 0 spells bool
                line = self._line()
                stack.append(line == b"01" if line in (b"00", b"01") else int(line))
            case b"L":  # LONG
                stack.append(int(self._line().removesuffix(b"L")))
            case b"\x8a":  # LONG1
                stack.append(int.from_bytes(self._read(self._number("<B")), "little", signed=True))
            case b"F":  # FLOAT
                stack.append(float(self._line()))
            case b"S":  # STRING, Python 2's; in quotes, with escapes
                stack.append(memoryview(bytearray(codecs.escape_decode(self._line()[1:-1])[0])))
            case b"V":  # UNICODE
                stack.append(str(self._line(), "raw-unicode-escape"))
            case b"g":  # GET
                stack.append(self._memo[self._index()])
            case b"p":  # PUT
                self._memo[self._index()] = stack[-1]
            case b"\x94":  # MEMOIZE
                self._memo[len(self._memo)] = stack[-1]
            case b"(":  # MARK
                self._below.append(stack)
                self._stack = []
            case b"0" if stack:  # POP
                stack.pop()
            case b"0" | b"1":  # POP of a mark, POP_MARK
                self._pop_mark()
            case b"2":  # DUP
                stack.append(stack[-1])
            case b"]" | b"\x8f":  # EMPTY_LIST, EMPTY_SET
                stack.append([])
            case b"}":  # EMPTY_DICT
                stack.append(_Pairs())
            case b"t" | b"\x91":  # TUPLE, FROZENSET
                items = self._pop_mark()
                self._stack.append(tuple(items))
            case b"l":  # LIST
                items = self._pop_mark()
                self._stack.append(items)
            case b"d":  # DICT
                items = self._pop_mark()
                self._stack.append(_Pairs(_pairs(items)))
            case b"a":  # APPEND
                self._extend(list, [stack.pop()])
            case b"e" | b"\x90":  # APPENDS, ADDITEMS
                self._extend(list, self._pop_mark())
            case b"s":  # SETITEM
                value, key = stack.pop(), stack.pop()
                self._extend(_Pairs, [(key, value)])
            case b"u":  # SETITEMS
                self._extend(_Pairs, _pairs(self._pop_mark()))
            case b"c":  # GLOBAL
                module, name = str(self._line(), "utf-8"), str(self._line(), "utf-8")
                stack.append(_required_name(module, name))
            case b"\x93":  # STACK_GLOBAL
                name, module = _text(stack.pop()), _text(stack.pop())
                if module is None or name is None:
                    raise _cut_off()
                stack.append(_required_name(module, name))
            case b"R" | b"\x81":  # REDUCE, NEWOBJ
                arguments, function = stack.pop(), stack.pop()
                stack.append(_Call(function, arguments))
            case b"b":  # BUILD
                state = stack.pop()
                stack[-1].state = state
            case b"\x80":  # PROTO
                self._read(1)
            case b"\x95":  # FRAME: what follows lies in the file as it would without
                if self._number("<Q") > self._left:
                    raise _cut_off()
            case _:
                raise MilmerError(
                    "damaged or no pickle of NumPy arrays: "
                    f"none needs the opcode 0x{opcode.hex()} or what it does",
                    remedy="copy it again from DEAP",
                )

    def _pop_mark(self) -> list:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _extend(self, kind: type, items: object) -> None:
        if type(self._stack[-1]) is not kind:
            raise _cut_off()
        self._stack[-1].extend(items)

    def _number(self, form: str) -> int | float:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _index(self) -> int:
        """A place in the memo; its size is bounded, for large ones can all have the same hash."""
        index = int(self._line())
        if not 0 <= index < 2**32:
            raise _cut_off()
        return index

    def _read(self, count: int) -> bytes:
        self._claim(count)
        return self._file.read(count)

    def _bytes(self, count: int) -> memoryview:
        """``count`` bytes in aligned memory of their own: NumPy takes them without a copy."""
        self._claim(count)
        content = memoryview(np.empty(count, np.uint8))
        if self._file.readinto(content) != count:
            raise _cut_off()
        return content

    def _line(self) -> bytes:
        line = self._file.readline()
        self._claim(len(line))
        if not line.endswith(b"\n"):
            raise _cut_off()
        return line[:-1]

    def _claim(self, count: int) -> None:
        if not 0 <= count <= self._left:
            raise _cut_off()
        self._left -= count


def _pairs(items: list) -> Iterator[tuple[object, object]]:
    return zip(items[::2], items[1::2], strict=True)


def _required_name(module: str, name: str) -> tuple[str, str]:
    if (module, name) in _NAMES:
        return module, name
    function = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}"[:80])
    raise MilmerError(
        f"the pickle asks for {function}, which is no NumPy array, and could run code",
        remedy="copy it again from DEAP",
    )


def _array(name: str, record: object) -> np.ndarray | None:
    """The array that a record spells, in native byte order; None if it is not one of numbers."""
    match record:
        case _Call(
            (_, "_reconstruct" | "ndarray"),
            _,
            (shape, dtype, fortran, content) | (_, shape, dtype, fortran, content),
        ):
            order, axes = "F" if fortran in (1, True) else "C", None
        case _Call((_, "_frombuffer"), (content, dtype, shape, order, *rest)):
            order, axes = _text(order), rest[0] if rest else None
        case _:
            return None
    dtype, content = _dtype(dtype), _content(content)
    if dtype is None or content is None or not _is_shape(shape):
        return None
    size = math.prod(shape) * dtype.itemsize
    if size != len(content):
        raise MilmerError(
            f"damaged: {name} is to be {shape} of {dtype}, {size:,} bytes, and holds "
            f"{len(content):,}",
            remedy="copy it again",
        )
    if isinstance(content, str):
        content = content.encode("latin1")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if order == "F" else "C")
    if order == "K" and axes is not None:
        array = array.transpose(axes)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _dtype(record: object) -> np.dtype | None:
    """A dtype of numbers; its state says the byte order, or else its name."""
    match record:
        case _Call(("numpy", "dtype"), (spelling, *_), state):
            parts = re.fullmatch("([<>=|]?)([fiu][0-9]{1,2})", _text(spelling) or "")
            # The first NumPy wrote five parts and no version before them.
            order = _text(state[len(state) != 5]) if isinstance(state, tuple) else ""
            if parts and order in ("", "<", ">", "=", "|"):
                return np.dtype((order or parts[1]) + parts[2])
    return None


def _content(record: object) -> memoryview | str | None:
    """An array's bytes, or the text that they are spelled as: a character is a byte of latin1."""
    match record:
        case memoryview():
            return record
        case _Call(("_codecs", "encode"), (str() as text, codec)) if _text(codec) == "latin1":
            return text
        case _:
            return None


def _is_shape(shape: object) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= 32
        and all(type(length) is int and 0 <= length < 2**31 for length in shape)
    )


def _text(value: object) -> str | None:
    """Text, or the few characters that Python 2 wrote as bytes."""
    if isinstance(value, memoryview) and len(value) <= 80:
        return str(value, "latin1")
    return value if isinstance(value, str) else None


def _cut_off() -> MilmerError:
    return MilmerError("is damaged or cut off and cannot be read", remedy="copy it again")
