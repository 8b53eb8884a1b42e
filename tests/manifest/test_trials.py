"""Rows and recordings become tables of trials and segments."""

import json
import logging

import numpy as np
import pytest

from milmer import storage
from milmer.data.options import RecordingOptions
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.manifest.recordings import read_recording
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.readers.digests import eeg_digests
from tests.manifest.described import write_manifest
from tests.manifest.recordings import NAMES, edf, waves

RAW = {"bad_channels": "keep", "band": None}


@pytest.fixture
def lab(tmp_path):
    """Recordings of 20 and 23 s of one subject, and what becomes of rows about them."""

    class Lab:
        folder = tmp_path

        def manifest(self, *rows):
            base = {"subject": "p1", "eeg_file": "a.edf", "eeg_start": "", "eeg_stop": ""}
            names = {name: "" for row in rows for name in row}
            made = [
                names | base | {"trial": i, "stimulus": f"s{i}"} | row for i, row in enumerate(rows)
            ]
            return write_manifest(tmp_path / "m.csv", made)

        def trials(self, *rows):
            path, out = self.manifest(*rows), tmp_path / "out/p1.parquet"
            options = ManifestTrialsOptions(rows=read_manifest(path).digest("p1"))
            make_manifest_trials(path, "p1", options, out)
            return storage.read_table(out, "trials")

        def recording(self, *rows, **options):
            table = self.trials(*rows)
            return read_recording(tmp_path, table, RecordingOptions(**options))

        def segments(self, *rows, eeg=RAW, **options):
            self.trials(*rows)
            stage = SegmentsOptions(eeg=eeg, recording=options)
            make_segments(
                tmp_path / "out/p1.parquet", tmp_path, stage, tmp_path / "p1.h5", read_recording
            )
            with storage.open_h5(tmp_path / "p1.h5", "segments") as file:
                found = {name: file[name][()] for name in file}
                return found, {k: v for k, v in file.attrs.items()}

    lab = Lab()
    lab.eeg = {name: waves(seconds=20 + 3 * i, seed=i) for i, name in enumerate(("a", "b"))}
    for name, eeg in lab.eeg.items():
        edf(tmp_path / f"{name}.edf", eeg)
    return lab


def test_a_whole_file_and_a_part_of_one_are_trials(lab):
    parts = [{}, {"eeg_start": 4, "eeg_stop": 10.5}, {"eeg_start": 5}, {"eeg_stop": 3}]
    table = lab.trials(*parts, {"eeg_file": "b.edf"}, {"eeg_file": "b.edf", "eeg_start": 21})
    assert table["eeg_start"].tolist() == [0, 4, 5, 0, 0, 21]
    assert table["eeg_seconds"].tolist() == pytest.approx([20, 6.5, 15, 3, 23, 2])
    assert table["video_file"].isna().all()


def test_ratings_labels_and_videos_come_with_their_trial(lab):
    """By experiment_id, which is another order than that of trials."""
    (lab.folder / "v").mkdir()
    first = {"valence": 2.5, "label": "joy", "video_file": "./v/x.mp4", "video_start": 7}
    first |= {"face": " 10  20 300 200"}
    table = lab.trials(
        first | {"stimulus": "zoo", "trial": 8, "eeg_start": 2},
        {
            "stimulus": "ant",
            "trial": 9,
            "video_file": "v/y.mp4",
            "valence": 0,
            "arousal": 3,
            "face": "Left",
        },
        {"stimulus": "emu", "trial": 4, "video_start": 5, "liking": 1.5, "eeg_start": 4},
    )
    assert table["stimulus"].tolist() == ["ant", "emu", "zoo"]
    assert table["experiment_id"].tolist() == [1, 2, 3]
    assert table["trial"].tolist() == [9, 4, 8]
    assert table["eeg_start"].tolist() == [0, 4, 2]
    assert table["video_file"].fillna("none").tolist() == ["v/y.mp4", "none", "v/x.mp4"]
    assert table["video_start"].fillna(-1).tolist() == [0, -1, 7]
    assert table["face"].fillna("none").tolist() == ["left", "none", "10 20 300 200"]
    assert table["valence"].fillna(-1).tolist() == [0, -1, 2.5]
    assert table["arousal"].fillna(-1).tolist() == [3, -1, -1]
    assert table["liking"].fillna(-1).tolist() == [-1, 1.5, -1]
    assert table["label"].fillna("none").tolist() == ["none", "none", "joy"]


def test_a_stimulus_that_is_shown_again_stands_in_the_order_of_its_trials(lab):
    table = lab.trials(*({"stimulus": s, "trial": t} for s, t in (("b", 7), ("a", 9), ("b", 2))))
    assert table["trial"].tolist() == [9, 2, 7]
    assert table["experiment_id"].tolist() == [1, 2, 2]
    assert table["session"].isna().all()


def test_sessions_follow_each_other_each_by_its_stimuli(lab):
    """A row without a session beside others with one is of a session of its own."""
    shown = [("s10", "a"), ("s2", "c"), ("s2", "b"), ("", "d")]
    table = lab.trials(*({"session": session, "stimulus": name} for session, name in shown))
    assert table["session"].tolist() == ["", "s2", "s2", "s10"]
    assert table["stimulus"].tolist() == ["d", "b", "c", "a"]
    assert table["trial"].tolist() == [1, 3, 2, 4]
    assert lab.trials({"session": "s2"})["session"].tolist() == ["s2"]


def test_videos_that_lack_are_told_where_others_are_there(lab, caplog):
    lab.trials({}, {"video_file": "v.mp4"}, {"trial": 7})
    assert "p1: no face video of 2 trials: [0, 7]" in caplog.text
    caplog.clear()
    lab.trials({}, {"eeg_start": 3})
    assert caplog.text == ""


def test_the_inputs_of_a_table_are_its_recordings_and_its_rows(lab):
    lab.trials({}, {"eeg_file": "b.edf"})
    provenance = storage.read_provenance(lab.folder / "out/p1.parquet")
    rows = read_manifest(lab.folder / "m.csv").digest("p1")
    assert provenance["inputs"] == eeg_digests(lab.folder, ["a.edf", "b.edf"]) | {"rows": rows}
    assert len(set(provenance["inputs"].values())) == 3


def test_no_path_of_this_machine_goes_into_a_table(lab):
    table = lab.trials({"eeg_file": str(lab.folder.resolve() / "a.edf")})
    assert table["eeg_file"].tolist() == ["a.edf"]


def test_rows_that_changed_since_the_workflow_began_are_refused(lab, refused):
    path = lab.manifest({})
    options = ManifestTrialsOptions(rows=read_manifest(path).digest("p1"))
    lab.manifest({"eeg_stop": 9})
    with refused("m.csv", "p1", "changed", "snakemake again"):
        make_manifest_trials(path, "p1", options, lab.folder / "out.parquet")


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"eeg_start": 21}, "eeg_start 21 s lies beyond the end of a.edf (20 s)"),
        ({"eeg_start": 20}, "eeg_start 20 s lies beyond the end of a.edf (20 s)"),
        ({"eeg_start": 1, "eeg_stop": 20.5}, "eeg_stop 20.5 s lies beyond the end of a.edf (20 s)"),
        ({"eeg_file": "absent.edf"}, "absent.edf: no such file"),
    ],
)
def test_a_trial_beyond_its_recording_is_refused_by_its_line(lab, refused, row, part):
    with refused("m.csv" if "eeg_start" in row else "", part):
        lab.trials({}, row)


def test_trials_of_several_files_are_of_one_subject(lab):
    found, about = lab.segments(
        {"eeg_start": 4, "eeg_stop": 10}, {"eeg_file": "b.edf", "eeg_start": 4, "eeg_stop": 7}
    )
    assert found["trial"].tolist() == [0, 0, 1]
    assert json.loads(about["channels"]) == NAMES
    assert about["sfreq"] == 128
    for row, name, start in ((0, "a", 4), (1, "a", 7), (2, "b", 4)):
        at = start * 200 + np.arange(3 * 200)
        mine = found["eeg"][row] - found["eeg"][row].mean(axis=1, keepdims=True)
        known = lab.eeg[name][:, at]
        # Six channels keep their reference. At 128 and 200 Hz every 16th and 25th sample are at
        # the same time.
        sparse = known[:, ::25] - known.mean(axis=1, keepdims=True)
        assert mine[:, ::16] == pytest.approx(sparse, abs=1.5)


def test_a_recording_that_changed_after_its_trials_is_refused(lab, refused):
    lab.trials({})
    edf(lab.folder / "a.edf", lab.eeg["b"])
    stage = SegmentsOptions(recording=RecordingOptions())
    with refused("a.edf", "not the recording", "stage trials again"):
        make_segments(
            lab.folder / "out/p1.parquet", lab.folder, stage, lab.folder / "p1.h5", read_recording
        )


def test_what_is_recorded_around_a_trial_comes_with_it_up_to_3_s(lab):
    """Before it in whole samples at 128 Hz; each trial has its own."""
    spans = [(0, 5), (1.503, 7), (3, 11), (9, 16), (3.3, 12), (15.5, 19)]
    recording = lab.recording(
        *({"eeg_start": start, "eeg_stop": stop} for start, stop in spans), {}
    )
    assert list(recording.eeg) == [0, 1, 2, 3, 4, 5, 6]
    assert [recording.before(e) for e in recording.eeg] == [0, 1.5, 3, 3, 3, 3, 0]
    lengths = [eeg.shape[1] / 128 for eeg in recording.eeg.values()]
    assert lengths == pytest.approx([8, 10, 14, 13, 14.7, 7.5, 20], abs=1 / 64)


def test_a_baseline_that_was_not_recorded_is_refused(lab, refused):
    eeg = RAW | {"baseline": "subtract"}
    lab.segments({"eeg_start": 3}, eeg=eeg)
    with refused("a.edf", "1.5 s are recorded before", "eeg.baseline subtract needs 3 s"):
        lab.segments({"eeg_start": 1.5}, eeg=eeg)


def test_files_of_other_channels_are_refused_unless_they_are_named(lab, refused):
    edf(lab.folder / "b.edf", lab.eeg["b"], [*NAMES[:5], "Oz"])
    rows = ({}, {"eeg_file": "b.edf"})
    with refused("b.edf", "not the channels of", "a.edf (O2, Oz in only one)", "dataset.channels"):
        lab.recording(*rows)
    assert lab.recording(*rows, channels=["C4", "c3", "FP1", "O1"]).channels == (
        *("C4", "C3", "Fp1", "O1"),
    )
    edf(lab.folder / "b.edf", lab.eeg["b"], NAMES[::-1])
    with refused("b.edf", "in another order"):
        lab.recording(*rows)


def test_files_of_another_rate_are_brought_to_one_or_refused(lab, refused):
    edf(lab.folder / "b.edf", waves(seconds=20, sfreq=250), sfreq=250)
    rows = ({}, {"eeg_file": "b.edf"})
    found = lab.recording(*rows)
    assert {eeg.shape for eeg in found.eeg.values()} == {(6, 20 * 128)}
    with refused("b.edf: 250 Hz", "a.edf has 200 Hz", "dataset.sfreq"):
        lab.recording(*rows, sfreq=None)
    assert lab.recording({}, sfreq=None).sfreq == 200


def test_eog_is_regressed_where_it_is_named_and_else_nothing_is_done(lab):
    eyes = 300 * np.sin(np.arange(4000) / 40) ** 9
    eeg = lab.eeg["a"] + np.array([1, 1, 0.3, 0.3, 0.1, 0.1])[:, None] * eyes
    names = [*NAMES, "HEO", "VEO up", "VEO low"]
    whole = np.vstack([eeg, waves(1, 20, seed=9) / 20, eyes, -eyes])
    edf(lab.folder / "a.edf", whole, names)
    eeg_options = RAW | {"band": [1, 40]}
    eog = {"channels": NAMES, "heog": ["HEO"], "veog": ["VEO up", "VEO low"]}
    taken, about = lab.segments({}, eeg=eeg_options, **eog)
    left, without = lab.segments({}, eeg=eeg_options, channels=NAMES)
    assert json.loads(about["cleaned"])["artefacts"] == "eog_regression"
    assert json.loads(without["cleaned"])["artefacts"] == "none"
    assert left["eeg"][:, 0].std() > 2.5 * taken["eeg"][:, 0].std()


def test_channels_that_look_like_eog_are_named_where_none_is_configured(lab, caplog):
    names = [*NAMES[:4], "HEOG", "EOG v"]
    edf(lab.folder / "b.edf", lab.eeg["b"], names)
    lab.recording({"eeg_file": "b.edf"})
    assert "b.edf: HEOG, EOG v look like EOG; name them in dataset.heog" in caplog.text
    caplog.clear()
    lab.recording({"eeg_file": "b.edf"}, heog=["HEOG"], veog=["EOG v"])
    assert "look like EOG" not in caplog.text


def test_the_eog_of_a_trial_is_the_horizontal_then_the_vertical(lab):
    eyes = waves(3, 20, seed=8)
    edf(lab.folder / "a.edf", np.vstack([lab.eeg["a"], eyes]), [*NAMES, "HEO", "up", "low"])
    recording = lab.recording(
        {"eeg_start": 4, "eeg_stop": 12}, channels=NAMES, heog=["HEO"], veog=["up", "low"]
    )
    expected = np.stack([eyes[0], eyes[1] - eyes[2]])[:, 200 : 15 * 200]  # 3 s around it
    expected -= expected.mean(axis=1, keepdims=True)
    # At 128 and 200 Hz every 16th and 25th sample are at the same time.
    assert recording.eog[0][:, ::16] == pytest.approx(expected[:, ::25], abs=2)
    assert lab.recording({}, channels=NAMES).eog is None


def test_a_channel_that_a_file_lacks_is_interpolated_only_where_that_is_asked_for(lab, refused):
    names = [*NAMES, "Pz"]
    with refused("a.edf", "Pz"):
        lab.recording({}, channels=names)
    recording = lab.recording({}, channels=names, missing_channels="interpolate")
    assert recording.channels == tuple(names)
    assert recording.eeg[0].shape == (7, 20 * 128)


def test_an_eog_channel_that_is_not_there_is_named(lab, refused):
    with refused("a.edf", "no channel EXG9", "dataset.heog", "the file has Fp1, Fp2"):
        lab.recording({}, heog=["EXG9"], veog=["Fp1"])


def test_a_bad_channel_of_a_montage_of_its_own_is_made_from_its_neighbours(lab):
    names = ["FT9", "FT10", "TP9", "TP10", "POz", "FCz", "Cz", "CPz"]
    eeg = waves(8, 20)
    eeg[5] = 0
    edf(lab.folder / "a.edf", eeg, names)
    _, about = lab.segments({}, eeg={"bad_channels": "interpolate", "band": None})
    bad = json.loads(about["cleaned"])["bad_channels"]
    assert [(b["channel"], b["why"], b["done"]) for b in bad] == [("FCz", "flat", "interpolated")]
    eeg[5] = waves(1, 20)[0]
    eeg[5, :2000] = 0  # in no known place, and flat in one trial of two
    edf(lab.folder / "a.edf", eeg, [f"E{i}" for i in range(8)])
    rows = ({"eeg_start": 0, "eeg_stop": 10}, {"eeg_start": 10, "eeg_stop": 20})
    found, _ = lab.segments(*rows, eeg={"bad_channels": "interpolate", "band": None})
    assert found["rejected"].tolist() == [b"bad channels"] * 3 + [b""] * 3


def test_a_trial_without_eeg_is_told_and_has_no_segments(lab, caplog):
    with caplog.at_level(logging.WARNING):
        found, _ = lab.segments({}, {"eeg_file": ""})
    assert set(found["trial"]) == {0}
    assert "p1: no EEG of 1 trials: [1]" in caplog.text
