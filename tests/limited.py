"""Reads files, one after the other, where memory is short.

Run in a process of its own: whatever ends the process takes only that process along, and the last
line names the file.
"""

import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from milmer.deap.preprocessed import read_preprocessed
from milmer.errors import MilmerError
from tests.conftest import REPOSITORY

MEMORY = 200 << 20  # bytes above ten times the file, of a preprocessed one
OTHERS_MEMORY = 1000 << 20  # bytes, of any other: MNE and PyArrow are loaded when they are needed
PREPROCESSED = "milmer.deap.preprocessed:read_preprocessed"


def main(reader: str) -> None:
    """Report a JSON line before and after each file named on the standard input."""
    module, _, name = reader.partition(":")
    read = getattr(importlib.import_module(module), name)
    memory = None if reader == PREPROCESSED else OTHERS_MEMORY
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        report({"path": str(path)})
        report({"path": str(path), "error": limited_error(path, read, memory)})


def report(what: dict) -> None:
    print(json.dumps(what), flush=True)


def limited_error(
    path: Path, read: Callable[[Path], object] = read_preprocessed, memory: int | None = None
) -> str | None:
    """The error for people about a file, or None; other exceptions come through."""
    if memory is None:
        memory = MEMORY + 10 * path.stat().st_size
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        read(path)
    except MilmerError as error:
        return str(error)
    return None


def errors_of(paths: Iterable[Path]) -> dict[str, str | None]:
    """The error for people about each preprocessed file, by its name; None is a valid result."""
    return {Path(path).name: error for path, error in _errors(PREPROCESSED, paths).items()}


def refusals(reader: str, *paths: Path) -> list[str]:
    """The lines with which ``reader``, as ``module:function``, refuses ``paths``, each of them."""
    errors = list(_errors(reader, paths).values())
    for path, error in zip(paths, errors, strict=True):
        assert error is not None, f"{path} was read"
        require_bounded(error)
        assert len(error) < 1000, error
    return errors


def refusal(reader: str, path: Path) -> str:
    """The same of one file."""
    return refusals(reader, path)[0]


def _errors(reader: str, paths: Iterable[Path]) -> dict[str, str | None]:
    command = [sys.executable, "-m", "tests.limited", reader]
    done = subprocess.run(
        command,
        input="\n".join(map(str, paths)),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1:]} ended the process: {done.stderr[-3000:]}"
    return {line["path"]: line["error"] for line in lines if "error" in line}


def require_bounded(error: str | None) -> None:
    """A result or one line, and no memory asked for that the file does not justify."""
    assert error is None or ("\n" not in error and "MemoryError" not in error), error


if __name__ == "__main__":
    main(sys.argv[1])
