"""The demo tells its story: faces and EEG each say something, both say most, and segments leak."""

import json
import re

import pytest

from milmer import storage
from tests.conftest import REPOSITORY
from tests.workflow.wheel import run
from tools import run_notebook

CHANCE = 0.25

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def demo(environment, once):
    """The folder of a finished demo, made by the installed wheel, and what it printed."""

    def make(folder):
        folder.mkdir()
        page = (REPOSITORY / "docs/running.md").read_text().split("## Without a checkout\n")[1]
        commands = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]
        done = run(environment, folder, "bash", "-ec", commands)
        assert done.returncode == 0, done.stderr
        (folder / "printed.json").write_text(json.dumps([done.stdout, done.stderr]))

    folder = once("demo", make)
    return folder / "try", *json.loads((folder / "printed.json").read_text())


@pytest.fixture(scope="module")
def accuracies(demo):
    """Balanced accuracy by segment: of an experiment under a protocol."""
    table = storage.read_table(demo[0] / "results/tables/summary.parquet", "tables")
    table = table.query("level == 'segment' and metric == 'balanced_accuracy'")
    return table.set_index(["experiment", "protocol"])["mean"]


def test_each_modality_is_above_chance_and_both_are_best(accuracies):
    both, eeg, face = (accuracies[n, "trial"] for n in ("milmer", "eeg_only", "face_only"))
    assert min(eeg, face) > CHANCE + 0.15
    assert both >= max(eeg, face)


def test_the_trained_selection_is_better_than_a_random_one(accuracies):
    assert accuracies["face_only", "trial"] > accuracies["face_random", "trial"]


def test_segments_leak(accuracies):
    assert accuracies["milmer", "segment"] > accuracies["milmer", "trial"] + 0.05
    # Where the ratings were permuted there is nothing to learn.
    assert accuracies["permuted", "segment"] > CHANCE + 0.15


def test_its_screen_is_short_and_its_table_fits(demo):
    _, stdout, stderr = demo
    lines = stderr.splitlines()
    assert all(" jobs done, " in line for line in lines)
    assert lines[-1].endswith(" 0 running, 0 left")
    table = stdout.split("next: cd try && milmer run\n\n")[1].split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 100
    assert table.count("leaky") == 2
    assert "All is there." in stdout


def test_its_readme_predicts_with_one_of_its_models(demo, environment):
    folder = demo[0]
    command = re.search(r"`(milmer predict [^`]*)`", (folder / "README.md").read_text())[1]
    predicted = run(environment, folder, *command.split())
    assert predicted.returncode == 0, predicted.stderr
    assert (folder / "prediction/index.html").is_file()


def test_the_lines_of_the_tutorial_run(demo, environment):
    blocks = re.findall(
        r"```sh\n(.*?)```", (REPOSITORY / "docs/tutorial.md").read_text(), re.DOTALL
    )
    begin, *others = "".join(blocks).splitlines()
    assert begin == "milmer init --demo try"  # what the fixture did, as the next
    assert others.pop(0) == "cd try"
    done = run(environment, demo[0], "bash", "-ec", "\n".join(others))
    assert done.returncode == 0, done.stderr
    assert (demo[0] / "out/index.html").is_file()


def test_the_notebook_of_the_docs_runs_on_it(demo, monkeypatch):
    monkeypatch.chdir(demo[0])
    finished = run_notebook.run(json.loads((REPOSITORY / "docs/notebook.ipynb").read_text()))
    outputs = [cell["outputs"] for cell in finished["cells"] if cell["cell_type"] == "code"]
    kinds = [[output["output_type"] for output in cell] for cell in outputs]
    assert kinds[2:] == [["display_data"], ["display_data"], ["stream", "display_data"]]
    table, model = "".join(outputs[-1][0]["text"]).removeprefix("table [").split("] model [")
    numbers = [list(map(float, text.strip("]\n").split())) for text in (table, model)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)
