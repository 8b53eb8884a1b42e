"""The wheel, installed where the checkout is not."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.workflow.runner import REPOSITORY


def build(folder: Path) -> None:
    """Write the wheel of the checkout, built with the packages that are here."""
    how = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    command = [sys.executable, "-P", "-m", "pip", "wheel", *how, REPOSITORY]
    subprocess.run(command, check=True)


def create(environment: Path, pip: bool = False) -> Path:
    """A virtual environment that has, of the tests' environment, all but Milmer."""
    venv.create(environment, symlinks=True, with_pip=pip)
    if pip:  # Python 3.11 brings an old setuptools with it
        uninstall = ["uninstall", "--quiet", "--yes", "setuptools"]
        subprocess.run([environment / "bin/python", "-m", "pip", *uninstall], check=True)
    # A path of its own: what it says of an editable Milmer is not read.
    (site,) = environment.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "others.pth").write_text("\n".join(sorted(paths)) + "\n")
    return environment


def install(wheel: Path, environment: Path) -> None:
    """Make such an environment with the wheel in it."""
    create(environment)
    command = [sys.executable, "-P", "-m", "pip", "--python", environment / "bin/python"]
    # Though the tests' environment, which it sees, may have Milmer.
    how = ["install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*command, *how, wheel], check=True)


def without_python(environment: Path) -> dict[str, str]:
    """The variables of a shell in the environment, without anything of the checkout."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return variables | {"PATH": path}


def run(environment: Path, folder: Path, *command: object) -> subprocess.CompletedProcess:
    """Run a command of the environment in a folder."""
    variables = without_python(environment)
    program = shutil.which(str(command[0]), path=variables["PATH"])
    return subprocess.run(
        [program, *map(str, command[1:])],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
