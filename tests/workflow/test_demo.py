"""The demo tells its story: faces and EEG each say something, both say most, and segments leak."""

import json
import os
import subprocess
import sys

import pytest

from milmer import storage
from milmer.evaluation.screen import summary_screen
from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone
from tests.conftest import REPOSITORY

CHANCE = 0.25


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a finished demo, and what it printed: what `make demo` does."""
    folder = tmp_path_factory.mktemp("demo")
    twin = json.loads((REPOSITORY / "workflow/demo-twin.json").read_text())
    synthesize(folder / "deap", TwinOptions(**twin))
    write_backbone(folder / "swin")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile"),
            *("--configfile", REPOSITORY / "workflow/demo.yaml"),
            *("--cores", "2", "--logger", "milmer"),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow/logger")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.fixture(scope="module")
def accuracies(demo):
    """Balanced accuracy by segment: of an experiment under a protocol."""
    table = storage.read_table(demo[0] / "results/tables/summary.parquet", "tables")
    table = table.query("level == 'segment' and metric == 'balanced_accuracy'")
    return table.set_index(["experiment", "protocol"])["mean"]


@pytest.mark.long
def test_each_modality_is_above_chance_and_both_are_best(accuracies):
    both, eeg, face = (accuracies[n, "trial"] for n in ("milmer", "eeg_only", "face_only"))
    assert min(eeg, face) > CHANCE + 0.15
    assert both >= max(eeg, face)


@pytest.mark.long
def test_the_trained_selection_is_better_than_a_random_one(accuracies):
    assert accuracies["face_only", "trial"] > accuracies["face_random", "trial"]


@pytest.mark.long
def test_segments_leak(accuracies):
    assert accuracies["milmer", "segment"] > accuracies["milmer", "trial"] + 0.05
    # Where the ratings were permuted there is nothing to learn.
    assert accuracies["permuted", "segment"] > CHANCE + 0.15


@pytest.mark.long
def test_its_screen_is_short_and_its_table_fits(demo):
    folder, printed = demo
    lines = printed.splitlines()
    assert all(" jobs done, " in line for line in lines)
    assert lines[-1].endswith(" 0 running, 0 left")
    table = summary_screen(folder / "results/tables")
    assert max(map(len, table.splitlines())) <= 100
    assert table.count("leaky") == 2
