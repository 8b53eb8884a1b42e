"""A first manifest from an EEG-BIDS folder, made here by hand as the standard lays it out."""

import csv

import pytest

from milmer.manifest.bids import write_first
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.storage import read_table
from tests.manifest.recordings import brainvision, edf, waves

EVENTS = [
    ("onset", "duration", "trial_type", "stim_file", "valence"),
    (12.0, 6.0, "happy", "n/a", 7.5),
    (1.5, 6.0, "sad", "n/a", "n/a"),
    (10.0, 0, "button", "n/a", "n/a"),
]


def events(path, rows=EVENTS):
    path.write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")


@pytest.fixture
def bids(tmp_path):
    folder = tmp_path / "bids"
    (folder / "sub-01/eeg").mkdir(parents=True)
    (folder / "sub-Eve/ses-2/eeg").mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    edf(folder / "sub-01/eeg/sub-01_task-films_run-1_eeg.edf", waves(seconds=20))
    events(folder / "sub-01/eeg/sub-01_task-films_run-1_events.tsv")
    edf(folder / "sub-01/eeg/sub-01_task-films_run-2_eeg.edf", waves(seconds=20))
    events(folder / "sub-01/eeg/sub-01_task-films_run-2_events.tsv", EVENTS[:2])
    brainvision(folder / "sub-Eve/ses-2/eeg/sub-Eve_ses-2_task-rest_eeg.vhdr", waves())
    return folder


def test_events_of_some_duration_are_trials_and_a_recording_without_is_one(bids, tmp_path):
    said = write_first(bids, tmp_path / "mine/m.csv")
    assert said == "4 trials of 2 subjects"
    with open(tmp_path / "mine/m.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rest = "../bids/sub-Eve/ses-2/eeg/sub-Eve_ses-2_task-rest_eeg.vhdr"
    run = "../bids/sub-01/eeg/sub-01_task-films_run-"
    assert [tuple(row.values()) for row in rows] == [
        ("01", "1", "sad", f"{run}1_eeg.edf", "1.5", "7.5", "", "sad"),
        ("01", "2", "happy", f"{run}1_eeg.edf", "12.0", "18.0", "7.5", "happy"),
        ("01", "3", "happy", f"{run}2_eeg.edf", "12.0", "18.0", "7.5", "happy"),
        ("Eve", "1", "rest", rest, "", "", "", ""),
    ]
    assert list(rows[0])[-2:] == ["valence", "label"]


def test_what_is_written_is_read(bids, tmp_path):
    path = tmp_path / "m.csv"
    write_first(bids, path)
    manifest = read_manifest(path)
    assert (manifest.subjects, manifest.classes) == (["01", "Eve"], ["happy", "sad"])
    for subject, seconds in (("01", [6, 6, 6]), ("Eve", [8])):
        options = ManifestTrialsOptions(rows=manifest.digest(subject))
        make_manifest_trials(path, subject, options, tmp_path / "out.parquet")
        assert read_table(tmp_path / "out.parquet", "trials")["eeg_seconds"].tolist() == seconds


def test_a_video_of_a_recording_begins_with_it(bids, tmp_path):
    (bids / "sub-01/video").mkdir()
    (bids / "sub-01/video/sub-01_task-films_run-1_video.mp4").touch()
    write_first(bids, tmp_path / "m.csv")
    rows = read_manifest(tmp_path / "m.csv").trials["01"]
    assert [row.video_file for row in rows] == [
        *["bids/sub-01/video/sub-01_task-films_run-1_video.mp4"] * 2,
        None,
    ]
    assert [row.video_start for row in rows] == [1.5, 12, None]


def test_a_task_alone_can_be_taken(bids, tmp_path):
    assert write_first(bids, tmp_path / "m.csv", "rest") == "1 trials of 1 subjects"


def test_a_link_that_leads_nowhere_is_not_replaced(bids, tmp_path, refused):
    (tmp_path / "m.csv").symlink_to("gone.csv")
    with refused("m.csv: exists already"):
        write_first(bids, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").is_symlink()


def test_the_command_writes_it_and_overwrites_nothing(bids, tmp_path, inside):
    out = tmp_path / "m.csv"
    status, said, _ = inside("manifest", "--bids", bids, out)
    assert (status, out.is_file()) == (0, True)
    assert f"wrote {out}: 4 trials of 2 subjects" in said
    assert f"milmer check {out}" in said
    before = out.read_bytes()
    status, _, told = inside("manifest", "--bids", bids, out)
    assert status == 1
    assert "exists already" in told
    assert out.read_bytes() == before


def test_a_folder_without_eeg_is_told(tmp_path, refused):
    with refused("absent", "no such folder"):
        write_first(tmp_path / "absent", tmp_path / "m.csv")
    with refused("holds no EEG recording of task x"):
        write_first(tmp_path, tmp_path / "m.csv", "x")


def test_events_that_cannot_be_read_are_told(bids, tmp_path, refused):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    path.write_text("start\tlength\n1\t2\n")
    with refused(path.name, "cannot be read as events"):
        write_first(bids, tmp_path / "m.csv")


def test_events_without_a_duration_are_told(bids, tmp_path, caplog):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    events(path, [EVENTS[0], EVENTS[3]])
    write_first(bids, tmp_path / "m.csv")
    assert "no event has a duration" in caplog.text
