"""Bags: an index of −1 reaches no array, and files that do not fit are refused."""

import numpy as np
import pytest
import torch

from milmer import storage
from milmer.eeg.segments import SEGMENTS_SCHEMA
from milmer.errors import MilmerError
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import Rows, read_fold


@pytest.fixture
def rows():
    return Rows([np.arange(8.0).reshape(4, 2), np.arange(8.0, 14.0).reshape(3, 2)])


def test_rows_of_several_arrays_are_read_under_one_numbering(rows):
    taken = rows.take(np.array([[6, 0], [4, 3]]))
    assert taken.tolist() == [[[12, 13], [0, 1]], [[8, 9], [6, 7]]]


def test_an_absent_instance_is_zero_and_its_index_never_used(rows):
    taken = rows.take(np.array([-1, 999, 5]), np.array([False, False, True]))
    assert taken.tolist() == [[0, 0], [0, 0], [10, 11]]


def test_rows_on_a_device_are_the_same(rows):
    index, valid = np.array([[6, -1], [2, 4]]), np.array([[True, False], [True, True]])
    mapped = rows.take(index, valid)
    rows.to(torch.device("cpu"))
    assert torch.equal(rows.take(index, valid), mapped)


@pytest.fixture
def fold(twin_results, tmp_path):
    out = tmp_path / "split.parquet"
    make_split([twin_results / "trials/s01.parquet"], "trial", "s01-k0", SplitOptions(folds=2), out)
    return out


def test_a_fold_joins_its_files_by_experiment_id_and_position(twin_results, fold):
    segments = twin_results / "segments/default/s01.h5"
    tokens = twin_results / "tokens/default/default/s01.h5"
    data = read_fold(fold, [segments], [tokens])
    with storage.open_h5(segments) as file:
        key = list(zip(file["experiment_id"][()], file["position"][()], strict=True))
        eeg = file["eeg"][()]
    with storage.open_h5(tokens) as file:
        held, bag, valid = file["tokens"][()], file["bag"][()], file["valid"][()]
    rows = data.rows("test")
    batch = data.batch(rows, torch.device("cpu"))
    for i, row in enumerate(rows):
        entry = data.table.iloc[row]
        at = key.index((entry.experiment_id, entry.position))
        np.testing.assert_array_equal(batch["eeg"][i], eeg[at])
        for n in range(bag.shape[1]):
            expected = held[bag[at, n]] if valid[at, n] else np.zeros_like(held[0])
            np.testing.assert_array_equal(batch["face_tokens"][i, n].half(), expected)


def test_segments_without_a_valid_face_are_left_out_and_counted(twin_results, fold):
    whole = read_fold(fold, [twin_results / "segments/default/s01.h5"], [])
    # Tokens of another subject leave this one without any face.
    other = twin_results / "tokens/default/default/s02.h5"
    make_split(
        [twin_results / f"trials/s0{i}.parquet" for i in (1, 2)],
        "loso",
        "s01",
        SplitOptions(),
        fold,
    )
    data = read_fold(fold, [], [other])
    assert data.dropped["test"] == len(whole.table)
    assert set(data.table["subject"]) == {"s02"}


def test_files_of_other_trials_are_refused(twin_results, fold):
    with pytest.raises(MilmerError, match="made from other trials than"):
        read_fold(fold, [twin_results / "segments/default/s02.h5"], [])


def test_files_of_another_segmentation_are_refused(twin_results, tmp_path):
    out = tmp_path / "split.parquet"
    options = SplitOptions(folds=2, segmentation={"seconds": 2})
    make_split([twin_results / "trials/s01.parquet"], "trial", "s01-k0", options, out)
    with pytest.raises(MilmerError, match="other segmentation than"):
        read_fold(out, [twin_results / "segments/default/s01.h5"], [])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda names: ["Fpz", *names[1:]], "Fp1, Fpz in one alone"),
        (lambda names: names[::-1], "in another order"),
    ],
)
def test_subjects_with_other_channels_are_refused(twin_results, tmp_path, change, part):
    paths = [twin_results / f"trials/{s}.parquet" for s in ("s01", "s02")]
    split = tmp_path / "loso.parquet"
    make_split(paths, "loso", "s01", SplitOptions(), split)
    first = twin_results / "segments/default/s01.h5"
    second = tmp_path / "s02.h5"
    made = storage.read_provenance(twin_results / "segments/default/s02.h5")
    with (
        storage.open_h5(twin_results / "segments/default/s02.h5") as file,
        storage.new_h5(second, SEGMENTS_SCHEMA, made) as other,
    ):
        for name in SEGMENTS_SCHEMA:
            other[name] = file[name][()]
        other.attrs["channels"] = change(list(file.attrs["channels"]))
        other.attrs["sfreq"] = file.attrs["sfreq"]
    with pytest.raises(MilmerError, match="not the EEG channels of") as caught:
        read_fold(split, [first, second], [])
    assert part in str(caught.value)
    assert "dataset.channels" in str(caught.value)
