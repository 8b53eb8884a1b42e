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


def install(wheel: Path, environment: Path) -> None:
    """Make a virtual environment with the wheel, and of the tests' environment all but Milmer."""
    venv.create(environment, symlinks=True)
    command = [sys.executable, "-P", "-m", "pip", "--python", environment / "bin/python"]
    command += ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True)
    # A path of its own: what it says of an editable Milmer is not read.
    (site,) = environment.glob("lib/python*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "others.pth").write_text("\n".join(sorted(paths)) + "\n")


def run(environment: Path, folder: Path, *command: object) -> subprocess.CompletedProcess:
    """Run a command of the environment in a folder, without anything of the checkout."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    program = shutil.which(str(command[0]), path=path)
    return subprocess.run(
        [program, *map(str, command[1:])],
        cwd=folder,
        env=variables | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
