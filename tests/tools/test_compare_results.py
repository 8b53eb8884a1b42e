"""Two folders of results are compared bit by bit, and what differs is named."""

import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from tools.compare_results import main

MODEL = "runs/milmer/trial/s01-k0/seed0/model"


@pytest.fixture
def folders(tmp_path):
    """Two folders that hold the same small results."""
    a = tmp_path / "a"
    for folder in ("segments", "tables", "logs", "report", MODEL):
        (a / folder).mkdir(parents=True)
    with h5py.File(a / "segments/s01.h5", "w") as file:
        file["eeg"] = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        file["start"] = np.array([0, np.nan])
        jpegs = file.create_dataset("image", (2,), h5py.vlen_dtype(np.uint8))
        jpegs[0], jpegs[1] = np.arange(5, dtype=np.uint8), np.arange(3, dtype=np.uint8)
        file.attrs["channels"] = ["Fp1", "AF3"]
        file.attrs["sfreq"] = 128.0
        file.attrs["provenance"] = file.attrs["digest"] = "1"
        file["eeg"].attrs["unit"] = "uV"
    table = {"subject": ["s01"] * 3, "trial": [1, 2, 3], "p": [0.1, np.nan, 0.0]}
    pd.DataFrame(table | {"chosen": [[0.5], [], [1.5]]}).to_parquet(a / "tables/folds.parquet")
    (a / "tables/folds.csv").write_text("trial,p\n1,0.1\n2,\n")
    (a / "tables/conclusions.md").write_text("Nothing.\n")
    (a / "tables/notes.bin").write_bytes(b"abc")
    save_file(
        {"w": np.ones((2, 2), np.float32), "b": np.array(0.5)}, a / MODEL / "model.safetensors"
    )
    facts = {"seed": 0, "scores": [0.5, 0.25], "versions": {"numpy": "1"}, "empty": {}}
    (a / MODEL / "config.json").write_text(json.dumps(facts))
    (a / "logs/train.log").write_text("a")
    (a / "report/index.html").write_text("a")
    shutil.copytree(a, tmp_path / "b")
    return a, tmp_path / "b"


@pytest.fixture
def compare(monkeypatch, capsys):
    """``compare(*arguments)``: the exit status of the command, its lines and its error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["compare_results.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code, printed.out.splitlines(), printed.err

    return run


def in_hdf5(change):
    def plant(folder):
        with h5py.File(folder / "segments/s01.h5", "r+") as file:
            change(file)

    return plant


def in_table(change):
    def plant(folder):
        path = folder / "tables/folds.parquet"
        change(pd.read_parquet(path)).to_parquet(path)

    return plant


def in_json(**changes):
    def plant(folder):
        path = folder / MODEL / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return plant


def in_tensors(change):
    def plant(folder):
        path = folder / MODEL / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return plant


def one_bit(file):
    eeg = file["eeg"][()]
    eeg.view(np.uint32)[1, 2, 0] ^= 1
    file["eeg"][...] = eeg


def replaced(file, name, values):
    del file[name]
    file[name] = values


def at(name, row, value):
    """A table's cell is set."""
    return in_table(
        lambda table: table.assign(**{name: table[name].where(table.index != row, value)})
    )


def set_item(name, index, value):
    def change(items):
        items[name][index] = value

    return change


PLANTED = {
    "one bit of a float": (
        in_hdf5(one_bit),
        ["segments/s01.h5: eeg: row 1 at (1, 2, 0): 20.0 in A, 20.000002 in B"],
    ),
    "a dtype": (
        in_hdf5(lambda file: replaced(file, "start", np.float32([0, np.nan]))),
        ["segments/s01.h5: start: float64 in A, float32 in B"],
    ),
    "a shape": (
        in_hdf5(lambda file: replaced(file, "start", np.array([1.0]))),
        [
            "segments/s01.h5: start: shape (2,) in A, (1,) in B",
            "segments/s01.h5: start: row 0: 0.0 in A, 1.0 in B",
        ],
    ),
    "a NaN turned 0": (
        in_hdf5(set_item("start", 1, 0)),
        ["segments/s01.h5: start: row 1: nan in A, 0.0 in B"],
    ),
    "a 0 turned -0": (
        in_hdf5(set_item("start", 0, -0.0)),
        ["segments/s01.h5: start: row 0: 0.0 in A, -0.0 in B"],
    ),
    "a JPEG": (
        in_hdf5(set_item("image", 1, np.zeros(3, np.uint8))),
        ["segments/s01.h5: image: row 1: 3 bytes (SHA-256 ae4b3280e56e…) in A"],
    ),
    "a dataset more": (
        in_hdf5(lambda file: file.create_dataset("more/x", data=1)),
        ["segments/s01.h5: more/x: only in {b}"],
    ),
    "an attribute": (
        in_hdf5(lambda file: file.attrs.modify("sfreq", 256.0)),
        ["segments/s01.h5: @sfreq: 128.0 in A, 256.0 in B"],
    ),
    "an attribute of a dataset": (
        in_hdf5(lambda file: file["eeg"].attrs.modify("unit", "V")),
        ["segments/s01.h5: eeg@unit: 'uV' in A, 'V' in B"],
    ),
    "an attribute's list": (
        in_hdf5(lambda file: file.attrs.create("channels", ["Fp1", "F3"])),
        ["segments/s01.h5: @channels: row 1: AF3 in A, F3 in B"],
    ),
    "a column": (
        at("p", 0, 0.1 + 2**-56),
        ["tables/folds.parquet: p: row 0: 0.1 in A, 0.10000000000000002 in B"],
    ),
    "a column's NaN": (
        at("p", 1, 0.0),
        ["tables/folds.parquet: p: row 1: "],
    ),
    "a column's type": (
        in_table(lambda table: table.astype({"trial": "int32"})),
        ["tables/folds.parquet: trial: int64 in A, int32 in B"],
    ),
    "a column missing": (
        in_table(lambda table: table.drop(columns="p")),
        ["tables/folds.parquet: p: only in {a}"],
    ),
    "columns in another order": (
        in_table(lambda table: table[["trial", "subject", "p", "chosen"]]),
        ["tables/folds.parquet: the same parts in another order"],
    ),
    "rows in another order": (
        in_table(lambda table: table.iloc[[0, 2, 1]].reset_index(drop=True)),
        [
            "tables/folds.parquet: trial: row 1 and 1 more: 2 in A, 3 in B",
            "tables/folds.parquet: p: row 1 and 1 more: ",
            "tables/folds.parquet: chosen: row 1 and 1 more: [] in A, [1.5] in B",
        ],
    ),
    "a tensor": (
        in_tensors(set_item("w", (1, 0), 2)),
        [f"{MODEL}/model.safetensors: w: row 1 at (1, 0): 1.0 in A, 2.0 in B"],
    ),
    "a tensor of one value": (
        in_tensors(set_item("b", (), 0.25)),
        [f"{MODEL}/model.safetensors: b: 0.5 in A, 0.25 in B"],
    ),
    "a value of JSON": (
        in_json(scores=[0.5, 0.75]),
        [f"{MODEL}/config.json: scores.1: 0.25 in A, 0.75 in B"],
    ),
    "a type of JSON": (
        in_json(seed=0.0),
        [f"{MODEL}/config.json: seed: int in A, float in B"],
    ),
    "a line": (
        lambda folder: (folder / "tables/folds.csv").write_text("trial,p\n1,0.2\n2,\n"),
        ["tables/folds.csv: line 2: 1,0.1 in A, 1,0.2 in B"],
    ),
    "a file missing": (
        lambda folder: (folder / "tables/folds.csv").unlink(),
        ["tables/folds.csv: only in {a}"],
    ),
    "a file of another kind": (
        lambda folder: (folder / "tables/notes.bin").write_bytes(b"abcd"),
        ["tables/notes.bin: 3 bytes (SHA-256 ba7816bf8f01…) in A, 4 bytes"],
    ),
    "a damaged file": (
        lambda folder: (folder / "segments/s01.h5").write_bytes(b"no"),
        ["segments/s01.h5: cannot be read: "],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found_and_named(folders, compare, name):
    a, b = folders
    plant, expected = PLANTED[name]
    plant(b)
    code, lines, _ = compare(a, b)
    differences = lines[: len(expected)]
    for difference, start in zip(differences, expected, strict=True):
        assert difference.startswith(start.format(a=a, b=b))
    assert lines[-1] == f"{len(expected)} differences"
    assert code == 1


def test_the_same_results_do_not_differ(folders, compare):
    a, b = folders

    def others(file):
        file.attrs["provenance"] = file.attrs["digest"] = "2"

    in_hdf5(others)(b)
    in_json(versions={"numpy": "2"}, provenance={})(b)
    (b / "logs/train.log").write_text("b")
    (b / "report/index.html").unlink()
    (b / "tables/conclusions.md").write_text("Something.\n")
    assert compare(a, b) == (
        0,
        [
            "compared: 3 attributes, 4 columns, 3 datasets, 6 files, 1 other files,"
            " 2 tensors, 1 text tables, 4 values",
            "not compared: 1 logs, 1 pages, 1 pages of prose",
            "nothing differs",
        ],
        "",
    )


def test_exceptions_are_left_out_and_counted(folders, compare):
    a, b = folders
    PLANTED["a column missing"][0](b)
    PLANTED["one bit of a float"][0](b)
    PLANTED["a file missing"][0](b)
    exceptions = ["*.parquet:p", "segments/*", "*.csv", "*:nothing"]
    code, lines, _ = compare(a, b, *(f"--except={pattern}" for pattern in exceptions))
    assert lines[1:-1] == [
        "left out by --except *.parquet:p: 1 columns",
        "left out by --except segments/*: 1 files",
        "left out by --except *.csv: 1 files",
        "left out by --except *:nothing: nothing",
        "not compared: 1 logs, 1 pages, 1 pages of prose",
    ]
    assert (code, lines[-1]) == (0, "nothing differs")


def test_nothing_to_compare_is_an_error(folders, compare, tmp_path):
    a, _ = folders
    assert compare(a, tmp_path / "none")[::2] == (2, f"error: {tmp_path}/none: no such folder\n")
    code, lines, error = compare(a / "logs", a / "logs", "--except=*")
    assert (code, error) == (2, "error: no file was compared\n")
    assert "nothing differs" not in lines
