"""Many runs of Snakemake at the price of one start: each is a fork of a process that knows it.

A run of a few jobs takes two seconds, most of which goes into imports. The process that forks has
imported Snakemake and nothing of this package, so that each fork reads the project as it is then.
"""

import gc
import importlib
import json
import os
import re
import subprocess
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Job:
    """A job of a dry run."""

    rule: str
    wildcards: dict[str, str] = field(hash=False)
    outputs: frozenset[str]


class Snakemake:
    """Snakemake on a project's Snakefile, in a folder with a ``mine.yaml``."""

    def __init__(self, project: Path, folder: Path):
        self.project, self.folder = project, folder
        self._log = folder / "snakemake.log"

    def __enter__(self) -> Self:
        # -P: this file's folder holds modules that are none of the project's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __call__(self, *arguments: str) -> str:
        """Run it; what it wrote."""
        given = ["--snakefile", str(self.project / "Snakefile"), "--configfile", "mine.yaml"]
        given += ["--cores=2", "--resources", "gpu=0", *arguments]
        self._process.stdin.write(json.dumps([str(self._log), given]) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        text = self._log.read_text()
        assert status == "0", text
        return text

    def finish(self) -> None:
        """Have a finished run without computing: outputs that hold their names, all recorded."""
        for line in self("--summary").splitlines():
            output = self.folder / line.partition("\t")[0]
            if line.startswith("results/") and not output.exists():
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(output.name)
        self("--touch", "--forceall")

    def to_run(self, *arguments: str) -> list[Job]:
        """The jobs that a dry run would run, without the one that stands for all."""
        text = self("--dry-run", *arguments)
        # Jobs of a group stand below its name, indented.
        text = re.sub(r"^\[.*\] Group job .*\n\n", "", text, flags=re.MULTILINE)
        jobs = []
        for block in re.split(r"^ *\[.*\]\n", text, flags=re.MULTILINE)[1:]:
            block = re.sub(r"^    (?=rule|    )", "", block, flags=re.MULTILINE)
            rule = re.match(r"(?:local)?rule (\w+):\n", block)[1]
            wildcards = dict(pair.split("=") for pair in _listed(block, "wildcards"))
            jobs.append(Job(rule, wildcards, frozenset(_listed(block, "output"))))
        told = re.search(r"^total +(\d+)$", text, flags=re.MULTILINE)
        assert told or "Nothing to be done" in text, text
        assert len(jobs) == (int(told[1]) if told else 0), text
        return [job for job in jobs if job.rule != "all"]


def _listed(block: str, word: str) -> list[str]:
    found = re.search(rf"^    {word}: (.*)$", block, flags=re.MULTILINE)
    return found[1].split(", ") if found else []


# -------------------------------------------------------------------------- the process that forks

_IMPORTED_LATE = "snakemake.profiles snakemake.report.html_reporter jinja2 requests smart_open"


def _serve() -> None:
    for name in ["snakemake.cli", *_IMPORTED_LATE.split()]:
        importlib.import_module(name)
    touch = importlib.import_module("snakemake.executors.touch")
    touch.Executor.SLEEPING_TIME = 0.01  # between jobs, so that their files' times differ
    # A fork is short-lived, and what it never collects it need not copy either.
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        log, arguments = json.loads(line)
        if not (child := os.fork()):
            os._exit(_run(log, arguments))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(log: str, arguments: list[str]) -> int:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        assert not any(name.partition(".")[0] == "milmer" for name in sys.modules)
        sys.modules["snakemake.cli"].main(arguments)
        return 0
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    _serve()
