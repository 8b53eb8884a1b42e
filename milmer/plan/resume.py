"""Going on with a run that was cut short, however that happened.

A run notes in Snakemake's folder how it was started, and what for. A killed one leaves Snakemake's
lock behind, which may be removed only if nothing works in the directory any more: Snakemake cannot
tell, and asks the user. Here the processes of this machine are looked at, and SLURM's queue.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError
from milmer.plain_text import escaped
from milmer.plan import snakemake_arguments, snakemake_state
from milmer.runtime.ownership import require_ours

_PATIENCE = 120.0  # seconds for a job that is told to end to save its state
_MOST_BYTES = 1 << 22  # of a note: the configuration stands in it, with lists of subjects
_SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
_BESIDE = (
    *("*.yaml", "rules", "rules/*.smk"),  # what a Snakefile or a profile includes
    *("milmer", "milmer/**/*.py", "milmer/**/__pycache__", "workflow", "workflow/**/*.*"),
)


# Options of a run that a note holds as paths and values of their own, and those that were for once.
_NOTED = {"snakefile", "directory", "configfile", "config", "replace_workflow_config"}
_FORCING = {"force", "forceall", "forcerun"}
_ONCE = {*_FORCING, "touch", "rerun_incomplete", "unlock"}


@dataclass(frozen=True)
class Run:
    """How a run was started: on which machine, from which folder, and with what.

    ``arguments`` are Snakemake's without what the other fields hold; ``config`` is the merged
    configuration, ``code`` are the hashes of the modules of each command of Milmer that it runs,
    and ``forced`` the outputs that were there and are made again because the run was told so.
    """

    host: str
    pid: int
    folder: str
    arguments: list[str]
    config: dict[str, Any]
    directory: str
    snakefile: str
    configfiles: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    alone: bool = False
    forced: list[str] = field(default_factory=list)
    code: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def begun(cls, workflow: Any, config: Mapping[str, Any]) -> "Run":
        """This very process, Snakemake, as it was called."""
        called = sys.argv[1:]
        forcing = any(name in _FORCING for name, _ in snakemake_arguments.options(called))
        jobs = workflow.dag.needrun_jobs() if forcing else ()
        return cls(
            socket.gethostname(),
            os.getpid(),
            str(workflow.workdir_init),
            snakemake_arguments.without(called, _NOTED | _ONCE),
            dict(config),
            directory=os.getcwd(),
            snakefile=os.path.abspath(workflow.main_snakefile),
            configfiles=[str(path) for path in workflow.config_settings.configfiles],
            values=snakemake_arguments.values(called, "config"),
            alone=workflow.config_settings.replace_workflow_config,
            forced=sorted(str(f) for job in jobs for f in job.output if os.path.exists(f)),
            code=dict(filter(None, map(_code, workflow.rules))),
        )

    def note(self, directory: Path) -> Path:
        """Note it in the working directory; the file."""
        path = _path(directory)
        note = json.dumps(asdict(self), indent=1, default=str)
        snakemake_state.write_whole(path, note)
        return path


def _code(rule: Any) -> tuple[str, dict[str, str]] | None:
    """The command of Milmer that a rule runs and the hashes of its modules, from its params."""
    code, command = rule.params.get("code"), str(rule.shellcmd).partition(" {log} ")[2].split()
    modules = (entry.split(":") for entry in code.split()) if code and command else ()
    return (command[0], dict(modules)) if code and command else None


def last_run(directory: Path) -> Run:
    """The run that was last started in a working directory."""
    path = _path(directory)
    try:
        return _checked(path)
    except FileNotFoundError as error:
        raise MilmerError(
            "no run was started here",
            where=directory.absolute(),
            remedy="start one with snakemake, or give --directory",
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise MilmerError(
            f"cannot be read ({error})", where=path, remedy="start a run with snakemake"
        ) from error


def _checked(path: Path) -> Run:
    """The run of a note; raises ValueError or TypeError where :meth:`Run.note` did not write it.

    Whoever can write the folder can write it, so nothing is taken to be of the right kind.
    """
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes")
    note = json.loads(content)
    run = Run(**note if isinstance(note, dict) else {})
    lists = [run.arguments, run.configfiles, run.values, run.forced]
    texts = [run.host, run.folder, run.directory, run.snakefile, *(t for a in lists for t in a)]
    if not all(isinstance(a, list) for a in lists) or not all(isinstance(t, str) for t in texts):
        raise ValueError("paths and arguments are not all text")
    if type(run.pid) is not int or type(run.alone) is not bool or not isinstance(run.config, dict):
        raise ValueError("the process is not a number, or the configuration no mapping")
    if any(b"\0" in os.fsencode(text) for text in texts):
        raise ValueError("holds the character NUL")
    return run


def resume(directory: Path, more: Sequence[str], ended: bool = False) -> tuple[str, list[str]]:
    """Clear the way for the last run to go on; the folder and the command that then do.

    Ends jobs that outlived their Snakemake; they save their state. Removes Snakemake's lock.
    ``more`` are arguments for Snakemake on top of the run's own; ``ended`` is the user's word that
    a run of another machine has ended, with its SLURM jobs. What the run was told to make again is
    made again where it has not been. Prints the command before anything is run. Raises
    :class:`MilmerError` while a run is going on, and where the note, the Snakefile or a
    configuration is another user's or may be written by others.
    """
    directory = directory.absolute()
    run = _moved(last_run(directory), directory)
    if not Path(run.snakefile).is_file():
        raise MilmerError(
            "is not there any more",
            where=run.snakefile,
            remedy="start a run with snakemake --snakefile",
        )
    for path in _trusted(directory, run, more):
        require_ours(path)
    _require_idle(directory)
    locked = snakemake_state.locked(directory)
    if locked and run.host != socket.gethostname() and not ended:
        raise MilmerError(
            f"the last run was started on {run.host}",
            where=directory,
            remedy="resume it there, or, if you know that it no longer runs, here with --ended",
        )
    if not ended and (alive := snakemake_state.cluster_jobs(directory)):
        raise MilmerError(
            "SLURM jobs of the last run are not done yet",
            where=directory,
            remedy=f"wait for them, or end them with: scancel {' '.join(alive)}",
        )
    _end_leftovers(directory)
    folder = run.folder if Path(run.folder).is_dir() else str(directory)
    snakemake, arguments = (
        [sys.executable, "-P", "-m", "snakemake"],
        _arguments(run, directory, more),
    )
    command = [*snakemake, "--rerun-incomplete", *arguments]  # what follows -- is a target
    line = f"milmer: cd {shlex.quote(folder)} && {shlex.join(command)}"
    print(escaped(line), file=sys.stderr, flush=True)
    if locked:
        done = subprocess.run(
            [*snakemake, "--unlock", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = " ".join((done.stderr.strip() or done.stdout.strip()).split())
            raise MilmerError(f"cannot be unlocked: {escaped(reason)}", where=directory)
    noted = _path(directory).stat().st_mtime_ns
    for output in run.forced:
        with suppress(FileNotFoundError):  # it is missing, which is enough
            if (directory / output).stat().st_mtime_ns < noted:
                snakemake_state.mark_incomplete(directory, output)
    return folder, command


def require_no_other(directory: Path) -> None:
    """Refuse to run jobs in a directory in which a run is going on.

    Snakemake would tell of its lock later, and of incomplete files before that.
    """
    if snakemake_state.locked(directory) and snakemake_arguments.runs_jobs(sys.argv[1:]):
        _require_idle(directory)


def _require_idle(directory: Path) -> None:
    if (pid := running(directory)) is not None:
        raise MilmerError(
            f"a run is going on here (process {pid})",
            where=directory.absolute(),
            remedy=f"wait for it, or end it with: kill -INT {pid}",
        )


def _moved(run: Run, directory: Path) -> Run:
    """The run with paths below its working directory where that is now."""

    def now(path: str) -> str:
        below = Path(path).is_relative_to(run.directory)
        return str(directory / Path(path).relative_to(run.directory)) if below else path

    return replace(
        run,
        folder=now(run.folder),
        snakefile=now(run.snakefile),
        configfiles=[now(path) for path in run.configfiles],
    )


def _arguments(run: Run, directory: Path, more: Sequence[str]) -> list[str]:
    """The run's arguments for Snakemake with ``more`` on top, from any folder."""
    files, values, alone = run.configfiles, run.values, run.alone
    if missing := [path for path in files if not os.path.isfile(path)]:
        print(
            escaped(f"milmer: {missing[0]} is gone; the configuration that the run had is used"),
            file=sys.stderr,
        )
        kept = snakemake_state.own_file(directory, "milmer-config.json")
        snakemake_state.write_whole(kept, json.dumps(run.config))
        files, values, alone = [str(kept)], [], True
    files = [*files, *snakemake_arguments.values(more, "configfile")]
    values = [*values, *snakemake_arguments.values(more, "config")]
    on_top = {"configfile", "config"}
    words = snakemake_arguments.without(run.arguments, on_top)
    targets = words.index("--") if "--" in words else len(words)
    return [
        *words[:targets],
        *snakemake_arguments.without(more, on_top),
        *("--snakefile", run.snakefile, "--directory", str(directory)),
        *(["--configfile", *files] if files else []),
        *(["--replace-workflow-config"] if alone else []),
        *(["--config", *values] if values else []),
        *words[targets:],
    ]


def _trusted(directory: Path, run: Run, more: Sequence[str]) -> list[Path]:
    """What decides which commands are run: the note, the Snakefile and the code beside it,
    configurations, profiles.

    Each with its folder, in which whoever may write it can put another. All that an argument names
    counts, so that no spelling of an option is missed; so do profiles that Snakemake finds unasked.
    """
    start, own = Path(run.folder), [run.snakefile, *run.configfiles]
    words = [*own, *(word for a in (*run.arguments, *more) for word in _words(a))]
    snakefiles = [start / name for name in (*_SNAKEFILES, *words)]
    bases = dict.fromkeys([start, *(path.parent for path in snakefiles if os.path.isfile(path))])
    profiles = [base / "profiles" / name for base in bases for name in ("default", *words)]
    unasked = [start / name for name in ("config.yaml", "default")]
    files: list[Path] = []
    for path in filter(_exists, [directory, _path(directory), *unasked, *snakefiles, *profiles]):
        folder = path if path.is_dir() else path.parent
        includes = path == folder or path.name in _SNAKEFILES or path.suffix == ".smk"
        beside = [p for pattern in _BESIDE for p in folder.glob(pattern) if includes and _exists(p)]
        for file in (path, folder, *beside):
            files += [file] if file.is_dir() else [file, file.parent, file.resolve().parent]
    return list(dict.fromkeys(files))


def _words(argument: str) -> Iterator[str]:
    """What of an argument may be a path: all of it, and what follows ``=`` or a letter's option."""
    yield argument
    yield argument.partition("=")[2] or argument
    if argument.startswith("-") and not argument.startswith("--"):
        yield argument[2:] or argument


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a name: no path
        return False


def running(directory: Path) -> int | None:
    """The process of a Snakemake that works in ``directory`` on this machine, if any."""
    for process, words in _processes(directory):
        if "snakemake" in map(os.path.basename, words) and "--mode" not in words:
            return process.pid
    return None


def _end_leftovers(directory: Path) -> None:
    """End the stages that still work in ``directory`` although their Snakemake is dead."""
    import psutil

    left = [
        process
        for process, words in _processes(directory)
        if "milmer" in map(os.path.basename, words) and "--log" in words
    ]
    for process in left:
        process.terminate()
    _, alive = psutil.wait_procs(left, _PATIENCE)
    if alive:
        raise MilmerError(
            f"process {alive[0].pid} of the last run does not end",
            where=directory.absolute(),
            remedy=f"end it with: kill -9 {alive[0].pid}",
        )


def _processes(directory: Path) -> list[tuple[Any, list[str]]]:
    """Other processes that work in ``directory``, with the words of their command lines."""
    import psutil

    this_command = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    processes = []
    for process in psutil.process_iter():
        try:
            if process.pid not in this_command and process.cwd() == str(directory.resolve()):
                processes.append((process, process.cmdline()))
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    return processes


def _path(directory: Path) -> Path:
    return snakemake_state.own_file(directory, "milmer.json")
