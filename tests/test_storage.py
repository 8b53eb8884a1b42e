import errno
import hashlib
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from milmer import folders, limits, storage
from milmer.contracts.arrays import Array, Arrays
from milmer.contracts.run import HISTORY
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.trials import TRIALS
from milmer.errors import MilmerError
from tests.limited import refusal, refusals

SCHEMA = {
    "value": Array("float32", ("row", "column")),
    "name": Array("int32", ("row",)),
}
TRIED = Arrays("tried", SCHEMA)


def made(stage="tried", options=None):
    return storage.provenance(stage, "milmer.storage", options or {}, {})


def write(path, value=None, name=None, about=None):
    with storage.new_h5(path, TRIED, about or made()) as file:
        file["value"] = np.ones((3, 2), np.float32) if value is None else value
        file["name"] = np.arange(3, dtype=np.int32) if name is None else name


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


# ------------------------------------------------------------------ atomic writing


def test_what_was_written_is_read_back_with_its_provenance(tmp_path):
    write(tmp_path / "a.h5", about=made(options={"x": 1}))
    with storage.open_h5(tmp_path / "a.h5", "tried") as file:
        np.testing.assert_array_equal(file["name"][()], [0, 1, 2])
    assert storage.read_provenance(tmp_path / "a.h5")["options"] == {"x": 1}
    assert files(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MilmerError])
def test_an_exception_while_writing_leaves_nothing(tmp_path, error):
    def half_a_file():
        with storage.new_h5(tmp_path / "a.h5", TRIED, made()) as file:
            file["name"] = [1]
            raise error("stopped")

    def half_a_folder():
        with folders.replacing_folder(tmp_path / "run", "test") as folder:
            (folder / "a.txt").write_text("half")
            raise error("stopped")

    for half in (half_a_file, half_a_folder):
        with pytest.raises(error):
            half()
        assert files(tmp_path) == []


WRONG = {
    "value holds values that are not finite": {"value": np.array([[1, 2], [3, np.nan], [5, 6]])},
    "value holds values that are not finite ": {"value": np.array([[1, 2], [3, 4], [np.inf, 6]])},
    "value is float64, expected float32": {"value": np.ones((3, 2)), "exact": True},
    "value has shape (3,), expected ('row', 'column')": {"value": np.ones(3)},
    "value has 3 along row, others 4": {"name": np.arange(4, dtype=np.int32)},
    "value has 4 along row, others 3": {"value": np.ones((4, 2))},
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_does_not_fit_the_schema_is_refused_and_the_old_file_stays(tmp_path, problem, refused):
    wrong = dict(WRONG[problem])
    if "value" in wrong and not wrong.pop("exact", False):
        wrong["value"] = wrong["value"].astype(np.float32)
    with refused(f"a.h5: {problem.strip()}", nothing_in=tmp_path):
        write(tmp_path / "a.h5", **wrong)
    write(tmp_path / "a.h5")
    with refused(f"a.h5: {problem.strip()}", nothing_in=tmp_path):
        write(tmp_path / "a.h5", **wrong)


def test_a_dataset_that_is_missing_or_too_many_is_refused(tmp_path, refused):
    for names in (["value"], ["value", "name", "other"]):
        with (
            refused(
                f"a.h5: datasets {sorted(names)}, expected ['name', 'value']", nothing_in=tmp_path
            ),
            storage.new_h5(tmp_path / "a.h5", TRIED, made()) as file,
        ):
            for name in names:
                file[name] = [1]


def test_what_an_interrupted_run_left_is_no_hindrance(tmp_path):
    (tmp_path / ".a.h5.partial").write_bytes(b"half a file")
    write(tmp_path / "a.h5")
    assert files(tmp_path) == ["a.h5"]


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    values = {"b": [float("inf"), np.int64(3), (1, -np.inf)], 5: np.float64("nan")}
    values |= {"a": {"z": np.array([[1.5, np.nan]]), "y": np.bool_(True), "x": "é"}}
    storage.write_json(tmp_path / "a.json", values)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "5": None,
        "a": {"x": "é", "y": True, "z": [[1.5, None]]},
        "b": [None, 3, [1, None]],
    }
    assert list(json.loads(text)) == ["5", "a", "b"]  # sorted, so that equal values are equal bytes
    assert list(json.loads(text)["a"]) == ["x", "y", "z"]


def test_a_table_that_reads_back_otherwise_is_not_kept(tmp_path, monkeypatch, refused):
    storage.write_table(tmp_path / "a.parquet", pd.DataFrame({"x": [1]}), made())
    plain = pq.write_table
    monkeypatch.setattr(
        storage.pq, "write_table", lambda table, path, **how: plain(table.slice(1), path, **how)
    )
    problem = "a.parquet: reads back differently from what was written; check the disk"
    with refused(problem, nothing_in=tmp_path):
        storage.write_table(tmp_path / "a.parquet", pd.DataFrame({"x": [2, 3]}), made())


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("a.h5: cannot be written (File exists)", nothing_in=tmp_path):
        write(tmp_path / "file" / "a.h5")
    write(tmp_path / "a" / "new" / "folder" / "a.h5")
    for number, problem in (
        (errno.EACCES, "a.h5: cannot be written (Permission denied)"),
        (errno.ENOSPC, "a.h5: no space left on the disk, nothing of this file was kept; make room"),
    ):
        assert str(storage.writing_failed(Path("a.h5"), OSError(number, "x"))).startswith(problem)
    told = storage.writing_failed(Path("a.h5"), OSError("of two\nlines"))
    assert str(told) == "a.h5: cannot be written (of two)"


def test_a_disk_fails_once_and_what_follows_is_dropped():
    with storage._Disk("/dev/full", "r+b") as disk:
        for _ in range(2):
            if disk.failed is None:
                with pytest.raises(OSError, match="No space left"):
                    disk.write(np.arange(3))
            else:
                assert disk.write(np.arange(3)) == 24
    with storage._Disk("/dev/full", "r+b") as disk:
        disk.closing = True
        assert disk.write(b"abc") == 3
        assert disk.failed.errno == errno.ENOSPC


def test_a_disk_that_is_full_when_a_file_is_closed_is_told(tmp_path, monkeypatch, refused):
    plain = storage._Disk.write

    def write_until_closing(disk, data):
        if disk.closing:
            disk.failed = OSError(errno.ENOSPC, "full")
        return plain(disk, data)

    monkeypatch.setattr(storage._Disk, "write", write_until_closing)
    with refused("a.h5: no space left on the disk", nothing_in=tmp_path):
        write(tmp_path / "a.h5")


def test_a_table_is_read_with_its_digest_and_without_columns_that_nobody_wants(tmp_path):
    path = tmp_path / "a=b" / "t.parquet"  # the folder is no column
    table = pd.DataFrame({"one": [1, 2], "two": [[3.0], None], "three": ["x", "y"]})
    storage.write_table(path, table, storage.provenance("tables", "milmer.errors", {}, {}))
    some, digest = storage.read_digested(path, "tables", without=("two", "four"))
    assert some.to_dict("list") == {"one": [1, 2], "three": ["x", "y"]}
    assert digest == storage.digest(path)
    assert list(storage.read_table(path)) == ["one", "two", "three"]


def test_of_a_long_reason_the_beginning_is_told(tmp_path):
    text = str(limits.unreadable(tmp_path, ValueError("x" * 301 + "\nmore"), "try"))
    assert text == f"{tmp_path}: cannot be read ({'x' * 300}); try"
    assert "(KeyError)" in str(limits.unreadable(tmp_path, KeyError(), ""))


def test_a_file_is_flushed_to_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    flush, rename = os.fsync, os.replace

    def fsync(descriptor):
        steps.append(("flushed", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        flush(descriptor)

    def replace(source, target):
        steps.append(("renamed", Path(source).name, Path(target).name))
        rename(source, target)

    monkeypatch.setattr(storage.os, "fsync", fsync)
    monkeypatch.setattr(storage.os, "replace", replace)
    storage.write_text(tmp_path / "a.txt", "ü")
    assert steps == [("flushed", ".a.txt.partial"), ("renamed", ".a.txt.partial", "a.txt")]
    assert (tmp_path / "a.txt").read_bytes() == "ü".encode()


# --------------------------------------------------------------- provenance and digests


def test_provenance_names_what_a_file_is_made_from_and_what_that_is_made_from(tmp_path):
    write(tmp_path / "first.h5", about=made("first", {"x": 1}))
    inputs = {"segments_s02": tmp_path / "first.h5", "backbone": "0123"}
    about = storage.provenance("second", "milmer.errors", {"y": 2}, inputs)
    storage.write_table(tmp_path / "second.parquet", pd.DataFrame({"x": [1]}), about)
    (tmp_path / "box.csv").write_bytes(b"{}")
    modules = ["milmer.errors", "milmer.claims"]
    inputs = {"z": tmp_path / "second.parquet", "a": tmp_path / "box.csv"}
    last = storage.provenance("third", modules, {"k": [3]}, inputs, "cpu")
    digests = [storage.digest(tmp_path / name) for name in ("first.h5", "second.parquet")]
    assert digests[0] != digests[1]
    assert {name: last[name] for name in ("stage", "options", "inputs", "upstream", "device")} == {
        "stage": "third",
        "options": {"k": [3]},
        "inputs": {"z": digests[1], "a": hashlib.sha256(b"{}").hexdigest()},
        "device": "cpu",
        "upstream": {
            "z": {
                "options": {"y": 2},
                "inputs": {"segments_s02": digests[0], "backbone": "0123"},
                "upstream": {"segments_s02": {"options": {"x": 1}, "inputs": {}, "upstream": {}}},
            }
        },
    }
    assert {"milmer.errors", "milmer.claims", "milmer.plain_text"} <= set(last["code"])
    assert "milmer.storage" not in last["code"]
    assert "device" not in about
    libraries = {"numpy", "scipy", "mne", "av", "opencv-python-headless", "torch", "transformers"}
    assert last["versions"] == {name: version(name) for name in libraries}


def test_a_state_fits_the_same_options_inputs_and_code_alone():
    """A hash by hand: what is added or left out would take up the state of another run."""
    about = made(options={"lr": 1, "seed": 0}) | {"inputs": {"split": "1"}, "code": {"a": "x"}}
    key = storage.key(about)
    for name, other in (
        ("options", {"lr": 1, "seed": 1}),
        ("inputs", {"split": "2"}),
        ("inputs", {"split": "1", "more": "2"}),
        ("code", {"a": "y"}),
    ):
        assert storage.key(about | {name: other}) != key, name
    for name in ("stage", "upstream", "versions", "device"):
        assert storage.key(about | {name: "other"}) == key, name
    assert storage.key(about | {"options": {"seed": 0, "lr": 1}}) == key  # in any order


def pictures(path, *rows, schema="jpeg"):
    """A file of ours with a variable number of bytes in each row."""
    with storage.new_h5(path, Arrays("tried", {"image": Array(schema, ("row",))}), made()) as file:
        file.create_dataset("image", (len(rows),), h5py.vlen_dtype(np.uint8), maxshape=(None,))
        for i, row in enumerate(rows):
            file["image"][i] = np.frombuffer(row, np.uint8)
    return storage.digest(path)


def test_each_byte_of_a_picture_and_where_it_ends_counts(tmp_path):
    path = tmp_path / "a.h5"
    first = pictures(path, b"abc", b"de")
    assert pictures(tmp_path / "b.h5", b"abc", b"de") == first
    others = [(b"abc", b"dX"), (b"Xbc", b"de"), (b"ab", b"cde"), (b"de", b"abc"), (b"abc",)]
    assert len({first, *(pictures(tmp_path / "b.h5", *rows) for rows in others)}) == 6


def test_a_picture_that_changed_on_the_disk_is_told(tmp_path, refused):
    path = tmp_path / "a.h5"
    pictures(path, b"abc" * 9, b"d" * 40)
    storage.require_intact(path)
    path.write_bytes(path.read_bytes().replace(b"abcabc", b"abXabc", 1))
    with refused("a.h5: damaged: its content does not match its digest; delete it and run again"):
        storage.require_intact(path)


def test_the_order_in_which_options_are_said_changes_no_byte(tmp_path):
    frame = pd.DataFrame({"x": [1]})
    first, second = {"x": 1, "y": {"u": 2, "v": 3}}, {"y": {"v": 3, "u": 2}, "x": 1}
    for name, options in (("a", first), ("b", second)):
        write(tmp_path / f"{name}.h5", about=made(options=options))
        storage.write_table(tmp_path / f"{name}.parquet", frame, made(options=options))
    for kind in ("h5", "parquet"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_table_without_the_columns_of_its_stage_is_refused(tmp_path, refused):
    storage.write_table(tmp_path / "a.parquet", pd.DataFrame({"x": [1]}), made("history"))
    with refused("a.parquet: has no column epoch"):
        storage.read_table(tmp_path / "a.parquet", HISTORY)


def test_a_number_that_became_none_on_the_disk_is_damage(tmp_path, refused):
    path = tmp_path / "a.h5"
    write(path, value=np.full((3, 2), 1.25, np.float32))
    number, nan = np.float32([1.25, np.nan]).view("V4")
    path.write_bytes(path.read_bytes().replace(number.tobytes(), nan.tobytes(), 1))
    with refused("a.h5: damaged: its content does not match its digest"):
        storage.require_intact(path)


def test_names_kinds_and_shapes_are_part_of_the_content(tmp_path):
    """In blocks as in one piece: a digest by hand of an array, however much is read at once."""

    def content(monkeypatch=None, **arrays):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array
            return storage.content_digest(file)

    x = np.arange(6, dtype=np.int16)
    by_hand = hashlib.sha256(b"a int16 (6,)" + x.tobytes() + b"b int8 ()" + b"\x07")
    assert content(b=np.int8(7), a=x) == by_hand.hexdigest()
    others = [{"b": x}, {"a": x.reshape(2, 3)}, {"a": x.view("u2")}, {"a": x[::-1]}, {"a": x[:0]}]
    assert len({content(a=x), *(content(**other) for other in others)}) == 6


@pytest.mark.parametrize("size", [1, 7, 16, 24, 1000])
def test_a_digest_does_not_depend_on_how_much_is_read_at_once(tmp_path, monkeypatch, size):
    write(tmp_path / "a.h5", value=np.arange(14, dtype=np.float32).reshape(7, 2), name=range_of(7))
    with h5py.File(tmp_path / "a.h5") as file:
        whole = storage.content_digest(file)
        monkeypatch.setattr(storage, "_CHUNK", size)
        assert storage.content_digest(file) == whole
    broken = np.ones((7, 2), np.float32)
    broken[6, 1] = np.nan  # in the last block
    with pytest.raises(MilmerError, match=r"b\.h5: value holds values that are not finite"):
        write(tmp_path / "b.h5", value=broken, name=range_of(7))


def range_of(count):
    return np.arange(count, dtype=np.int32)


def test_an_array_can_be_mapped_from_its_file(tmp_path):
    value = np.arange(6, dtype=np.float32).reshape(3, 2)
    write(tmp_path / "a.h5", value=value)
    with storage.open_h5(tmp_path / "a.h5") as file:
        array = storage.mapped(file["value"])
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, value)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 5
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("chunked", data=value, chunks=(1, 2))
        file["none"] = value[:0]
        np.testing.assert_array_equal(storage.mapped(file["chunked"]), value)
        assert storage.mapped(file["none"]).shape == (0, 2)


def test_the_free_space_is_that_of_the_disk_that_a_file_will_be_on(tmp_path, monkeypatch):
    seen = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: seen.append(path) or usage)
    assert storage.free_bytes(tmp_path / "not/yet/a.h5") == usage.free
    assert seen == [tmp_path]


def test_the_digest_is_of_the_content_alone(tmp_path):
    write(tmp_path / "a.h5", about=made(options={"x": 1}))
    write(tmp_path / "b.h5", about=made(options={"x": 2}))
    write(tmp_path / "c.h5", name=np.array([0, 1, 3], np.int32))
    a, b, c = (storage.digest(tmp_path / f"{name}.h5") for name in "abc")
    assert a == b != c
    frame = pd.DataFrame({"x": [1, 2]})
    storage.write_table(tmp_path / "a.parquet", frame, made(options={"x": 1}))
    storage.write_table(tmp_path / "b.parquet", frame, made(options={"x": 2}))
    storage.write_table(tmp_path / "c.parquet", frame + 1, made())
    a, b, c = (storage.digest(tmp_path / f"{name}.parquet") for name in "abc")
    assert a == b != c


def test_files_made_of_different_things_are_not_joined(tmp_path, refused):
    first, second = (tmp_path / "a.h5", {"x": 1}), (tmp_path / "b.h5", {"x": 2})
    storage.require_same("options", first, first)
    with refused(f"b.h5: made from other options than {tmp_path}/a.h5; run snakemake again"):
        storage.require_same("options", first, second)


# ------------------------------------------------------------------- what is refused


def test_a_missing_file_is_told_by_its_name(tmp_path, refused):
    for name, read in (("a.h5", storage.digest), ("a.parquet", storage.read_table)):
        with refused(f"{name}: no such file"):
            read(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.9, -1])
@pytest.mark.parametrize("name", ["a.parquet", "a.h5"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, name, kept, refused):
    path = tmp_path / name
    if path.suffix == ".h5":
        write(path)
    else:
        storage.write_table(path, pd.DataFrame({"x": np.arange(999)}), made())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    read = _everything if path.suffix == ".h5" else storage.read_table
    with refused(f"{name}: cannot be read (", "); delete it and run again", nothing_in=tmp_path):
        read(path)


def _everything(path):
    with storage.open_h5(path) as file:
        return [data[()] for data in file.values()]


def test_a_file_of_another_stage_or_program_is_refused_by_what_it_is(tmp_path, refused):
    """Each refusal has its own words, and what is asked for is let through."""
    ours, table = tmp_path / "a.h5", tmp_path / "a.parquet"
    write(ours, about=made("drawn"))
    storage.write_table(table, pd.DataFrame({"x": [1]}), made("sorted"))
    with storage.open_h5(ours, "drawn"), storage.open_h5(ours):
        assert storage.read_table(table, "sorted").equals(storage.read_table(table))
    with refused("a.h5: not a file of milmer's stage segments"), storage.open_h5(ours, SEGMENTS):
        pass
    with refused("a.parquet: holds sorted, not trials"):
        storage.read_table(table, TRIALS)
    h5py.File(tmp_path / "b.h5", "w").close()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "b.parquet")
    for read in (storage.digest, storage.read_provenance, storage.require_intact):
        with pytest.raises(MilmerError, match=r"b\.h5: not a file of milmer$"):
            read(tmp_path / "b.h5")
    for read in (storage.digest, storage.read_provenance, storage.read_table):
        with refused("b.parquet: not one of milmer's tables"):
            read(tmp_path / "b.parquet")


@pytest.mark.parametrize("name", ["a.parquet", "a.h5"])
def test_a_file_of_another_format_is_refused_in_one_line(tmp_path, name, refused):
    path = tmp_path / name
    path.write_text("no such format")
    for read in (storage.digest, storage.read_provenance):
        with refused(f"{name}: cannot be read (", "); delete it and run again"):
            read(path)


# ------------------------------------------------------------------- what files claim


@pytest.fixture
def ours(tmp_path):
    """``ours(fill)``: an HDF5 file that ``fill`` wrote, which passes for one of ours."""

    def make(fill):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            fill(file)
            file.attrs["stage"], file.attrs["digest"] = "tried", "0"
        return path

    return make


@pytest.mark.slow
def test_an_hdf5_whose_data_lie_in_another_file_is_one_line(hostile):
    assert "external.h5: bag keeps its data in another file" in refusal(
        "milmer.storage:digest", hostile / "external.h5"
    )


@pytest.mark.parametrize(
    ("link", "part"),
    [
        (h5py.ExternalLink("other.h5", "/tokens"), "below/tokens is a link to elsewhere"),
        (h5py.SoftLink("/bag"), "below/tokens is a link to elsewhere"),
    ],
)
def test_an_hdf5_that_leads_elsewhere_is_one_line(ours, refused, link, part):
    def fill(file):
        file["bag"] = [1]
        file["below/tokens"] = link

    with refused("a.h5: ", part), storage.open_h5(ours(fill)):
        pass


def test_an_hdf5_that_is_put_together_from_others_is_one_line(ours, tmp_path, refused):
    def fill(file):
        layout = h5py.VirtualLayout((4,), "i4")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "bag", (4,))
        file.create_virtual_dataset("bag", layout)

    with refused("a.h5: bag keeps its data in another file"):
        storage.digest(ours(fill))


def test_an_hdf5_whose_items_are_one_item_many_times_is_one_line(ours, refused):
    """What refers to an item takes 16 bytes; the item, read as often, would be gigabytes."""

    def fill(file):
        items = file.create_dataset("image", (5000,), h5py.vlen_dtype(np.uint8), maxshape=(None,))
        items[0] = np.zeros(1_000_000, np.uint8)
        offset = items.id.get_chunk_info(0).byte_offset
        file.flush()
        with open(file.filename, "r+b") as content:
            content.seek(offset)
            reference = content.read(16)
            content.seek(offset)
            content.write(reference * items.chunks[0])

    with refused("a.h5: image claims 1,250.0 MB, in a file of 1.0 MB"):
        storage.digest(ours(fill))


@pytest.mark.parametrize(
    "kind", [h5py.string_dtype(), h5py.vlen_dtype(np.int64), [("a", h5py.vlen_dtype(np.uint8))]]
)
def test_an_hdf5_of_other_items_of_any_length_is_one_line(ours, refused, kind):
    def fill(file):
        file.create_dataset("image", (2,), np.dtype(kind), maxshape=(None,))

    with refused("a.h5: image holds items of any length"):
        storage.digest(ours(fill))


def test_an_hdf5_that_needs_the_filter_of_another_program_is_one_line(ours, refused):
    def fill(file):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2,))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_INT32, space, properties)

    with refused("a.h5: image needs a filter that is not HDF5's own"):
        storage.digest(ours(fill))


def test_texts_that_all_refer_to_one_are_not_read(ours, refused):
    def fill(file):
        file.attrs["provenance"] = ["x"] * 3

    with refused("a.h5: does not say its provenance: damaged"):
        storage.read_provenance(ours(fill))


def test_an_hdf5_that_claims_more_than_it_holds_is_one_line(ours, refused):
    def never_written(file):
        file.create_dataset("bag", (10**6, 10**6), "f4")

    def compressed(file):
        file.create_dataset("bag", (2000, 1000), "f4", compression="gzip")
        file["bag"][:] = 0

    def one_chunk(file):
        file.create_dataset("bag", (1,), "f4", chunks=(10**8,), maxshape=(None,))

    def many(file):
        for i in range(30):
            file.create_dataset(f"bag{i}", (100_000,), "f4")

    for fill, megabytes in ((never_written, "4,000,000.0"), (compressed, "8.0"), (many, "")):
        with refused("a.h5: bag", f"claims {megabytes}", "MB, in a file of 0.0 MB"):
            storage.digest(ours(fill))
    with refused("a.h5: bag claims 400.0 MB"):
        storage.digest(ours(one_chunk))


PARTS = [f'{{"{name}": 5}}' for name in ("options", "inputs", "upstream", "provenance")]


@pytest.mark.parametrize("text", ["{x", "[]", "[" * 20_000, b"\xff", 5, '"x"', *PARTS])
def test_provenance_that_was_tampered_with_is_one_line(ours, refused, text):
    def fill(file):
        file["bag"] = [1]
        file.attrs["provenance"] = text

    with refused("a.h5: ", "delete it and run again"):
        storage.read_provenance(ours(fill))


def test_a_fact_that_provenance_lacks_is_one_line(ours, refused):
    def fill(file):
        file["bag"] = [1]
        file.attrs["provenance"] = '{"options": {}, "inputs": {}, "upstream": {}}'

    facts = storage.read_provenance(ours(fill))
    assert facts == {"options": {}, "inputs": {}, "upstream": {}}
    for place, name in ((facts, "facts"), (facts["options"], "segmentation")):
        with refused(f"a.h5: does not say its {name}: damaged"):
            place[name]


@pytest.mark.parametrize(
    "metadata",
    [
        {b"milmer": b"{x"},
        {b"milmer": b"[]"},
        {b"milmer": b"{}"},
        {b"pandas": b"{x"},
        {b"pandas": b'{"index_columns": ["x"], "columns": [], "column_indexes": []}'},
    ],
)
def test_metadata_of_a_table_that_was_tampered_with_is_one_line(tmp_path, refused, metadata):
    path = tmp_path / "a.parquet"
    metadata = {b"milmer": b'{"stage": "trials", "digest": "0"}'} | metadata
    pq.write_table(pa.table({"trial": [1]}).replace_schema_metadata(metadata), path)
    with refused("a.parquet: ", "delete it and run again"):
        storage.read_table(path, "trials")
        storage.digest(path)


@pytest.mark.slow
def test_a_table_of_ours_that_grows_without_measure_is_one_line(tmp_path):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["y" * 1_000_000])
    paths = [tmp_path / "text.parquet", tmp_path / "list.parquet"]
    for path, column in zip(paths, [text, pa.array([[0.0] * 100_000] * 1000)], strict=True):
        table = pa.table({"x": column}).replace_schema_metadata({b"milmer": b'{"stage": "trials"}'})
        with pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False) as file:
            file.write_table(table)
            file.add_key_value_metadata({"milmer": '{"stage": "trials"}'})
        assert path.stat().st_size < 100_000
    lines = refusals("milmer.storage:read_table", *paths)
    assert "text.parquet: grows beyond 1,000,000,000 bytes" in lines[0]
    assert "list.parquet: 100,000,000 values; at most 50,000,000" in lines[1]


@pytest.mark.slow
def test_a_table_of_ours_of_millions_of_rows_is_one_line(hostile):
    for reader in ("read_table", "digest", "read_provenance"):
        assert "rows.parquet: 20,000,000 rows; at most 10,000,000 are read" in refusal(
            f"milmer.storage:{reader}", hostile / "rows.parquet"
        )
