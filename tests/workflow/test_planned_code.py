"""A result is made by the code that its run was planned with, and by no other."""

import os
import shutil
import subprocess
import sys
import time

import h5py
import pytest

from milmer.synthetic.twin import TwinOptions, synthesize
from tests.workflow.runner import REPOSITORY, write_config

SUBJECTS = ("s01", "s02", "s03")
FILTER = "milmer/eeg/filtering.py"
LINE = f"{FILTER}: changed after this run began; start the run again"


@pytest.fixture
def project(tmp_path):
    """A copy of the project to edit, and a working directory with three subjects in it."""
    for name in ("milmer", "rules", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    small = {"subjects": 3, "trials": 4, "seconds": 6, "width": 240, "height": 192, "fps": 10}
    synthesize(tmp_path / "deap", TwinOptions(**small))
    write_config(tmp_path, dataset={"root": "deap"})
    return tmp_path


def start(project, *arguments):
    command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "1"]
    targets = [f"results/segments/default/{subject}.h5" for subject in SUBJECTS]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.Popen(
        [*command, "--nocolor", *arguments, *targets],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def segments(project):
    """The EEG of each subject that has segments."""
    eeg = {}
    for path in (project / "results/segments/default").glob("*.h5"):
        with h5py.File(path) as file:
            eeg[path.stem] = file["eeg"][:].tobytes()
    return eeg


def test_code_that_is_edited_during_a_run_and_put_back_leaves_no_result_of_its_own(project):
    whole = start(project)
    said = whole.communicate()[0]
    assert whole.returncode == 0, said
    expected = segments(project)
    assert sorted(expected) == list(SUBJECTS)
    shutil.rmtree(project / "results/segments")

    file = project / FILTER
    text = file.read_text()
    edited = text.replace("return ", "return 2 * ")
    assert edited != text
    run = start(project, "--keep-going")
    while run.poll() is None and not segments_are_begun(project):
        time.sleep(0.01)
    file.write_text(edited)
    said = run.communicate()[0]
    assert run.returncode == 1
    assert LINE in said
    left = segments(project)
    assert 1 <= len(left) < 3
    assert left == {subject: expected[subject] for subject in left}
    file.write_text(text)
    again = start(project)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    assert segments(project) == expected


def segments_are_begun(project):
    return any((project / "results/segments/default").glob("s0?.h5"))
