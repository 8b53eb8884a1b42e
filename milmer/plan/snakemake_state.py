"""What Snakemake keeps in its own folder of a working directory: locks and jobs at work."""

import json
import shutil
import subprocess
from base64 import urlsafe_b64decode
from pathlib import Path

_FOLDER = ".snakemake"


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


def cluster_jobs(directory: Path) -> list[str]:
    """Numbers of SLURM jobs that began in ``directory`` and wait or run now."""
    jobs = sorted({job for job in incomplete(directory).values() if job})
    if not jobs or shutil.which("squeue") is None:
        return []
    command = ["squeue", "--noheader", "--format=%A", "--states=PENDING,RUNNING,COMPLETING"]
    queue = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return [job for job in jobs if job in queue]
