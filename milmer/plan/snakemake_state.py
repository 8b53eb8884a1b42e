"""What Snakemake keeps in its own folder of a working directory: locks and jobs at work."""

import hashlib
import json
import os
import re
import subprocess
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

from milmer.errors import MilmerError

_FOLDER = ".snakemake"
_LONGEST = 254  # characters of a name there
_LONGEST_ARGUMENT = 1 << 15  # characters; Linux takes four times that, a shell's quotes included
_SECONDS = 60.0  # for SLURM to answer
_ENDED = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
_ENDED |= {"DEADLINE", "OUT_OF_MEMORY", "REVOKED"}  # SLURM keeps them in its queue for a while


def own_file(directory: Path, name: str) -> Path:
    """A file of ours in Snakemake's folder."""
    return directory / _FOLDER / name


def write_whole(path: Path, text: str) -> None:
    """Write such a file, so that whoever reads it meanwhile finds the old one or the new one."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(exist_ok=True)
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def as_argument(text: str) -> str:
    """A stage's options as an argument: JSON or, where a shell does not take so much, its file.

    The file, in the working directory, is named after its content: comparing names is comparing
    options.
    """
    if len(text) <= _LONGEST_ARGUMENT:
        return text
    path = own_file(Path(), f"milmer-options-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json")
    if not path.exists():
        write_whole(path, text)
    return str(path)


def locked(directory: Path) -> bool:
    """Whether a run has locked files below ``directory``, or was killed while it had."""
    return any((directory / _FOLDER / "locks").glob("*.lock"))


def incomplete(directory: Path) -> dict[str, str | None]:
    """Outputs of jobs that began and did not end, with the number of their SLURM job if any."""
    folder = directory / _FOLDER / "incomplete"
    jobs: dict[str, str | None] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            # A long name is cut up into folders that begin with @.
            name = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            try:
                output = urlsafe_b64decode(name).decode()
                jobs[output] = json.loads(path.read_text() or "{}").get("external_jobid")
            except (ValueError, OSError):  # a file of another kind, or just being written
                continue
    return jobs


def mark_incomplete(directory: Path, output: str) -> None:
    """Note that a job which makes ``output`` began, so that --rerun-incomplete makes it again."""
    path = _record(directory, "incomplete", output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def seconds(directory: Path, output: str) -> float | None:
    """How long the job took that made ``output``; None where it is not known."""
    try:
        record = json.loads(_record(directory, "metadata", output).read_text())
        return float(record["endtime"] - record["starttime"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def last_failure(directory: Path) -> str | None:
    """The rule that failed last in the last run, with the last line of its log, if one did."""
    logs = sorted((directory / _FOLDER / "log").glob("*.snakemake.log"))
    text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
    failed = re.findall(r"^Error in (?:rule|group) (\S+):((?:\n {4}.*)*)", text, re.MULTILINE)
    if not failed:
        return None
    rule, about = failed[-1]
    lines: list[str] = []
    if log := re.search(r"^    log: (.*?)(?: \(check log|$)", about, re.MULTILINE):
        with suppress(OSError):
            lines = (directory / log[1]).read_text(errors="replace").strip().splitlines()
    return f"{rule}: {lines[-1]}" if lines else rule


def _record(directory: Path, kind: str, output: str) -> Path:
    """The file in which Snakemake notes something about an output."""
    name = urlsafe_b64encode(output.encode()).decode()
    parts = [name[i : i + _LONGEST] for i in range(0, len(name), _LONGEST)]
    return (directory / _FOLDER / kind).joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def cluster_jobs(directory: Path) -> list[str]:
    """Numbers of SLURM jobs that began in ``directory`` and have not ended.

    Raises :class:`MilmerError` where SLURM does not answer: its jobs may be at work.
    """
    jobs = sorted({job for job in incomplete(directory).values() if job})
    if not jobs:
        return []
    command = ["squeue", "--noheader", "--format=%A %T", "--states=all"]
    try:
        queue = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_SECONDS
        ).stdout
    except FileNotFoundError:
        reason = "there is no squeue"
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_SECONDS:.0f} s"
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())
    else:
        states = dict(line.split() for line in queue.splitlines())
        return [job for job in jobs if states.get(job, "COMPLETED") not in _ENDED]
    raise MilmerError(
        f"SLURM does not say whether jobs of the last run are done ({reason})",
        where=directory.absolute(),
        remedy="try again where squeue answers, or, if you know that they have ended, with --ended",
    )
