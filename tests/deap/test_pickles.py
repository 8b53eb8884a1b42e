"""A .dat is data: every spelling of NumPy's is read, and nothing that a pickle names is called."""

import codecs
import copyreg
import pickle
import struct

import numpy as np
import pytest

from milmer.deap import pickles
from milmer.deap.preprocessed import NAMES, read_preprocessed
from tests.deap.test_preprocessed import content, python_2
from tests.limited import errors_of, require_bounded


# Opcodes, as far as the files below need them.
def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"I%d\n" % value


def raw(value):
    return b"B" + struct.pack("<I", len(value)) + value


def group(*parts):
    return b"(" + b"".join(parts) + b"t"


def dtype(spelling, state=b""):
    return name("numpy", "dtype") + group(text(spelling), number(0), number(1)) + b"R" + state


def object_dtype():
    """A dtype of Python objects whose state says that it holds none."""
    state = [number(3), text("|"), b"N", b"N", b"N", number(-1), number(-1), number(0)]
    return dtype("O8", group(*state) + b"b")


def array(shape, kind, numbers, order=b"\x89", version=b"K\x01", make="_reconstruct"):
    """An array by its state; ``shape`` are lengths, or opcodes."""
    shape = shape if isinstance(shape, bytes) else group(*map(number, shape))
    module = "numpy" if make == "ndarray" else "numpy._core.multiarray"
    empty = name(module, make) + group(name("numpy", "ndarray"), group(b"K\0"), raw(b"b")) + b"R"
    return empty + group(version, shape, kind, order, numbers) + b"b"


def zero_strides(*shape):
    sizes, steps = group(*map(number, shape)), group(*(number(0) for _ in shape))
    arguments = group(sizes, dtype("f4"), raw(bytes(4)), number(0), steps)
    return name("numpy", "ndarray") + arguments + b"R"


LABELS = array((2, 4), dtype("f8"), raw(bytes(64)))
DATA = array((2, 40, 400), dtype("i1"), raw(bytes(32000)))


def dat(data=DATA, labels=LABELS, more=b""):
    return b"\x80\x03}" + text("data") + data + b"s" + text("labels") + labels + b"s" + more + b"."


def beside(program):
    """A program that leaves an item on the stack, as another entry of a good file."""
    return dat(more=text("more") + program + b"s")


def object_scalar():
    arguments = group(object_dtype(), raw(b"A" * 8))
    return name("numpy._core.multiarray", "scalar") + arguments + b"R"


def object_array():
    objects = group(group(number(1)), object_dtype(), raw(b"A" * 8))
    make = name("numpy", "ndarray")
    return make + group(make + objects + b"R") + b"R"


def nested_encoding(content, codec, times):
    for _ in range(times):
        content = name("_codecs", "encode") + group(content, text(codec)) + b"R"
    return content


def beside_each(content, times):
    return (b"N" + nested_encoding(content, "latin1", 1) + b"s") * times


def encoded_labels(codec):
    return array((2, 4), dtype("f8"), nested_encoding(text("A" * 64), codec, 1))


NO_NUMBERS = "is not an array of numbers"
CUT_OFF = "is damaged or cut off and cannot be read"
REFUSED = {
    # Bytes of the file become an object's address.
    "object_scalar": (dat(object_scalar()), NO_NUMBERS),
    "object_array": (dat(object_array()), NO_NUMBERS),
    "object_state": (dat(labels=array((2, 4), object_dtype(), raw(bytes(64)))), NO_NUMBERS),
    # Claims 48 GB by strides of zero.
    "zero_strides": (dat(zero_strides(40000, 40, 8064), zero_strides(40000, 4)), NO_NUMBERS),
    # Doubles 22 times while it is read.
    "nested_encoding": (
        b"\x80\x03" + nested_encoding(raw(b"A" * 1000), "hex", 22) + b".",
        "no 'data' and 'labels'",
    ),
    "nested_encoding_as_numbers": (
        dat(labels=array((2, 4), dtype("f8"), nested_encoding(text("A" * 8), "latin1", 2))),
        NO_NUMBERS,
    ),
    "another_codec": (dat(labels=encoded_labels("hex")), NO_NUMBERS),
    "text_as_numbers": (dat(labels=array((2, 4), dtype("u1"), text("A" * 8))), NO_NUMBERS),
    "text_beyond_latin1": (
        dat(labels=array((2, 4), dtype("u1"), nested_encoding(text("\u20ac" * 8), "latin1", 1))),
        CUT_OFF,
    ),
    "more_shape_than_bytes": (
        dat(labels=array((40000, 40000), dtype("f8"), raw(bytes(64)))),
        "labels is to be (40000, 40000) of float64, 12,800,000,000 bytes, and holds 64",
    ),
    "less_shape_than_bytes": (dat(labels=array((1, 4), dtype("f8"), raw(bytes(64)))), "holds 64"),
    "negative_shape": (dat(labels=array((-2, -4), dtype("f8"), raw(bytes(64)))), NO_NUMBERS),
    "empty_and_endless": (dat(labels=array((0, 2**62), dtype("f8"), raw(b""))), NO_NUMBERS),
    "shape_of_bytes": (dat(labels=array(raw(b"\2\4"), dtype("f8"), raw(bytes(64)))), NO_NUMBERS),
    "many_dimensions": (
        dat(labels=array((1,) * 5000, dtype("u1"), raw(bytes(1)))),
        NO_NUMBERS,
    ),
    "shape_of_itself": (dat(labels=array(b"]q\0h\0a", dtype("f8"), raw(bytes(64)))), NO_NUMBERS),
    "dtype_of_fields": (dat(labels=array((2, 4), dtype("f8,f8"), raw(bytes(128)))), NO_NUMBERS),
    "dtype_of_no_such_size": (dat(labels=array((2, 4), dtype("f7"), raw(bytes(56)))), CUT_OFF),
    "bytes_longer_than_the_file": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"A.", CUT_OFF),
    "bytearray_of_2_to_the_63": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 63) + b"A.", CUT_OFF),
    "text_longer_than_the_file": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"A.", CUT_OFF),
    "frame_longer_than_the_file": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.", CUT_OFF),
    "string_of_negative_length": (b"\x80\x02T" + struct.pack("<i", -1) + b"A.", CUT_OFF),
    "long_of_gigabytes": (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"A.", "opcode 0x8b"),
    "line_without_end": (b"\x80\x02V" + b"A" * 1000, CUT_OFF),
    "digits": (beside(b"I" + b"9" * 100_000 + b"\n"), CUT_OFF),
    "digits_in_the_memo": (beside(b"Np" + b"9" * 1000 + b"\n"), CUT_OFF),
    "steps": (b"\x80\x02" + b"N" * 1_000_000 + b".", "more than 100,000 steps"),
    "lists": (b"\x80\x02" + b"]" * 1_000_000 + b".", "more than 100,000 steps"),
    "marks": (b"\x80\x02" + b"(" * 1_000_000 + b".", "more than 100,000 steps"),
    "doubling_calls": (
        b"\x80\x02" + name("numpy", "dtype") + b"2\x86" * 49_000 + b"R.",
        CUT_OFF,
    ),
    "itself": (b"\x80\x02]q\0h\0a.", "no 'data' and 'labels'"),
    "itself_as_data": (b"\x80\x02}q\0" + text("data") + b"h\0s" + text("labels") + b"h\0s.", ""),
    "append_to_bytes": (beside(raw(b"A") + b"Na"), CUT_OFF),
    "append_to_a_dict": (beside(b"}Na"), CUT_OFF),
    "odd_items": (beside(b"}(NNNu"), CUT_OFF),
    "state_of_a_number": (beside(b"N}b"), CUT_OFF),
    "empty_stack": (b"\x80\x02R.", CUT_OFF),
    "no_mark": (b"\x80\x02Nt.", CUT_OFF),
    "no_memo": (b"\x80\x02h\0.", CUT_OFF),
    "no_stop": (b"\x80\x02N", CUT_OFF),
    "no_file": (b"", CUT_OFF),
    "persistent_id": (beside(b"P1\n"), "opcode 0x50"),
    "binary_persistent_id": (beside(b"NQ"), "opcode 0x51"),
    "extension": (beside(b"\x84" + struct.pack("<i", 1)), "opcode 0x84"),
    "instance": (beside(b"(ios\nsystem\n"), "opcode 0x69"),
    "object": (beside(b"(" + name("numpy", "ndarray") + b"o"), "opcode 0x6f"),
    "keyword_arguments": (beside(name("numpy", "ndarray") + b")}\x92"), "opcode 0x92"),
    "out_of_band": (beside(b"\x97"), "opcode 0x97"),
    "no_text_as_name": (b"\x80\x04NN\x93.", CUT_OFF),
    "terminal_codes": (b"\x80\x02cos\x1b[31m\nsys\xe2\x80\xaetem\n.", "asks for os?[31m.sys?tem"),
    "packageof_megabytes": (
        b"\x80\x02cos\n" + b"A" * (1 << 21) + b"\n.",
        "which is no NumPy array",
    ),
}
READ = {
    "sets": beside(b"\x8f(K\1K\2\x90"),
    "unhashable_set": beside(b"\x8f(]}\x90"),
    "frozenset": beside(b"(]\x91"),
    "unhashable_key": dat(more=b"]Ns"),
    "deep_key": dat(more=b")" + b"\x85" * 90_000 + b"Ns"),
    "deep_tuples": beside(b")" + b"\x85" * 90_000),
    "deep_lists": beside(b"](" * 20_000 + b"e" * 20_000),
    "deep_dicts": beside(b"}(N" * 20_000 + b"N" + b"u" * 20_000),
    "deep_calls": beside(name("numpy", "dtype") + b")R" * 40_000),
    "doubling_tuples": beside(b")" + b"2\x86" * 40_000),
    "doubling_lists": beside(b"]" + b"q\x000(h\0h\0l" * 16_000),
    "last_place_in_the_memo": beside(b"Nr" + b"\xff" * 4),
    "colliding_keys": dat(more=b"".join(number(n * (2**61 - 1)) + b"Ns" for n in range(30_000))),
    "calls_beside": beside(nested_encoding(raw(b"A" * 1000), "hex", 22)),
    "text_encoded_5000_times": dat(
        more=b"N" + text("A" * (1 << 20)) + b"q\0s" + beside_each(b"h\0", 5000)
    ),
    "text_of_four_bytes_a_character": beside(text("A" * (1 << 24) + "\U0001f600")),
    "objects_beside": beside(object_array()),
    "new_object": beside(name("numpy", "ndarray") + b")\x81"),
    "pops": dat(more=b"N0(0(NN1"),
    "the_last_of_a_name": dat(labels=b"N", more=text("labels") + LABELS + b"s"),
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What reading each file where memory is short comes to, by the file's name."""
    folder = tmp_path_factory.mktemp("pickles")
    files = {case: program for case, (program, _) in REFUSED.items()} | READ
    for case, program in files.items():
        (folder / f"{case}.dat").write_bytes(program)
    return errors_of(folder / f"{case}.dat" for case in files)


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_pickle_is_refused_in_a_line(errors, case):
    error = errors[f"{case}.dat"]
    require_bounded(error)
    assert f"{case}.dat: " in error
    assert REFUSED[case][1] in error


@pytest.mark.parametrize("case", READ)
def test_what_stands_beside_the_arrays_is_inert(errors, case):
    assert errors[f"{case}.dat"] is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_function_of_numpy_is_called(tmp_path, monkeypatch, protocol):
    def refuse(*_):
        raise AssertionError

    path = tmp_path / "s01.dat"
    path.write_bytes(pickle.dumps(content(), protocol))
    for owner, function in (
        (np._core.multiarray, "_reconstruct"),
        (np._core.multiarray, "scalar"),
        (np._core.numeric, "_frombuffer"),
        (np, "ndarray"),
        (codecs, "encode"),
        (copyreg, "_reconstructor"),
        (copyreg, "__newobj__"),
        (pickle, "Unpickler"),
        (pickle, "_Unpickler"),
        (pickle, "load"),
        (pickle, "loads"),
    ):
        monkeypatch.setattr(owner, function, refuse)
    read = pickles.read_arrays(path, NAMES)
    monkeypatch.undo()
    np.testing.assert_array_equal(read["data"], content()["data"])


def read_as(tmp_path, program):
    path = tmp_path / "s01.dat"
    path.write_bytes(program)
    return pickles.read_arrays(path, NAMES)


KINDS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "g"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_is_read(tmp_path, kind, order, protocol):
    values = np.arange(1, 25).reshape(2, 3, 4)
    for layout in (
        values.astype(order + kind),
        np.asfortranarray(values.astype(order + kind)),
        values.astype(order + kind)[:, ::2],
        values.astype(order + kind).transpose(1, 0, 2),  # protocol 5 names the order of the axes
    ):
        written = {"data": layout, "labels": layout[0]}  # one dtype, in the memo
        program = pickle.dumps(written, protocol)
        expected = pickle.loads(program)
        for entry, values_read in read_as(tmp_path, program).items():
            np.testing.assert_array_equal(values_read, expected[entry])
            assert values_read.dtype == np.dtype(kind)
            if order == "<":
                assert values_read.strides == expected[entry].strides
            assert values_read.flags.aligned


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_names_of_numpy_1_and_2_are_read(tmp_path, protocol, package):
    program = pickle.dumps(content(), protocol)
    if package == "numpy.core":
        for module in (b"multiarray", b"numeric"):
            new, old = b"numpy._core." + module, b"numpy.core." + module
            program = program.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
            program = program.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        assert b"_core" not in program
    np.testing.assert_array_equal(read_as(tmp_path, program)["data"], content()["data"])


def python_2_text(values):
    """Protocol 0 of Python 2: strings are quoted, with escapes."""
    numbers = b"S" + repr(values.tobytes())[1:].encode() + b"\n"
    return (
        b"(dp0\nS'labels'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\n"
        b"tp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I2\nI4L\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11"
        b"\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n" + numbers + b"p15\ntp16\nbs."
    ).replace(b"I4L", b"L4L")


def test_protocol_0_of_python_2_is_read(tmp_path):
    values = np.random.default_rng(0).standard_normal((2, 4))
    np.testing.assert_array_equal(read_as(tmp_path, python_2_text(values))["labels"], values)


STATES = {
    "of the first NumPy": [text(">"), b"N", b"N", number(-1), number(-1)],
    "version 1": [number(1), text(">"), b"N", b"N", number(-1), number(-1)],
    "version 2": [number(2), text(">"), b"N", b"N", b"N", number(-1), number(-1)],
    "version 3": [number(3), text(">"), b"N", b"N", b"N", number(-1), number(-1), number(0)],
    "with metadata": [number(4), text(">"), *[b"N"] * 3, number(-1), number(-1), number(0), b"}"],
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_every_version_of_a_dtype_is_read(tmp_path, state):
    values = np.arange(8, dtype=">f8").reshape(2, 4)
    kind = dtype("f8", group(*state) + b"b")
    labels = array((2, 4), kind, raw(values.tobytes()))
    np.testing.assert_array_equal(read_as(tmp_path, dat(labels=labels))["labels"], values)


@pytest.mark.parametrize("version", [b"K\1", b""], ids=["version 1", "no version"])
@pytest.mark.parametrize("make", ["_reconstruct", "ndarray"])
def test_every_state_of_an_array_is_read(tmp_path, make, version):
    values = np.arange(8, dtype="<i2").reshape(2, 4)
    labels = array((2, 4), dtype("<i2"), raw(values.tobytes("F")), b"\x88", version, make)
    np.testing.assert_array_equal(read_as(tmp_path, dat(labels=labels))["labels"], values)


def test_the_numbers_of_a_pickle_of_python_2_lie_in_memory_of_their_own(tmp_path):
    path = tmp_path / "s01.dat"
    path.write_bytes(python_2(content()))
    recording = read_preprocessed(path)
    assert recording.eeg.flags.writeable
    assert recording.eeg.flags.aligned
