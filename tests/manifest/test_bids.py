"""A first manifest from an EEG-BIDS folder, made here by hand as the standard lays it out."""

import csv
import os
import shutil

import numpy as np
import pytest

from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.manifest.writing import write_first
from milmer.readers.eeg import EEGFile
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
    said = write_first("bids", bids, tmp_path / "mine/m.csv")
    assert said == "4 trials of 2 subjects"
    with open(tmp_path / "mine/m.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rest = "../bids/sub-Eve/ses-2/eeg/sub-Eve_ses-2_task-rest_eeg.vhdr"
    run = "../bids/sub-01/eeg/sub-01_task-films_run-"
    for row in rows:
        row.pop("session", None)
    assert [tuple(row.values()) for row in rows] == [
        ("01", "1", "sad", f"{run}1_eeg.edf", "1.5", "7.5", "", "sad"),
        ("01", "2", "happy", f"{run}1_eeg.edf", "12.0", "18.0", "7.5", "happy"),
        ("01", "3", "happy", f"{run}2_eeg.edf", "12.0", "18.0", "7.5", "happy"),
        ("Eve", "1", "rest", rest, "", "", "", ""),
    ]
    assert list(rows[0])[-2:] == ["valence", "label"]


def test_what_is_written_is_read(bids, tmp_path):
    path = tmp_path / "m.csv"
    write_first("bids", bids, path)
    manifest = read_manifest(path)
    assert (manifest.subjects, manifest.classes) == (["01", "Eve"], ["happy", "sad"])
    for subject, seconds in (("01", [6, 6, 6]), ("Eve", [8])):
        options = ManifestTrialsOptions(rows=manifest.digest(subject))
        make_manifest_trials(path, subject, options, tmp_path / "out.parquet")
        assert read_table(tmp_path / "out.parquet", "trials")["eeg_seconds"].tolist() == seconds


def test_a_video_of_a_recording_begins_with_it(bids, tmp_path):
    (bids / "sub-01/video").mkdir()
    (bids / "sub-01/video/sub-01_task-films_run-1_video.mp4").touch()
    write_first("bids", bids, tmp_path / "m.csv")
    rows = read_manifest(tmp_path / "m.csv").trials["01"]
    assert [row.video_file for row in rows] == [
        *["bids/sub-01/video/sub-01_task-films_run-1_video.mp4"] * 2,
        None,
    ]
    assert [row.video_start for row in rows] == [1.5, 12, None]


def test_a_task_alone_can_be_taken(bids, tmp_path):
    assert write_first("bids", bids, tmp_path / "m.csv", task="rest") == "1 trials of 1 subjects"


def test_a_link_that_leads_nowhere_is_not_replaced(bids, tmp_path, refused):
    (tmp_path / "m.csv").symlink_to("gone.csv")
    with refused("m.csv: exists already"):
        write_first("bids", bids, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").is_symlink()


def test_the_command_writes_it_and_overwrites_nothing(bids, tmp_path, inside):
    out = tmp_path / "m.csv"
    status, said, _ = inside("manifest", "--from", "bids", bids, out)
    assert (status, out.is_file()) == (0, True)
    assert f"wrote {out}: 4 trials of 2 subjects" in said
    assert f"milmer check {out}" in said
    before = out.read_bytes()
    status, _, told = inside("manifest", "--from", "bids", bids, out)
    assert status == 1
    assert "exists already" in told
    assert out.read_bytes() == before


def test_a_folder_without_eeg_is_told(tmp_path, refused):
    with refused("absent", "no such folder"):
        write_first("bids", tmp_path / "absent", tmp_path / "m.csv")
    with refused("holds no EEG recording of task x"):
        write_first("bids", tmp_path, tmp_path / "m.csv", task="x")


def test_events_that_cannot_be_read_are_told(bids, tmp_path, refused):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    path.write_text("start\tlength\n1\t2\n")
    with refused(f"{path.name}: no column onset"):
        write_first("bids", bids, tmp_path / "m.csv")


def test_events_without_a_duration_are_told(bids, tmp_path, caplog):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    events(path, [EVENTS[0], EVENTS[3]])
    write_first("bids", bids, tmp_path / "m.csv")
    assert "no event has a duration" in caplog.text


def test_derivatives_and_source_data_are_no_recordings(bids, tmp_path):
    for place in ("derivatives/clean", "sourcedata"):
        shutil.copytree(bids / "sub-01", bids / place / "sub-01")
    assert write_first("bids", bids, tmp_path / "m.csv") == "4 trials of 2 subjects"
    files = {row["eeg_file"] for row in rows_of(tmp_path / "m.csv")}
    assert not any("derivatives" in file or "sourcedata" in file for file in files)


def test_hard_inputs_bids(bids, tmp_path):
    """Two trials, Fp2 is no EEG, C3 is bad: as it is in the folder of hard inputs."""
    shutil.rmtree(bids)
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "O1", "O2"]
    for place in ("sub-01/eeg", "derivatives/clean/sub-01/eeg", "sourcedata/sub-01/eeg"):
        (bids / place).mkdir(parents=True)
        x = np.random.default_rng(0).normal(size=(8, 200 * 30)) * 20
        edf(bids / place / "sub-01_task-film_eeg.edf", x, names)
        (bids / place / "sub-01_task-film_events.tsv").write_text(
            "onset\tduration\ttrial_type\n4.5\t6\tjoy\n18\t6\tfear\n"
        )
    lines = [
        f"{n}\t{'EOG' if n == 'Fp2' else 'EEG'}\tuV\t{'bad' if n == 'C3' else 'good'}"
        for n in names
    ]
    (bids / "sub-01/eeg/sub-01_task-film_channels.tsv").write_text(
        "\n".join(["name\ttype\tunits\tstatus", *lines]) + "\n"
    )
    assert write_first("bids", bids, tmp_path / "m.csv") == "2 trials of 1 subjects"
    row = rows_of(tmp_path / "m.csv")[0]
    file = EEGFile(tmp_path / row["eeg_file"])
    assert file.channels == tuple(name for name in names if name != "Fp2")
    assert file.bads == ("C3",)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_label_none_is_a_label(bids, tmp_path):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    events(path, [EVENTS[0], (3.0, 2.0, "none", "n/a", "n/a"), (6.0, 2.0, "NA", "n/a", "n/a")])
    write_first("bids", bids, tmp_path / "m.csv")
    assert [row["label"] for row in rows_of(tmp_path / "m.csv")][:2] == ["none", "NA"]


def test_events_are_chosen_by_their_type_and_get_a_length(bids, tmp_path, refused):
    path = bids / "sub-01/eeg/sub-01_task-films_run-2_events.tsv"
    events(path, [EVENTS[0], (2.0, "n/a", "film/1", "n/a", "n/a"), (9.5, 0, "film/2", "n/a", "n/a"),
                  (5.0, 0, "button", "n/a", "n/a")])  # fmt: skip
    write_first("bids", bids, tmp_path / "m.csv", events="film/.*", seconds=4.5)
    rows = rows_of(tmp_path / "m.csv")
    assert [(r["label"], r["eeg_start"], r["eeg_stop"]) for r in rows] == [
        ("film/1", "2.0", "6.5"),
        ("film/2", "9.5", "14.0"),
    ]
    with refused("no event is of a type that matches film/.*; change --events, or give --seconds"):
        write_first("bids", bids, tmp_path / "n.csv", events="film/.*")
    write_first("bids", bids, tmp_path / "o.csv", events="sad", seconds=4.5)
    assert [r["eeg_stop"] for r in rows_of(tmp_path / "o.csv")] == ["7.5"]  # its own length


def filmed(bids, *names):
    (bids / "sub-01/video").mkdir()
    for name in names:
        (bids / f"sub-01/video/sub-01_task-films_run-1_{name}").touch()


def test_several_cameras_are_told_and_one_is_chosen(bids, tmp_path, refused):
    filmed(bids, "recording-left_video.mp4", "recording-right_video.MTS")
    with refused("run-1_eeg.edf: 2 videos of one recording: ", "left_video.mp4, ", "--camera WORD"):
        write_first("bids", bids, tmp_path / "m.csv")
    write_first("bids", bids, tmp_path / "m.csv", camera="right")
    files = [row["video_file"].rpartition("_run-")[2] for row in rows_of(tmp_path / "m.csv")]
    assert files == ["1_recording-right_video.MTS"] * 2 + [""] * 2


def scans(bids, eeg, video):
    (bids / "sub-01/sub-01_scans.tsv").write_text(
        f"filename\tacq_time\neeg/sub-01_task-films_run-1_eeg.edf\t{eeg}\n"
        f"video/sub-01_task-films_run-1_video.mp4\t{video}\n"
    )


def test_times_of_the_scans_link_the_clocks_of_eeg_and_video(bids, tmp_path, caplog):
    filmed(bids, "video.mp4")
    scans(bids, "2026-11-28T09:59:58.250", "2026-11-28T10:00:01.500")
    write_first("bids", bids, tmp_path / "m.csv")
    rows = read_manifest(tmp_path / "m.csv").trials["01"]
    assert [(row.video_start, row.video_offset) for row in rows] == [
        *[(None, 3.25)] * 2,
        (None, None),
    ]
    assert "taken to begin with the EEG" not in caplog.text


@pytest.mark.parametrize(
    ("eeg", "video", "told"),
    [
        ("2026-11-28T10:00:00", "2026-11-28T10:00:02", "faces may be up to 1 s off"),
        ("2026-11-28T10:00:00", "n/a", "taken to begin with the EEG"),
    ],
)
def test_times_that_say_little_are_told(bids, tmp_path, caplog, eeg, video, told):
    filmed(bids, "video.mp4")
    scans(bids, eeg, video)
    write_first("bids", bids, tmp_path / "m.csv")
    assert told in caplog.text


@pytest.mark.parametrize(
    ("eeg", "part"),
    [
        ("yesterday", "sub-01_scans.tsv: line 2: acq_time: yesterday is no date and time"),
        ("2026-11-28T10:00:00.5Z", "acq_time: only one of"),
    ],
)
def test_times_that_are_wrong_are_refused(bids, tmp_path, refused, eeg, part):
    filmed(bids, "video.mp4")
    scans(bids, eeg, "2026-11-28T10:00:00.75")
    with refused(part):
        write_first("bids", bids, tmp_path / "m.csv")


def test_sessions_become_the_column_session(bids, tmp_path):
    write_first("bids", bids, tmp_path / "m.csv")
    assert [row["session"] for row in rows_of(tmp_path / "m.csv")] == ["", "", "", "2"]


HEADER = "onset\tduration\ttrial_type\tstim_file\tvalence\n"
HOSTILE = {
    "a rating in words": (
        HEADER + "1\t5\tsad\tn/a\thigh\n",
        "line 2: valence 'high' is not a number",
    ),
    "an endless rating": (
        HEADER + "1\t5\tsad\tn/a\tinf\n",
        "line 2: valence 'inf' is not a number",
    ),
    "a terminal code": (HEADER + "1\t5\tred\x1b[31m\tn/a\t3\n", "holds the character U+001B"),
    "another direction": (HEADER + "1\t5\ta\u202eb\tn/a\t3\n", "holds the character U+202E"),
    "two lines": (HEADER + '1\t5\t"a\nb"\tn/a\t3\n', "holds the character U+000A"),
    "a column twice": ("onset\tonset\tduration\n1\t2\t5\n", "the column onset is there twice"),
    "cells without a column": ("onset\tduration\n1\t5\t7\t8\n", "line 2: 4 values for 2 columns"),
    "a long line": (HEADER + "1\t5\t" + "x" * 10**6 + "\tn/a\t3\n", "a line of 1,000,000"),
    "many columns": (
        "\t".join(["onset", "duration", *map(str, range(10**5))]) + "\n1\t5\n" * 10**3,
        "cells; at most 20,000,000 are read",
    ),
    "an open quote": (HEADER + '1\t5\t"a\tn/a\t3\n', "not a readable table"),
    "another encoding": (HEADER.encode("utf-16"), "not a readable table"),
    "zeros": (bytes(1000), "no column onset"),
    "nothing": ("", "no column onset"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_events_are_one_line(what, bids, tmp_path, refused):
    content, part = HOSTILE[what]
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(path.stem.removesuffix("_events"), part, nothing_in=tmp_path):
        write_first("bids", bids, tmp_path / "m.csv")


def test_events_of_gigabytes_and_pipes_are_not_read(bids, tmp_path, refused):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    with open(path, "wb") as file:
        file.truncate(10**11)
    with refused(f"{path}: 100,000,000,000 bytes; at most 100,000,000 are read"):
        write_first("bids", bids, tmp_path / "m.csv")
    path.unlink()
    os.mkfifo(path)  # no file, and so no events
    assert write_first("bids", bids, tmp_path / "m.csv") == "3 trials of 2 subjects"


def test_events_that_never_begin_or_end_are_no_trials(bids, tmp_path):
    rows = [("inf", 5), (1, "inf"), ("nan", 5), (1e308, 1e308), (-1, 5), ("1_0", 5), (2, 5)]
    events(bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv", [("onset", "duration"), *rows])
    write_first("bids", bids, tmp_path / "m.csv", task="films")
    with open(tmp_path / "m.csv", newline="") as file:
        spans = [(row["eeg_start"], row["eeg_stop"]) for row in csv.DictReader(file)]
    assert spans == [("2.0", "7.0"), ("12.0", "18.0")]


def test_formulas_and_html_of_events_stay_text(bids, tmp_path):
    path = bids / "sub-01/eeg/sub-01_task-films_run-1_events.tsv"
    words = ["=1+1", "@SUM(A1)", "-x", "<script>", "001", "True"]
    lines = [f"{10 * i}\t6\t{word}\tn/a\t3\n" for i, word in enumerate(words)]
    path.write_text(HEADER + "".join(lines))
    write_first("bids", bids, tmp_path / "m.csv", task="films")
    cells = list(csv.reader((tmp_path / "m.csv").read_text().splitlines()))[1:7]
    written = ["'=1+1", "'@SUM(A1)", "'-x", "<script>", "001", "True"]
    assert [row[2] for row in cells] == written
    assert read_manifest(tmp_path / "m.csv").classes == sorted({*words, "happy"})


@pytest.mark.parametrize(
    ("folder", "name", "part"),
    [
        ("sub-1ü", "sub-1ü_task-x", "'1ü' is not a name of letters"),
        ("sub-01", "sub-01_task-x\x1b[31m", "holds the character U+001B"),
        ("sub-01", "sub-01_task-x\ny", "holds the character U+000A"),
    ],
)
def test_names_that_a_manifest_cannot_hold_are_refused(folder, name, part, bids, tmp_path, refused):
    """And sub-1ü does not become the trials of sub-1."""
    edf(bids / folder / f"eeg/{name}_eeg.edf", waves())
    with refused(part, nothing_in=tmp_path):
        write_first("bids", bids, tmp_path / "m.csv")
