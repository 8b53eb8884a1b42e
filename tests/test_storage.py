import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from milmer import folders, storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import MilmerError
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from tests.limited import refusal, refusals

SCHEMA = {
    "value": storage.Array("float32", ("row", "column")),
    "name": storage.Array("int32", ("row",)),
}
HAAR = FaceStageOptions.model_validate({"faces": {"detector": "haar"}})


def made(stage="tried", options=None):
    return storage.provenance(stage, "milmer.storage", options or {}, {})


def write(path, value=None, name=None, about=None):
    with storage.new_h5(path, SCHEMA, about or made()) as file:
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
        with storage.new_h5(tmp_path / "a.h5", SCHEMA, made()) as file:
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
    "not a number": {"value": np.full((3, 2), np.nan, np.float32)},
    "infinite": {"value": np.full((3, 2), np.inf, np.float32)},
    "another dtype": {"value": np.ones((3, 2))},
    "another rank": {"value": np.ones(3, np.float32)},
    "rows that differ": {"name": np.arange(4, dtype=np.int32)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_the_schema_is_refused_and_the_old_file_stays(tmp_path, wrong, refused):
    with refused("a.h5: ", next(iter(wrong)) if "name" not in wrong else "", nothing_in=tmp_path):
        write(tmp_path / "a.h5", **wrong)
    write(tmp_path / "a.h5")
    with refused("a.h5: ", nothing_in=tmp_path):
        write(tmp_path / "a.h5", **wrong)


def test_a_dataset_that_is_missing_or_too_many_is_refused(tmp_path, refused):
    for names in (["value"], ["value", "name", "other"]):
        with (
            refused("a.h5: datasets", nothing_in=tmp_path),
            storage.new_h5(tmp_path / "a.h5", SCHEMA, made()) as file,
        ):
            for name in names:
                file[name] = [1]


def test_what_an_interrupted_run_left_is_no_hindrance(tmp_path):
    (tmp_path / ".a.h5.partial").write_bytes(b"half a file")
    write(tmp_path / "a.h5")
    assert files(tmp_path) == ["a.h5"]


def test_json_holds_null_where_a_number_is_not_finite(tmp_path):
    values = {"a": np.float64("nan"), "b": [float("inf"), np.int64(3)], "c": np.array([1.5])}
    storage.write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [None, 3], "c": [1.5]}


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path, refused):
    (tmp_path / "file").write_text("")
    with refused("cannot be written", nothing_in=tmp_path):
        write(tmp_path / "file" / "a.h5")


# --------------------------------------------------------------------- same bytes


def test_the_same_inputs_give_the_same_bytes(twin, twin_results, tmp_path):
    trials = twin_results / "trials" / "s01.parquet"
    shutil.copytree(twin, tmp_path / "moved" / "twin")
    root = tmp_path / "moved" / "twin"
    make_trials(root, "s01", TrialsOptions(), tmp_path / "s01.parquet")
    make_segments(trials, root, SegmentsOptions(), tmp_path / "segments.h5", read_recording)
    make_faces(trials, root, HAAR, tmp_path / "faces.h5")
    assert (tmp_path / "s01.parquet").read_bytes() == trials.read_bytes()
    for name in ("segments", "faces"):
        first = twin_results / name / "default" / "s01.h5"
        assert (tmp_path / f"{name}.h5").read_bytes() == first.read_bytes()


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


def test_files_tell_neither_place_nor_time(twin, twin_results):
    for path in twin_results.rglob("s01.*"):
        about = json.dumps(storage.read_provenance(path))
        assert str(twin_results) not in about
        assert os.uname().nodename not in about
        if "tokens" not in path.parts:  # whose backbone is a folder that the user names
            assert str(twin.parent) not in about


def test_tokens_can_be_mapped_from_their_file(twin_results):
    with storage.open_h5(twin_results / "tokens/default/default/s01.h5", "tokens") as file:
        expected, tokens = file["tokens"][()], storage.mapped(file["tokens"])
    np.testing.assert_array_equal(tokens, expected)
    assert not tokens.flags.writeable


def test_files_made_of_different_things_are_not_joined(tmp_path, refused):
    first, second = (tmp_path / "a.h5", {"x": 1}), (tmp_path / "b.h5", {"x": 2})
    storage.require_same("options", first, first)
    with refused("a.h5", "b.h5", "options", "snakemake"):
        storage.require_same("options", first, second)


# ------------------------------------------------------------------- what is refused


def test_a_file_of_another_stage_is_refused(twin, twin_results, tmp_path, refused):
    faces = twin_results / "faces/default/s01.h5"
    with refused("s01.h5", "segments"), storage.open_h5(faces, "segments"):
        pass
    storage.write_table(tmp_path / "a.parquet", pd.DataFrame({"x": [1]}), made("split"))
    with refused("a.parquet: holds split, not trials", nothing_in=tmp_path):
        make_segments(
            tmp_path / "a.parquet", twin, SegmentsOptions(), tmp_path / "out.h5", read_recording
        )


def test_a_missing_file_is_told_by_its_name(tmp_path, refused):
    for name, read in (("a.h5", storage.digest), ("a.parquet", storage.read_table)):
        with refused(f"{name}: no such file"):
            read(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.9, -1])
@pytest.mark.parametrize("name", ["trials/s01.parquet", "segments/default/s01.h5"])
def test_a_truncated_file_is_refused_in_one_line(twin_results, tmp_path, name, kept, refused):
    whole = (twin_results / name).read_bytes()
    path = tmp_path / f"cut{name[name.index('.') :]}"
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    read = _everything if path.suffix == ".h5" else storage.read_table
    with refused(path.name, nothing_in=tmp_path):
        read(path)


def _everything(path):
    with storage.open_h5(path) as file:
        return [data[()] for data in file.values()]


@pytest.mark.parametrize("name", ["a.parquet", "a.h5"])
def test_a_foreign_file_is_refused_in_one_line(tmp_path, name, refused):
    path = tmp_path / name
    if path.suffix == ".h5":
        h5py.File(path, "w").close()
    else:
        pd.DataFrame({"x": [1]}).to_parquet(path)
    for read in (storage.digest, storage.read_provenance):
        with refused(name, "milmer"):
            read(path)
    path.write_text("no such format")
    for read in (storage.digest, storage.read_provenance):
        with refused(name, "delete it and run again"):
            read(path)


# ------------------------------------------------------------------- what files claim


@pytest.fixture
def ours(tmp_path):
    """``ours(fill)``: an HDF5 file that ``fill`` wrote, which passes for one of ours."""

    def make(fill):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            fill(file)
            file.attrs["stage"], file.attrs["digest"] = "tokens", "0"
        return path

    return make


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


@pytest.mark.parametrize("text", ["{x", "[]", "[" * 20_000, b"\xff", 5, '"x"', '{"options": 5}'])
def test_provenance_that_was_tampered_with_is_one_line(ours, refused, text):
    def fill(file):
        file["bag"] = [1]
        file.attrs["provenance"] = text

    with refused("a.h5: cannot be read", "delete it and run again"):
        storage.read_provenance(ours(fill))


def test_a_fact_that_provenance_lacks_is_one_line(ours, refused):
    def fill(file):
        file["bag"] = [1]
        file.attrs["provenance"] = '{"options": {}}'

    facts = storage.read_provenance(ours(fill))
    assert facts == {"options": {}}
    for place, name in ((facts, "inputs"), (facts["options"], "segmentation")):
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


def test_a_table_of_ours_of_millions_of_rows_is_one_line(hostile):
    for reader in ("read_table", "digest", "read_provenance"):
        assert "rows.parquet: 20,000,000 rows; at most 10,000,000 are read" in refusal(
            f"milmer.storage:{reader}", hostile / "rows.parquet"
        )


# ----------------------------------------------------------------------- full disk


@pytest.mark.parametrize("stage", ["trials", "segments", "faces"])
def test_a_full_disk_is_one_line_and_nothing_is_left(
    twin, twin_results, small_disk, stage, refused
):
    trials = twin_results / "trials" / "s01.parquet"
    disk = small_disk("256k" if stage == "faces" else "128k" if stage == "segments" else "4k")
    with refused("no space left on the disk", nothing_in=disk):
        if stage == "trials":
            make_trials(twin, "s01", TrialsOptions(), disk / "s01.parquet")
        elif stage == "segments":
            make_segments(trials, twin, SegmentsOptions(), disk / "s01.h5", read_recording)
        else:
            make_faces(trials, twin, HAAR, disk / "s01.h5")
    assert files(disk) == []


@pytest.mark.parametrize("size", ["4k", "64k", "512k"])
def test_a_full_disk_does_not_crash_the_command(twin, twin_results, small_disk, size):
    disk = small_disk(size)
    trials = twin_results / "trials" / "s01.parquet"
    stage = ["faces", "--options", HAAR.result_json()] if size == "512k" else ["segments"]
    command = [sys.executable, "-m", "milmer", *stage, "--trials", trials, "--root", twin]
    done = subprocess.run([*command, disk / "s01.h5"], capture_output=True, text=True)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("milmer: ")]
    assert len(said) == 1
    assert "no space left on the disk" in said[0]
    assert "Traceback" not in done.stderr
    assert files(disk) == []
