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

from milmer.plan import snakemake_state
from milmer.synthetic.twin import TwinOptions, synthesize
from tests.workflow.runner import REPOSITORY, write_config

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
            training={"epochs": 60, "threads": 1, "checkpoint_minutes": 0, "batch_size": 4},
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


def at_work(run, folder, kind):
    """What can be killed at this moment, with the name of its stage."""
    jobs = jobs_of(run)
    if kind == "training":
        jobs = [(job, stage) for job, stage in jobs if stage == "train"]
        return jobs if list(folder.glob("results/runs/*/*/*/.seed0.resume.pt")) else []
    if kind == "all":
        return [(None, "all")] if snakemake_state.locked(folder) else []
    return jobs


def kill_in_the_middle(folder, seconds, chance, kind):
    """Begin a run and kill a job, or all, at a random moment; the stage, none if it had ended."""
    run = psutil.Process(start(folder).pid)
    if kind == "training":  # its state is saved
        wait_for(lambda: at_work(run, folder, kind))
        time.sleep(chance.uniform(0, 3))
    else:
        time.sleep(chance.uniform(1, seconds))
    found = wait_for(lambda: ended(run) or at_work(run, folder, kind))
    if found is True:
        run.wait()
        return None
    job, stage = chance.choice(found)
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        job.kill() if job else os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return stage


@pytest.mark.parametrize(
    ("size", "options", "reason"),
    [("500k", "rw", "no space left on the disk"), ("9m", "ro", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_no_more_is_told_and_with_room_the_run_goes_on(
    fresh, undisturbed, small_disk, size, options, reason
):
    folder = fresh()
    disk = small_disk(size, folder / "results")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)

    remount(options)
    first = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True)
    assert first.returncode != 0
    assert reason in first.stderr
    assert "Traceback" not in first.stderr
    assert not list(disk.rglob("*.partial"))
    remount("rw,size=50m")
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert content(folder) == undisturbed[1]


def ended(run):
    return run.status() == psutil.STATUS_ZOMBIE


def wait_for(look):
    end = time.monotonic() + 300
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


# 32 kills, in parts that workers share; each part draws its own moments.
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "part", "times"),
    [
        *(("a job", part, 4) for part in range(4)),
        *(("training", part, 4) for part in range(2)),
        *(("all", part, 4) for part in range(2)),
    ],
)
def test_kill_9_at_any_moment_and_one_command_leads_to_the_same_bytes(
    fresh, undisturbed, kind, part, times
):
    seconds, expected = undisturbed
    chance = random.Random(f"{kind} {part}")
    hit = []
    while len(hit) < times:
        folder = fresh()
        stage = kill_in_the_middle(folder, seconds, chance, kind)
        if stage is None or content(folder) == expected:
            shutil.rmtree(folder)  # nothing was lost: another moment
            continue
        done = resume(folder)
        assert done.returncode == 0, f"{stage}: {done.stderr}"
        assert content(folder) == expected, stage
        if kind == "training":
            (log,) = (folder / "results/logs/runs").rglob("seed*.log")
            assert "goes on from step" in log.read_text()
        hit.append(stage)
        shutil.rmtree(folder)
    print(kind, hit)


def kill_all(folder, command, seconds, cwd=None):
    """Begin a run and kill it with its jobs after some of its time, while it holds the lock."""
    run = psutil.Process(start(cwd or folder, command).pid)
    time.sleep(seconds)
    wait_for(lambda: ended(run) or snakemake_state.locked(folder))
    assert not ended(run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert snakemake_state.locked(folder)


def times(folder):
    """When each result was written."""
    return {name: (folder / "results" / name).stat().st_mtime_ns for name in content(folder)}


@pytest.mark.long
def test_a_run_started_elsewhere_that_moved_and_lost_its_configuration_goes_on(
    fresh, undisturbed, tmp_path
):
    seconds, expected = undisturbed
    folder, begun = fresh(), tmp_path / "begun/here"
    begun.mkdir(parents=True)
    (folder / "mine.yaml").rename(begun / "mine.yaml")
    kill_all(folder, [*COMMAND, "--directory", str(folder)], seconds / 2, begun)
    shutil.rmtree(tmp_path / "begun")
    moved = folder.rename(tmp_path / "moved")
    done = resume(tmp_path, "--directory", "moved")
    assert done.returncode == 0, done.stderr
    said = f"milmer: {begun}/mine.yaml is gone; the configuration that the run had is used"
    assert done.stderr.splitlines()[0] == said
    assert content(moved) == expected


@pytest.mark.long
def test_an_interrupted_forceall_keeps_what_it_has_finished(fresh, undisturbed):
    seconds, expected = undisturbed
    folder = fresh()
    assert start(folder).wait(300) == 0
    before, began = times(folder), time.time_ns()
    kill_all(folder, [*COMMAND, "--forceall"], seconds / 2)
    at_work = snakemake_state.incomplete(folder)  # a job may have just written its file
    kept = {name: written for name, written in times(folder).items() if written > began}
    assert 0 < len(kept) < len(before)
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    after = times(folder)
    assert content(folder) == expected
    assert {name for name in before if after[name] < began} == set()  # all were made again
    finished = {name for name in kept if f"results/{name}" not in at_work}
    assert {name: after[name] for name in finished} == {name: kept[name] for name in finished}


@pytest.mark.long
@pytest.mark.parametrize("put_back", [True, False])
def test_a_configuration_that_is_edited_before_it_goes_on_counts(fresh, undisturbed, put_back):
    seconds, expected = undisturbed
    folder = fresh()
    kill_all(folder, COMMAND, seconds / 2)
    text = (folder / "mine.yaml").read_text()
    assert "epochs: 60" in text
    (folder / "mine.yaml").write_text(text.replace("epochs: 60", "epochs: 2"))
    done = resume(folder, "--config", "protocols={names: [segment]}")
    assert done.returncode == 0, done.stderr
    assert content(folder) != expected
    if put_back:
        (folder / "mine.yaml").write_text(text)
        assert start(folder).wait(300) == 0
        assert content(folder) == expected


@pytest.mark.long
@pytest.mark.parametrize("put_back", [True, False])
@pytest.mark.parametrize("moment", [0.3, 0.6])
def test_code_that_is_edited_before_a_kill_makes_nothing_unless_it_is_there_to_go_on(
    fresh, undisturbed, tmp_path, moment, put_back
):
    seconds, expected = undisturbed
    for name in ("milmer", "rules", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    folder, filtering = fresh(), tmp_path / "milmer/eeg/filtering.py"
    command = [*COMMAND, "--snakefile", str(tmp_path / "Snakefile")]
    run = psutil.Process(start(folder, command).pid)
    time.sleep(moment * seconds)
    text = filtering.read_text()
    filtering.write_text(text.replace("return ", "return 2 * "))
    time.sleep(1)  # jobs begin, or fail, by the code that is there now
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    if put_back:
        filtering.write_text(text)
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    if put_back:
        assert content(folder) == expected
        return
    edited = content(folder)
    assert edited["segments/default/s01.h5"] != expected["segments/default/s01.h5"]
    assert edited["faces/default/s01.h5"] == expected["faces/default/s01.h5"]
    filtering.write_text(text)
    assert start(folder, command).wait(300) == 0
    assert content(folder) == expected
