"""What a run remembers of how its inputs were made."""

import json

import pytest

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.recipe import FILE, training_recipe
from tests.training.test_loop import options


@pytest.fixture(scope="module")
def files(twin_results, tmp_path_factory):
    split = tmp_path_factory.mktemp("fold") / "s01-k0.parquet"
    make_split(
        [twin_results / "trials/s01.parquet"], "trial", "s01-k0", SplitOptions(folds=2), split
    )
    parts = ("segments/default", "tokens/default/default")
    return (split, *([twin_results / part / "s01.h5"] for part in parts))


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "seed0"
    train_fold(*files, options(), 0, out)
    return out


def remembered(folder):
    return json.loads((folder / "model" / FILE).read_text())


def test_the_model_remembers_what_its_inputs_were_made_with(files, run):
    known, (_, (segments,), (tokens,)) = remembered(run), files
    made = storage.read_provenance(segments)
    assert known["eeg"]["options"] == made["options"]
    assert known["eeg"]["source"] == "dat"
    with storage.open_h5(segments) as file:
        assert known["eeg"]["channels"] == json.loads(file.attrs["channels"])
        assert known["eeg"]["sfreq"] == file.attrs["sfreq"] == 128
    assert known["eeg"]["trial_seconds"] == 6
    made = storage.read_provenance(tokens)
    assert known["face"]["options"] == made["upstream"]["faces"]["options"]
    with storage.open_h5(tokens) as file:
        assert known["face"]["fingerprint"] == file.attrs["backbone"]
    assert known["labels"] == ["HAHV", "LAHV", "LALV", "HALV"]
    assert "/" not in known["face"]["backbone"]["name"]  # a path is no part of a result


def test_what_the_model_does_not_look_at_is_null(files, tmp_path):
    train_fold(
        files[0], files[1], [], options({"modalities": ["eeg"]}, epochs=1), 0, tmp_path / "r"
    )
    known = remembered(tmp_path / "r")
    assert known["face"] is None
    assert known["eeg"]["channels"]


def test_subjects_that_were_prepared_differently_are_refused(
    files,
    twin,
    tmp_path,
    refused,
):
    from milmer.eeg.options import SegmentsOptions
    from milmer.eeg.segments import make_segments

    other = tmp_path / "s02.h5"
    trials = files[1][0].parents[2] / "trials/s02.parquet"
    make_segments(trials, twin, SegmentsOptions(eeg={"band": (4, 45)}), other, read_recording)
    with refused("s02.h5", "preprocessing of the EEG"):
        training_recipe([*files[1], other], [], None)
