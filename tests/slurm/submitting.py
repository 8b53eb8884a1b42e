"""Commands named as SLURM's that note what is submitted: the submission is tested without SLURM."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# A job leaves all files that the workflow makes, and has ended before it is asked for.
SBATCH = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
for line in (here / "outputs").read_text().splitlines():
    path = pathlib.Path(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch()
with (here / "submitted").open("a") as submitted:
    submitted.write(json.dumps(sys.argv[1:]) + "\\n")
number = len((here / "submitted").read_text().splitlines())
with (here / "states").open("a") as states:
    states.write(f"{{number}}|COMPLETED\\n")
print(number)
"""
OTHERS = {
    # It does not answer at once.
    "squeue": "mkdir {folder}/asked 2>/dev/null && exit 1; cat {folder}/states",
    "sacct": "exit 1",
    "sinfo": "echo 'main*'",
    "sacctmgr": "echo lab",
    "scontrol": "echo 'MinJobAge = 3600 sec'",
    "scancel": "exit 0",
}


@dataclass
class Submitted:
    """One call of sbatch: the rules of its jobs, and its options."""

    rules: list[str]
    jobs: list[str]
    options: dict[str, str]

    @classmethod
    def read(cls, line: str) -> "Submitted":
        *words, wrapped = json.loads(line)
        jobs = re.search(r"--target-jobs (.*?) --", wrapped)[1].split()
        options, given = {}, iter(words)
        for word in given:
            name, equals, value = word.partition("=")
            flag = name in ("--parsable", "--requeue")
            options[name] = value if equals or flag else next(given)
        return cls([job.strip("'").partition(":")[0] for job in jobs], jobs, options)

    @property
    def asked(self) -> tuple[int, int, str, int]:
        """MB of memory, minutes, GPUs (empty: none), processors."""
        given = self.options
        return (
            int(given["--mem"]),
            int(given["-t"]),
            given.get("--gpus", ""),
            int(given["--cpus-per-task"]),
        )


def write_commands(folder: Path, outputs: list[str]) -> Path:
    """Write the commands; gives the folder to put first on PATH."""
    (folder / "outputs").write_text("\n".join(outputs))
    (folder / "bin").mkdir()
    texts = {name: f"#!/bin/sh\n{line}\n" for name, line in OTHERS.items()} | {"sbatch": SBATCH}
    for name, text in texts.items():
        path = folder / "bin" / name
        if name == "sbatch":
            text = text.format(python=sys.executable, folder=str(folder))
        path.write_text(text.replace("{folder}", str(folder)))
        path.chmod(0o755)
    return folder / "bin"
