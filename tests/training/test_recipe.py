"""What a run remembers of its preprocessing and of its calibration."""

import json

import numpy as np
import pytest

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.metrics.calibration import fit_temperature
from milmer.metrics.scores import probabilities
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.recipe import FILE, preprocessing
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
        assert known["eeg"]["channels"] == list(file.attrs["channels"])
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
        preprocessing([*files[1], other], [], None)


def test_the_temperature_is_that_of_the_validation_part_and_changes_no_prediction(
    files,
    run,
    tmp_path,
):
    known = remembered(run)["temperature"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert known == metrics["calibration"]["temperature"]
    train_fold(*files, options(validation=False, select="last"), 0, tmp_path / "last")
    assert remembered(tmp_path / "last")["temperature"] is None
    metrics = json.loads((tmp_path / "last/metrics.json").read_text())
    assert metrics["calibration"]["tempered_ece"] is None
    assert 0 <= metrics["calibration"]["ece"] <= 1
    text = (tmp_path / "last/model/README.md").read_text()
    assert "There was no validation part" in text


def test_a_run_fits_its_temperature_on_the_validation_part_alone(
    files,
    tmp_path,
    monkeypatch,
):
    from milmer.training import results

    seen = []

    def recorded(truth, probability):
        seen.append((truth, probability))
        return fit_temperature(truth, probability)

    monkeypatch.setattr(results, "fit_temperature", recorded)
    train_fold(*files, options(), 0, tmp_path / "r")
    ((truth, probability),) = seen
    split = storage.read_table(files[0], "split")
    assert truth.tolist() == split.loc[split["part"] == "val", "label"].tolist()
    assert probability.shape == (len(truth), 4)
    # The predictions that the run reports are those of the model as it is.
    predictions = storage.read_table(tmp_path / "r/predictions.parquet")
    metrics = json.loads((tmp_path / "r/metrics.json").read_text())
    p = probabilities(predictions, metrics["labels"])
    loss = -np.log(p[np.arange(len(p)), predictions["label"]]).mean()
    assert metrics["segment"]["loss"] == pytest.approx(loss)
