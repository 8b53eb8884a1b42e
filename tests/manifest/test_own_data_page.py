"""docs/own-data.md: its commands do what it says on real EEG and real video, in its order."""

import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest
import yaml

from milmer import storage
from tests.conftest import REPOSITORY
from tests.manifest.recordings import edf, waves
from tests.manifest.test_eav import eav
from tests.manifest.test_xdf import film as clip
from tests.manifest.test_xdf import frame_times, record
from tests.workflow.runner import SMALL, to_run

PAGE = REPOSITORY / "docs" / "own-data.md"
PROJECT = ("Snakefile", "config.yaml", "rules", "workflow", "milmer")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def shell(folder, command):
    """Run a command as it is typed."""
    paths = {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | paths | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def film(path, source, seconds, seed):
    """Foreman, to and fro, as H.264 of 15 to 30 frames a second, which is never the same."""
    with av.open(str(source), format="h264") as container:
        pictures = [frame.reformat(format="yuv420p") for frame in container.decode(video=0)][:180]
    rng, time, number = np.random.default_rng(seed), 0, 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 352, 288, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"preset": "ultrafast", "g": "50"}
        while time < seconds * 1000:
            place = number % (2 * len(pictures) - 2)
            frame = pictures[min(place, 2 * len(pictures) - 2 - place)]
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            time += int(rng.integers(33, 66))
            number += 1
        container.mux(stream.encode())


def lsl(folder):
    """A recording of LabRecorder: twelve films of 4 s, and a camera of its own clock."""
    markers = []
    for i in range(12):
        emotion = ("joy", "fear")[i % 2]
        markers += [(2 + 4.8 * i, f"start film{i} {emotion}"), (6 + 4.8 * i, "end")]
    times = frame_times(last=61.0)
    path = folder / "sub-P1/ses-S1/eeg/sub-P1_ses-S1_task-Default_run-001_eeg.xdf"
    record(path, times, markers, seconds=60)
    clip(path.with_name(f"{path.stem}_cam.avi"), len(times))


@pytest.fixture(scope="module")
def project(recordings, twin_backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for name in PROJECT:
        (folder / name).symlink_to(REPOSITORY / name)
    for name in ("lab/eeg", "lab/video", "bids/sub-01/eeg"):
        (folder / name).mkdir(parents=True)
    for name, text in zip(("manifest", "sessions"), blocks("csv"), strict=True):
        (folder / f"lab/{name}.csv").write_text(text)
    foreman = recordings / "video/foreman_cif.264"
    for i, subject in enumerate(("p01", "p02")):
        shutil.copy(recordings / f"eegmmidb/S001R0{3 + i}.edf", folder / f"lab/eeg/{subject}.edf")
        film(folder / f"lab/video/{subject}.mp4", foreman, 50, i)
    edf(folder / "bids/sub-01/eeg/sub-01_task-x_eeg.edf", waves())
    lsl(folder / "lsl")
    eav(folder / "EAV", subjects=[1])
    shutil.copytree(twin_backbone, folder / "swin")
    user = yaml.safe_load(blocks("yaml")[0])
    user |= {
        "faces": {"instances": 4},
        "backbone": {"name": "swin", "threads": 1},
        "model": SMALL,
        "training": {"epochs": 2, "threads": 1},
        "report": {"resamples": 500, "explain": 8},
        "experiments": {"milmer": {}, "eeg_only": None, "face_only": None},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(user))
    return folder


@pytest.fixture(scope="module")
def done(project):
    """What each command of the page did, by the command."""
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    return {command: shell(project, command) for command in commands}


def test_each_command_goes_well(done):
    assert len(done) == 9
    for command, told in done.items():
        assert told.returncode == 0, (command, told.stdout[-2000:], told.stderr[-4000:])


def test_a_first_manifest_comes_from_bids(project, done):
    assert (project / "lab/first.csv").read_text().splitlines()[1:] == [
        "01,1,x,../bids/sub-01/eeg/sub-01_task-x_eeg.edf"
    ]


def test_trials_come_from_the_markers_of_lsl(project, done):
    lines = (project / "lsl.csv").read_text().splitlines()
    assert len(lines) == 13
    assert "film11,lsl/sub-P1/ses-S1/eeg/" in lines[-1]
    assert lines[-1].endswith(",fear")
    times = project / "lsl_times/sub-P1_ses-S1_task-Default_run-001_eeg.csv"
    assert len(times.read_text().splitlines()) == 1 + len(frame_times(last=61.0))
    assert "Usable: no error" in done["milmer check lsl.csv"].stdout


def test_trials_come_from_the_arrays_of_eav(project, done):
    lines = (project / "eav.csv").read_text().splitlines()
    assert len(lines) == 13
    assert "Usable: no error" in done["milmer check eav.csv"].stdout


def test_the_check_tells_of_the_recordings(done):
    told = done["milmer check mine.yaml"].stdout
    assert "12 (2 subjects, 2 stimuli)" in told
    assert "left 6, right 6" in told
    assert re.search(r"p01 +6 +6 +4.1 +64 +160 +6\n", told)
    assert "Usable: no error" in told


def test_classes_and_channels_go_through_to_model_and_tables(project, done):
    run = project / "results/runs/milmer/trial/p01-k0/seed0"
    config = json.loads((run / "model/config.json").read_text())
    assert config["id2label"] == {"0": "left", "1": "right"}
    assert config["num_channels"] == 64
    tested = pd.concat(
        storage.read_table(path, "predictions")
        for path in sorted((project / "results/runs/milmer/trial").glob("*/*/predictions.parquet"))
    )
    assert {"p_left", "p_right"} <= set(tested)
    assert len(tested) == 12  # a segment of 3 s a trial of 4.1 s
    trials = pd.concat(
        storage.read_table(project / f"results/trials/{s}.parquet", "trials")
        for s in ("p01", "p02")
    )
    joined = tested.merge(trials, on=["subject", "trial"], suffixes=("", "_name"))
    assert (joined["label_name"] == joined["label"].map({0: "left", 1: "right"})).all()
    card = (run / "model/README.md").read_text()
    assert "as one of left, right" in card
    assert "the names that the laboratory gave" in card
    assert "left" in (project / "results/tables/confusion.csv").read_text()


def test_the_report_shows_channels_of_the_montage_and_the_classes(project, done):
    page = (project / "results/report/index.html").read_text()
    assert "recordings listed in a manifest" in page
    assert "left, right" in page
    assert "it is not known where the channels are" not in page


def test_crops_are_faces_from_the_times_of_each_trial(project, done):
    with storage.open_h5(project / "results/faces/default/p01.h5", "faces") as file:
        assert file["detected"][()].mean() > 0.9
        time, bag = file["time"][()], file["bag"][()]
    assert (bag >= 0).all()
    middles = (np.arange(4) + 0.5) / 4 * 3
    assert np.abs(time[bag] - middles).max() < 0.066  # a frame lasts no longer


def test_one_row_that_changes_reruns_its_subject_alone(project, done):
    path = project / "lab/manifest.csv"
    before = path.read_text()
    command = "snakemake --cores all --configfile mine.yaml --dry-run"
    try:
        path.write_text(before)  # another time, the same rows
        assert to_run(shell(project, command)) == {}
        path.write_text(
            before.replace("p02,6,left fist,eeg/p02.edf,45.7", "p02,6,left fist,eeg/p02.edf,45.6")
        )
        told = shell(project, command)
    finally:
        path.write_text(before)
    assert to_run(told) == {
        **{
            rule: 1
            for rule in (
                *("trials", "segments", "faces", "tokens"),
                *("evaluate", "baseline", "controls", "tables", "report", "all"),
            )
        },
        **{rule: 2 for rule in ("split", "train", "explain")},
    }
    assert "p01" not in "".join(re.findall(r"wildcards: .*", told.stdout + told.stderr))
