import json
import shutil

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.deap import trials as stage
from milmer.deap.bdf import Markers, read_markers
from milmer.deap.trials import TrialsOptions, locate, make_trials

COLUMNS = (
    "subject trial experiment_id valence arousal dominance liking familiarity session group "
    "trial_name eeg_file eeg_digest eeg_start eeg_seconds eeg_stop "
    "video_file video_digest video_start video_stop"
)


@pytest.fixture
def copy(twin, tmp_path):
    """A copy of the twin to change."""
    return shutil.copytree(twin, tmp_path / "deap")


@pytest.fixture
def table(tmp_path):
    """The table of trials of s01."""

    def make(root, subject="s01", source="dat"):
        out = tmp_path / "out" / f"{subject}.parquet"
        make_trials(root, subject, TrialsOptions(source=source), out)
        return storage.read_table(out, "trials")

    return make


def test_each_video_belongs_to_the_trial_of_its_experiment_id(twin_results, twin_truth):
    for subject, truth in twin_truth.items():
        trials = storage.read_table(twin_results / "trials" / f"{subject}.parquet", "trials")
        assert trials["experiment_id"].tolist() == list(range(1, 9))
        for row in trials.itertuples():
            shown = truth["experiment_id"].index(row.experiment_id) + 1
            assert row.trial == shown
            assert row.video_file == f"face_video/{subject}/{subject}_trial{shown:02d}.avi"
    assert truth["experiment_id"] != sorted(truth["experiment_id"])


def test_a_table_holds_what_the_next_stages_need(twin_results):
    trials = storage.read_table(twin_results / "trials" / "s02.parquet", "trials")
    assert trials.columns.tolist() == COLUMNS.split()
    assert set(trials["eeg_file"]) == {"data_preprocessed_python/s02.dat"}
    assert trials["eeg_start"].isna().all()  # the file is cut into trials already
    assert set(trials["eeg_seconds"]) == {6.0}
    assert trials["familiarity"].isna().all()
    assert trials[["session", "group", "eeg_stop"]].isna().all(axis=None)
    assert trials["trial_name"].tolist() == [str(trial) for trial in trials["trial"]]
    assert set(trials["video_start"]) == {0.0}
    assert set(trials["video_stop"]) == {6.0}


def test_a_table_tells_each_file_by_its_content(copy, table):
    (copy / "face_video/s01/s01_trial03.avi").unlink()
    clip = copy / "face_video/s01/s01_trial05.avi"
    clip.write_bytes(clip.read_bytes() + b"more")
    trials = table(copy, source="bdf")
    assert set(trials["eeg_digest"]) == {storage.digest(copy / "data_original/s01.bdf")}
    assert trials["eeg_stop"].tolist() == (trials["eeg_start"] + 6.0).tolist()
    without = trials["video_file"].isna()
    assert trials.loc[without, "trial"].tolist() == [3]
    assert trials.loc[without, ["video_digest", "video_start", "video_stop"]].isna().all(axis=None)
    for row in trials[~without].itertuples():
        assert row.video_digest == storage.digest(copy / row.video_file)
    assert trials["video_digest"].nunique() == 7


def test_a_missing_clip_is_null_and_is_told(copy, table, caplog):
    (copy / "face_video" / "s01" / "s01_trial03.avi").unlink()
    trials = table(copy)
    missing = trials[trials["video_file"].isna()]
    assert missing["trial"].tolist() == [3]
    assert "s01: no face video of 1 trials: [3]" in caplog.text


def test_a_subject_without_any_video_has_a_table(copy, table):
    shutil.rmtree(copy / "face_video" / "s02")
    trials = table(copy, "s02")
    assert trials["video_file"].isna().all()
    assert trials["eeg_file"].notna().all()


def test_a_subject_without_eeg_of_the_kind_is_told_of_another(copy, table, caplog):
    (copy / "data_preprocessed_python" / "s01.dat").unlink()
    trials = table(copy)
    assert trials["eeg_file"].isna().all()
    assert trials["eeg_seconds"].isna().all()
    assert "there is mat: see dataset.source" in caplog.text


def test_all_kinds_of_eeg_give_the_same_trials(twin, table):
    first, second = table(twin), table(twin, source="mat")
    assert set(second["eeg_file"]) == {"data_preprocessed_matlab/s01.mat"}
    differ = ["eeg_file", "eeg_digest"]
    pd.testing.assert_frame_equal(first.drop(columns=differ), second.drop(columns=differ))
    original = table(twin, source="bdf")
    assert set(original["eeg_file"]) == {"data_original/s01.bdf"}
    of_the_file = ["eeg_file", "eeg_digest", "eeg_start", "eeg_stop"]
    pd.testing.assert_frame_equal(
        first.drop(columns=of_the_file), original.drop(columns=of_the_file)
    )


def test_a_copy_that_is_unzipped_a_level_deeper_gives_the_same_trials(twin, table, tmp_path):
    deeper = shutil.copytree(twin, tmp_path / "a" / "DEAP").parent
    trials = table(deeper)
    assert trials["video_file"].str.startswith("DEAP/face_video/s01/s01_trial").all()
    assert trials["trial"].equals(table(twin)["trial"])


def test_ratings_of_another_subject_stop_before_anything_is_paired(copy, tmp_path, table, refused):
    path = copy / "metadata_csv" / "participant_ratings.csv"
    ratings = pd.read_csv(path)
    ratings["Participant_id"] = ratings["Participant_id"].map({1: 2, 2: 1})
    ratings.to_csv(path, index=False)
    with refused("s01.dat", "labels of s01", "first at experiment_id", nothing_in=tmp_path):
        table(copy)


def test_two_swapped_experiment_ids_are_found(copy, tmp_path, table, refused):
    path = copy / "metadata_csv" / "participant_ratings.csv"
    ratings = pd.read_csv(path)
    rows = ratings.index[(ratings["Participant_id"] == 1) & ratings["Experiment_id"].isin([4, 6])]
    ratings.loc[rows, "Experiment_id"] = ratings.loc[rows[::-1], "Experiment_id"].to_numpy()
    ratings.to_csv(path, index=False)
    with refused("s01", "2 of 8 trials", "first at experiment_id 4", nothing_in=tmp_path):
        table(copy)


def test_a_subject_without_ratings_is_refused(twin, tmp_path, table, refused):
    with refused("participant_ratings.csv", "no ratings of s07", nothing_in=tmp_path):
        table(twin, "s07")


def test_trials_that_were_not_rated_are_left_out(copy, table):
    path = copy / "metadata_csv" / "participant_ratings.csv"
    ratings = pd.read_csv(path)
    dropped = ratings[(ratings["Participant_id"] == 1) & (ratings["Experiment_id"] == 5)]
    ratings.drop(dropped.index).to_csv(path, index=False)
    assert table(copy)["experiment_id"].tolist() == [1, 2, 3, 4, 6, 7, 8]


def test_provenance_names_options_and_inputs(twin, twin_results):
    about = storage.read_provenance(twin_results / "trials" / "s01.parquet")
    assert about["options"] == {"source": "dat"}
    assert about["inputs"]["eeg"] == storage.digest(twin / "data_preprocessed_python" / "s01.dat")
    assert set(about["inputs"]) == {"eeg", "ratings"}
    assert "milmer.deap.ratings" in json.dumps(about["code"])


# -------------------------------------------- where trials are in a continuous recording

PRESENTED = pd.DataFrame({"experiment_id": [1, 2, 4, 7, 9], "trial": [3, 5, 1, 4, 2]})


def markers(onsets, ends, begin=100.0):
    """Markers of an experiment: where it begins, each music video, and where that ends."""
    time = np.array([begin, *np.ravel(np.column_stack([onsets, ends]))])
    code = np.array([1, *[4, 7] * len(onsets)])
    return Markers(time, code, seconds=time[-1] + 5)


@pytest.mark.parametrize("timed", [True, False], ids=["by time", "by order"])
def test_each_trial_is_where_it_was_presented(timed):
    """Trials stand in the order of experiment_id, onsets in that of presentation."""
    onsets = np.array([110.0, 200.5, 280.0, 395.25, 470.0])
    ends = onsets + np.array([60, 60, 60, 41, 60])  # the fourth broke off
    start_time = np.array([1_800_000, 3_700_000, 100_000, 2_952_500, 1_005_000])
    given = start_time if timed else np.full(5, np.nan)
    located = locate("s01", "s01.bdf", markers(onsets, ends), PRESENTED, given)
    assert located.starts.tolist() == [280, 470, 110, 395.25, 200.5]
    assert located.seconds.tolist() == [60, 60, 60, 41, 60]
    assert located.unknown.tolist() == []


@pytest.mark.parametrize("begin", [0.0, 1000.0])
@pytest.mark.parametrize(
    ("late", "places"), [(0, [2, 4, np.nan, 3, 1]), (100, [3, np.nan, 1, 4, 2])]
)
def test_an_onset_that_is_missing_or_unknown_is_that_of_its_trial(begin, late, places):
    """In an even rhythm the begin of the experiment says which is missing: the first or last."""
    onsets = begin + 10 + 100.0 * np.array([1, 2, 3, 4, 4.5])
    recorded = markers(onsets, onsets + 30, begin + late)
    start_time = 1e4 * 100 * (PRESENTED["trial"].to_numpy() - 1)
    located = locate("s01", "s01.bdf", recorded, PRESENTED, start_time)
    np.testing.assert_array_equal(located.starts, begin + 10 + 100.0 * np.array(places))
    np.testing.assert_array_equal(located.seconds, 30 + 0 * np.array(places))
    assert located.unknown.tolist() == [begin + 460]


def test_what_does_not_fit_names_the_recording_and_the_subject(refused):
    with refused("s01.bdf: s01: 4 music videos start, the ratings name 5 trials"):
        onsets = np.array([110.0, 200, 280, 395])
        locate("s01", "s01.bdf", markers(onsets, onsets + 30), PRESENTED, np.full(5, np.nan))


def test_a_recording_without_an_onset_leaves_its_trial_alone_without_eeg(
    twin, table, monkeypatch, caplog
):
    """Presented third, of another experiment_id; one more onset is told by its time."""
    whole = read_markers(twin / "data_original/s01.bdf")
    onsets, end = whole.onsets, whole.time.max()
    right = table(twin, source="bdf")
    time = np.where(whole.time == onsets[2], end + 3, whole.time)
    order = np.argsort(time)
    changed = Markers(time[order], whole.code[order], whole.seconds + 10)
    monkeypatch.setattr(stage, "read_markers", lambda path: changed)
    trials = table(twin, source="bdf")
    third = right["trial"] == 3
    assert right.loc[third, "experiment_id"].item() != 3
    eeg = ["eeg_file", "eeg_digest", "eeg_start", "eeg_seconds", "eeg_stop"]
    assert trials.loc[third, eeg].isna().all(axis=None)
    pd.testing.assert_frame_equal(trials[~third], right[~third])
    assert right["eeg_start"].tolist() == [onsets[trial - 1] for trial in right["trial"]]
    assert "no onset in" in caplog.text
    assert "of trials [3]; they have no EEG" in caplog.text
    assert f"onsets at {end + 3:.0f} s fit no trial" in caplog.text
