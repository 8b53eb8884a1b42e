"""The workflow on a real SLURM cluster of one node: all of it, cancelled, and asked to stop."""

import re
import shutil
import subprocess
import time

import pytest

from milmer.synthetic.twin import TwinOptions, synthesize
from tests.slurm.cluster import cluster, missing
from tests.slurm.runner import run, said, start
from tests.workflow.runner import snakemake, to_run, write_config

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

RUN = "results/runs/milmer/trial/s01-k0/seed0"
SECTIONS = {
    "dataset": {"root": "deap", "subjects": [1]},
    "faces": {"detector": "haar", "threads": 1},
    "backbone": {"name": "swin", "threads": 1},
    "protocols": {"names": ["trial"], "folds": 2},
    "training": {"epochs": 2, "threads": 1, "device": "cpu"},
    "report": {"resamples": 500, "explain": 8},
}


class Slurm:
    """The cluster as a user sees it."""

    def __init__(self, environment, folder):
        self.environment, self.folder = environment, folder

    def ask(self, *command):
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def jobs(self, form, *options):
        """All jobs so far, by number."""
        options = ("--states=all", "--sort=i", f"--format={form}", *options)
        told = self.ask("squeue", "--noheader", *options)
        return [row.strip() for row in told.splitlines()]

    def running(self, rule, pattern, count=1, seconds=500):
        """Wait until a job of ``rule`` runs and there are ``count`` such files; its number."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = [row.split() for row in self.jobs("%i %T %k")]
            found = [n for n, state, job in rows if state == "RUNNING" and job.endswith(rule)]
            if found and len(list(self.folder.glob(pattern))) == count:
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no job of {rule} wrote {pattern}")


@pytest.fixture(scope="module")
def work(twin_backbone, tmp_path_factory):
    """A folder to run in, and one of the same that has run without SLURM."""
    here, local = (tmp_path_factory.mktemp("runs") / name for name in ("slurm", "local"))
    synthesize(here / "deap", TwinOptions(trials=8, seconds=6, width=240, height=192, fps=10))
    shutil.copytree(twin_backbone, here / "swin")
    write_config(here, **SECTIONS)
    shutil.copytree(here, local)
    done = snakemake(local)
    assert done.returncode == 0, done.stderr
    return here, local


@pytest.fixture(scope="module")
def slurm(work, tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as environment:
        yield Slurm(environment, work[0])


def results(folder):
    """What all stages wrote, by name; when and how long they ran is in logs and benchmarks."""
    root = folder / "results"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    named = {str(path.relative_to(root)): path.read_bytes() for path in files}
    return {k: v for k, v in named.items() if not k.startswith(("logs/", "benchmarks/"))}


def test_a_run_whose_job_was_cancelled_is_finished_by_the_next_to_the_same_bytes(slurm, work):
    here, local = work
    first = start(here, "--retries", "0", environment=slurm.environment)
    # The second fold has begun, the first is complete.
    # The job of two folds is in its second.
    job = slurm.running("train", "results/logs/runs/milmer/trial/*/seed0.log", count=2)
    assert len(list(here.glob("results/runs/milmer/trial/*/seed0/predictions.parquet"))) == 1
    slurm.ask("scancel", job)
    assert first.wait() != 0
    assert "Using workflow specific profile" in said(here)
    assert slurm.jobs("%T", f"--jobs={job}") == ["CANCELLED"]
    assert not list((here / "results/runs").rglob("*.parquet"))  # a group is one job
    assert run(here, environment=slurm.environment) == 0, said(here)
    assert results(here) == results(local)
    assert to_run(snakemake(here, "--dry-run")) == {}


def test_training_that_is_asked_to_stop_goes_on_when_it_is_sent_again(slurm, work):
    here, local = work
    longer = SECTIONS | {
        "training": {"epochs": 40, "threads": 1, "device": "cpu", "checkpoint_minutes": 0}
    }
    for folder in work:
        write_config(folder, **longer)
    alone = snakemake(local, f"{RUN}/predictions.parquet")
    assert alone.returncode == 0, alone.stderr
    sent = start(here, f"{RUN}/predictions.parquet", environment=slurm.environment)
    job = slurm.running("train", RUN.replace("seed0", ".seed0.resume.pt"))
    slurm.ask("scancel", "--signal=TERM", job)
    assert sent.wait() == 0, said(here)
    step = re.search(r"s01-k0: asked to stop at step (\d+)", said(here))[1]
    log = (here / "results/logs/runs/milmer/trial/s01-k0/seed0.log").read_text()
    assert f"goes on from step {step}\n" in log
    # The second attempt asked for twice the memory and time.
    assert slurm.jobs("%T %m %l")[-2:] == ["FAILED 6000M 10:00", "COMPLETED 12000M 20:00"]
    for name in ("model/model.safetensors", "predictions.parquet", "history.parquet"):
        assert (here / RUN / name).read_bytes() == (local / RUN / name).read_bytes()
