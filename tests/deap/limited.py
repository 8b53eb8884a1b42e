"""Reads preprocessed files, one after the other, where memory is short.

Run in a process of its own: whatever ends the process takes only that process along, and the last
line names the file.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from milmer.deap.preprocessed import read_preprocessed
from milmer.errors import MilmerError
from tests.conftest import REPOSITORY

MEMORY = 200 << 20  # bytes above ten times the file


def main() -> None:
    """Report a JSON line before and after each file named on the standard input."""
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        report({"path": path.name})
        report({"path": path.name, "error": limited_error(path)})


def report(what: dict) -> None:
    print(json.dumps(what), flush=True)


def limited_error(path: Path) -> str | None:
    """The error for people about a file, or None; other exceptions come through."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + MEMORY + 10 * path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        read_preprocessed(path)
    except MilmerError as error:
        return str(error)
    return None


def errors_of(paths: Iterable[Path]) -> dict[str, str | None]:
    """The error for people about each file, by its name; None is a valid result."""
    paths = [str(path) for path in paths]
    command = [sys.executable, "-m", "tests.deap.limited"]
    done = subprocess.run(
        command, input="\n".join(paths), cwd=REPOSITORY, capture_output=True, text=True, timeout=600
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} ended the process: {done.stderr[-3000:]}"
    return {line["path"]: line["error"] for line in lines if "error" in line}


def require_bounded(error: str | None) -> None:
    """A result or one line, and no memory asked for that the file does not justify."""
    assert error is None or ("\n" not in error and "MemoryError" not in error), error


if __name__ == "__main__":
    main()
