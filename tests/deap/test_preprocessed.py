import builtins
import os
import pickle
import random
import struct

import h5py
import numpy as np
import pytest
import scipy.io

from milmer.deap.layout import GENEVA
from milmer.deap.preprocessed import read_preprocessed
from milmer.errors import MilmerError

DAT = "data_preprocessed_python/s01.dat"
SHAPE = (2, 40, 400)  # the least that is one: 3 s of baseline and an eighth of a second


def content(shape=SHAPE, labels=(2, 4)):
    r = np.random.default_rng(0)
    return {"data": r.standard_normal(shape), "labels": r.uniform(1, 9, labels)}


@pytest.fixture
def dat(tmp_path):
    """Write a .dat of bytes, or of a pickled object."""

    def write(what, protocol=2):
        path = tmp_path / "s01.dat"
        path.write_bytes(what if isinstance(what, bytes) else pickle.dumps(what, protocol))
        return path

    return write


def test_a_recording_is_read_as_it_was_written(twin):
    with open(twin / DAT, "rb") as file:
        written = pickle.load(file)
    recording = read_preprocessed(twin / DAT)
    np.testing.assert_array_equal(recording.eeg, written["data"][:, :32])
    np.testing.assert_array_equal(recording.peripheral, written["data"][:, 32:])
    np.testing.assert_array_equal(recording.labels, written["labels"])
    assert recording.seconds == 6
    assert recording.sfreq == 128


def test_both_kinds_of_file_hold_the_same(twin):
    first = read_preprocessed(twin / DAT)
    second = read_preprocessed(twin / "data_preprocessed_matlab/s01.mat")
    for name in ("eeg", "peripheral", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_python_3_is_read(dat, protocol):
    written = content()
    np.testing.assert_array_equal(
        read_preprocessed(dat(written, protocol)).eeg, written["data"][:, :32]
    )


def python_2(arrays, order="C"):
    """The bytes that cPickle of Python 2 writes for a dict of arrays: strings are 8-bit."""

    def text(value):
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING

    out = b"\x80\x02}("
    for name, array in arrays.items():
        out += text(name.encode())
        out += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b")
        out += b"tR(K\x01("
        out += b"".join(b"J" + struct.pack("<i", n) for n in array.shape)
        out += b"tcnumpy\ndtype\n(" + text(array.dtype.str[1:].encode()) + b"K\x00K\x01tR"
        out += b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        out += (b"\x89" if order == "C" else b"\x88") + text(array.tobytes(order)) + b"tb"
    return out + b"u."


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pickle_of_python_2_is_read(dat, order):
    written = content()
    recording = read_preprocessed(dat(python_2(written, order)))
    np.testing.assert_array_equal(recording.eeg, written["data"][:, :32])
    np.testing.assert_array_equal(recording.labels, written["labels"])


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """The same through an object's state (the opcode BUILD with a dict)."""

    def __init__(self, state):
        self.__dict__ = state


def opcodes(module, name, argument):
    """`module.name(argument)` by the plain opcodes GLOBAL and REDUCE, beside good data."""
    called = b"c" + f"{module}\n{name}\n".encode() + b"(V" + argument.encode() + b"\ntR"
    return pickle.dumps(content(), 2)[:-1] + b"0" + called + b"."


def attacks(mark):
    make = f"open({str(mark)!r}, 'w')"
    nested = np.empty(2, object)
    nested[1] = Call(os.system, f"touch {mark}")
    return {
        "os.system": Call(os.system, f"touch {mark}"),
        "eval": Call(builtins.eval, make),
        "exec in the data": content() | {"more": Call(builtins.exec, make)},
        "in an object array": content() | {"data": nested},
        "as a key": {"data": [Call(os.system, f"touch {mark}")]},
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "copyreg": opcodes("copyreg", "__newobj__", "x"),
        "copy_reg": opcodes("copy_reg", "_reconstructor", "x"),
        "state": Built({"data": 1}),
        "partial": opcodes("functools", "partial", "x"),
        "runstring": opcodes("numpy.testing._private.utils", "runstring", make),
        "numpy.load": opcodes("numpy", "load", str(mark)),
        "memmap": opcodes("numpy", "memmap", str(mark)),
        "fromfile": opcodes("numpy.core.multiarray", "fromfile", str(mark)),
        "__import__": opcodes("builtins", "__import__", "antigravity"),
        "python 2": opcodes("__builtin__", "eval", make),
        "posix": opcodes("posix", "system", f"touch {mark}"),
        "codecs": opcodes("_codecs", "lookup", "rot13"),
        "another codec": opcodes("codecs", "encode", "x"),
        "extension": b"\x80\x02\x82\x01.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.tofile.x\x93.",
        "dotted module": b"\x80\x04\x8c\x05numpy\x8c\x12dtype.__init__.x.y\x93.",
    }


@pytest.mark.parametrize("name", attacks("mark"))
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(
    dat, tmp_path, name, protocol, refused
):
    mark = tmp_path / "mark"
    path = dat(attacks(mark)[name], protocol)
    with refused("s01.dat", nothing_in=tmp_path):
        read_preprocessed(path)
    assert not mark.exists()


def test_the_refusal_says_what_the_pickle_asks_for(dat, refused):
    with refused("posix.system", "no NumPy array", "run code"):
        read_preprocessed(dat(Call(os.system, "true")))


@pytest.mark.parametrize("kept", [0, 1, 2, 50, 200, 0.5, -1])
@pytest.mark.parametrize("name", [DAT, "data_preprocessed_matlab/s01.mat"])
def test_a_truncated_file_is_one_line(twin, tmp_path, name, kept, refused):
    whole = (twin / name).read_bytes()
    path = tmp_path / name[-7:]
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with refused(path.name, nothing_in=tmp_path):
        read_preprocessed(path)


@pytest.mark.parametrize("suffix", [".dat", ".mat"])
def test_random_bytes_are_one_line(tmp_path, suffix, refused):
    path = tmp_path / f"s01{suffix}"
    for seed in range(20):
        path.write_bytes(random.Random(seed).randbytes(500))
        with refused(path.name):
            read_preprocessed(path)


def said_of(path):
    """The error for people about a file, if any; every other exception comes through."""
    try:
        read_preprocessed(path)
    except MilmerError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("make", [pickle.dumps, python_2], ids=["python 3", "python 2"])
def test_a_damaged_pickle_is_never_anything_but_one_line(dat, make):
    whole = bytearray(make(content((1, 40, 385), (1, 4))))
    places = [*range(300), *range(len(whole) - 200, len(whole))]  # where the opcodes are
    for seed in range(100):
        r = random.Random(seed)
        mutated = bytearray(whole)
        for _ in range(r.randint(1, 3)):
            mutated[r.choice(places)] = r.randrange(256)
        assert "\n" not in said_of(dat(bytes(mutated)))


def test_a_damaged_mat_is_never_anything_but_one_line(tmp_path):
    path = tmp_path / "s01.mat"
    scipy.io.savemat(path, content((1, 40, 385), (1, 4)), do_compression=True)
    whole = path.read_bytes()
    for seed in range(100):
        r = random.Random(seed)
        mutated = bytearray(whole)
        for _ in range(r.randint(1, 3)):
            mutated[r.randrange(116, 400)] = r.randrange(256)
        path.write_bytes(mutated)
        assert "\n" not in said_of(path)


# The first three end the whole process in SciPy.
DAMAGED_HEADERS = {
    "sparse": {16: 5},
    "complex": {17: 8},
    "unknown type of numbers": {56: 145},
    "another length": {36: 41},
    "negative length": {35: 255},
}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("changes", DAMAGED_HEADERS.values(), ids=DAMAGED_HEADERS)
def test_a_header_that_scipy_would_not_survive_is_refused_first(tmp_path, changes, order, refused):
    path = tmp_path / "s01.mat"
    write_mat(path, content((1, 40, 385), (1, 4)), order)
    assert read_preprocessed(path).eeg.shape == (1, 32, 385)
    whole = bytearray(path.read_bytes())
    for place, value in changes.items():
        start = 128 + place - place % 4
        word = whole[start : start + 4]
        word[place % 4 if order == "little" else 3 - place % 4] = value
        whole[start : start + 4] = word
    path.write_bytes(whole)
    with refused("s01.mat", "header of an array is damaged"):
        read_preprocessed(path)


def write_mat(path, arrays, order):
    """An uncompressed MATLAB file, as one of either kind of machine writes it."""
    end = {"little": "<", "big": ">"}[order]
    mark = b"IM" if order == "little" else b"MI"
    out = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{end}H", 0x0100) + mark
    for name, array in arrays.items():
        lengths = struct.pack(f"{end}{array.ndim}i", *array.shape)
        numbers = array.astype(f"{end}f8").tobytes("F")
        parts = [(6, struct.pack(f"{end}II", 6, 0)), (5, lengths), (1, name.encode())]
        inside = b""
        for kind, values in [*parts, (9, numbers)]:
            if kind == 1 and len(values) <= 4:
                tag = (len(values) << 16) | kind
                inside += struct.pack(f"{end}I", tag) + values.ljust(4, b"\0")
                continue
            inside += struct.pack(f"{end}II", kind, len(values))
            inside += values + b"\0" * (-len(values) % 8)
        out += struct.pack(f"{end}II", 14, len(inside)) + inside
    path.write_bytes(out)


WRONG = {
    "no dict": ([1, 2], ["no 'data' and 'labels'"]),
    "no labels": ({"data": np.zeros(SHAPE)}, ["no 'data' and 'labels'"]),
    "too few channels": (content((2, 32, 400)), ["(2, 32, 400)", "40"]),
    "nothing but baseline": (content((2, 40, 384)), ["384"]),
    "another rank": (content((40, 400)), ["data has 2 dimensions"]),
    "labels of another length": (content(labels=(3, 4)), ["labels are (3, 4)", "2 x 4"]),
    "too few labels": (content(labels=(2, 3)), ["labels are (2, 3)"]),
    "text": (content() | {"labels": np.full((2, 4), "high")}, ["labels is not an array"]),
    "complex": (content() | {"data": np.zeros(SHAPE, complex)}, ["data is not an array"]),
    "a list": (content() | {"labels": [[1, 2, 3, 4]] * 2}, ["labels is not an array"]),
    "no trials": (pickle.dumps(content((0, 40, 400), (0, 4)), 5), ["(0, 40, 400)"]),
}


@pytest.mark.parametrize(("what", "parts"), WRONG.values(), ids=WRONG)
def test_what_is_no_preprocessed_file_is_refused(dat, what, parts, refused):
    with refused("s01.dat", *parts):
        read_preprocessed(dat(what))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_stays_at_its_place(dat, value):
    what = content()
    what["data"][1, GENEVA.index("Oz"), 7] = value
    what["data"][0, 36] = value
    read = read_preprocessed(dat(what))
    assert np.argwhere(~np.isfinite(read.eeg)).tolist() == [[1, GENEVA.index("Oz"), 7]]
    assert not np.isfinite(read.peripheral[0, 4]).any()


def test_a_matlab_7_3_file_says_how_to_save_it(tmp_path, refused):
    path = tmp_path / "s01.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"], file["labels"] = np.zeros(SHAPE), np.zeros((2, 4))
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header.ljust(512, b"\0") + path.read_bytes()[512:])
    with refused("s01.mat", "7.3", "-v7", nothing_in=tmp_path):
        read_preprocessed(path)
    with h5py.File(path, "w") as file:  # without MATLAB's own header
        file["data"] = np.zeros(SHAPE)
    with refused("s01.mat", "7.3", "-v7", nothing_in=tmp_path):
        read_preprocessed(path)


@pytest.mark.parametrize("suffix", ["dat", "mat"])
def test_a_missing_file_is_told_by_its_name(tmp_path, suffix, refused):
    with refused(f"s01.{suffix}: no such file"):
        read_preprocessed(tmp_path / f"s01.{suffix}")
