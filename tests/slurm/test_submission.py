"""The sbatch line of every rule, and of the groups; no SLURM is needed."""

import os
import re

import pytest

from tests.slurm.runner import run, said
from tests.slurm.submitting import Submitted, write_commands
from tests.workflow.runner import REPOSITORY, snakemake, write_config

VARIANTS = {"tuned": {"finetune": True}, "fer": {"pretrain": {"images": "images"}}}
SECTIONS = {
    "dataset": {"root": str(REPOSITORY / "tests/data/layout")},
    "protocols": {"names": ["trial", "loso"], "folds": 8},
    "training": {"threads": 3},
    "variants": {"backbone": VARIANTS},
    "report": {"explain": 8},
    "experiments": {
        "milmer": {},
        "eeg_only": None,
        "face_only": None,
        "published_frozen": None,
        **{name: {"backbone": name, "protocols": ["loso"]} for name in VARIANTS},
    },
}
ASKED = {  # MB, minutes, GPUs, processors
    "trials": (4000, 20, "", 1),
    "segments": (4000, 60, "", 1),
    "faces": (4000, 120, "", 2),
    "pretrain": (12000, 480, "1", 2),
    "tokens": (8000, 60, "1", 2),
    "split": (2000, 5, "", 1),
    "train": (6000, 120, "1", 3),
    "evaluate": (4000, 20, "", 1),
    "explain": (6000, 10, "1", 3),
    "baseline": (8000, 120, "", 1),
    "controls": (4000, 30, "", 1),
    "tables": (4000, 60, "", 1),
    "report": (8000, 60, "", 1),
}
GROUPED = {"split", "explain"}


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """``submitted(attempt, sections, **variables)``: all calls of sbatch that one run makes."""

    def run_once(attempt, sections=SECTIONS, **variables):
        folder = tmp_path_factory.mktemp("submitted")
        work = folder / "work"
        (work / "images").mkdir(parents=True)
        write_config(work, **sections)
        told = snakemake(work, "--dry-run").stdout
        outputs = re.findall(r"^ +(?:output|benchmark): (.*)$", told, re.MULTILINE)
        commands = write_commands(folder, [name for line in outputs for name in line.split(", ")])
        cleared = {k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SLURM_"))}
        path = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        at_once = ("--slurm-init-seconds-before-status-checks", "1", "--attempt", str(attempt))
        status = run(work, *at_once, environment=cleared | path | variables)
        assert status == 0, said(work)
        assert "Using workflow specific profile" in said(work)
        return [Submitted.read(line) for line in (folder / "submitted").read_text().splitlines()]

    return run_once


@pytest.fixture(scope="module")
def first(submitted):
    return submitted(1)


@pytest.fixture(scope="module")
def second(submitted):
    names = {"SBATCH_PARTITION": "long", "SBATCH_ACCOUNT": "lab", "MILMER_GPU_PARTITION": "gpus"}
    return submitted(2, **names)


def alone(calls):
    """What is asked for each rule whose jobs are no group, of runs that train no backbone."""
    found = {}
    for call in calls:
        if len(call.jobs) == 1 and not {"tuned"} & set(re.split(r"[=,']", call.jobs[0])):
            found.setdefault(call.rules[0], set()).add(call.asked)
    return found


def test_each_rule_asks_for_its_memory_time_gpu_and_processors(first):
    assert {rule for call in first for rule in call.rules} == set(ASKED)
    assert alone(first) == {rule: {ASKED[rule]} for rule in set(ASKED) - GROUPED}


def test_the_next_attempt_asks_for_more_memory_and_time(second):
    twice = {rule: (2 * mb, 2 * time, *rest) for rule, (mb, time, *rest) in ASKED.items()}
    assert alone(second) == {rule: {twice[rule]} for rule in set(ASKED) - GROUPED}


def test_what_trains_the_backbone_too_asks_for_more(first):
    asked = {call.asked for call in first if "experiment=tuned" in call.jobs[0]}
    assert (16000, 480, "1", 3) in asked


def test_a_group_asks_for_one_of_its_jobs_and_the_time_of_all(first):
    folds = [call for call in first if "small_folds" in call.options["--comment"]]
    assert sorted(len(call.jobs) for call in folds) == [6, 10]
    assert all("protocol=trial" in job for call in folds for job in call.jobs)
    for call in first:
        memory, minutes, gpus, processors = ASKED[call.rules[0]]
        if len(call.jobs) > 1:
            assert len(set(call.rules)) == 1
            minutes = 10 if call in folds else minutes
            memory = 16000 if any("tuned" in job for job in call.jobs) else memory
            assert call.asked == (memory, len(call.jobs) * minutes, gpus, processors)
    grouped = {call.rules[0] for call in first if len(call.jobs) > 1}
    assert grouped == GROUPED | {"train"}


def test_partition_and_account_are_environment_variables(first, second):
    assert {(call.options["-p"], call.options.get("-A")) for call in first} == {("main", None)}
    for call in second:
        on_gpu = "--gpus" in call.options
        assert call.options["-p"] == ("gpus" if on_gpu else "long")
        assert call.options["-A"] == "lab"


def test_what_computes_on_the_cpu_asks_for_no_gpu_and_a_site_says_how_to_ask(submitted):
    sections = SECTIONS | {"backbone": {"device": "cpu"}}
    site = {"MILMER_GPU_GRES": "gpu:a100:1", "MILMER_GPU_PARTITION": "gpus"}
    calls = submitted(1, sections, SBATCH_PARTITION="long", **site)
    assert {rule for call in calls for rule in call.rules} == set(ASKED)
    assert not any("--gpus" in call.options for call in calls)
    for call in calls:
        on_gpu = call.rules[0] in ("train", "explain")
        assert call.options.get("--gres") == ("gpu:a100:1" if on_gpu else None)
        assert call.options["-p"] == ("gpus" if on_gpu else "long")


def test_a_preempted_job_is_put_back(first):
    assert all("--requeue" in call.options for call in first)
