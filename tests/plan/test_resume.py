"""What `milmer resume` and `milmer status` make of a working directory; no run is needed for it."""

import base64
import json
import os
import shlex
import socket
import subprocess
import sys
import time

import pytest

from milmer.errors import MilmerError
from milmer.plan import resume as resuming
from milmer.plan import snakemake_state
from milmer.plan.resume import Run, last_run, resume
from tests.conftest import owned_by_another


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


NOTE = {"host": "here", "pid": 1, "folder": "/tmp", "arguments": [], "config": {}}


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": "--cores 2"},
        {"arguments": ["--cores", 2]},
        {"arguments": None},
        {"arguments": ["a\0b"]},
        {"arguments": ["\ud800"]},
        {"host": ["here"]},
        {"folder": {"a": 1}},
        {"pid": "1"},
        {"pid": True},
        {"config": []},
        {"more": 1},
        {"config": {"a": "x" * (1 << 23)}},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_a_note_of_other_kinds_is_one_line(tmp_path, refused, changes):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/milmer.json").write_text(json.dumps(NOTE | changes))
    with refused("milmer.json: cannot be read"):
        last_run(tmp_path)


def test_a_note_without_end_is_one_line(tmp_path, refused):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/milmer.json").write_text("[" * 100_000)
    with refused("milmer.json: cannot be read"):
        last_run(tmp_path)


@pytest.fixture
def workflow(directory):
    """The same with a Snakefile and a configuration, which the run names."""
    arguments = ["--cores", "2", "--configfile", "mine.yaml", "--workflow-profile=profile"]
    Run(socket.gethostname(), 1, str(directory), arguments, {}).note(directory)
    (directory / "rules").mkdir()
    (directory / "profile").mkdir()
    for name in FILES:
        (directory / name).touch()
    return directory


FILES = ["Snakefile", "config.yaml", "rules/data.smk", "mine.yaml", "profile/config.yaml"]
FOLDERS = [".", "rules", "profile", ".snakemake"]


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, ".snakemake/milmer.json"])
@pytest.mark.parametrize("mode", [0o020, 0o002, None], ids=["group", "everybody", "another user"])
def test_what_others_may_write_is_not_run(workflow, unlocked, monkeypatch, refused, name, mode):
    path = workflow / name
    resume(workflow, [])
    unlocked.clear()
    if mode:
        path.chmod(path.stat().st_mode | mode)
    else:
        owned_by_another(path, monkeypatch)
    if mode == 0o020 and os.geteuid():
        monkeypatch.setattr("milmer.runtime.ownership._private_group", lambda _: False)
    word = "belongs to user 4321; use a copy" if mode is None else "may be written by "
    with refused(str(path), word):
        resume(workflow, [])
    assert unlocked == []


def test_a_configuration_elsewhere_counts_too(workflow, unlocked, refused, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other.yaml"
    elsewhere.touch()
    Run("here", 1, str(workflow), [f"--configfile={elsewhere}"], {}).note(workflow)
    elsewhere.parent.chmod(0o777)
    with refused(f"{elsewhere.parent}: may be written by everybody", "chmod go-w"):
        resume(workflow, [], ended=True)
    assert unlocked == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "default/config.yaml"),
        ([], "profiles/default/config.v8+.yaml"),
        (["--snakefile=flow/run.smk"], "flow/profiles/default/config.yaml"),
        (["--snakefile=flow/run.smk"], "flow/rules/more.smk"),
        (["-s", "flow/run.smk", "--workflow-profile", "big"], "flow/profiles/big/config.yaml"),
        (["--workflow-profile", "big"], "profiles/big/config.yaml"),
    ],
)
def test_what_snakemake_finds_by_itself_counts_too(workflow, unlocked, refused, arguments, name):
    path = workflow / name
    path.parent.mkdir(parents=True)
    path.touch()
    (workflow / "flow").mkdir(exist_ok=True)
    (workflow / "flow/run.smk").touch()
    Run("here", 1, str(workflow), arguments, {}).note(workflow)
    resume(workflow, [], ended=True)
    unlocked.clear()
    path.chmod(0o666)
    with refused(f"{path}: may be written by everybody"):
        resume(workflow, [], ended=True)
    assert unlocked == []


def test_what_a_link_in_a_profile_leads_to_counts_with_its_folder(
    workflow, unlocked, refused, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other.yaml"
    elsewhere.touch()
    (workflow / "profile/config.yaml").unlink()
    (workflow / "profile/config.yaml").symlink_to(elsewhere)
    elsewhere.parent.chmod(0o777)
    with refused(f"{elsewhere.parent}: may be written by everybody"):
        resume(workflow, [])
    assert unlocked == []


def test_nobody_is_told_to_close_the_folder_for_temporary_files(
    workflow, unlocked, refused, tmp_path_factory
):
    path = tmp_path_factory.mktemp("tmp") / "mine.yaml"
    path.touch()
    path.parent.chmod(0o1777)
    Run("here", 1, str(workflow), ["--configfile", str(path)], {}).note(workflow)
    with refused("may be written by everybody; move what lies there to a folder of your own"):
        resume(workflow, [], ended=True)
    assert unlocked == []


def test_a_folder_that_is_gone_is_one_line(directory, unlocked, refused):
    Run(socket.gethostname(), 1, str(directory / "gone"), [], {}).note(directory)
    with refused("gone, which is not a folder any more"):
        resume(directory, [])


def test_the_command_is_printed_before_anything_is_run(directory, monkeypatch, capsys):
    arguments = ["--config", "a='b c'; rm -r x", "\x1b[31m"]
    Run(socket.gethostname(), 1, str(directory), arguments, {}).note(directory)
    printed = []

    def run(command, **_):
        printed.append(capsys.readouterr().err)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    _, command = resume(directory, [])
    (line,) = printed
    assert "\x1b" not in line
    words = shlex.split(line.replace("\\x1b", "\x1b"))
    assert words[:4] == ["milmer:", "cd", str(directory), "&&"]
    assert words[4:] == command


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
