"""The recipes of images: the same steps in both, and they run."""

import re
import shutil
import subprocess

import pytest

from tests.workflow.runner import REPOSITORY
from tests.workflow.wheel import create, without_python

ENVS = REPOSITORY / "workflow/envs"


def dockerfile():
    """Base, files by their place in the image, and commands of the Dockerfile."""
    lines = [line.split() for line in (ENVS / "Dockerfile").read_text().splitlines() if line]
    copies = [words[1:] for words in lines if words[0] == "COPY"]
    files = {}
    for *sources, place in copies:
        whole = len(sources) > 1 or place.endswith("/")
        files |= {f"{place}{name}" if whole else place: name for name in sources}
    commands = re.findall("^RUN (.*)$", (ENVS / "Dockerfile").read_text(), re.MULTILINE)
    return next(words[1] for words in lines if words[0] == "FROM"), files, commands


def definition():
    """The same of Apptainer's recipe."""
    text = (ENVS / "milmer.def").read_text()
    parts = dict(re.findall(r"^%(\w+)\n((?:    .*\n)+)", text, re.MULTILINE))
    files = dict(reversed(line.split()) for line in parts["files"].splitlines())
    commands = [line.strip() for part in ("post", "test") for line in parts[part].splitlines()]
    return re.search("^From: (.*)$", text, re.MULTILINE)[1], files, commands


def test_both_recipes_take_the_same_steps():
    assert dockerfile() == definition()


@pytest.mark.slow
def test_their_steps_run_in_a_fresh_environment(tmp_path):
    """Nothing is downloaded: what is locked has to be at hand, at the version of the lock."""
    _, files, commands = dockerfile()
    image = tmp_path / "opt/milmer"
    for place, name in files.items():
        source, target = REPOSITORY / name, tmp_path / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.sif"))
        else:
            shutil.copy(source, target)
    environment = create(tmp_path / "environment", pip=True)
    variables = without_python(environment) | {"PIP_NO_INDEX": "1"}
    for command in commands:
        run = command.replace("/opt/milmer", str(image))
        done = subprocess.run(
            run, shell=True, cwd=tmp_path, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{run}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (environment / "bin/milmer").is_file()
