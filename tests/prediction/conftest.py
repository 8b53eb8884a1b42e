"""Small models of the twin, trained once for all tests of prediction."""

import pytest

from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from tests.prediction.trained import originals, train


@pytest.fixture(scope="session")
def made(twin_results):
    return (
        twin_results / "trials/s01.parquet",
        [twin_results / "segments/default/s01.h5"],
        [twin_results / "tokens/default/default/s01.h5"],
    )


@pytest.fixture(scope="session")
def run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("both"), *made)


@pytest.fixture(scope="session")
def eeg_run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("eeg"), *made, {"modalities": ["eeg"]})


@pytest.fixture(scope="session")
def face_run(made, tmp_path_factory):
    return train(tmp_path_factory.mktemp("face"), *made, {"modalities": ["face"]})


@pytest.fixture(scope="session")
def whole(run, twin, made, twin_backbone, tmp_path_factory):
    """Predictions of all trials of s01 by their table."""
    out = tmp_path_factory.mktemp("whole") / "out"
    recording = RecordingFiles(trials=made[0], root=twin)
    predict(run, recording, PredictOptions(backbone=str(twin_backbone)), out)
    return out


@pytest.fixture(scope="session")
def original(twin, made, tmp_path_factory):
    """A run on EEG of the twin's original recording, and its files."""
    folder = tmp_path_factory.mktemp("original")
    trials, segments = originals(twin, folder)
    return train(folder, trials, [segments], [], {"modalities": ["eeg"]}), trials


@pytest.fixture(scope="session")
def bdf(twin):
    return next(twin.rglob("s01.bdf"))
