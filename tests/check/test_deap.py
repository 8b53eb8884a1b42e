"""What the files of a copy contain; a bad file hides no other."""

import pickle
import shutil

import pandas as pd
import pytest

from milmer.check.deap import inspect_copy

DAT = "data_preprocessed_python/s01.dat"
RATINGS = "metadata_csv/participant_ratings.csv"


@pytest.fixture
def copy(twin, tmp_path):
    """A copy of the twin to change."""
    return shutil.copytree(twin, tmp_path / "deap")


def problems(facts):
    return {(problem.about, problem.subject, problem.trial) for problem in facts.problems}


@pytest.fixture(scope="module")
def good(twin):
    return inspect_copy(twin)


def test_a_good_copy_is_told_as_it_is(good, twin_truth):
    assert good.problems == []
    assert (good.source, sorted(good.subjects)) == ("dat", ["s01", "s02"])
    assert all(good.kind(kind) == ["s01", "s02"] for kind in ("dat", "mat", "bdf"))
    for name, truth in twin_truth.items():
        subject = good.subjects[name]
        assert (subject.eeg_read, subject.eeg_trials, subject.labels_agree) == (True, 8, True)
        trials = {trial.trial: trial for trial in subject.trials}
        for trial, e in enumerate(truth["experiment_id"], start=1):
            assert trials[trial].experiment_id == e
            quadrant = ["HAHV", "LAHV", "LALV", "HALV"][truth["class_by_experiment_id"][e - 1]]
            assert (trials[trial].quadrant, trials[trial].seconds) == (quadrant, 6.0)
            assert subject.clips[trial].frames == truth["videos"][str(trial)]["frames"]
    assert [good.subjects[name].familiarity for name in ("s01", "s02")] == [True, False]


def test_another_kind_can_be_asked_for(twin):
    facts = inspect_copy(twin, "bdf")
    assert facts.problems == []
    assert {trial.seconds for trial in facts.subjects["s01"].trials} == {6.0}
    status = facts.subjects["s01"].status
    assert (status.named, status.spare, status.upper_bits) == (True, 0, False)
    assert status.unit == pytest.approx(1e-4)
    assert inspect_copy(twin, "mat").subjects["s02"].labels_agree


def test_quirks_of_original_recordings_are_seen(deap_from_real):
    size = ["--subjects", "1", "24", "--trials", "4", "--no-video", "1", "24"]
    quirks = ["--extra-unnamed", "--drop-onsets", "2", "--formats", "bdf"]
    subjects = inspect_copy(deap_from_real("quirks", *size, *quirks)).subjects
    seen = {n: (s.status.named, s.status.spare, s.status.upper_bits) for n, s in subjects.items()}
    assert seen == {"s01": (True, 1, False), "s24": (False, 1, True)}
    for subject in subjects.values():
        assert {t.trial: t.seconds for t in subject.trials} == {1: 12, 2: 12, 3: None, 4: 12}


def test_each_bad_file_is_told_and_the_rest_is_read(copy, good):
    for name, kept in ((DAT, 100_000), ("face_video/s01/s01_trial05.avi", 2_000)):
        path = copy / name
        path.write_bytes(path.read_bytes()[:kept])
    (copy / "face_video/s02/s02_trial01.avi").write_bytes(b"")
    facts = inspect_copy(copy)
    assert problems(facts) == {("eeg", "s01", None), ("clips", "s01", 5), ("clips", "s02", 1)}
    assert facts.subjects["s01"].eeg_read is False
    assert facts.subjects["s01"].with_eeg == []
    clips = good.subjects["s01"].clips
    assert repr(facts.subjects["s01"].clips) == repr({**clips, 5: None})
    second = good.subjects["s02"]
    assert facts.subjects["s02"].trials == second.trials
    assert repr(facts.subjects["s02"].clips) == repr({**second.clips, 1: None})


def test_a_problem_is_in_the_words_of_the_stage(copy, tmp_path, refused):
    from milmer.deap.trials import TrialsOptions, make_trials

    ratings = pd.read_csv(copy / RATINGS)
    ratings["Participant_id"] = ratings["Participant_id"].map({1: 2, 2: 1})
    ratings.to_csv(copy / RATINGS, index=False)
    facts = inspect_copy(copy)
    assert problems(facts) == {("labels", "s01", None), ("labels", "s02", None)}
    assert [facts.subjects[name].labels_agree for name in ("s01", "s02")] == [False, False]
    with refused(facts.problems[0].text):
        make_trials(copy, "s01", TrialsOptions(), tmp_path / "s01.parquet")


def test_a_file_with_fewer_trials_than_ratings_is_told(copy):
    content = pickle.loads((copy / DAT).read_bytes())
    fewer = {name: values[:5] for name, values in content.items()}
    (copy / DAT).write_bytes(pickle.dumps(fewer, protocol=2))
    facts = inspect_copy(copy)
    assert problems(facts) == {("labels", "s01", None)}
    assert sorted(t.experiment_id for t in facts.subjects["s01"].with_eeg) == [1, 2, 3, 4, 5]


def test_a_recording_without_an_electrode_is_told(copy):
    path = copy / "data_original/s01.bdf"
    path.write_bytes(path.read_bytes().replace(b"Cz ", b"XX ", 1))
    facts = inspect_copy(copy, "bdf")
    assert problems(facts) == {("eeg", "s01", None)}
    assert "no channel Cz" in facts.problems[0].text


def test_a_recording_of_somebody_else_is_told(copy):
    ratings = pd.read_csv(copy / RATINGS)
    ratings.loc[ratings["Participant_id"] == 1, "Start_time"] = [i * i * 70000 for i in range(8)]
    ratings.to_csv(copy / RATINGS, index=False)
    facts = inspect_copy(copy, "bdf")
    assert problems(facts) == {("onsets", "s01", None)}
    assert facts.subjects["s01"].with_eeg == []
    assert len(facts.subjects["s02"].with_eeg) == 8


@pytest.mark.parametrize("damage", ["away", "no table"])
def test_without_ratings_the_files_are_read_all_the_same(copy, damage):
    if damage == "away":
        shutil.rmtree(copy / "metadata_csv")
    else:
        (copy / RATINGS).write_text("a,b\n")
    (copy / DAT).write_bytes(b"")
    facts = inspect_copy(copy)
    assert problems(facts) == {("ratings", None, None), ("eeg", "s01", None)}
    assert facts.subjects["s02"].eeg_read
    assert all(facts.subjects["s02"].clips.values())


def test_a_subject_without_ratings_is_told(copy):
    ratings = pd.read_csv(copy / RATINGS)
    ratings[ratings["Participant_id"] == 1].to_csv(copy / RATINGS, index=False)
    facts = inspect_copy(copy)
    assert problems(facts) == {("ratings", "s02", None)}
    assert facts.subjects["s02"].eeg_read


def test_what_is_no_copy_is_told(tmp_path):
    assert "no such folder" in inspect_copy(tmp_path / "none").problems[0].text
    assert problems(inspect_copy(tmp_path)) == {("dataset", None, None), ("ratings", None, None)}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s01.dat").touch()
    (problem,) = inspect_copy(tmp_path).problems
    assert "keep one of them" in problem.text


def test_quick_reads_neither_eeg_nor_video(copy):
    for path in [*copy.rglob("*.dat"), *copy.rglob("*.avi")]:
        path.write_bytes(b"no such thing")
    (copy / DAT).write_bytes(b"")
    (copy / "face_video/s02/s02_trial03.avi").write_bytes(b"")
    facts = inspect_copy(copy, quick=True)
    assert problems(facts) == {("eeg", "s01", None), ("clips", "s02", 3)}
    assert set(facts.clips.values()) == {None}
    assert len(facts.subjects["s01"].trials) == 8


def test_a_link_to_nothing_is_told(copy):
    (copy / DAT).unlink()
    (copy / DAT).symlink_to(copy / "gone")
    for quick in (True, False):
        assert problems(inspect_copy(copy, quick=quick)) == {("eeg", "s01", None)}
