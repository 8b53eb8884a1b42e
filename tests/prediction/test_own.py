"""Models of a lab's own recordings: predicted as they were read by the manifest."""

import numpy as np
import pytest

from milmer import storage
from milmer.data.options import RecordingOptions
from milmer.deap.layout import GENEVA
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.manifest.recordings import read_recording
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from tests.manifest.described import describe_twin
from tests.manifest.recordings import edf, waves
from tests.prediction.trained import train

NAMES = ("HAHV", "LAHV", "LALV", "HALV")


@pytest.fixture(scope="module")
def own(twin, tmp_path_factory):
    """A run on EEG of a manifest, 8 channels at 256 Hz without EOG; its trials, its folder."""
    folder = tmp_path_factory.mktemp("own")
    manifest = describe_twin(twin, folder / "described")
    trials, segments = folder / "trials/s01.parquet", folder / "segments/s01.h5"
    options = ManifestTrialsOptions(rows=read_manifest(manifest).digest("s01"))
    make_manifest_trials(manifest, "s01", options, trials)
    recording = RecordingOptions(channels=GENEVA[::-4], sfreq=256.0)
    stage = SegmentsOptions(recording=recording, eeg={"baseline": "subtract"})
    make_segments(trials, manifest.parent, stage, segments, read_recording)
    run = train(folder, trials, [segments], [], {"modalities": ["eeg"]})
    return run, trials, manifest.parent


def same(run, found, experiment_id=None):
    expected = storage.read_table(run / "predictions.parquet")
    if experiment_id is not None:
        found = found.assign(experiment_id=experiment_id)
    both = expected.merge(found, on=["experiment_id", "position"], suffixes=("_run", ""))
    for name in NAMES:
        assert np.array_equal(both[f"raw_{name}"].astype("float32"), both[f"p_{name}_run"])
    return len(both)


def test_a_subjects_trials_and_a_stretch_of_its_file_give_the_folds_predictions(own, bdf, tmp_path):
    run, trials, root = own
    predict(run, RecordingFiles(trials=trials, root=root), PredictOptions(), tmp_path / "all")
    expected = storage.read_table(run / "predictions.parquet")
    found = storage.read_table(tmp_path / "all/predictions.parquet")
    assert same(run, found) == len(expected)
    experiment_id = int(expected["experiment_id"].iloc[-1])
    row = storage.read_table(trials).set_index("experiment_id").loc[experiment_id]
    start = float(row["eeg_start"])
    options = PredictOptions(start=start, stop=start + float(row["eeg_seconds"]))
    predict(run, RecordingFiles(eeg=bdf), options, tmp_path / "one")
    found = storage.read_table(tmp_path / "one/predictions.parquet")
    assert same(run, found, experiment_id) == len(found) == 2


def test_a_baseline_that_was_not_recorded_is_one_clear_line(own, tmp_path, refused):
    run, _, _ = own
    eeg = edf(tmp_path / "e.edf", waves(8, 9.0, 256.0), GENEVA[::-4], 256.0)
    options = PredictOptions(start=1.0, stop=5.0)
    with refused("e.edf", "1 s are recorded before", "eeg.baseline subtract needs 3 s"):
        predict(run, RecordingFiles(eeg=eeg), options, tmp_path / "out")
