"""What `milmer resume` and `milmer status` make of a working directory; no run is needed for it."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
import socket
import subprocess
import sys
import types

import pytest

from milmer.errors import MilmerError
from milmer.plan import resume as resuming
from milmer.plan import snakemake_arguments, snakemake_state
from milmer.plan.resume import Run, last_run, resume
from tests.conftest import owned_by_another


@pytest.fixture
def directory(tmp_path):
    """A directory in which a run of this machine was killed that was started in another."""
    work, start = tmp_path / "work", tmp_path / "start"
    work.mkdir()
    start.mkdir()
    (start / "Snakefile").touch()
    noted(work, folder=str(start), snakefile=str(start / "Snakefile"))
    lock(work)
    return work


def noted(directory, **changes):
    """Note a run of this machine in ``directory``, with ``--cores 2`` and an empty Snakefile."""
    (directory / "Snakefile").touch()
    run = Run(socket.gethostname(), 1, str(directory), ["--cores", "2"], {}, str(directory), "")
    run = dataclasses.replace(run, snakefile=str(directory / "Snakefile"))
    return dataclasses.replace(run, **changes).note(directory)


def called(*words, directory, snakefile=None):
    """The command that resumes a run there with these words."""
    snakefile = snakefile or directory / "Snakefile"
    start = [sys.executable, "-P", "-m", "snakemake", *words]
    return [*start, "--snakefile", str(snakefile), "--directory", str(directory)]


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


def again(command):
    """The command of a run that goes on; an option behind ``--`` would be a target."""
    return [*command[:4], "--rerun-incomplete", *command[4:]]


@pytest.fixture
def unlocked(directory, monkeypatch):
    """Commands that were run to unlock, by a Snakemake that does so in its --directory."""
    seen, real = [], subprocess.run

    def run(command, *, cwd=None, capture_output=False, text=False, check=False, **more):
        if "snakemake" not in command:
            return real(command, cwd=cwd, capture_output=capture_output, text=text, **more)
        assert (capture_output, text, check) == (True, True, False)
        assert command[:4] == [sys.executable, "-P", "-m", "snakemake"]
        assert command[4] == "--unlock"
        assert "--rerun-incomplete" not in command
        seen.append(command)
        place = pathlib.Path(cwd, command[command.index("--directory") + 1])
        for file in (place / ".snakemake/locks").glob("*.lock"):
            file.unlink()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(resuming.subprocess, "run", run)
    return seen


def test_it_goes_on_from_its_folder_with_the_same_arguments(directory, unlocked):
    folder, command = resume(directory, ["--keep-going"])
    assert folder == str(directory.parent / "start")
    start = directory.parent / "start/Snakefile"
    same = called("--cores", "2", "--keep-going", directory=directory, snakefile=start)
    assert command == again(same)
    assert unlocked == [[*same[:4], "--unlock", *same[4:]]]
    assert not snakemake_state.locked(directory)


@pytest.mark.parametrize("said", [("", "  another run\n"), ("another\n  run\n", "")])
def test_what_cannot_be_unlocked_is_not_run(directory, monkeypatch, said):
    def run(command, **_):
        return subprocess.CompletedProcess(command, 1, *said)

    monkeypatch.setattr(resuming.subprocess, "run", run)
    with pytest.raises(MilmerError) as caught:
        resume(directory, [])
    assert str(caught.value) == f"{directory}: cannot be unlocked: another run"


def test_a_run_notes_how_it_was_called_and_what_for(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/old").touch()
    words = "-d work --cores 3 -R segments --configfile mine.yaml --config a=1 -t results/x"
    monkeypatch.setattr(sys, "argv", ["/bin/snakemake", *words.split()])
    monkeypatch.chdir(tmp_path)
    config = {"dataset": {"root": tmp_path}}
    run = Run.begun(workflow_of(tmp_path, ["results/old", "results/new"]), config)
    path = run.note(tmp_path)
    assert (path, os.listdir(tmp_path / ".snakemake")) == (
        tmp_path / ".snakemake/milmer.json",
        ["milmer.json"],
    )
    assert last_run(tmp_path) == Run(
        host=socket.gethostname(),
        pid=os.getpid(),
        folder="/start",
        arguments=["--cores", "3", "results/x"],
        config={"dataset": {"root": str(tmp_path)}},
        directory=str(tmp_path),
        snakefile="/checkout/Snakefile",
        configfiles=["/start/mine.yaml"],
        values=["a=1"],
        forced=["results/old"],
        code={"segments": {"milmer.eeg": "12", "milmer.storage": "ab"}, "split": {"milmer": "9"}},
    )
    monkeypatch.setattr(sys, "argv", ["/bin/snakemake", "--cores", "3", "results/x"])
    run = Run.begun(workflow_of(tmp_path, ["results/old"]), {"subjects": ["s" * 99] * 30_000})
    run.note(tmp_path)
    assert last_run(tmp_path).arguments == ["--cores", "3", "results/x"]
    assert last_run(tmp_path).forced == []
    assert len(last_run(tmp_path).config["subjects"]) == 30_000  # 3 MB


def workflow_of(folder, outputs):
    """What a run notes of Snakemake's own object, with jobs that make these outputs."""
    of = types.SimpleNamespace
    rules = [
        of(
            params={"code": "milmer.eeg:12 milmer.storage:ab"},
            shellcmd="milmer --log {log} segments {output}",
        ),
        of(params={"code": "milmer:9"}, shellcmd="milmer --log {log} split"),
        of(params={}, shellcmd=None),
    ]
    return of(
        workdir_init="/start",
        main_snakefile="/checkout/Snakefile",
        config_settings=of(
            configfiles=[pathlib.Path("/start/mine.yaml")], replace_workflow_config=False
        ),
        dag=of(needrun_jobs=lambda: [of(output=[output]) for output in outputs]),
        rules=rules,
    )


def test_a_run_goes_on_from_anywhere_with_its_configuration(directory, unlocked, tmp_path, capsys):
    mine = tmp_path / "start/mine.yaml"
    mine.touch()
    values = ["a=1", "dataset={root: x}"]
    options = {"configfiles": [str(mine)], "values": values, "arguments": ["-k", "--", "results/x"]}
    noted(directory, folder=str(tmp_path / "gone"), **options)
    folder, command = resume(directory, ["--config", "a=2", "--cores", "1"])
    assert folder == str(directory)
    expected = called("-k", "--cores", "1", directory=directory)
    expected += ["--configfile", str(mine), "--config", *values, "a=2", "--", "results/x"]
    assert command == again(expected)


def test_a_configuration_that_is_gone_is_the_noted_one(directory, unlocked, tmp_path, capsys):
    config = {"dataset": {"root": "deap"}, "experiments": {"é": {}}}
    noted(directory, config=config, configfiles=["/gone.yaml"], values=["a=1"])
    _, command = resume(directory, ["--configfile", "more.yaml", "--config", "b=1"])
    kept = directory / ".snakemake/milmer-config.json"
    expected = called("--cores", "2", directory=directory)
    expected += ["--configfile", str(kept), "more.yaml", "--replace-workflow-config"]
    assert command == again([*expected, "--config", "b=1"])
    assert json.loads(kept.read_text()) == config
    said = "milmer: /gone.yaml is gone; the configuration that the run had is used"
    assert capsys.readouterr().err.splitlines()[0] == said


def test_a_directory_that_moved_takes_its_files_along(directory, unlocked, tmp_path):
    mine = directory / "mine.yaml"
    mine.touch()
    noted(directory, configfiles=[str(mine)])
    moved = directory.rename(tmp_path / "moved")
    folder, command = resume(moved, [])
    assert folder == str(moved)
    expected = called("--cores", "2", directory=moved)
    assert command == again([*expected, "--configfile", f"{moved}/mine.yaml"])


def test_what_was_forced_is_made_again_where_it_was_not(directory, unlocked):
    (directory / "results").mkdir()
    for name in ("done", "left"):
        (directory / f"results/{name}").touch()
    os.utime(directory / "results/left", (1, 1))
    noted(directory, forced=["results/done", "results/left", "results/gone"])
    os.utime(directory / "results/done")
    resume(directory, [])
    assert snakemake_state.incomplete(directory) == {"results/left": None}


def test_a_snakefile_that_is_gone_is_one_line(directory, unlocked, refused):
    noted(directory, snakefile="/gone/Snakefile")
    with refused("/gone/Snakefile: is not there any more; start a run with snakemake"):
        resume(directory, [])


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


X = (None, "x")
DIRECTORIES = [("directory", "--directory=b"), ("directory", "-dc")]
NOTE = {"host": "here", "pid": 1, "folder": "/tmp", "arguments": [], "config": {}}
NOTE |= {"directory": "/tmp", "snakefile": "/tmp/Snakefile"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arguments": "--cores 2"}, "paths and arguments are not all text"),
        ({"arguments": ["--cores", 2]}, "paths and arguments are not all text"),
        ({"host": ["here"]}, "paths and arguments are not all text"),
        ({"folder": {"a": 1}}, "paths and arguments are not all text"),
        ({"arguments": None}, "'NoneType' object is not iterable"),
        ({"snakefile": 1}, "paths and arguments are not all text"),
        ({"forced": [1]}, "paths and arguments are not all text"),
        ({"values": "a=1"}, "paths and arguments are not all text"),
        ({"alone": 1}, "the process is not a number, or the configuration no mapping"),
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
    arguments = ["--cores", "2", "--workflow-profile=profile"]
    noted(directory, arguments=arguments, configfiles=[str(directory / "mine.yaml")])
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
    noted(workflow, configfiles=[str(elsewhere)])
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
    snakefile = arguments[0][-len("flow/run.smk") :] if name.startswith("flow/rules") else ""
    noted(
        workflow,
        arguments=arguments,
        **({"snakefile": f"{workflow}/{snakefile}"} if snakefile else {}),
    )
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
    noted(workflow, configfiles=[str(path)])
    with refused("may be written by everybody; move what lies there to a folder of your own"):
        resume(workflow, [], ended=True)
    assert unlocked == []


def test_the_command_is_printed_before_anything_is_run(directory, monkeypatch, capsys):
    start = directory.parent / "start"
    noted(directory, folder=str(start), values=["a='b c'; rm -r x", "\x1b[31m"])
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
    noted(directory, host="elsewhere")
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
    with refused(f"{directory}: {problem}", "try again where squeue answers", "with --ended"):
        resume(directory, [])
    assert snakemake_state.locked(directory)


def test_a_queue_that_hangs_is_not_an_empty_one(directory, squeue, refused, monkeypatch):
    begun(directory, "results/a", "12")
    squeue({"12": "RUNNING"})
    (directory / "bin/squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(snakemake_state, "_SECONDS", 0.2)
    with refused("SLURM does not say whether jobs of the last run are done (no answer in 0 s)"):
        resume(directory, [])


def test_where_slurm_is_missing_its_jobs_may_be_at_work(directory, monkeypatch, refused):
    monkeypatch.setenv("PATH", str(directory))
    assert snakemake_state.cluster_jobs(directory) == []  # none was sent
    begun(directory, "results/a", "12")
    with refused("SLURM does not say whether jobs of the last run are done (there is no squeue)"):
        resume(directory, [])


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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-nF -j4", [("dryrun", "-n"), ("forceall", "-F"), ("jobs", "-j4")]),
        ("--dir a --directory=b -dc", [("directory", "--dir a"), *DIRECTORIES]),
        ("--configfile a b -k x", [("configfile", "--configfile a b"), ("keep_going", "-k"), X]),
        ("-C a=1 b=2 --cores 2 x", [("config", "-C a=1 b=2"), ("cores", "--cores 2"), X]),
        ("-R a b -- -n x", [("forcerun", "-R a b"), (None, "-- -n x")]),
        ("--cores -n x", [("cores", "--cores"), ("dryrun", "-n"), X]),
        ("--no-such x", [(None, "--no-such"), X]),
    ],
)
def test_options_are_told_in_any_spelling(line, words):
    found = snakemake_arguments.options(line.split())
    assert [(name, " ".join(own)) for name, own in found] == words
    assert [word for _, own in found for word in own] == line.replace("-nF", "-n -F").split()


def test_values_of_an_option_are_all_of_it_wherever_it_stands():
    words = ["--config", "a=1", "b={c: 2}", "-k", "--config=d=3", "-Ce=4", "--configfile", "x"]
    assert snakemake_arguments.values(words, "config") == ["a=1", "b={c: 2}", "d=3", "e=4"]
    assert snakemake_arguments.without(words, {"config"}) == ["-k", "--configfile", "x"]


@pytest.mark.parametrize("word", ["-n", "--list-rules", "--lint", "--dag", "--summary", "--report"])
def test_what_only_shows_may_be_called_beside_a_run(directory, monkeypatch, refused, word):
    with working(directory, "snakemake", "--cores", "2") as process:
        monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "2", word])
        resuming.require_no_other(directory)
        monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "2"])
        with refused(f"{directory}: a run is going on here (process {process.pid})"):
            resuming.require_no_other(directory)
        (directory / ".snakemake/locks/0.output.lock").unlink()
        resuming.require_no_other(directory)  # that one runs no jobs
