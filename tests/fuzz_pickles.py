"""Pickles of arrays with opcodes changed, one after the other, where memory is short.

Each mutant is a program that is nearly right: opcodes of a good one dropped, doubled, swapped or
put in, their arguments changed, parts of other pickles put in between. Run in a process of its own.
"""

import pickle
import pickletools
import random
import struct
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.deap.test_pickles import READ, REFUSED
from tests.deap.test_preprocessed import content, python_2
from tests.limited import limited_error, report

NUMBERS = [-1, 0, 1, 2, 3, 4, 40, 255, 385, 400, 32000, 2**16, 2**31 - 1, -(2**31)]
LENGTHS = [0, 1, 2, 7, 8, 100, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = ["f8", "<f8", ">f4", "i1", "u8", "O8", "O", "V8", "M8[ns]", "U2", "f8,f8", "(9,)f8", "f16"]
TEXTS += ["f2", "c16", "b1", "?", "|", "<", ">", "=", "!", "", "data", "labels", "latin1", "hex"]
TEXTS += ["utf-8", "zlib", "C", "F", "K", "A", "\u20ac", "\udcff", "A" * 200]
GLOBALS = ["numpy ndarray", "numpy dtype", "_codecs encode", "numpy.core.multiarray scalar"]
GLOBALS += ["numpy._core.multiarray _reconstruct", "numpy._core.numeric _frombuffer"]
GLOBALS += ["os system", "builtins eval", "copyreg _reconstructor", "numpy.ma.core _mareconstruct"]
GLOBALS += ["numpy frombuffer", "numpy.dtypes Float64DType", "numpy memmap", "codecs decode"]
LARGE = 10_000  # bytes; opcodes with the numbers of an array


def main(folder: str, first: str, last: str) -> None:
    """Report a JSON line before and after each mutant."""
    programs = [opcodes(program) for program in good_programs()]
    pieces = [piece for program in programs for piece in program if len(piece) < LARGE]
    path = Path(folder) / "s01.dat"
    for seed in range(int(first), int(last)):
        r = random.Random(f"pickles {seed}")
        path.write_bytes(mutant(r, programs, pieces))
        report({"seed": seed})
        report({"seed": seed, "error": limited_error(path)})


def good_programs() -> list[bytes]:
    """Every protocol and order; each is read as it stands."""
    small = content((1, 40, 385), (1, 4))
    turned = {name: np.asfortranarray(array.astype(">f4")) for name, array in small.items()}
    programs = [pickle.dumps(small, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    programs += [pickle.dumps(turned, p) for p in (2, 5)]
    programs += [python_2(small), python_2(small, "F")]
    hostile = [program for program, _ in REFUSED.values()] + list(READ.values())
    return programs + [program for program in hostile if len(program) < 2**16]


def opcodes(program: bytes) -> list[bytes]:
    """A program's opcodes with their arguments, as far as it can be followed."""
    starts = []
    with suppress(ValueError, OverflowError):  # a hostile one may end in nonsense
        starts.extend(at for _, _, at in pickletools.genops(program))
    return [program[a:b] for a, b in pairwise([*starts, len(program)])]


def mutant(r: random.Random, programs: list[list[bytes]], pieces: list[bytes]) -> bytes:
    program = list(r.choice(programs[:10] if r.random() < 0.9 else programs))
    for _ in range(r.choice([1, 1, 1, 2, 3, 8])):
        at = r.randrange(len(program) or 1)
        there = slice(at, at + r.choice([1, 1, 1, 2, 5, 20]))
        match r.choice(["change"] * 6 + ["drop", "double", "swap", "insert", "put in", "repeat"]):
            case "change":
                program[at : at + 1] = [changed(r, piece) for piece in program[at : at + 1]]
            case "drop":
                del program[there]
            case "double":
                program[at:at] = program[there]
            case "swap":
                other = r.randrange(len(program) or 1)
                program[at : at + 1], program[other : other + 1] = (
                    program[other : other + 1],
                    program[at : at + 1],
                )
            case "insert":
                program.insert(at, changed(r, r.choice(pieces)))
            case "put in":
                other = r.choice(programs)
                start = r.randrange(len(other) or 1)
                program[at:at] = other[start : start + r.choice([3, 10, 40, len(other)])]
            case "repeat":
                program[there] = [b"".join(program[there])[:LARGE]] * r.choice([100, 5_000])
    return b"".join(program)


def changed(r: random.Random, piece: bytes) -> bytes:
    """An opcode with another argument, or another opcode."""
    code, rest = piece[:1], piece[1:]
    lengths = {b"X": "<I", b"B": "<I", b"T": "<i", b"\x8d": "<Q", b"\x8e": "<Q", b"\x96": "<Q"}
    lengths |= {b"\x95": "<Q", b"j": "<I", b"r": "<I", b"J": "<i", b"\x8b": "<i", b"\x84": "<i"}
    if code in lengths and (len(piece) >= LARGE or r.random() < 0.4):
        form = lengths[code]
        length = r.choice(LENGTHS) % 2 ** (8 * struct.calcsize(form))
        return code + struct.pack(form.upper(), length) + rest[struct.calcsize(form) :]
    kind = code
    if r.random() < 0.15:
        kind = r.choice([b"K", b"X", b"c", b"B", b""])
    if kind in b"KMJIL" and kind:
        value = r.choice(NUMBERS)
        return r.choice([b"J" + struct.pack("<i", value), b"I%d\n" % value, b"L%dL\n" % value])
    if kind in (b"X", b"\x8c", b"V", b"U", b"S", b"T"):
        text = r.choice(TEXTS).encode("utf-8", "surrogatepass")
        return r.choice([b"X", b"T", b"B"]) + struct.pack("<I", len(text)) + text
    if kind in (b"c", b"\x93"):
        module, name = r.choice(GLOBALS).split()
        return f"c{module}\n{name}\n".encode()
    if kind in (b"B", b"C"):
        return b"B" + struct.pack("<I", 8) + r.randbytes(8)
    return bytes(
        [r.choice(b"().012NRabcdeglopqrstu]}\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94")]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
