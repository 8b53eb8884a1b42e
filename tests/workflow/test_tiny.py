"""One subject, two folds, one epoch: from a copy of DEAP to the report, by the installed wheel."""

import re
import zipfile

import pytest

from milmer import storage
from tests.conftest import REPOSITORY
from tests.test_packaging import PROJECT
from tests.workflow.runner import to_run, write_config
from tests.workflow.wheel import run
from tools.release_check import wheel_files


@pytest.fixture(scope="module")
def work(environment, twin_user, tmp_path_factory):
    """A working directory after `milmer init` and a run, with what these printed."""
    folder = tmp_path_factory.mktemp("my work")
    began = run(environment, folder, "milmer", "init", "--deap", twin_user["dataset"]["root"])
    assert began.returncode == 0, began.stderr
    made = (folder / "config.yaml").read_text()
    (folder / "config.yaml").unlink()
    write_config(
        folder,
        **twin_user | {"dataset": twin_user["dataset"] | {"subjects": ["s01"]}},
        protocols={"names": ["trial"], "folds": 2},
        training={"epochs": 1, "threads": 1},
    ).rename(folder / "config.yaml")
    return folder, made, run(environment, folder, "milmer", "run", "--cores", "2")


def test_the_wheel_holds_the_workflow_and_no_more(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    about = f"milmer-{PROJECT['version']}.dist-info"
    assert {name for name in names if not name.startswith(about)} == wheel_files()
    assert {f"{about}/licenses/{file}" for file in PROJECT["license-files"]} <= names


def test_a_tiny_pipeline_runs_to_its_report(work):
    folder, made, done = work
    assert done.returncode == 0, done.stderr
    assert "#epochs: " in made
    folds = storage.read_table(folder / "results/tables/folds.parquet", "tables")
    assert set(folds["fold"]) == {"s01-k0", "s01-k1"}
    assert (folder / "results/report/index.html").stat().st_size > 10_000
    assert re.search(r"^milmer +trial ", done.stdout, re.MULTILINE), done.stdout
    assert done.stdout.endswith("All of it on one page: results/report/index.html\n")
    assert re.search(r"\d+ jobs done, 0 running, 0 left", done.stderr)  # the workflow's own screen


def test_it_is_the_wheels_code_and_workflow_that_ran(environment, work):
    code = "import milmer.config_files as c; print(c.WORKFLOW)"
    where = run(environment, work[0], "python", "-c", code).stdout.strip()
    assert where.startswith(str(environment))
    note = (work[0] / ".snakemake/milmer.json").read_text()
    assert f"{where}/Snakefile" in note
    assert str(REPOSITORY) not in note


def test_a_change_of_the_configuration_shows_in_a_dry_run(environment, work):
    dry = run(environment, work[0], "milmer", "run", "-n", "--config", "training={epochs: 2}")
    assert to_run(dry)["train"] == 2
    assert "segments" not in to_run(dry)


def test_status_and_resume_find_the_run(environment, work):
    status = run(environment, work[0], "milmer", "status")
    assert "All is there." in status.stdout
    resumed = run(environment, work[0], "milmer", "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Nothing to be done" in resumed.stderr
    assert re.search(r"^milmer +trial ", resumed.stdout, re.MULTILINE)
