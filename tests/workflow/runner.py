"""Running the workflow as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.forks import server

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}
ONLY_MILMER = {"milmer": {}, "eeg_only": None, "face_only": None, "published_frozen": None}


def write_config(folder: Path, **sections) -> Path:
    """Write a configuration of a small model into ``folder``."""
    small = {"model": SMALL, "experiments": ONLY_MILMER, "report": {"resamples": 500, "explain": 0}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(small | sections))
    return path


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the project's Snakefile in ``folder`` with its mine.yaml on the test profile.

    It and its jobs are forks of a process that has read their libraries.
    """
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--workflow-profile", str(REPOSITORY / "workflow/profiles/test")),
            *("--configfile", str(folder / "mine.yaml"), "--cores", "2", *arguments),
        ],
        cwd=folder,
        env=os.environ | server.environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def to_run(done: subprocess.CompletedProcess) -> dict[str, int]:
    """The rules that a dry run would run, with their number of jobs."""
    lines = iter(done.stdout.splitlines() + done.stderr.splitlines())
    for line in lines:
        if line.startswith("Job stats:"):
            next(lines), next(lines)
            break
    counts = {}
    for line in lines:
        name, _, count = line.partition(" ")
        if not count.strip().isdigit() or name == "total":
            break
        counts[name] = int(count)
    return counts
