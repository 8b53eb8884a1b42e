"""What is reported of a copy, and what of it would stop a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from milmer.check.deap import Status
from milmer.check.deap_findings import copy_findings, disk
from milmer.check.findings import Problem
from milmer.readers.video import Clip


def told(facts):
    """Texts by what they are about."""
    return {finding.about: finding.text for finding in copy_findings(facts)}


def errors(facts):
    return {finding.about for finding in copy_findings(facts) if finding.stops}


def without(subject, *trials):
    for trial in subject.trials:
        if trial.trial in trials:
            trial.seconds = None


def test_of_a_whole_copy_only_what_is_so_in_deap_is_told(deap):
    assert errors(deap) == set()
    assert told(deap) == {
        "eeg_without_video": "no face video, as in DEAP; only EEG is used: s23–s32 (10)",
        "clips_not_in_deap": "no face video, as in DEAP: s03, s05, s14 (3) trial 40; "
        "s11 trials 38–40",
        "clips_short": "video covers 2.04 of 3 s of a trial's last segment: s01–s22 (22)",
        "familiarity": "no ratings of familiarity, which nothing needs: s02, s15, s23 (3)",
    }


def test_clips_are_missing_beyond_those_that_deap_lacks(deap):
    for trial in (5, 6, 7):
        del deap.subjects["s03"].clips[trial]
    deap.subjects["s22"].clips.clear()
    notes = told(deap)
    assert notes["clips_missing"] == "no face video, though DEAP has it: s03 trials 5–7"
    assert "s03, s05, s14" in notes["clips_not_in_deap"]
    of_s22 = [finding for finding in copy_findings(deap) if "s22" in finding.subjects]
    assert [f.text for f in of_s22] == ["no face video, though DEAP has it; only EEG is used: s22"]


def test_clips_that_end_early_are_told_apart_from_those_of_deap(deap):
    clips = deap.subjects["s04"].clips
    clips[7] = Clip(50, 1000, 720, 576)
    clips[8] = Clip(50, 3000, 720, 576)
    assert told(deap)["clips_end_early"] == "clips that end early: s04 trial 7 (20.0 of 60 s)"
    assert told(deap)["clips_short"].startswith("video covers 2.04 of 3 s")


def test_clips_unlike_the_others_are_told(deap):
    deap.subjects["s04"].clips[7] = Clip(25, 1476, 640, 480)
    text = told(deap)["clips_unlike"]
    assert text.endswith("than 720 x 576, 50 fps: s04 trial 7")


def test_clips_of_trials_that_are_not_rated_are_told(deap):
    subject = deap.subjects["s04"]
    subject.trials = [trial for trial in subject.trials if trial.trial != 9]
    notes = told(deap)
    assert notes["clips_unrated"] == "left out, face video of unrated trials: s04 trial 9"
    assert notes["trials_unrated"] == "left out, trials without a rating: s04 (1)"


def test_subjects_that_no_run_takes_are_told(deap):
    deap.subjects["s07"].eeg = {"mat": Path("deap/s07.mat")}
    deap.subjects["s08"].eeg = {}
    notes = told(deap)
    assert notes["other_kind"] == "left out, EEG only as .mat but .dat is read: s07"
    assert notes["video_without_eeg"] == "left out, face video but no EEG: s08"
    assert errors(deap) == set()


def test_a_problem_stops_only_where_a_run_looks(deap):
    deap.problems = [Problem("clips", "s07 is bad", "s07", 3)]
    assert errors(deap) == {"clips"}
    deap.problems = [Problem("clips", "not rated", "s07", 41)]
    assert errors(deap) == set()
    assert told(deap)["clips"] == "not rated"
    deap.problems = [Problem("clips", "no EEG", "s07", 3)]
    deap.subjects["s07"].eeg = {}
    assert errors(deap) == set()
    deap.problems = [Problem("ratings", "none")]
    assert errors(deap) == {"ratings"}


def test_too_few_trials_for_the_folds_stop(deap):
    for name in ("s01", "s02"):
        deap.subjects[name].trials = deap.subjects[name].trials[:4]
    without(deap.subjects["s09"], *range(1, 38))
    texts = [finding.text for finding in copy_findings(deap) if finding.stops]
    assert texts == [
        "s01, s02: 4 trials per subject are too few for 5 folds; lower protocols.folds",
        "s09: 3 trials per subject are too few for 5 folds; lower protocols.folds",
    ]
    deap.subjects["s09"].eeg_read = False  # which is told already
    assert len([finding for finding in copy_findings(deap) if finding.stops]) == 1


def test_trials_shorter_than_a_segment_stop(deap):
    for trial in deap.subjects["s05"].trials:
        trial.seconds = 2.9
    assert errors(deap) == {"trials"}
    assert "s05: no trial is as long as a segment (3 s)" in told(deap)["trials"]


def test_video_of_other_trials_than_eeg_stops(deap):
    without(deap.subjects["s05"], *range(1, 21))
    deap.subjects["s05"].clips = {trial: None for trial in range(1, 21)}
    assert "s05: no trial has both EEG and face video" in told(deap)["trials"]


def test_trials_that_are_cut_short_are_told(deap):
    next(t for t in deap.subjects["s06"].trials if t.trial == 12).seconds = 31.0
    assert told(deap)["trials_short"] == "trials that are cut short: s06 trial 12"


def test_classes_with_fewer_trials_than_folds_are_told(deap):
    for trial in deap.subjects["s23"].trials:
        trial.quadrant = {"HALV": "LALV"}.get(trial.quadrant, trial.quadrant)
    for trial in [t for t in deap.subjects["s12"].trials if t.quadrant == "HALV"][4:]:
        trial.quadrant = "HAHV"
    without(deap.subjects["s30"], *range(1, 41))
    text = told(deap)["classes"]
    assert text == "HALV: fewer trials than the 5 folds: none of s23; 4 of s12"


def test_classes_that_are_alike_are_told_once(deap):
    deap.subjects = {"s01": deap.subjects["s01"]}
    deap.subjects["s01"].trials = deap.subjects["s01"].trials[:8]
    (text,) = (finding.text for finding in copy_findings(deap) if finding.about == "classes")
    assert text == "HAHV, LAHV, LALV, HALV: fewer trials than the 5 folds: 2 of s01"


def test_quirks_of_recordings_are_told_by_subject(deap):
    deap.source = "bdf"
    plain = Status(named=True, spare=0, upper_bits=False, unknown_onsets=0, unit=1e-4)
    for name, subject in deap.subjects.items():
        subject.eeg = {"bdf": deap.place / "data_original" / f"{name}.bdf"}
        subject.status = replace(plain, named=name < "s24", upper_bits=name >= "s24")
    for name in ("s29", "s30", "s31", "s32"):
        deap.subjects[name].status = replace(deap.subjects[name].status, spare=1)
    deap.subjects["s02"].status = replace(plain, unknown_onsets=2)
    without(deap.subjects["s28"], 24, 25, 26)
    notes = told(deap)
    expected = {
        "status_unnamed": "s24–s32 (9)",
        "status_spare": "s29–s32 (4)",
        "status_upper_bits": "s24–s32 (9)",
        "onsets_unknown": "s02",
        "onsets_missing": "s28 trials 24–26",
        "start_time": "0.0001 s: s01–s32 (32)",
    }
    for about, end in expected.items():
        assert notes[about].endswith(end), notes[about]
    assert errors(deap) == set()


def test_files_that_lie_elsewhere_are_told(deap):
    deap.ratings = deap.place / "Metadata" / "participant_ratings.csv"
    for name in ("s01", "s02", "s03"):
        deap.subjects[name].eeg = {"dat": deap.place / "a" / "data_preprocessed_python" / "x.dat"}
    deap.packed = ["face_video/s07.zip"]
    notes = told(deap)
    assert "in Metadata/" in notes["ratings_elsewhere"]
    assert "in a/data_preprocessed_python/" in notes["eeg_elsewhere"]
    assert notes["eeg_elsewhere"].endswith("s01–s03 (3)")
    assert notes["packed"] == "not unpacked: face_video/s07.zip"


def test_one_subject_alone_has_no_loso(deap):
    deap.subjects = {"s01": deap.subjects["s01"]}
    assert told(deap)["one_subject"].startswith("only s01: protocol loso is left out")


def test_small_files_are_told_where_nothing_is_read(deap):
    for subject in deap.subjects.values():
        subject.size = 100
    deap.subjects["s19"].size = 40
    assert "eeg_small" not in told(deap)
    deap.quick = True
    assert told(deap)["eeg_small"].endswith("s19")


@pytest.mark.parametrize(("free", "stops"), [(2_000_000_000, False), (1_900_000_000, True)])
def test_a_disk_that_is_too_small_stops(free, stops):
    errors = disk(2_000_000_000, free, Path("/work"))
    assert [finding.stops for finding in errors] == [True] * stops
    for finding in errors:
        assert finding.text.startswith("/work: 1.9 GB free, about 2.0 GB needed")
