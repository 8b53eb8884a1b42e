"""A .mat claims nothing that its size does not bear out, whoever wrote it."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io

from milmer.deap.preprocessed import NAMES
from milmer.readers import matlab
from tests.deap.test_preprocessed import content, write_mat
from tests.limited import errors_of, require_bounded

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
DOUBLE = (6, 0)


def part(kind, content, size=None):
    size = len(content) if size is None else size
    return struct.pack("<II", kind, size) + content + bytes(-len(content) % 8)


def array(name, shape, numbers, size=None, kind=9, flags=DOUBLE):
    """An array's parts; ``size`` is what the tag of the numbers claims."""
    lengths = struct.pack(f"<{len(shape)}i", *shape)
    parts = part(6, struct.pack("<II", *flags)) + part(5, lengths) + part(1, name.encode())
    return parts + part(kind, numbers, size)


def matrix(parts, size=None):
    return part(14, parts, size)


def packed(content, level=9):
    content = zlib.compress(content, level)
    return struct.pack("<II", 15, len(content)) + content


def zeros(count):
    """``count`` zeros, compressed and never whole in memory, behind the header of an array."""
    parts = array("data", (count // 2000, 40, 50), b"", 8 * count)
    packer = zlib.compressobj(9)
    begins = struct.pack("<II", 14, len(parts) + 8 * count) + parts
    blocks = [packer.compress(begins)]
    blocks += [packer.compress(bytes(8000)) for _ in range(count // 1000)]
    stored = b"".join(blocks) + packer.flush()
    return struct.pack("<II", 15, len(stored)) + stored


LABELS = matrix(array("labels", (2, 4), bytes(64)))
DATA = matrix(array("data", (2, 40, 400), bytes(32000), kind=1, flags=(8, 0)))
HUGE = (40, 40, 1 << 20)
DAMAGED = "the header of an array is damaged"
CUT_OFF = "damaged or cut off"
REFUSED = {
    # Compressed sizes.
    "zip_bomb": (zeros(16_000_000) + LABELS, "is to have 128,000,000 bytes, and the file has room"),
    "claim_beyond_compressed": (
        packed(matrix(array("data", (40, 40, 8064), b"", 103_219_200))) + LABELS,
        "is to have 103,219,200 bytes",
    ),
    "compressed_twice": (packed(packed(DATA)) + LABELS, DAMAGED),
    "compressed_nothing": (packed(b"") + LABELS, DAMAGED),
    "compressed_and_longer": (packed(DATA + bytes(1 << 26)) + LABELS, DAMAGED),
    "compressed_and_shorter": (packed(DATA[:20000]) + LABELS, CUT_OFF),
    "no_zlib": (part(15, b"A" * 64) + LABELS, "cannot be read"),
    "another_checksum": (packed(DATA)[:-1] + b"A" + LABELS, "cannot be read"),
    "bomb_before_the_name": (
        packed(struct.pack("<II", 14, 1 << 30) + part(6, bytes(1 << 26))) + LABELS,
        DAMAGED,
    ),
    # Byte counts.
    "element_longer_than_the_file": (matrix(array("data", (1, 1), bytes(8)), 2**32 - 1), CUT_OFF),
    "numbers_longer_than_the_array": (
        matrix(array("data", (40, 40, 400), b"", 5_120_000)),
        "is to have 5,120,000 bytes",
    ),
    "numbers_of_the_next_array": (
        matrix(array("data", (1, 100), b"", 800), len(array("data", (1, 100), b""))) + LABELS,
        "room for",
    ),
    "name_of_gigabytes": (
        matrix(part(6, bytes(8)) + part(5, bytes(8)) + part(1, b"data", 2**32 - 1)),
        DAMAGED,
    ),
    "name_longer_than_the_file": (
        matrix(part(6, bytes(8)) + part(5, bytes(8)) + part(1, b"data", 1000)),
        DAMAGED,
    ),
    "flags_of_gigabytes": (matrix(part(6, bytes(8), 2**32 - 1)), DAMAGED),
    "long_flags": (matrix(part(6, bytes(16)) + DATA[24:]), DAMAGED),
    "half_a_tag": (DATA + LABELS + b"\x0e\0\0", DAMAGED),
    "many_arrays": (
        matrix(array("", (0, 0), b"")) * 5000 + DATA + LABELS,
        "more than 1,000 arrays",
    ),
    "many_compressed": (packed(matrix(array("x", (0, 0), b""))) * 5000, "more than 1,000 arrays"),
    # Dimensions.
    "more_shape_than_bytes": (matrix(array("data", HUGE, bytes(64))), DAMAGED),
    "shape_beyond_64_bits": (matrix(array("data", (2**31 - 1,) * 3, bytes(64))), DAMAGED),
    "shape_that_wraps_around": (matrix(array("data", (2**31 - 1, 2**31 - 1), bytes(8))), DAMAGED),
    "negative_shape": (matrix(array("data", (-2, -4), bytes(64))), DAMAGED),
    "many_dimensions": (matrix(array("data", (1,) * 200, bytes(8))), DAMAGED),
    "too_many_dimensions": (matrix(array("data", (1,) * 5000, bytes(8))), DAMAGED),
    "half_a_length": (
        matrix(part(6, struct.pack("<II", 6, 0)) + part(5, bytes(6)) + part(1, b"data")),
        DAMAGED,
    ),
    # Kinds of arrays that are more than their numbers.
    "objects": (matrix(array("data", (2, 4), bytes(64), flags=(3, 0))), DAMAGED),
    "cells": (matrix(array("data", (2, 4), bytes(64), flags=(1, 0))), DAMAGED),
    "sparse": (matrix(array("data", (2, 4), bytes(64), flags=(5, 0))), DAMAGED),
    "complex": (matrix(array("data", (2, 4), bytes(64), flags=(6 | 0x800, 0))), DAMAGED),
    "text": (matrix(array("data", (2, 4), bytes(8), kind=16, flags=(4, 0))), DAMAGED),
}
READ = {
    "plain": DATA + LABELS,
    "compressed": packed(DATA) + packed(LABELS),
    "arrays_of_other_names": matrix(array("x", HUGE, b"", 1, flags=(5, 0))) + DATA + LABELS,
    "bomb_of_another_name": packed(matrix(array("x", (1, 1), bytes(1 << 26)))) + DATA + LABELS,
    "the_first_of_a_name": DATA + LABELS + matrix(array("data", (1, 1), bytes(8))),
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What reading each file where memory is short comes to, by the file's name."""
    folder = tmp_path_factory.mktemp("mat")
    files = {case: elements for case, (elements, _) in REFUSED.items()} | READ
    for case, elements in files.items():
        (folder / f"{case}.mat").write_bytes(HEAD + elements)
    (folder / "level_4.mat").write_bytes(b"\0\0\0\0" + (HEAD + DATA + LABELS)[4:])
    return errors_of(folder / f"{case}.mat" for case in [*files, "level_4"])


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_mat_is_refused_in_a_line(errors, case):
    error = errors[f"{case}.mat"]
    require_bounded(error)
    assert f"{case}.mat: " in error
    assert REFUSED[case][1] in error


# SciPy takes the first four bytes as the sign of a format whose headers nothing checks.
@pytest.mark.parametrize("case", [*READ, "level_4"])
def test_what_is_sound_is_read(errors, case):
    assert errors[f"{case}.mat"] is None


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_every_kind_of_number_is_read_as_scipy_reads_it(tmp_path, kind, order):
    path = tmp_path / "s01.mat"
    written = {name: (3 * array).astype(kind) for name, array in content().items()}
    for compressed in (False, True):
        scipy.io.savemat(path, written | {"more": "text"}, do_compression=compressed)
        expected = scipy.io.loadmat(path)
        for name, values in matlab.read_arrays(path, NAMES).items():
            np.testing.assert_array_equal(values, expected[name])
            assert values.dtype == np.dtype(kind)
            assert values.strides == expected[name].strides
            assert values.flags.aligned
            assert values.flags.writeable
    write_mat(path, written, order)
    for name, values in matlab.read_arrays(path, NAMES).items():
        np.testing.assert_array_equal(values, written[name])
        assert values.dtype.isnative


def test_zeros_that_fit_are_read(tmp_path):
    path = tmp_path / "s01.mat"
    path.write_bytes(HEAD + zeros(1_600_000))
    tracemalloc.start()
    data = matlab.read_arrays(path, NAMES)["data"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.shape == (800, 40, 50)
    assert not data.any()
    assert peak < data.nbytes + (4 << 20)
