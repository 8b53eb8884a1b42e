"""What `milmer status` says of a working directory; no run is needed for it."""

import base64
import json
import shutil

import pytest
from typer.testing import CliRunner

from milmer.cli import running
from milmer.cli.app import app
from milmer.plan import resume
from milmer.plan.status import status
from tests.plan.test_resume import begun, noted
from tests.workflow.runner import REPOSITORY

LOG = """Error in rule segments:
    message: None
    output: results/segments/default/s01.h5
    log: results/logs/segments/default/s01.log (check log file(s) for error details)
RuleException:
Error in rule tokens:
    jobid: 2
    log: results/logs/tokens/s02.log (check log file(s) for error details)
    shell:
        milmer --log results/logs/tokens/s02.log
"""


LINE = "30 s left  running: s03 s04  missing: s06 s07 s08 s09"


@pytest.fixture
def directory(tmp_path):
    """A working directory in which the trials of some subjects are there, in 4, 10 and 100 s."""
    shutil.copytree(REPOSITORY / "tests/data/layout", tmp_path / "deap")
    for number in range(3, 10):
        (tmp_path / f"deap/data_preprocessed_python/s0{number}.dat").touch()
    noted(tmp_path, config={"dataset": {"root": "deap"}})
    for subject, seconds in {"s01": 4, "s02": 100, "s05": 10}.items():
        done(tmp_path, f"results/trials/{subject}.parquet", seconds)
    return tmp_path


def done(directory, output, seconds):
    path = directory / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    name = base64.urlsafe_b64encode(output.encode()).decode()
    record = directory / ".snakemake/metadata" / name
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"starttime": 5.0, "endtime": 5.0 + seconds}))


def stage(state, name):
    return next(stage for stage in state.stages if stage.name == name)


def test_time_left_is_that_of_the_median_job_at_as_many_at_a_time_as_now(directory, monkeypatch):
    trials = stage(status(directory), "trials")
    assert (trials.done, trials.seconds, trials.left) == (["s01", "s02", "s05"], 10, 60)
    segments = stage(status(directory), "segments default")
    assert (segments.seconds, segments.left) == (None, None)
    for subject in trials.missing[:2]:
        begun(directory, f"results/trials/{subject}.parquet")
    monkeypatch.setattr(resume, "running", lambda _: 4711)
    state = status(directory)
    assert len(stage(state, "trials").running) == 2
    assert stage(state, "trials").left == 30
    line = next(line for line in state.screen().splitlines() if line.startswith("trials"))
    assert line.split(maxsplit=4)[1:] == ["3", "of", "9", LINE]


@pytest.mark.parametrize(
    ("waiting", "said"), [(8, "80 s"), (9, "2 min"), (530, "88 min"), (540, "1.5 h")]
)
def test_time_left_is_rounded(directory, waiting, said):
    state = status(directory)
    stage(state, "trials").missing[:] = ["s"] * waiting
    assert f"  {said} left" in state.screen()


def test_the_last_failure_of_the_last_run_is_told(directory):
    assert status(directory).failure is None
    logs = directory / ".snakemake/log"
    logs.mkdir()
    (logs / "2026-01-01T0.snakemake.log").write_text("Error in rule faces:\n    jobid: 1\n")
    assert status(directory).failure == "faces"
    (logs / "2026-01-02T0.snakemake.log").write_text(LOG)
    log = directory / "results/logs/tokens/s02.log"
    log.parent.mkdir(parents=True)
    log.write_text("12:00 begins\nmilmer: a.h5: damaged\x1b; delete it\n\n")
    assert status(directory).failure == "tokens: milmer: a.h5: damaged\x1b; delete it"
    screen = status(directory).screen().splitlines()
    assert screen[-1] == "Last failure: tokens: milmer: a.h5: damaged\\x1b; delete it"
    assert status(directory).as_json()["failure"].startswith("tokens: milmer")
    (logs / "2026-01-03T0.snakemake.log").write_text("Finished jobid: 0\n")
    assert status(directory).failure is None


def test_where_slurm_cannot_be_asked_the_rest_is_shown(directory, monkeypatch):
    begun(directory, "results/trials/s03.parquet", "12")
    monkeypatch.setenv("PATH", "")  # no squeue
    said = CliRunner().invoke(app, ["status", "--directory", str(directory)])
    assert said.exit_code == 0, said.output
    first, trials, *_ = said.output.splitlines()
    assert first == (
        "SLURM does not say whether jobs of the last run are done (there is no squeue): what is "
        "called running may have ended."
    )
    assert trials.split()[:4] == ["trials", "3", "of", "9"]
    assert "running: s03  missing: s04" in trials


def test_watching_ends_with_the_run(directory, monkeypatch):
    processes, waits = [4711, 4711, None], []
    monkeypatch.setattr(resume, "running", lambda _: processes.pop(0))
    monkeypatch.setattr("time.sleep", waits.append)
    said = CliRunner().invoke(app, ["status", "--directory", str(directory), "--watch"])
    assert said.exit_code == 0
    assert waits == [running._REFRESH_SECONDS] * 2
    assert said.output.count("A run is going on (process 4711).") == 2
    assert said.output.count("No run is going on") == 1
