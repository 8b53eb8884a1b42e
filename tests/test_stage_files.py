"""Files of the stages, and the stages on a full disk."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions

HAAR = FaceStageOptions.model_validate({"faces": {"detector": "haar"}})


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_the_same_inputs_give_the_same_bytes(twin, twin_results, tmp_path):
    trials = twin_results / "trials" / "s01.parquet"
    shutil.copytree(twin, tmp_path / "moved" / "twin")
    root = tmp_path / "moved" / "twin"
    make_trials(root, "s01", TrialsOptions(), tmp_path / "s01.parquet")
    make_segments(trials, root, SegmentsOptions(), tmp_path / "segments.h5", read_recording)
    make_faces(trials, root, HAAR, tmp_path / "faces.h5")
    assert (tmp_path / "s01.parquet").read_bytes() == trials.read_bytes()
    for name in ("segments", "faces"):
        first = twin_results / name / "default" / "s01.h5"
        assert (tmp_path / f"{name}.h5").read_bytes() == first.read_bytes()


def test_files_tell_neither_place_nor_time(twin, twin_results):
    for path in twin_results.rglob("s01.*"):
        about = json.dumps(storage.read_provenance(path))
        assert str(twin_results) not in about
        assert os.uname().nodename not in about
        if "tokens" not in path.parts:  # whose backbone is a folder that the user names
            assert str(twin.parent) not in about


@pytest.mark.parametrize("stage", ["trials", "segments", "faces"])
def test_a_full_disk_is_one_line_and_nothing_is_left(
    twin, twin_results, small_disk, stage, refused
):
    trials = twin_results / "trials" / "s01.parquet"
    disk = small_disk("256k" if stage == "faces" else "128k" if stage == "segments" else "4k")
    with refused("no space left on the disk", nothing_in=disk):
        if stage == "trials":
            make_trials(twin, "s01", TrialsOptions(), disk / "s01.parquet")
        elif stage == "segments":
            make_segments(trials, twin, SegmentsOptions(), disk / "s01.h5", read_recording)
        else:
            make_faces(trials, twin, HAAR, disk / "s01.h5")
    assert files(disk) == []


@pytest.mark.parametrize("size", ["4k", "64k", "512k"])
def test_a_full_disk_does_not_crash_the_command(twin, twin_results, small_disk, size):
    disk = small_disk(size)
    trials = twin_results / "trials" / "s01.parquet"
    stage = ["faces", "--options", HAAR.result_json()] if size == "512k" else ["segments"]
    command = [sys.executable, "-m", "milmer", *stage, "--trials", trials, "--root", twin]
    done = subprocess.run([*command, disk / "s01.h5"], capture_output=True, text=True)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("milmer: ")]
    assert len(said) == 1
    assert "no space left on the disk" in said[0]
    assert "Traceback" not in done.stderr
    assert files(disk) == []
