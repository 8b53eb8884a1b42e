"""Reads files in a process that gets little memory, as a stage of the pipeline would read them."""

import importlib
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from milmer.errors import MilmerError

SPARE = 1000  # MB on top of what the process has when the reader's module is imported


def refusals(reader: str, *paths: Path) -> list[str]:
    """The line with which ``reader``, as ``module:function``, refuses each of ``paths``.

    Fails where it does anything else: reads one, runs out of memory, ends by a signal.
    """
    command = [sys.executable, "-m", "tests.limited", reader, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = json.loads(done.stdout.splitlines()[-1])
    assert all("\n" not in line and len(line) < 1000 for line in lines)
    return lines


def refusal(reader: str, path: Path) -> str:
    """The same of one file."""
    return refusals(reader, path)[0]


def _line(read: Callable[[Path], object], path: str) -> str:
    try:
        read(Path(path))
    except MilmerError as error:
        return str(error)
    raise AssertionError(f"{path} was read")


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    in_use = int(re.search(r"VmSize:\s*(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (SPARE << 20),) * 2)
    print(json.dumps([_line(function, path) for path in sys.argv[2:]]))
