"""What `milmer resume` and `milmer status` make of a working directory; no run is needed for it."""

import base64
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from milmer.errors import MilmerError
from milmer.plan import resume as resuming
from milmer.plan import snakemake_state
from milmer.plan.resume import Run, last_run, resume


@pytest.fixture
def directory(tmp_path):
    """A directory in which a run of this machine was killed."""
    run = Run(socket.gethostname(), 1, str(tmp_path), ["--cores", "2"], {})
    run.note(tmp_path)
    lock(tmp_path)
    return tmp_path


def lock(directory):
    (directory / ".snakemake/locks").mkdir(parents=True)
    (directory / ".snakemake/locks/0.output.lock").write_text("results/a\n")


def begun(directory, output, job=None):
    """A job that makes ``output`` began, as Snakemake notes it."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    parts = [name[i : i + 254] for i in range(0, len(name), 254)]
    path = directory.joinpath(".snakemake/incomplete", *(f"@{p}" for p in parts[:-1]), parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"external_jobid": job}))


@pytest.fixture
def unlocked(monkeypatch):
    """Commands that would have been run to unlock."""
    seen = []

    def run(command, **_):
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    return seen


def test_it_goes_on_with_the_same_arguments(directory, unlocked):
    folder, command = resume(directory, ["--keep-going"])
    assert folder == str(directory)
    assert command[1:] == [
        *("-P", "-m", "snakemake", "--cores", "2", "--keep-going", "--rerun-incomplete")
    ]
    assert [c[-1] for c in unlocked] == ["--unlock"]


def test_what_is_not_locked_is_not_unlocked(directory, unlocked):
    (directory / ".snakemake/locks/0.output.lock").unlink()
    resume(directory, [])
    assert unlocked == []


@pytest.mark.parametrize("text", [None, "{", "[]", '{"host": 1}'])
def test_a_directory_without_a_run_is_one_line(tmp_path, text):
    if text is not None:
        (tmp_path / ".snakemake").mkdir()
        (tmp_path / ".snakemake/milmer.json").write_text(text)
    told = "no run was started here" if text is None else "milmer.json: cannot be read"
    with pytest.raises(MilmerError, match=told):
        last_run(tmp_path)


def test_a_run_of_another_machine_is_left_alone_until_the_user_knows_better(directory, unlocked):
    Run("elsewhere", 1, str(directory), ["--cores", "2"], {}).note(directory)
    with pytest.raises(MilmerError, match="was started on elsewhere; resume it there, or, if you"):
        resume(directory, [])
    assert unlocked == []
    resume(directory, [], ended=True)
    assert len(unlocked) == 1


@pytest.mark.parametrize("words", [["snakemake", "--cores", "2"], ["-m", "snakemake"]])
def test_a_run_that_goes_on_is_left_alone(directory, unlocked, words):
    with working(directory, *words) as process:
        with pytest.raises(MilmerError, match=rf"a run is going on here \(process {process.pid}\)"):
            resume(directory, [])
        assert unlocked == []
        assert resuming.running(directory) == process.pid
        assert resuming.running(directory.parent) is None


def test_a_job_that_outlived_its_run_is_told_to_end_first(directory, unlocked):
    with working(directory, "milmer", "--log", "a.log", "train"):
        assert len(resuming._processes(directory)) == 1
        resume(directory, [])
        assert resuming._processes(directory) == []
        assert len(unlocked) == 1


def test_jobs_of_slurm_that_are_not_done_are_waited_for(directory, unlocked, monkeypatch):
    begun(directory, "results/a", "12")
    begun(directory, "results/b", "7")
    begun(directory, "results/c")
    program = directory / "bin/squeue"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 3\necho 12\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    plain = subprocess.Popen  # squeue itself is run
    monkeypatch.setattr(
        snakemake_state.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(
            command, 0, plain(command, stdout=-1, text=True).communicate()[0], ""
        ),
    )
    with pytest.raises(MilmerError, match=r"are not done yet; wait for them, or .*: scancel 12$"):
        resume(directory, [])


def test_names_of_outputs_are_read_however_long_they_are(tmp_path):
    long = "results/" + "/".join(["a-name-of-some-length"] * 20)
    begun(tmp_path, "results/a")
    begun(tmp_path, long, "5")
    (tmp_path / ".snakemake/incomplete/no name").write_text("")
    assert snakemake_state.incomplete(tmp_path) == {"results/a": None, long: "5"}


class working:
    """A process in a directory, with these words in its command line."""

    def __init__(self, directory, *words):
        code = "import time; time.sleep(60)"
        self.process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=directory)

    def __enter__(self):
        time.sleep(0.3)  # until it is what it was started as
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
