#!/usr/bin/env python3
"""What has to hold before a version is tagged, besides the quick tests and the site.

    tools/release_check.py

Prints a line for each check, and exits with 1 where one does not hold.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def git(*arguments: str, repository: Path = REPOSITORY) -> str:
    """What a command of git prints about the repository."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def version(repository: Path = REPOSITORY) -> str:
    """The version, whose one place is pyproject.toml."""
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]


def unclean(repository: Path = REPOSITORY) -> str:
    """What of the working tree is not committed."""
    return " ".join(git("status", "--porcelain", repository=repository).split("\n")).strip()


def citation(repository: Path = REPOSITORY) -> str:
    """Where CITATION.cff names another version."""
    cited = re.findall(r"^version: (.*)$", (repository / "CITATION.cff").read_text(), re.MULTILINE)
    return "" if cited == [version(repository)] else f"CITATION.cff names version {cited}"


def changelog(repository: Path = REPOSITORY) -> str:
    """Where CHANGELOG.md does not end in the version: its section with a date, none before it."""
    heads = re.findall(r"^## (.*)$", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heads and re.fullmatch(
        rf"\[{re.escape(version(repository))}\] - \d{{4}}-\d\d-\d\d", heads[0]
    ):
        return ""
    return f"its first section is {heads[:1]}; head it [{version(repository)}] - YYYY-MM-DD"


def tag(repository: Path = REPOSITORY) -> str:
    """Where the version is tagged already."""
    name = f"v{version(repository)}"
    return (
        f"{name} is there; raise the version"
        if git("tag", "-l", name, repository=repository)
        else ""
    )


def wheel(repository: Path = REPOSITORY) -> str:
    """What a wheel that is built now lacks of the package and the workflow."""
    with tempfile.TemporaryDirectory() as folder:
        how = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
        command = [sys.executable, "-P", "-m", "pip", "wheel", *how, str(repository)]
        subprocess.run(command, check=True)
        (path,) = Path(folder).glob("*.whl")
        names = set(zipfile.ZipFile(path).namelist())
    return ", ".join(sorted(wheel_files(repository) - names))


def wheel_files(repository: Path = REPOSITORY) -> set[str]:
    """What the wheel holds: the package, and below it the workflow but for recipes of images."""
    parts = ("Snakefile", "config.yaml", "rules", "workflow", "milmer")
    files = git(
        "ls-files", "--cached", "--others", "--exclude-standard", *parts, repository=repository
    )
    kept = [path for path in files.splitlines() if not path.startswith("workflow/envs/")]
    return {p if p.startswith("milmer/") else f"milmer/_workflow/{p}" for p in kept}


CHECKS: dict[str, Callable[[], str]] = {
    "the tree is clean": unclean,
    "CITATION.cff is in step": citation,
    "CHANGELOG.md is complete": changelog,
    "the version is new": tag,
    "the wheel is whole": wheel,
}


def main() -> None:
    """Run all checks."""
    problems = {name: check() for name, check in CHECKS.items()}
    for name, problem in problems.items():
        print(f"{'no: ' if problem else 'yes:'} {name}{f' ({problem})' if problem else ''}")
    sys.exit(any(problems.values()))


if __name__ == "__main__":
    main()
