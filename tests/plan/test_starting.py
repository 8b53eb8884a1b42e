"""`milmer init` begins a working directory, and `milmer run` calls Snakemake in it."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from milmer.config import load_config
from milmer.config_files import read_yaml, workflow_config
from milmer.plan.starting import begin, run_command
from tests.conftest import REPOSITORY

TABLE = "subject,trial,stimulus,eeg_file,label\np01,1,film,a.edf,calm\np01,2,film,b.edf,tense\n"
SNAKEFILE = ["--rerun-incomplete", "--snakefile", str(REPOSITORY / "Snakefile")]


def dataset(folder):
    return load_config(workflow_config(read_yaml(folder / "config.yaml"))).dataset


def test_a_directory_for_deap_names_it_in_full(tmp_path, monkeypatch):
    (tmp_path / "my deap").mkdir()
    monkeypatch.chdir(tmp_path)
    lines = begin(Path("a b"), False, Path("my deap"), None)
    assert lines == ["wrote a b/config.yaml and a b/README.md", "next: cd 'a b' && milmer run"]
    assert dataset(tmp_path / "a b").root == str(tmp_path / "my deap")
    text = (tmp_path / "a b/config.yaml").read_text()
    assert "#epochs: " in text
    assert "milmer check config.yaml" in (tmp_path / "a b/README.md").read_text()


@pytest.mark.parametrize("ratings", [False, True])
def test_a_directory_for_a_manifest_takes_its_labels_where_it_has_no_ratings(tmp_path, ratings):
    table = tmp_path / "lab.csv"
    rated = [",valence,arousal", ",3,7", ",8,2"] if ratings else [""] * 3
    table.write_text("\n".join(map("".join, zip(TABLE.splitlines(), rated, strict=True))))
    begin(tmp_path / "work", False, None, table)
    assert dataset(tmp_path / "work").manifest == str(table)
    user = read_yaml(tmp_path / "work/config.yaml")
    assert user["dataset"]["kind"] == "manifest"
    assert load_config(workflow_config(user)).labels.scheme == ("quadrant" if ratings else "label")


def test_a_directory_without_a_dataset_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = begin(Path(), False, None, None)
    assert lines[1:] == ["set dataset in config.yaml to your recordings first", "next: milmer run"]
    assert sorted(os.listdir()) == ["README.md", "config.yaml"]


@pytest.mark.parametrize("name", ["config.yaml", "README.md"])
def test_what_is_there_stays_as_it_is(tmp_path, refused, name):
    (tmp_path / name).write_text("mine")
    with refused(f"{tmp_path / name}: exists already", nothing_in=tmp_path):
        begin(tmp_path, True, None, None)


def test_a_dataset_that_is_not_there_begins_nothing(tmp_path, refused):
    with refused("deap: no such folder; give your copy of DEAP", nothing_in=tmp_path):
        begin(tmp_path / "a", False, tmp_path / "deap", None)
    with refused("no such file", nothing_in=tmp_path):
        begin(tmp_path / "a", False, None, tmp_path / "none.csv")
    with refused("cannot be combined; give one of them", nothing_in=tmp_path):
        begin(tmp_path / "a", True, None, tmp_path / "none.csv")


def test_the_demo_is_that_of_the_checkout(tmp_path, monkeypatch):
    made = {}
    monkeypatch.setattr(
        "milmer.synthetic.twin.synthesize", lambda out, options: made.update({out: options})
    )
    begin(tmp_path / "try", True, None, None)
    asked = json.loads((REPOSITORY / "workflow/demo-twin.json").read_text())
    (options,) = made.values()
    assert list(made) == [tmp_path / "try/deap"]
    assert options.model_dump(include=set(asked)) == asked
    config = yaml.safe_load((tmp_path / "try/config.yaml").read_text())
    assert config == yaml.safe_load((REPOSITORY / "workflow/demo.yaml").read_text())
    assert (tmp_path / "try" / config["backbone"]["name"] / "config.json").is_file()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with a configuration, in which this process is."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").touch()
    return tmp_path


def arguments(*words, slurm=False):
    command = run_command(words, slurm)
    assert command[:4] == [sys.executable, "-P", "-m", "snakemake"]
    return command[4:]


ALL = ["--cores", "all", "--logger", "milmer"]


def test_a_run_has_the_directorys_configuration_on_top_and_all_cores(work):
    assert arguments() == ["--configfile", "config.yaml", *ALL, *SNAKEFILE]
    assert arguments("out/x") == ["--configfile", "config.yaml", *ALL, *SNAKEFILE, "out/x"]
    Path("config.yaml").unlink()
    assert arguments("-k") == [*ALL, *SNAKEFILE, "-k"]


def test_other_configurations_go_on_top_of_it(work):
    asked = arguments("--configfile", "a.yaml", "b.yaml", "-c2", "--config", "x=1")
    files = ["--configfile", "config.yaml", "a.yaml", "b.yaml"]
    assert asked == [*files, "--logger", "milmer", *SNAKEFILE, "-c2", "--config", "x=1"]


def test_in_a_checkout_its_configuration_is_read_once(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert arguments("--jobs", "4") == ["--logger", "milmer", *SNAKEFILE, "--jobs", "4"]


def test_slurm_is_the_workflows_profile_and_a_dry_run_shows_what_snakemake_would_do(work):
    profile = str(REPOSITORY / "workflow/profiles/slurm")
    assert arguments("--dry-run", slurm=True) == [
        *("--configfile", "config.yaml", "--workflow-profile", profile),
        *(*SNAKEFILE, "--dry-run"),
    ]
