"""Results whose mark is right and whose content was changed: what reads them says so in a line.

Each dataset, attribute, column and fact in turn is left out, or holds another kind, shape or
length. A reader may still have what it needs; it never ends in anything but a result or a line.
"""

import functools
import json
import shutil
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import subject_segments
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BaselinesOptions
from milmer.evaluation.baselines import make_baselines
from milmer.evaluation.evaluate import evaluate_run
from milmer.evaluation.explain import _trained, explain_run
from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.options import TABLES as TABLE_NAMES
from milmer.evaluation.report import sources
from milmer.evaluation.report.figures_inputs import cleaning
from milmer.evaluation.report.page import make_report
from milmer.evaluation.report.sources import Results, _columns
from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold, read_fold_with_pictures
from milmer.training.recipe import training_recipe
from milmer.training.results import TABLES
from tests.evaluation.results import make_results
from tests.prediction.trained import train

FOLD = "s01-k0"
INPUTS = ("default", "default/default")
BASELINES = BaselinesOptions(
    folds=[FOLD],
    names=["band_power", "band_power_lda", "tangent_space_lda", "mean_token_lda", "stacked_lda"],
    inputs=[INPUTS],
)
CPU = torch.device("cpu")
VALUES = [None, 5, "x", [5], {"x": 5}]
"""What stands in the place of a plain value: of each kind at some key, and one kind at a key."""
_INFORMATION = (".provenance.code.", ".provenance.versions.")  # nobody reads the hundreds of them


@pytest.fixture(scope="module")
def whole(twin_results, tmp_path_factory):
    """The twin's results with a run, its explanation and a baseline."""
    folder = shutil.copytree(twin_results, tmp_path_factory.mktemp("whole") / "results")
    trials = folder / "trials/s01.parquet"
    files = [folder / "segments/default/s01.h5"], [folder / "tokens/default/default/s01.h5"]
    out = folder / "runs/milmer/trial" / FOLD
    run = train(out, trials, *files)
    split = out.with_suffix(".parquet")
    shutil.move(out / f"{FOLD}.parquet", split)
    make_baselines(split.parent, *files, BASELINES, folder / "baselines")
    explain_run(run, split, *files, ExplainOptions(threads=1, segments=4), folder / "e.h5")
    return folder


def arrays(path):
    """Changes of an HDF5 file of ours: a name of each, and what makes it in the open file."""
    with h5py.File(path) as file:
        names, facts = list(file), [name for name in file.attrs if name != "digest"]
        provenance = json.loads(file.attrs["provenance"])
    for name in names:
        for what, change in CHANGES.items():
            yield f"{name} {what}", functools.partial(change_array, name, change)
    for fact in facts:
        for value in [*VALUES, ["x"], np.zeros(3), "absent"]:
            yield f"@{fact} {value}", functools.partial(change_attribute, fact, value)
    for what, value in changed_values(provenance):
        if f".provenance{what}".startswith(_INFORMATION):
            continue
        yield f"provenance{what}", functools.partial(change_attribute, "provenance", value)


CHANGES = {
    "left out": lambda data: None,
    "as float64": lambda data: data.astype("f8"),
    "as int64": lambda data: data.astype("i8"),
    "in another byte order": lambda data: data.astype(data.dtype.newbyteorder(">")),
    "as text": lambda data: np.array([b"x"] * len(data)),
    "flat": lambda data: data.reshape(-1),
    "with one more axis": lambda data: data[None],
    "without its last": lambda data: data[:-1],
    "without its last along the last axis": lambda data: data[..., :-1],
    "empty": lambda data: data[:0],
    "far": lambda data: data + np.asarray(100, data.dtype),
    "as one": lambda data: data.reshape(-1)[0],
}


def change_array(name, change, file):
    data = file[name][()]
    if data.dtype.kind in "OS":  # pictures and words
        data = np.array([len(item) for item in data])
    new = change(data)
    del file[name]
    if new is not None:
        file[name] = new


def change_attribute(name, value, file):
    if isinstance(value, str) and value == "absent":
        del file.attrs[name]
    elif isinstance(value, np.ndarray) or value == ["x"]:
        file.attrs[name] = value
    else:
        file.attrs[name] = json.dumps(value)


def changed_values(value, key="", levels=3):
    """``value`` with each of the values below it replaced or left out, and how that is named."""
    if isinstance(value, dict) and levels:
        for name in value:
            rest = {k: v for k, v in value.items() if k != name}
            yield f"{key}.{name} left out", rest
            for what, new in changed_values(value[name], f"{key}.{name}", levels - 1):
                yield what, value | {name: new}
    if key:
        others = [new for new in VALUES if new != value]
        new = others[zlib.crc32(key.encode()) % len(others)]
        yield f"{key} as {new}", new


def table_changes(path):
    """The same of a table: what makes it another table, with its metadata."""
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"milmer"])
    for i, name in enumerate(table.column_names):
        yield f"{name} left out", table.remove_column(i), metadata
        count = len(table)
        for column in ([None] * count, ["x"] * count, [[1.0]] * count, [0.5] * count, [-9] * count):
            yield f"{name} as {column[:1]}", table.set_column(i, name, pa.array(column)), metadata
        yield f"{name} twice", table.append_column(name, table[name]), metadata
    yield "no rows", table.slice(0, 0), metadata
    yield "one row", table.slice(0, 1), metadata
    for what, new in changed_values(metadata):
        if not what.startswith(_INFORMATION):
            yield what, table, new


def read_all(files, consumers):
    """Change each file in turn, and read it: what ends in neither a result nor a line."""
    failures = []

    def consume(path, what):
        for name, consumer in consumers.items():
            try:
                consumer()
            except MilmerError:
                pass  # which is a line, whatever it holds
            except Exception as error:
                failures.append(f"{path.name}: {what}: {name}: {type(error).__name__}: {error}")

    for path in files:
        backup = shutil.copy(path, path.with_name(f"{path.name}.whole"))
        if path.suffix == ".h5":
            for what, change in arrays(path):
                shutil.copy(backup, path)
                with h5py.File(path, "r+") as file:
                    change(file)
                    if "no" not in what:
                        file.attrs["digest"] = storage.content_digest(file)
                consume(path, what)
        elif path.suffix == ".parquet":
            for what, table, metadata in table_changes(path):
                old = table.schema.metadata
                new = {**old, b"milmer": json.dumps(metadata).encode()}
                pq.write_table(table.replace_schema_metadata(new), path)
                consume(path, what)
        else:
            for what, value in changed_values(json.loads(path.read_text())):
                if not what.startswith(_INFORMATION):
                    path.write_text(json.dumps(value))
                    consume(path, what)
        shutil.copy(backup, path)
    assert not failures, "\n".join([f"{len(failures)}", *failures[:200]])


def test_trials(whole, twin, tmp_path):
    trials = whole / "trials/s01.parquet"
    options = SplitOptions(folds=2)
    read_all(
        [trials],
        {
            "split": lambda: make_split([trials], "trial", FOLD, options, tmp_path / "a.parquet"),
            "segments": lambda: subject_segments(trials, twin, SegmentsOptions(), read_recording),
        },
    )


@pytest.fixture(autouse=True)
def quiet(caplog, monkeypatch):
    """What stages log of hundreds of files is not kept, and no disk is waited for."""
    caplog.set_level("ERROR")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def test_segments(whole, tmp_path):
    path, split = whole / "segments/default/s01.h5", whole / f"runs/milmer/trial/{FOLD}.parquet"
    of_eeg = BASELINES.updated({"names": ["band_power"], "inputs": [("default", "")]})
    read_all(
        [path],
        {
            "train": lambda: (training_recipe([path], [], None), read_fold(split, [path], [])),
            "baseline": lambda: make_baselines(split.parent, [path], [], of_eeg, tmp_path),
        },
    )


def test_faces_and_tokens(whole, twin, tmp_path):
    split = whole / f"runs/milmer/trial/{FOLD}.parquet"
    segments, tokens = whole / "segments/default/s01.h5", whole / "tokens/default/default/s01.h5"
    faces = whole / "faces/default/s01.h5"
    of_faces = BASELINES.updated({"names": ["mean_token_lda"], "inputs": [("", INPUTS[1])]})
    read_all(
        [tokens],
        {
            "train": lambda: read_fold(split, [segments], [tokens], 3).batch(np.arange(2), CPU),
            "baseline": lambda: make_baselines(split.parent, [], [tokens], of_faces, tmp_path),
            "recipe": lambda: training_recipe([], [tokens], None),
        },
    )
    read_all(
        [faces],
        {
            "train": lambda: read_fold_with_pictures(split, [], [faces], lambda x: x).batch(
                np.arange(2), CPU
            ),
            "recipe": lambda: training_recipe([], [faces], True),
        },
    )


def test_runs(whole, tmp_path):
    run = whole / "runs/milmer/trial" / FOLD / "seed0"
    split, names = (
        run.parent.with_suffix(".parquet"),
        ("segments/default", "tokens/default/default"),
    )
    files = [[whole / name / "s01.h5"] for name in names]
    baselines = whole / "baselines"
    options = TablesOptions(
        experiments={"milmer": {"folds": {"trial": [FOLD]}, "labels": "milmer", "inputs": INPUTS}},
        report={"resamples": 100},
    )
    evaluated = {
        "evaluate": lambda: evaluate_run(run),
        "explain": lambda: _trained(run, split, *files),
    }
    read_all([run / f"{name}.parquet" for name in TABLES], evaluated)
    tables = {"tables": lambda: make_tables(whole / "runs", options, tmp_path / "t", baselines)}
    baseline = baselines / "band_power/milmer/trial.parquet"  # where this test has its split
    read_all([run / "metrics.json", baseline], tables)


def test_split(whole):
    split = whole / f"runs/milmer/trial/{FOLD}.parquet"
    segments = whole / "segments/default/s01.h5"
    read_all([split], {"train": lambda: read_fold(split, [segments], [])})


def test_report(tmp_path, monkeypatch):
    options = make_results(tmp_path, 2, protocols=("trial",))
    results = Results(tmp_path, options)
    read_all(
        [tmp_path / "segments/default/s01.h5"],
        {"report": lambda: cleaning(Results(tmp_path, options))},
    )
    read_all(
        [tmp_path / "faces/default/s01.h5"], {"report": lambda: Results(tmp_path, options).frames}
    )
    for name in TABLE_NAMES:  # what the page reads by name, and what it does not
        path = tmp_path / f"tables/{name}.parquet"
        table = pq.read_table(path)
        with monkeypatch.context() as patch:
            patch.setattr(sources, "TABLES", [name])  # the others are as they were
            read_all([path], {"report": lambda: Results(tmp_path, options).tables})
        needed = _columns(name)
        for i, column in enumerate(table.column_names):
            if column not in needed and column not in ("note",):
                text = pa.array(["x"] * len(table))
                table = table.set_column(i, column, text)
        pq.write_table(table, path)
    make_report(tmp_path, options, tmp_path / "report")
    assert results.tables.keys() == set(TABLE_NAMES)
