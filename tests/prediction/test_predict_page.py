"""docs/predict.md: its commands and its Python do what it says, one after the other."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from milmer import storage
from tests.conftest import REPOSITORY
from tests.prediction.trained import clip, film

PAGE = REPOSITORY / "docs/predict.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(run, eeg_run, face_run, bdf, twin, made, twin_backbone, tmp_path_factory):
    """A working directory with the files that the page names."""
    folder = tmp_path_factory.mktemp("page")
    for name, trained in (("milmer", run), ("eeg_only", eeg_run), ("face_only", face_run)):
        shutil.copytree(trained, folder / f"results/runs/{name}/trial/s01-k0/seed0")
    (folder / "results/trials").mkdir()
    shutil.copy(made[0], folder / "results/trials/s01.parquet")
    for name, target in (("deap", twin), ("swin", twin_backbone), ("visit1.bdf", bdf)):
        (folder / name).symlink_to(target)
    film(folder / "visit1.mp4", [clip(twin, made, 1), clip(twin, made, 2)], 6)
    return folder


def shell(folder, *command):
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_commands(folder):
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        done = shell(folder, "bash", "-c", command)
        assert done.returncode == 0, done.stderr
    for name in ("visit1", "part", "eeg", "face", "s01", "one"):
        assert {p.name for p in (folder / "out" / name).iterdir()} == {
            *("predictions.parquet", "predictions.csv", "timeline.svg"),
            *("index.html", "about.json", ".milmer-predict.json"),
        }
    tables = {
        name: storage.read_table(folder / f"out/{name}/predictions.parquet")
        for name in ("visit1", "part", "s01", "one")
    }
    assert tables["visit1"]["start"].iloc[0] == 7
    assert tables["part"]["start"].tolist() == [10, 13]
    first = tables["s01"].loc[lambda t: t["experiment_id"] == 1]
    assert first["chosen"].map(list).tolist() == tables["one"]["chosen"].map(list).tolist()
    columns = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)*", PAGE.read_text(), re.MULTILINE)
    told = {name for row in columns for name in row if name}
    assert {"position", "class", "face_seen", "eeg_usable"} <= told


def test_its_python(folder):
    (code,) = blocks("python")
    done = shell(folder, sys.executable, "-c", code + "\nprint(p.shape, p.sum(1).round(6))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == f"(2, 4) {np.ones(2)}"
