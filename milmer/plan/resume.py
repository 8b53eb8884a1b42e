"""Going on with a run that was cut short, however that happened.

A run notes in Snakemake's folder how it was started. A killed one leaves Snakemake's lock behind,
which may be removed only if nothing works in the directory any more: Snakemake cannot tell, and
asks the user. Here the processes of this machine are looked at, and SLURM's queue.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError
from milmer.plain_text import escaped
from milmer.plan import snakemake_state
from milmer.runtime.ownership import require_ours

_PATIENCE = 120.0  # seconds for a job that is told to end to save its state
_MOST_BYTES = 1 << 22  # of a note: the configuration stands in it, with lists of subjects
_SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
_BESIDE = (
    *("*.yaml", "rules", "rules/*.smk"),  # what a Snakefile or a profile includes
    *("milmer", "milmer/**/*.py", "milmer/**/__pycache__", "workflow", "workflow/**/*.*"),
)


@dataclass(frozen=True)
class Run:
    """How a run was started: on which machine, from which folder, and with what."""

    host: str
    pid: int
    folder: str
    arguments: list[str]
    config: dict[str, Any]

    @classmethod
    def begun(cls, folder: str | Path, config: Mapping[str, Any]) -> "Run":
        """This very process, Snakemake, as it was called from ``folder``."""
        return cls(socket.gethostname(), os.getpid(), str(folder), sys.argv[1:], dict(config))

    def note(self, directory: Path) -> None:
        """Note it in the working directory."""
        path = _path(directory)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1, default=str), encoding="utf-8")
        os.replace(partial, path)


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
    texts = [run.host, run.folder, *run.arguments]
    if not isinstance(run.arguments, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("host, folder and arguments are not all text")
    if type(run.pid) is not int or not isinstance(run.config, dict):
        raise ValueError("the process is not a number, or the configuration no mapping")
    if any(b"\0" in os.fsencode(text) for text in texts):
        raise ValueError("holds the character NUL")
    return run


def resume(directory: Path, more: Sequence[str], ended: bool = False) -> tuple[str, list[str]]:
    """Clear the way for the last run to go on; the folder and the command that then do.

    Ends jobs that outlived their Snakemake; they save their state. Removes Snakemake's lock.
    ``more`` are arguments for Snakemake on top of the run's own; ``ended`` is the user's word that
    a run of another machine has ended. Prints the command before anything is run. Raises
    :class:`MilmerError` while a run is going on, and where the note, the Snakefile or a
    configuration is another user's or may be written by others.
    """
    run = last_run(directory)
    if not Path(run.folder).is_dir():
        raise MilmerError(
            f"the last run was started in {run.folder}, which is not a folder any more",
            where=directory.absolute(),
            remedy="start one with snakemake",
        )
    for path in _trusted(directory, run):
        require_ours(path)
    if (pid := running(directory)) is not None:
        raise MilmerError(
            f"a run is going on here (process {pid})",
            where=directory.absolute(),
            remedy=f"wait for it, or end it with: kill -INT {pid}",
        )
    locked = snakemake_state.locked(directory)
    if locked and run.host != socket.gethostname() and not ended:
        raise MilmerError(
            f"the last run was started on {run.host}",
            where=directory.absolute(),
            remedy="resume it there, or, if you know that it no longer runs, here with --ended",
        )
    if alive := snakemake_state.cluster_jobs(directory):
        raise MilmerError(
            "SLURM jobs of the last run are not done yet",
            where=directory.absolute(),
            remedy=f"wait for them, or end them with: scancel {' '.join(alive)}",
        )
    _end_leftovers(directory)
    command = [sys.executable, "-P", "-m", "snakemake", *run.arguments, *more]
    line = shlex.join([*command, "--rerun-incomplete"])
    line = escaped(f"milmer: cd {shlex.quote(run.folder)} && {line}")
    print(line, file=sys.stderr, flush=True)
    if locked:
        done = subprocess.run(
            [*command, "--unlock"], cwd=run.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MilmerError(
                f"cannot be unlocked: {done.stderr.strip()}", where=directory.absolute()
            )
    return run.folder, [*command, "--rerun-incomplete"]


def _trusted(directory: Path, run: Run) -> list[Path]:
    """What decides which commands are run: the note, the Snakefile and the code beside it,
    configurations, profiles.

    Each with its folder, in which whoever may write it can put another. All that an argument names
    counts, so that no spelling of an option is missed; so do profiles that Snakemake finds unasked.
    """
    start, words = Path(run.folder), [word for a in run.arguments for word in _words(a)]
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
    return directory / ".snakemake" / "milmer.json"
