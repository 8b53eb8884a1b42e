"""Going on with a run that was cut short, however that happened.

A run notes in Snakemake's folder how it was started. A killed one leaves Snakemake's lock behind,
which may be removed only if nothing works in the directory any more: Snakemake cannot tell, and
asks the user. Here the processes of this machine are looked at, and SLURM's queue.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError
from milmer.plan import snakemake_state

_PATIENCE = 120.0  # seconds for a job that is told to end to save its state


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
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MilmerError(
            "no run was started here",
            where=directory.absolute(),
            remedy="start one with snakemake, or give --directory",
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise MilmerError(
            f"cannot be read ({error})", where=path, remedy="start a run with snakemake"
        ) from error


def resume(directory: Path, more: Sequence[str], ended: bool = False) -> tuple[str, list[str]]:
    """Clear the way for the last run to go on; the folder and the command that then do.

    Ends jobs that outlived their Snakemake; they save their state. Removes Snakemake's lock.
    ``more`` are arguments for Snakemake on top of the run's own; ``ended`` is the user's word that
    a run of another machine has ended. Raises :class:`MilmerError` while a run is going on.
    """
    run = last_run(directory)
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
    if locked:
        done = subprocess.run(
            [*command, "--unlock"], cwd=run.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MilmerError(
                f"cannot be unlocked: {done.stderr.strip()}", where=directory.absolute()
            )
    return run.folder, [*command, "--rerun-incomplete"]


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
