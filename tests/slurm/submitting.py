"""Commands named as SLURM's that note what is submitted, for tests without a cluster."""

import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

# A job does nothing but leave all files that the workflow makes. Its first attempt fails.
SBATCH = """#!{python}
import json, pathlib, re, sys
here = pathlib.Path({folder!r})
options, job = sys.argv[1:-1], sys.argv[-1]
targets = re.search("--target-jobs (.*?) --", job)[1]
with (here / "submitted").open("a+") as submitted:
    submitted.seek(0)
    before = [json.loads(line) for line in submitted]
    number = len(before) + 1
    seen = targets in [line["targets"] for line in before]
    submitted.write(json.dumps({{"targets": targets, "options": options, "job": job}}) + "\\n")
with (here / "states").open("a") as states:
    states.write(f"{{number}}|{{'COMPLETED' if seen else 'FAILED'}}\\n")
for name in (here / "outputs").read_text().splitlines():
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch() if not path.exists() else None
print(number)
"""
OTHERS = {
    "squeue": "cat {folder}/states",
    "sacct": 'case "$*" in *State*) cat {folder}/states ;; *) echo none ;; esac',
    "sinfo": "echo main*",
    "sacctmgr": "echo lab",
    "scontrol": 'echo "MinJobAge = 3600 sec"',
    "scancel": "",
}


@dataclass
class Submitted:
    """One call of sbatch."""

    rules: list[str]
    targets: str
    options: dict[str, str]

    @classmethod
    def read(cls, line: str) -> "Submitted":
        noted = json.loads(line)
        targets = shlex.split(noted["targets"])
        words = iter(noted["options"])
        options = {}
        for word in words:
            name, given, value = word.partition("=")
            if name in ("--parsable", "--requeue"):
                options[name] = ""
            else:
                options[name] = value if given else next(words)
        return cls([re.split("[:]", target)[0] for target in targets], noted["targets"], options)


def fake_commands(folder: Path, outputs: list[str]) -> Path:
    """Write the commands into ``folder``; gives the folder to put on PATH."""
    (folder / "outputs").write_text("\n".join(outputs))
    (folder / "bin").mkdir()
    texts = {"sbatch": SBATCH.format(python=sys.executable, folder=str(folder))}
    texts |= {name: f"#!/bin/sh\n{line.format(folder=folder)}\n" for name, line in OTHERS.items()}
    for name, text in texts.items():
        path = folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    return folder / "bin"
