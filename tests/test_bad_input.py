"""What goes wrong is told in one line, whatever the stage, and leaves nothing behind."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HAAR = json.dumps({"faces": {"detector": "haar"}})


@pytest.fixture
def said(ended, capfd):
    """The one line for people of a command that ends with status 1: the last on stderr."""

    def run(*arguments):
        assert ended(*arguments) == 1
        lines = capfd.readouterr().err.splitlines()
        told = [line for line in lines if line.startswith("milmer: ")]
        assert told == lines[-1:], lines
        assert not [line for line in lines if "Traceback" in line]
        return told[0]

    return run


@pytest.fixture
def place(twin, twin_results, twin_backbone, tmp_path):
    """A copy of the twin and of its results to damage, and the commands of the stages."""
    root = shutil.copytree(twin, tmp_path / "deap")
    results = shutil.copytree(twin_results, tmp_path / "results")
    trials, faces = results / "trials" / "s01.parquet", results / "faces/default/s01.h5"
    backbone = json.dumps({"backbone": {"name": str(twin_backbone)}})
    out = tmp_path / "out"
    commands = {
        "trials": ["trials", "s01", out / "a.parquet", "--root", root],
        "segments": ["segments", out / "a.h5", "--root", root, "--trials", trials],
        "faces": ["faces", out / "a.h5", "--root", root, "--trials", trials, "--options", HAAR],
        "tokens": ["tokens", out / "a.h5", "--faces", faces, "--options", backbone],
        "split": ["split", "trial", "s01-k0", out / "a.parquet", "--trials", trials],
    }
    return tmp_path, commands


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def text(path):
    path.write_text("something else\n" * 100)


def away(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


DAT = "deap/data_preprocessed_python/s01.dat"
RATINGS = "deap/metadata_csv/participant_ratings.csv"
CLIP = "deap/face_video/s01/s01_trial05.avi"
TRIALS = "results/trials/s01.parquet"
FACES = "results/faces/default/s01.h5"
INPUTS = [
    ("trials", DAT),
    ("trials", RATINGS),
    ("segments", TRIALS),
    ("segments", DAT),
    ("faces", TRIALS),
    ("faces", CLIP),
    ("tokens", FACES),
    ("split", TRIALS),
]


NO_FAULT = [(DAT, away), (DAT, folder), (RATINGS, cut)]  # of trials: a subject may have no EEG,
# and a table that ends between two trials cannot be told from a whole one
CASES = [
    (stage, name, damage)
    for stage, name in INPUTS
    for damage in (cut, text, away, folder)
    if stage != "trials" or (name, damage) not in NO_FAULT
    if not (name.endswith(".avi") and damage is cut)  # a clip is used as far as it goes
]


@pytest.mark.parametrize(("stage", "name", "damage"), CASES)
def test_a_damaged_input_is_named_in_one_line(place, said, stage, name, damage):
    where, commands = place
    damage(where / name)
    assert Path(name).name in said(*commands[stage])
    assert not list((where / "out").glob("*"))


@pytest.mark.parametrize("stage", ["trials", "segments", "faces", "tokens", "split"])
def test_a_place_that_cannot_be_written_is_named_in_one_line(place, said, stage):
    where, commands = place
    (where / "out").write_text("a file is in the way")
    line = said(*commands[stage])
    assert str(where / "out") in line
    assert "cannot be written" in line
    assert (where / "out").read_text() == "a file is in the way"


def test_a_file_of_another_stage_is_refused(place, said):
    where, commands = place
    segments = where / "results/segments/default/s01.h5"
    shutil.copyfile(segments, where / FACES)
    line = said(*commands["tokens"])
    assert "s01.h5" in line
    assert "faces" in line


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_backbone_that_is_none_is_told_with_the_key(place, said, monkeypatch, name):
    where, commands = place
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (where / "file").mkdir()
    given = json.dumps({"backbone": {"name": str(where / name)}})
    assert "backbone.name" in said(*commands["tokens"][:-1], given)
    assert not list((where / "out").glob("*"))


@pytest.fixture
def interrupted(place):
    """Start the stage faces and send it a signal while it writes; returns its exit status."""
    where, commands = place

    def run(number):
        command = [sys.executable, "-m", "milmer", *map(str, commands["faces"])]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while not (where / "out" / ".a.h5.partial").exists():
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(number)
            process.communicate()
            return process.returncode

    return run


def test_a_job_that_is_told_to_end_cleans_up(place, interrupted):
    assert interrupted(signal.SIGTERM) == 143
    assert not list((place[0] / "out").glob("*"))
    assert not list((place[0] / "out").glob(".*"))


def test_a_killed_job_leaves_no_file_that_looks_finished_and_can_be_repeated(
    place, interrupted, monkeypatch, twin_results
):
    where, commands = place
    assert interrupted(signal.SIGKILL) == -signal.SIGKILL
    assert not (where / "out" / "a.h5").exists()
    command = [sys.executable, "-m", "milmer", *map(str, commands["faces"])]
    subprocess.run(command, check=True, capture_output=True)
    first = twin_results / "faces/default/s01.h5"
    assert (where / "out" / "a.h5").read_bytes() == first.read_bytes()
    assert [path.name for path in (where / "out").iterdir()] == ["a.h5"]
