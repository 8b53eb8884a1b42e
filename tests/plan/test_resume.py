"""What `milmer resume` and `milmer status` make of a working directory; no run is needed for it."""

import base64
import contextlib
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys

import pytest

from milmer.errors import MilmerError
from milmer.plan import resume as resuming
from milmer.plan import snakemake_state
from milmer.plan.resume import Run, last_run, resume
from tests.conftest import owned_by_another


@pytest.fixture
def directory(tmp_path):
    """A directory in which a run of this machine was killed that was started in another."""
    work, start = tmp_path / "work", tmp_path / "start"
    work.mkdir()
    start.mkdir()
    Run(socket.gethostname(), 1, str(start), ["--cores", "2"], {}).note(work)
    lock(work)
    return work


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
def unlocked(directory, monkeypatch):
    """Commands that were run to unlock, by a Snakemake that does so from the run's folder alone."""
    seen = []

    def run(command, *, cwd, capture_output, text, check):
        assert (capture_output, text, check) == (True, True, False)
        assert command[:4] == [sys.executable, "-P", "-m", "snakemake"]
        assert command[-1] == "--unlock"
        assert "--rerun-incomplete" not in command
        if cwd != last_run(directory).folder:
            return subprocess.CompletedProcess(command, 1, "", f"no Snakefile in {cwd}\n")
        seen.append(command)
        for file in (directory / ".snakemake/locks").glob("*.lock"):
            file.unlink()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    return seen


def test_it_goes_on_from_its_folder_with_the_same_arguments(directory, unlocked):
    folder, command = resume(directory, ["--keep-going"])
    assert folder == str(directory.parent / "start")
    same = [sys.executable, "-P", "-m", "snakemake", "--cores", "2", "--keep-going"]
    assert command == [*same, "--rerun-incomplete"]
    assert unlocked == [[*same, "--unlock"]]
    assert not snakemake_state.locked(directory)


def test_what_cannot_be_unlocked_is_not_run(directory, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "  another run\n")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    with pytest.raises(MilmerError) as caught:
        resume(directory, [])
    assert str(caught.value) == f"{directory}: cannot be unlocked: another run"


def test_a_run_notes_how_it_was_called(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/snakemake", "--cores", "3"])
    Run.begun(tmp_path / "start", {"dataset": {"root": tmp_path}}).note(tmp_path)
    config = {"dataset": {"root": str(tmp_path)}}
    expected = (socket.gethostname(), os.getpid(), str(tmp_path / "start"), ["--cores", "3"])
    assert last_run(tmp_path) == Run(*expected, config)
    assert os.listdir(tmp_path / ".snakemake") == ["milmer.json"]
    Run(*expected, config | {"subjects": ["s" * 99] * 30_000}).note(tmp_path)  # 3 MB
    assert len(last_run(tmp_path).config["subjects"]) == 30_000


def test_what_is_not_locked_is_not_unlocked(directory, unlocked):
    (directory / ".snakemake/locks/0.output.lock").unlink()
    resume(directory, [])
    assert unlocked == []


def test_a_directory_without_a_run_is_one_line(tmp_path, refused):
    with refused(f"{tmp_path}: no run was started here; start one with snakemake"):
        last_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"host": 1}'])
def test_a_note_that_is_none_is_one_line(tmp_path, refused, text):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/milmer.json").write_text(text)
    with refused("milmer.json: cannot be read (", "; start a run with snakemake"):
        last_run(tmp_path)


NOTE = {"host": "here", "pid": 1, "folder": "/tmp", "arguments": [], "config": {}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arguments": "--cores 2"}, "host, folder and arguments are not all text"),
        ({"arguments": ["--cores", 2]}, "host, folder and arguments are not all text"),
        ({"host": ["here"]}, "host, folder and arguments are not all text"),
        ({"folder": {"a": 1}}, "host, folder and arguments are not all text"),
        ({"arguments": None}, "Value after * must be an iterable"),
        ({"arguments": ["a\0b"]}, "holds the character NUL"),
        ({"folder": "\0"}, "holds the character NUL"),
        ({"arguments": ["\ud800"]}, "surrogates not allowed"),
        ({"pid": "1"}, "the process is not a number, or the configuration no mapping"),
        ({"pid": True}, "the process is not a number, or the configuration no mapping"),
        ({"config": []}, "the process is not a number, or the configuration no mapping"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
        ({"config": {"a": "x" * (1 << 22)}}, "more than 4,194,304 bytes"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_note_of_other_kinds_is_one_line(tmp_path, refused, changes, problem):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake/milmer.json").write_text(json.dumps(NOTE | changes))
    with refused("milmer.json: cannot be read (", problem):
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
    for name in ("rules", "profile", "milmer/cli/__pycache__", "workflow/envs"):
        (directory / name).mkdir(parents=True)
    for name in FILES:
        (directory / name).touch()
    return directory


FILES = ["Snakefile", "config.yaml", "rules/data.smk", "mine.yaml", "profile/config.yaml"]
FILES += ["milmer/__init__.py", "milmer/cli/app.py", "workflow/envs/milmer.def"]
FOLDERS = [".", "rules", "profile", ".snakemake", "milmer", "milmer/cli/__pycache__", "workflow"]


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
        (["-sflow/run.smk"], "flow/rules/more.smk"),
        ([], "snakefile"),
        ([], "workflow/Snakefile"),
        ([], "workflow/snakefile"),
        ([], "workflow/rules/more.smk"),
        (["-s", "flow/run.smk", "--workflow-profile", "big"], "flow/profiles/big/config.yaml"),
        (["--workflow-profile", "big"], "profiles/big/config.yaml"),
    ],
)
def test_what_snakemake_finds_by_itself_counts_too(workflow, unlocked, refused, arguments, name):
    path = workflow / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if name == "workflow/rules/more.smk":
        (workflow / "workflow/Snakefile").touch()
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
    with refused(
        f"{directory}: the last run was started in {directory}/gone, which is not a folder any more"
    ):
        resume(directory, [])


def test_the_command_is_printed_before_anything_is_run(directory, monkeypatch, capsys):
    arguments = ["--config", "a='b c'; rm -r x", "\x1b[31m"]
    start = directory.parent / "start"
    Run(socket.gethostname(), 1, str(start), arguments, {}).note(directory)
    printed = []

    def run(command, **_):
        printed.append(capsys.readouterr().err)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    _, command = resume(directory, [])
    (line,) = printed
    assert "\x1b" not in line
    words = shlex.split(line.replace("\\x1b", "\x1b"))
    assert words[:4] == ["milmer:", "cd", str(directory.parent / "start"), "&&"]
    assert words[4:] == command


def test_a_run_of_another_machine_is_left_alone_until_the_user_knows_better(directory, unlocked):
    Run("elsewhere", 1, str(directory), ["--cores", "2"], {}).note(directory)
    with pytest.raises(MilmerError, match="was started on elsewhere; resume it there, or, if you"):
        resume(directory, [])
    assert unlocked == []
    resume(directory, [], ended=True)
    assert len(unlocked) == 1


@pytest.mark.parametrize("words", [["snakemake", "--cores", "2"], ["-m", "/bin/snakemake"]])
def test_a_run_that_goes_on_is_left_alone(directory, unlocked, refused, words):
    with working(directory, *words) as process:
        problem = f"{directory}: a run is going on here (process {process.pid}); wait for it, or"
        with refused(problem, f"kill -INT {process.pid}"):
            resume(directory, [])
        assert unlocked == []
        link = directory.parent / "link"
        link.symlink_to(directory)
        assert resuming.running(directory) == resuming.running(link) == process.pid
        assert resuming.running(directory.parent) is None
        assert process.poll() is None


def test_jobs_that_outlived_their_run_are_told_to_end_first_and_nothing_else_is(
    directory, unlocked
):
    jobs = ("milmer", "--log", "a.log", "train"), ("/bin/milmer", "tokens", "--log", "b.log")
    others = ("milmer", "status"), ("python", "--log", "a"), ("snakemake", "--mode", "subprocess")
    with contextlib.ExitStack() as stack:
        ended = [stack.enter_context(working(directory, *words)) for words in jobs]
        spared = [stack.enter_context(working(directory, *words)) for words in others]
        spared.append(stack.enter_context(working(directory.parent, *jobs[0])))
        resume(directory, [])
        assert [process.stdout.read() for process in ended] == ["asked to end\n"] * 2
        assert [process.poll() for process in spared] == [None] * 4
    assert len(unlocked) == 1


def test_who_resumes_in_a_directory_does_not_end_itself(directory, monkeypatch):
    monkeypatch.chdir(directory)
    assert resuming._processes(directory) == []


def test_a_job_that_does_not_end_is_one_line(directory, unlocked, refused, monkeypatch):
    monkeypatch.setattr(resuming, "_PATIENCE", 0.1)
    with working(directory, "milmer", "--log", "a.log", stubborn=True) as process:
        problem = f"{directory}: process {process.pid} of the last run does not end; end it with: "
        with refused(problem, f"kill -9 {process.pid}"):
            resume(directory, [])
        assert process.poll() is None
    assert unlocked == []


@pytest.fixture
def squeue(directory, monkeypatch):
    """``squeue({"12": "RUNNING"})``: SLURM's queue; who asks otherwise gets no such answer."""

    def install(jobs, status=0):
        program = directory / "bin/squeue"
        program.parent.mkdir(exist_ok=True)
        program.write_text(SQUEUE.format(python=sys.executable, jobs=jobs, status=status))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


SQUEUE = """#!{python}
import sys
if {status}:
    sys.exit("Unable to contact slurm controller")
options = dict(word.partition("=")[::2] for word in sys.argv[1:])
lines = [] if "--noheader" in options else ["JOBID STATE"]
states = options.pop("--states", "PENDING,RUNNING,COMPLETING").upper()
form = options.pop("--format", "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R")
for job, state in {jobs}.items():
    if states == "ALL" or state in states.split(","):
        lines.append(form.replace("%A", job).replace("%T", state))
print(*lines, sep="\\n")
"""
ALIVE = ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "CONFIGURING", "STOPPED"]
DEAD = ["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"]
DEAD += ["BOOT_FAIL", "DEADLINE", "REVOKED"]


def test_jobs_of_slurm_that_are_not_done_are_waited_for(directory, squeue, refused):
    for number, state in enumerate([*ALIVE, *DEAD], 10):
        begun(directory, f"results/{state}", str(number))
    begun(directory, "results/again", "10")
    begun(directory, "results/forgotten", "7")
    begun(directory, "results/here")
    squeue({str(n): state for n, state in enumerate([*ALIVE, *DEAD], 10)} | {"3": "RUNNING"})
    with refused(
        f"{directory}: SLURM jobs of the last run are not done yet; wait for them, or end them "
        "with: scancel 10 11 12 13 14 15 16",
    ):
        resume(directory, [])
    assert snakemake_state.locked(directory)


def test_jobs_of_slurm_that_are_done_are_no_hindrance(directory, squeue, request):
    for number, state in enumerate(DEAD, 10):
        begun(directory, f"results/{state}", str(number))
    squeue({str(n): state for n, state in enumerate(DEAD, 10)} | {"3": "RUNNING"})
    assert snakemake_state.cluster_jobs(directory) == []
    request.getfixturevalue("unlocked")
    (directory / ".snakemake/incomplete").rename(directory / "elsewhere")
    assert resume(directory, [])


def test_a_queue_that_does_not_answer_is_not_an_empty_one(directory, squeue, refused):
    begun(directory, "results/a", "12")
    squeue({"12": "RUNNING"}, status=1)
    problem = "SLURM does not say whether jobs of the last run are done (Unable to contact slurm"
    with refused(f"{directory}: {problem}", "try again when squeue answers"):
        resume(directory, [])
    assert snakemake_state.locked(directory)


def test_without_slurm_there_are_no_jobs_of_it(directory, monkeypatch):
    begun(directory, "results/a", "12")
    monkeypatch.setenv("PATH", str(directory))
    assert snakemake_state.cluster_jobs(directory) == []


def test_names_of_outputs_are_read_however_long_they_are(tmp_path, monkeypatch):
    long = "results/" + "/".join(["a-name-of-some-length"] * 20)
    begun(tmp_path, "results/a")
    begun(tmp_path, long, "5")
    (tmp_path / ".snakemake/incomplete/no name").write_text("")
    assert snakemake_state.incomplete(tmp_path) == {"results/a": None, long: "5"}
    (tmp_path / ".snakemake/incomplete/Yg==").write_text("{")  # of b, just being written
    (tmp_path / ".snakemake/incomplete/Yw==").write_text("")
    assert snakemake_state.incomplete(tmp_path) == {"results/a": None, long: "5", "c": None}
    plain = pathlib.Path.read_text

    def read_text(path):  # the job ended meanwhile
        if path.name == "Yw==":
            path.unlink()
        return plain(path)

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    assert snakemake_state.incomplete(tmp_path) == {"results/a": None, long: "5"}


@contextlib.contextmanager
def working(directory, *words, stubborn=False):
    """A process in a directory, with these words in its command line."""
    end = "signal.SIG_IGN" if stubborn else "lambda *_: sys.exit(print('asked to end'))"
    code = f"import signal, sys, time; signal.signal(signal.SIGTERM, {end}); "
    code += "print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.stdout.readline()  # it is what it was started as
            yield process
        finally:
            process.kill()
