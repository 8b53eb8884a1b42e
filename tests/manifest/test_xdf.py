"""A first manifest from recordings of LSL: EEG, markers and a camera, each with its own clock."""

import csv
from fractions import Fraction

import av
import numpy as np
import pytest

from milmer import storage
from milmer.faces.clocks import on_trial, read_times
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from milmer.manifest.writing import write_first
from milmer.readers.seekable_video import probe
from tests.manifest.recordings import waves, xdf

SECONDS = 40
MARKERS = [
    (2.0, "start sea joy"),
    (9.5, "end"),
    (12.25, "start dog fear"),
    (20.0, "end"),
    (31.0, "start sea joy"),
]
REGEX = r"start (?P<stimulus>\w+) (?P<label>\w+)"


def frame_times(seed=0, first=-1.5, last=42.0):
    """When a camera of about 12 frames a second took each frame, in s of the EEG."""
    steps = np.random.default_rng(seed).uniform(0.06, 0.11, 1000)
    times = first + np.cumsum(steps)
    return times[times < last]


def film(path, count):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 12)
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 200, np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def record(path, times=None, markers=MARKERS, cameras=("Webcam",), seconds=SECONDS):
    """A recording whose screen and cameras have clocks that are behind that of the EEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = frame_times() if times is None else times
    beside = [("Screen 2", "Markers", "string", 1000 - 2.5 + np.array([t for t, _ in markers]),
               [text for _, text in markers], 2.5)]  # fmt: skip
    for name in cameras:
        numbers = list(range(len(times)))
        beside.append((name, "VideoFrame", "int32", 1000 - 7.0 + times, numbers, 7.0))
    return xdf(path, waves(seconds=seconds), beside=beside)


@pytest.fixture
def lab(tmp_path):
    """Two subjects as LabRecorder names them, one of whom was filmed."""
    folder = tmp_path / "lsl"
    path = record(folder / "sub-P1/ses-S2/eeg/sub-P1_ses-S2_task-Default_run-001_eeg.xdf")
    film(path.with_name(f"{path.stem}_cam.avi"), len(frame_times()))
    record(folder / "sub-P2/sub-P2_eeg.xdf", markers=MARKERS[:2])
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_markers_become_trials_until_the_next_marker(lab, tmp_path):
    out = tmp_path / "m/m.csv"
    assert write_first("xdf", lab, out, marker=REGEX) == "4 trials of 2 subjects"
    columns = ("subject", "trial", "stimulus", "eeg_start", "eeg_stop", "label")
    starts = [tuple(row[column] for column in columns) for row in rows(out)]
    assert [row[:3] + row[5:] for row in starts] == [
        ("P1", "1", "sea", "joy"),
        ("P1", "2", "dog", "fear"),
        ("P1", "3", "sea", "joy"),
        ("P2", "1", "sea", "joy"),
    ]
    spans = np.array([[float(row[3]), float(row[4])] for row in starts])
    assert np.abs(spans - [(2, 9.5), (12.25, 20), (31, SECONDS), (2, 9.5)]).max() < 2e-3


def test_frames_have_their_times_on_the_clock_of_the_eeg(lab, tmp_path):
    out = tmp_path / "m.csv"
    write_first("xdf", lab, out, marker=REGEX)
    manifest = read_manifest(out)
    first, *_, other = manifest.rows
    assert (other.video_file, other.video_times) == (None, None)
    assert first.video_times == f"m_times/{manifest.at(first.eeg_file).stem}.csv"
    stamps = np.array([float(row["time"]) for row in rows(manifest.at(first.video_times))])
    assert np.abs(stamps - frame_times()).max() < 2e-3
    options = ManifestTrialsOptions(rows=manifest.digest("P1"))
    make_manifest_trials(out, "P1", options, tmp_path / "P1.parquet")
    table = storage.read_table(tmp_path / "P1.parquet", "trials").sort_values("trial")
    for trial in table.itertuples():
        path = tmp_path / trial.video_file
        clip = probe(path, times=read_times(tmp_path / trial.video_times))
        video = on_trial(trial, clip, path)
        shown = video.at(np.array([1.0, 2.5]))
        expected = np.searchsorted(frame_times(), trial.eeg_start + np.array([1.0, 2.5])) - 1
        assert np.abs(shown - expected).max() <= 1  # 2 ms of jitter may be the next frame


def test_seconds_are_the_length_of_all_trials(lab, tmp_path):
    write_first("xdf", lab, tmp_path / "m.csv", marker=REGEX, seconds=4)
    lengths = [float(row["eeg_stop"]) - float(row["eeg_start"]) for row in rows(tmp_path / "m.csv")]
    assert lengths == pytest.approx([4] * 4, abs=1e-5)


def test_a_marker_without_groups_is_stimulus_and_label(lab, tmp_path):
    write_first("xdf", lab, tmp_path / "m.csv", marker="start sea joy")
    assert {(r["stimulus"], r["label"]) for r in rows(tmp_path / "m.csv")} == {
        ("start sea joy", "start sea joy")
    }


def test_markers_before_the_eeg_are_left_out_and_told(tmp_path, caplog):
    record(tmp_path / "lsl/a.xdf", markers=[(-4.0, "start sea joy"), *MARKERS])
    assert write_first("xdf", tmp_path / "lsl", tmp_path / "m.csv", marker=REGEX).startswith("3 ")
    assert "1 markers before its EEG begins are left out" in caplog.text
    assert rows(tmp_path / "m.csv")[0]["subject"] == "a"


def test_what_is_not_clear_is_refused_with_what_there_is(lab, tmp_path, refused):
    with refused("--marker: which markers begin a trial?", "end, start dog fear, start sea joy"):
        write_first("xdf", lab, tmp_path / "m.csv")
    with refused("no marker matches begin; it has 7, end, start dog fear"):
        write_first("xdf", lab, tmp_path / "m.csv", marker="begin")
    with refused("--marker: '(' is not a regular expression"):
        write_first("xdf", lab, tmp_path / "m.csv", marker="(")
    with refused("--task: does not go with --from xdf"):
        write_first("xdf", lab, tmp_path / "m.csv", marker=REGEX, task="x")
    (tmp_path / "empty").mkdir()
    with refused("holds no .xdf"):
        write_first("xdf", tmp_path / "empty", tmp_path / "m.csv", marker=REGEX)


def test_several_cameras_are_told_and_one_is_chosen(tmp_path, refused):
    path = record(tmp_path / "lsl/a.xdf", cameras=("Cam left", "Cam right"))
    for side in ("left", "right"):
        film(path.with_name(f"a_{side}.avi"), len(frame_times()))
    with refused("a.xdf: 2 videos: a_left.avi, a_right.avi", "--camera WORD"):
        write_first("xdf", path.parent, tmp_path / "m.csv", marker=REGEX)
    write_first("xdf", path.parent, tmp_path / "m.csv", marker=REGEX, camera="right")
    assert {row["video_file"] for row in rows(tmp_path / "m.csv")} == {"lsl/a_right.avi"}


def test_a_video_without_times_of_its_frames_is_left_out_and_told(tmp_path, caplog):
    path = record(tmp_path / "lsl/a.xdf", cameras=())
    film(path.with_name("a.avi"), 20)
    write_first("xdf", path.parent, tmp_path / "m.csv", marker=REGEX)
    assert "video_file" not in rows(tmp_path / "m.csv")[0]
    assert "left out, a.xdf has no stream of its frame times" in caplog.text
