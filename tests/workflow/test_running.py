"""docs/running.md: its commands do what it says, on a copy of the project, in its order."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from milmer.synthetic.twin import TwinOptions, synthesize
from tests.conftest import fake_gpus
from tests.forks import server
from tests.workflow.runner import REPOSITORY, SMALL

RUNS = "results/runs/milmer/trial"
TABLE = "results/tables/summary.csv"
PAGE = REPOSITORY / "docs" / "running.md"
CONFIG = {
    "dataset": {"root": "deap"},
    "faces": {"detector": "haar"},
    "backbone": {"name": "swin", "threads": 1},
    "model": SMALL,
    "protocols": {"names": ["trial"], "folds": 2},
    "training": {"epochs": 2, "threads": 1},
    "report": {"resamples": 500, "explain": 0},
    "experiments": {"milmer": {}, "eeg_only": None, "face_only": None, "published_frozen": None},
}


def commands(section):
    """The commands of a section of the page."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()


def shell(folder, command, gpus=0, forks=True):
    """Run a command as it is typed, on a machine with that many GPUs.

    What it starts are forks of a process that has read the libraries, unless told otherwise.
    """
    path = fake_gpus(folder / "bin", gpus)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{path}"}
    environment |= {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(folder)}
    if forks:
        environment |= server.environment(str(folder))
    environment |= {"MILMER_CPU_INSTEAD": "1"}  # these GPUs compute nothing
    for name in ("CUDA_VISIBLE_DEVICES", "XDG_RUNTIME_DIR"):
        environment.pop(name, None)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def project(twin_backbone, tmp_path_factory):
    """A copy of the project with a small dataset and a configuration beside it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("rules", "workflow", "milmer"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "tmp").mkdir()
    small = {"subjects": 1, "trials": 8, "seconds": 6, "width": 240, "height": 192, "fps": 10}
    synthesize(folder / "deap", TwinOptions(**small))
    shutil.copytree(twin_backbone, folder / "swin")
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture(scope="module")
def first(project):
    """The first run, by the page's commands: what each printed."""
    return [shell(project, command) for command in commands("First run")]


def test_the_first_run(project, first):
    assert [done.returncode for done in first] == [0] * 5, first[2].stderr
    check, dry, _, status, summary = (done.stdout for done in first)
    assert "s01" in check
    assert "train" in dry
    assert "All is there." in status
    assert re.search(r"train milmer trial +2 of 2", status)
    assert "milmer" in summary
    assert "100%" in first[2].stderr
    for stage in ("trials", "segments/default", "faces/default", "tokens/default/default"):
        assert (project / f"results/logs/{stage}/s01.log").exists()
        assert (project / f"results/benchmarks/{stage}/s01.tsv").read_text().startswith("s\t")


def test_changing_something(project, first):
    dry, run, until, forced = (
        shell(project, command) for command in commands("Changing something")
    )
    assert [done.returncode for done in (dry, run, until, forced)] == [0] * 4, run.stderr
    assert re.search(r"^train +2$", dry.stdout, re.MULTILINE)
    assert "segments" not in dry.stdout.split("Job stats:")[1].split("total")[0]
    assert "rule segments:" not in until.stderr
    # The epochs are those of the file again, so the last command trains too.
    assert "rule tables:" in forced.stderr
    metrics = json.loads((project / RUNS / "s01-k0/seed0/metrics.json").read_text())
    assert metrics["provenance"]["options"]["training"]["epochs"] == 2


def forget_runs(folder):
    """Remove the runs, and a table: what finished files were made of is not missed."""
    shutil.rmtree(folder / RUNS)
    (folder / TABLE).unlink()


def test_recovering(project, first):
    """Snakemake and its jobs are killed in the middle of training."""
    tables = (project / TABLE).read_bytes()
    forget_runs(project)
    apart = functools.partial(shell, project, forks=False)  # processes are looked for by name
    killed = apart(
        "set -m; snakemake --cores all --configfile mine.yaml & "
        "until pgrep -g $! -f '[m]ilmer --log.* train --split'; do sleep 0.1; done; "
        "milmer status; milmer resume; kill -9 -- -$!; sleep 1",
    )
    assert re.search(r"A run is going on \(process \d+\)", killed.stdout), killed.stdout
    assert re.search(r"train milmer trial .* running: s01-k", killed.stdout)
    assert re.search(r"a run is going on here \(process \d+\); wait for it", killed.stderr)
    locked = apart("snakemake --cores all --configfile mine.yaml")
    assert "Directory cannot be locked" in locked.stderr
    status, resumed = map(apart, commands("Recovering"))
    assert "the last was cut short: milmer resume" in status.stdout
    assert re.search(r"train milmer trial .* interrupted: s01-k", status.stdout)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(apart("milmer status --json").stdout)["process"] is None
    assert (project / TABLE).read_bytes() == tables


def leased(folder):
    """The GPU that each training job leased, if any."""
    logs = [log.read_text() for log in sorted((folder / "results/logs/runs").rglob("seed*.log"))]
    assert not any("waits" in log for log in logs)  # no job begins before there is room for it
    found = [re.search(r"leases GPU (\S+), \d of \d", log) for log in logs]
    return [gpu and gpu[1] for gpu in found]


def test_one_machine_with_gpus(project, first):
    """Two folds, and what is made of them; each command begins with neither."""
    used, at_once = [], []
    given = commands("One machine with GPUs")
    for command, gpus in zip(given, (2, 2, 1, 2, 2), strict=True):
        forget_runs(project)
        done = shell(project, command, gpus)
        assert done.returncode == 0, done.stderr
        used.append(leased(project))
        at_once.append(max(map(int, re.findall(r"Execute (\d+) jobs", done.stderr))))
    each_its_own, one, shared, chosen, cpu = used
    assert sorted(each_its_own) == ["GPU-fake-0", "GPU-fake-1"]
    assert one == ["GPU-fake-0"] * 2
    assert shared == ["GPU-fake-0"] * 2
    assert chosen == [None] * 2  # it is the only one that they see
    assert cpu == [None] * 2
    assert at_once == [2, 1, 2, 1, 2]
