"""Each trial's EEG and EOG of DEAP's files are its own."""

import pickle

import numpy as np
import pandas as pd
import pytest

from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.data.recording import Recording
from milmer.deap import bdf
from milmer.deap.dataset import DeapDataset
from milmer.deap.layout import GENEVA, scan
from milmer.deap.recordings import read_recording


def trials(file):
    """Of five trials the first, the fourth and the last have EEG."""
    table = pd.DataFrame({"experiment_id": [5, 2, 1, 3, 4], "trial": [7, 6, 5, 9, 8]})
    with_eeg = table["experiment_id"].isin([1, 4, 5])
    starts = table["experiment_id"].map({5: 300.5, 1: 610.0, 4: 80.25})
    seconds = table["experiment_id"].map({5: 60.0, 1: 41.5, 4: 59.0})
    return table.assign(
        eeg_file=np.where(with_eeg, file, None), eeg_start=starts, eeg_seconds=seconds
    )


def test_a_row_of_a_preprocessed_file_is_its_experiment_id(tmp_path):
    data = np.random.default_rng(0).standard_normal((5, 40, 400))
    content = {"data": data, "labels": np.ones((5, 4))}
    (tmp_path / "s01.dat").write_bytes(pickle.dumps(content, 2))
    recording = read_recording(tmp_path, trials("s01.dat"))
    assert set(recording.eeg) == set(recording.eog) == {7, 5, 8}
    for trial, experiment_id in ((7, 5), (5, 1), (8, 4)):
        np.testing.assert_array_equal(recording.eeg[trial], data[experiment_id - 1, :32])
        np.testing.assert_array_equal(recording.eog[trial], data[experiment_id - 1, 32:34])
    assert (recording.referenced, recording.channels) == (True, tuple(GENEVA))
    assert (recording.sfreq, recording.before(4)) == (128, 3)


def test_each_trial_of_an_original_recording_is_read_where_it_starts(tmp_path, monkeypatch):
    asked = []
    eeg = {e: np.random.default_rng(e).standard_normal((32, 400)) for e in (1, 4, 5)}
    recording = Recording(eeg, None, referenced=False, channels=tuple(GENEVA), sfreq=128.0)
    monkeypatch.setattr(bdf, "read_trials", lambda *place: asked.append(place) or recording)
    assert read_recording(tmp_path, trials("x/s01.bdf"), margin=2) is recording
    starts, seconds = {7: 300.5, 5: 610.0, 8: 80.25}, {7: 60.0, 5: 41.5, 8: 59.0}
    assert asked == [(tmp_path / "x/s01.bdf", starts, seconds, 2)]


@pytest.fixture
def dataset(tmp_path):
    """Three subjects: s02 has no .bdf and s03 no .dat, s01 and s03 have clips."""
    names = ["s01.dat", "s01.bdf", "s02.dat", "s03.bdf", "s04_trial01.avi", "s01_trial09.avi"]
    names += ["s01_trial02.avi", "s03_trial05.avi", "participant_ratings.csv"]
    for name in names:
        (tmp_path / name).touch()
    return lambda **options: DeapDataset(scan(tmp_path), DatasetOptions(root="here", **options))


@pytest.mark.parametrize(
    ("options", "source", "subjects", "with_video"),
    [
        ({}, "dat", ["s01", "s02"], ["s01"]),
        ({"source": "bdf"}, "bdf", ["s01", "s03"], ["s01", "s03"]),
        ({"subjects": ["s02"]}, "dat", ["s02"], []),
        ({"subjects": [3]}, "bdf", ["s03"], ["s03"]),
    ],
    ids=str,
)
def test_those_take_part_who_are_asked_for_and_have_eeg_of_the_kind(
    dataset, options, source, subjects, with_video
):
    deap = dataset(**options)
    assert (deap.source, deap.preprocessed) == (source, source == "dat")
    assert (deap.subjects, deap.with_video) == (subjects, with_video)
    assert deap.trials_json(subjects[0]) == f'{{"source": "{source}"}}'


def test_the_files_of_a_subject_are_its_own(dataset, tmp_path):
    deap = dataset(source="bdf")
    assert deap.eeg_files("s03") == [str(tmp_path / "s03.bdf")]
    assert deap.video_files("s01") == [str(tmp_path / f"s01_trial{t}.avi") for t in ("02", "09")]
    assert deap.trials_trigger("s01") == "[2, 9]"
    assert deap.trials_files() == [str(tmp_path / "participant_ratings.csv")]
    assert deap.lacks(LabelsOptions()) is None
    assert deap.lacks(LabelsOptions(scheme="label")).startswith("labels.scheme label needs a man")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"subjects": ["s05", "s01", "s06"]}, "holds no recording of s05, s06"),
        ({"subjects": ["s01", "s04"]}, "holds no .dat file of s04"),
        ({"source": "mat"}, "holds no .mat file sNN.mat (EEG files there: .bdf, .dat)"),
    ],
    ids=str,
)
def test_subjects_without_eeg_that_are_asked_for_are_named(dataset, options, text, refused):
    with refused(text):
        dataset(**options)
