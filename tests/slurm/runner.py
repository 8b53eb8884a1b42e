"""Running the workflow on the SLURM profile as a user does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.workflow.runner import REPOSITORY

PROFILE = REPOSITORY / "workflow/profiles/slurm"
QUICK = (
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "10"),
    *("--max-status-checks-per-second", "10", "--latency-wait", "5"),
)
"""Ask for states early: each time that no job has ended, Snakemake waits ten seconds longer."""


def start(
    folder: Path, *arguments: str, environment: Mapping[str, str] = os.environ
) -> subprocess.Popen:
    """Start Snakemake in ``folder`` with its mine.yaml; what it says goes to ``folder``/said.

    Should it wait for ever, it is interrupted, so that it cancels its jobs.
    """
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            [
                *("timeout", "-s", "INT", "-k", "60", "600"),
                *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
                *("--workflow-profile", str(PROFILE), "--configfile", "mine.yaml"),
                *(QUICK + arguments),
            ],
            cwd=folder,
            env=dict(environment),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(folder: Path, *arguments: str, environment: Mapping[str, str] = os.environ) -> int:
    """The exit status of the same."""
    return start(folder, *arguments, environment=environment).wait()


def said(folder: Path) -> str:
    """What the last run said."""
    return (folder / "said").read_text()
