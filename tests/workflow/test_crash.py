"""kill -9 at random moments: one command, `milmer resume`, leads to the same bytes every time."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from milmer import snakemake_folder
from milmer.deap.synthetic import TwinOptions, synthesize
from tests.workflow.runner import REPOSITORY, write_config

JOBS, RUNS = 3, 2  # how often a job is killed, and how often Snakemake with all its jobs
COMMAND = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
COMMAND += ["--configfile", "mine.yaml", "--cores", "2"]


def start(folder, command=COMMAND):
    """A process of its own session, whose output nobody reads."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def resume(folder, *more):
    return subprocess.run(
        [sys.executable, "-m", "milmer", "resume", *more],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def content(folder):
    """Digests of all results, by name; what tells of a run and not of its result is no part."""
    results = folder / "results"
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.relative_to(results).parts[0] not in ("logs", "benchmarks")
    }


@pytest.fixture(scope="module")
def fresh(twin_backbone, tmp_path_factory):
    """``fresh()``: a folder with a small twin and its configuration, and no results."""
    origin = tmp_path_factory.mktemp("origin")
    small = {"subjects": 1, "trials": 8, "seconds": 6, "width": 240, "height": 192, "fps": 10}
    synthesize(origin / "deap", TwinOptions(**small))

    def made():
        folder = tmp_path_factory.mktemp("work")
        (folder / "deap").symlink_to(origin / "deap")
        (folder / "swin").symlink_to(twin_backbone)
        write_config(
            folder,
            dataset={"root": "deap"},
            faces={"detector": "haar"},
            backbone={"name": "swin", "threads": 1},
            protocols={"names": ["segment"]},
            training={"epochs": 100, "threads": 1, "checkpoint_minutes": 0, "batch_size": 4},
        )
        return folder

    return made


@pytest.fixture(scope="module")
def undisturbed(fresh):
    """How long a run takes that nobody kills, and what it makes."""
    folder = fresh()
    began = time.monotonic()
    assert start(folder).wait(300) == 0
    seconds = time.monotonic() - began
    made = content(folder)
    assert sum(name.endswith("model.safetensors") for name in made) == 1
    assert "tables/summary.parquet" in made
    assert "report/index.html" in made
    return seconds, made


def jobs_of(run):
    """The stages that work for a run at this moment."""
    found = []
    for process in run.children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "--log" in words and any(word.endswith("/milmer") for word in words):
            found.append((process, words[words.index("--log") + 2]))
    return found


def killed_in_the_middle(fresh, seconds, chance, everything):
    """A folder in which a job, or all, was killed at a random moment; and which stage it was."""
    while True:
        folder = fresh()
        run = psutil.Process(start(folder).pid)
        time.sleep(chance.uniform(1, seconds))
        while run.status() != psutil.STATUS_ZOMBIE:  # until a job is at work
            jobs = jobs_of(run)
            if jobs or (everything and snakemake_folder.locked(folder)):
                break
            time.sleep(0.02)
        else:
            shutil.rmtree(folder)  # it had ended: another moment
            run.wait()
            continue
        if everything:
            os.killpg(run.pid, signal.SIGKILL)
        else:
            job, stage = chance.choice(jobs)
            with contextlib.suppress(psutil.NoSuchProcess):
                job.kill()
        run.wait()
        return folder, "run" if everything else stage


@pytest.mark.parametrize("everything", [False, True], ids=["a job", "Snakemake with all its jobs"])
def test_kill_9_at_any_moment_and_one_command_leads_to_the_same_bytes(
    fresh, undisturbed, everything
):
    seconds, expected = undisturbed
    chance = random.Random(7 + everything)
    hit, again = [], 0
    while len(hit) < (RUNS if everything else JOBS):
        folder, stage = killed_in_the_middle(fresh, seconds, chance, everything)
        if content(folder) == expected:
            shutil.rmtree(folder)  # nothing was lost: it does not count
            continue
        done = resume(folder)
        assert done.returncode == 0, f"{stage}: {done.stderr}"
        assert content(folder) == expected, stage
        again += any(
            "goes on from step" in log.read_text()
            for log in (folder / "results/logs/runs").rglob("*.log")
        )
        hit.append(stage)
        shutil.rmtree(folder)
    if not everything:  # moments were spread over the stages, and training went on where it was
        assert len(set(hit)) >= 4, hit
        assert again >= 1, hit
