"""Models of a lab's own recordings: predicted as they were read by the manifest."""

import mne
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
from tests.manifest.recordings import described, edf, fif, waves
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


def same(run, found, trial=None):
    expected = storage.read_table(run / "predictions.parquet")
    if trial is not None:
        found = found.assign(trial=trial)
    both = expected.merge(found, on=["trial", "position"], suffixes=("_run", ""))
    for name in NAMES:
        assert np.array_equal(both[f"raw_{name}"].astype("float32"), both[f"p_{name}_run"])
    return len(both)


def test_a_subjects_trials_and_a_stretch_of_its_file_give_the_folds_predictions(own, bdf, tmp_path):
    run, trials, root = own
    predict(run, RecordingFiles(trials=trials, root=root), PredictOptions(), tmp_path / "all")
    expected = storage.read_table(run / "predictions.parquet")
    found = storage.read_table(tmp_path / "all/predictions.parquet")
    assert same(run, found) == len(expected)
    trial = int(expected["trial"].iloc[-1])
    row = storage.read_table(trials).set_index("trial").loc[trial]
    start = float(row["eeg_start"])
    options = PredictOptions(start=start, stop=start + float(row["eeg_seconds"]))
    predict(run, RecordingFiles(eeg=bdf), options, tmp_path / "one")
    found = storage.read_table(tmp_path / "one/predictions.parquet")
    assert same(run, found, trial) == len(found) == 2


def test_a_baseline_that_was_not_recorded_is_one_clear_line(own, tmp_path, refused):
    run, _, _ = own
    eeg = edf(tmp_path / "e.edf", waves(8, 9.0, 256.0), GENEVA[::-4], 256.0)
    options = PredictOptions(start=1.0, stop=5.0)
    with refused("e.edf", "1 s are recorded before", "eeg.baseline subtract needs 3 s"):
        predict(run, RecordingFiles(eeg=eeg), options, tmp_path / "out")


def test_arrays_and_marks_of_a_recording_count_as_they_do_in_the_stage(own, tmp_path):
    run, _, _ = own
    eeg, names = waves(8, 12.0, 256.0), GENEVA[::-4]
    np.save(tmp_path / "e.npy", eeg)
    described(tmp_path / "e.npy", channels=names, sfreq=256, unit="µV")
    raw = mne.io.RawArray(eeg * 1e-6, mne.create_info(names, 256.0, "eeg"), verbose="error")
    raw.save(tmp_path / "plain_raw.fif", fmt="double", verbose="error")
    raw.set_annotations(mne.Annotations([8.0], [0.1], ["BAD_movement"]))
    raw.save(tmp_path / "marked_raw.fif", fmt="double", verbose="error")
    tables = []
    for name in ("e.npy", "plain_raw.fif", "marked_raw.fif"):
        options = PredictOptions(start=4.0, stop=10.0)
        predict(run, RecordingFiles(eeg=tmp_path / name), options, tmp_path / f"out {name}")
        tables.append(storage.read_table(tmp_path / f"out {name}/predictions.parquet"))
    array, plain, marked = tables
    for name in NAMES:
        assert array[f"p_{name}"].tolist() == pytest.approx(plain[f"p_{name}"].tolist(), abs=1e-6)
    assert plain["eeg_usable"].tolist() == [True, True]
    assert marked["eeg_usable"].tolist() == [True, False]
    assert marked["class"].isna().tolist() == [False, True]


def test_a_recording_in_another_unit_than_it_says_is_refused(own, tmp_path, refused):
    run, _, _ = own
    path = fif(tmp_path / "e_raw.fif", waves(8, 12.0, 256.0) * 1e6, GENEVA[::-4], 256.0)
    with refused("e_raw.fif: EEG of", "µV saved as if they were V"):
        predict(run, RecordingFiles(eeg=path), PredictOptions(start=4.0), tmp_path / "out")
