"""`milmer predict` gives what the pipeline gave, and tells what is wrong in one line."""

import numpy as np
import pytest

from milmer import storage
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import Recording, predict
from tests.prediction.trained import train

KEYS = ["experiment_id", "position"]


@pytest.fixture(scope="module")
def made(twin_results):
    return (
        twin_results / "trials/s01.parquet",
        [twin_results / "segments/default/s01.h5"],
        [twin_results / "tokens/default/default/s01.h5"],
    )


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("both"), *made)


@pytest.fixture(scope="module")
def eeg_run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("eeg"), *made, {"modalities": ["eeg"]})


@pytest.fixture(scope="module")
def face_run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("face"), *made, {"modalities": ["face"]})


@pytest.fixture(scope="module")
def whole(run, twin, made, twin_backbone, tmp_path_factory):
    """Predictions of all trials of s01 by their table."""
    out = tmp_path_factory.mktemp("whole") / "out"
    recording = Recording(trials=made[0], root=twin)
    predict(run, recording, PredictOptions(backbone=str(twin_backbone)), out)
    return out


def clip(twin, made, experiment_id):
    table = storage.read_table(made[0]).set_index("experiment_id")
    return twin / table.loc[experiment_id, "video_file"]


def beside(run, out):
    """The run's predictions of its test segments, and those of ``out`` of the same segments."""
    expected = storage.read_table(run / "predictions.parquet", "predictions")
    found = storage.read_table(out / "predictions.parquet", "predict")
    both = expected.merge(found, on=KEYS, suffixes=("_run", ""))
    assert len(both) > 0
    return expected, both


def agree(run, out, within=2e-3):
    expected, both = beside(run, out)
    labels = [c.removeprefix("p_") for c in expected if c.startswith("p_")]
    raw, known = both[[f"raw_{n}" for n in labels]], both[[f"p_{n}_run" for n in labels]]
    np.testing.assert_allclose(raw, known, atol=within)
    if both["chosen_run"].notna().any():
        assert [list(c) for c in both["chosen"]] == [list(c) for c in both["chosen_run"]]
        scores = [np.stack(both[c]) for c in ("scores", "scores_run")]
        np.testing.assert_allclose(*scores, atol=within)
    return len(both), float(np.abs(raw.to_numpy() - known.to_numpy()).max())


def test_a_subjects_table_gives_the_folds_predictions(run, whole):
    count, _ = agree(run, whole)
    assert count == len(storage.read_table(run / "predictions.parquet"))


def test_one_trial_of_a_preprocessed_file_gives_the_folds_predictions(
    run, twin, made, twin_backbone, tmp_path
):
    expected = storage.read_table(run / "predictions.parquet")
    experiment_id = int(expected["experiment_id"].iloc[0])
    (eeg,) = twin.rglob("s01.dat")
    recording = Recording(eeg=eeg, video=clip(twin, made, experiment_id))
    options = PredictOptions(trial=experiment_id, backbone=str(twin_backbone))
    predict(run / "model", recording, options, tmp_path / "out")
    count, _ = agree(run, tmp_path / "out")
    assert count == (expected["experiment_id"] == experiment_id).sum()
