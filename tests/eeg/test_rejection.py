"""What cannot be used is rejected with its reason, and nothing else is."""

import dataclasses
import json
import logging
import pickle

import numpy as np
import pytest

from milmer import storage
from milmer.data.recording import Recording
from milmer.data.segmentation import Segment, segment_grid
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import cut_segments, make_segments
from milmer.errors import MilmerError

CHANNELS = ("Fp1", "Fp2", "C3", "C4", "P3", "P4", "O1", "O2", "Cz")
RATE = 100.0
BASELINE = 2.0
SECONDS = {1: 9, 2: 6, 5: 12}  # of a trial


def recording(**about) -> Recording:
    rng = np.random.default_rng(0)
    eeg = {
        e: 10 * rng.standard_normal((len(CHANNELS), round((BASELINE + s) * RATE)))
        for e, s in SECONDS.items()
    }
    return Recording(eeg, None, False, CHANNELS, RATE, BASELINE, without_eog=True, **about)


def cut(recorded, **eeg):
    options = SegmentsOptions.model_validate({"eeg": {"band": [1, 40]} | eeg})
    grid = segment_grid(SECONDS.items(), options.segmentation)
    segments, words, report = cut_segments(recorded, grid, options)
    rejected = {(s.trial, s.position): w for s, w in zip(grid, words.tolist(), strict=True)}
    return segments, {key: why.decode() for key, why in rejected.items() if why}, report


def at(seconds: float) -> int:
    """The sample of a trial's second."""
    return round((BASELINE + seconds) * RATE)


def test_nothing_is_rejected_of_a_healthy_recording(caplog):
    segments, rejected, report = cut(recording())
    assert (rejected, report["rejected"]) == ({}, [])
    assert (np.ptp(segments, axis=2) > 1).all()


def test_a_trial_with_a_gap_is_rejected_whole_and_need_not_be_read():
    recorded = recording(gaps={2: [(1.5, 4.25)], 5: []})
    del recorded.eeg[2]
    segments, rejected, report = cut(recorded)
    assert rejected == {(2, 0): "gap", (2, 1): "gap"}
    assert (segments[3:5] == 0).all()
    assert (np.ptp(segments[[0, 1, 2, 5, 6, 7, 8]], axis=2) > 1).all()
    detail = "not recorded from 1.50 to 4.25 s"
    row = {"trial": 2, "positions": [0, 1], "why": "gap", "detail": detail}
    assert report["rejected"] == [row]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_rejects_its_trial_and_leaves_the_others_as_they_are(value):
    expected, _, _ = cut(recording())
    recorded = recording()
    recorded.eeg[1][4, 700] = value
    segments, rejected, report = cut(recorded)
    assert rejected == dict.fromkeys([(1, 0), (1, 1), (1, 2)], "not finite")
    assert report["rejected"][0]["detail"] == "P3"
    np.testing.assert_array_equal(segments[3:], expected[3:])


def test_marks_reject_the_segments_that_they_overlap_and_can_be_switched_off():
    marks = {5: [(2.9, 3.1, "BAD_movement"), (9.0, 9.0, "boundary")], 1: [(3.0, 6.0, "BAD_blink")]}
    _, rejected, report = cut(recording(marks=marks))
    assert rejected == dict.fromkeys([(1, 1), (5, 0), (5, 1), (5, 3)], "mark")
    details = {(r["trial"], *r["positions"]): r["detail"] for r in report["rejected"]}
    assert details == {(1, 1): "BAD_blink", (5, 0, 1): "BAD_movement", (5, 3): "boundary"}
    assert cut(recording(marks=marks), reject={"marks": False})[1] == {}


def test_a_channel_that_drops_out_for_a_segment_rejects_it():
    recorded = recording()
    recorded.eeg[5][3, at(6) : at(9)] = 17.0
    _, rejected, report = cut(recorded)
    assert rejected == {(5, 2): "flat"}
    assert report["rejected"][0]["detail"] == "C4"
    assert cut(recorded, reject={"flat": None})[1] == {}
    recorded.eeg[5][3] = 17.0  # bad in the whole trial: interpolated, so that nothing is lost
    assert cut(recorded)[1] == {}
    assert cut(recorded, bad_channels="keep")[1] == {}


def test_an_amplitude_beyond_the_limit_rejects_its_segment():
    recorded = recording()
    recorded.eeg[2][7, at(4)] += 3000
    _, rejected, report = cut(recorded)
    assert rejected == {(2, 1): "amplitude"}
    assert report["rejected"][0]["detail"].startswith("O2 ")
    assert cut(recorded, reject={"amplitude": None})[1] == {}
    assert set(cut(recorded, reject={"amplitude": 5})[1].values()) == {"amplitude"}


def test_too_many_bad_channels_reject_their_trial():
    recorded = recording()
    recorded.eeg[1][:2] = 0
    recorded.eeg[5][[0, 1, 8]] = 0
    _, rejected, report = cut(recorded)
    assert rejected == dict.fromkeys([(5, i) for i in range(4)], "bad channels")
    assert report["rejected"][0]["detail"] == "3 of 9: Fp1 (flat), Fp2 (flat), Cz (flat)"


def test_the_baseline_counts_the_last_3_s_before_the_trial():
    recorded = dataclasses.replace(recording(), baseline=5.0, eeg={1: np.zeros((9, 1400))})
    recorded.eeg[1][:, :200], recorded.eeg[1][:, 200:500] = 50, 7
    options = SegmentsOptions.model_validate(
        {
            "eeg": {
                "band": None,
                "baseline": "subtract",
                "bad_channels": "keep",
                "reference": "as_recorded",
            }
        }
    )
    segments, _, _ = cut_segments(recorded, [Segment(1, 0, 0.0)], options)
    assert (segments == -7).all()


def test_the_segments_file_says_what_was_rejected_and_the_log_counts_it(twin, tmp_path, caplog):
    root, trials = tmp_path / "deap", tmp_path / "s01.parquet"
    content = pickle.loads((twin / "data_preprocessed_python/s01.dat").read_bytes())
    content["data"][2, 5, 900] = np.nan
    (root / "data_preprocessed_python").mkdir(parents=True)
    (root / "data_preprocessed_python/s01.dat").write_bytes(pickle.dumps(content, 2))
    ratings = next(twin.rglob("participant_ratings*"))
    (root / ratings.relative_to(twin)).parent.mkdir(parents=True, exist_ok=True)
    (root / ratings.relative_to(twin)).write_bytes(ratings.read_bytes())
    make_trials(root, "s01", TrialsOptions(source="dat"), trials)
    with caplog.at_level(logging.WARNING):
        make_segments(trials, root, SegmentsOptions(), tmp_path / "s01.h5", read_recording)
    assert "2 of 16 segments rejected: not finite 2" in caplog.text
    with storage.open_h5(tmp_path / "s01.h5", "segments") as file:
        rejected, eeg = file["rejected"][()], file["eeg"][()]
        rows = json.loads(file.attrs["cleaned"])["rejected"]
    assert rejected.tolist() == [b""] * 4 + [b"not finite"] * 2 + [b""] * 10
    assert (eeg[4:6] == 0).all()
    shown = storage.read_table(trials).set_index("experiment_id")["trial"]
    trial = shown[3]  # the third row of the file
    assert rows == [{"trial": trial, "positions": [0, 1], "why": "not finite", "detail": "FC1"}]
    published = SegmentsOptions.model_validate(
        {"eeg": {"layout": "as_published", "artefacts": "none", "bad_channels": "keep"}}
    )
    with pytest.raises(MilmerError, match=rf"trial {trial} is unusable: not finite \(FC1\)"):
        make_segments(trials, root, published, tmp_path / "other.h5", read_recording)
