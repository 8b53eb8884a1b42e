"""A submission that SLURM refuses for now is tried again; one that it refuses for good is not."""

import os
import subprocess

import pytest

from tests.workflow.runner import REPOSITORY

SBATCH = REPOSITORY / "workflow/slurm/sbatch"
LIMIT = "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job "
LIMIT += "violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
DOWN = "sbatch: error: Unable to contact slurm controller (connect failure)"
BUSY = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
WRONG = "sbatch: error: invalid partition specified: no-such"

REAL = """#!/bin/sh
echo "$@" >> {folder}/calls
if [ "$(wc -l < {folder}/calls)" -le {refusals} ]; then echo "{message}" >&2; exit 1; fi
cat > {folder}/script
echo 4711
"""


@pytest.fixture
def submit(tmp_path):
    """``submit(refusals, message, queue)``: the calls of SLURM's sbatch, and how it ended."""

    def run(refusals, message, queue="12 RUNNING"):
        for name, text in {
            "sbatch": REAL.format(folder=tmp_path, refusals=refusals, message=message),
            "squeue": f"#!/bin/sh\necho '{queue}'\n" if queue else "#!/bin/sh\n",
        }.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        path = os.pathsep.join([str(SBATCH.parent), str(tmp_path), os.environ["PATH"]])
        done = subprocess.run(
            ["sbatch", "--parsable", "a b"],
            input="#!/bin/sh\nmilmer\n",
            env=os.environ | {"PATH": path, "MILMER_SUBMIT_SECONDS": "0"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return (tmp_path / "calls").read_text().splitlines(), done

    return run


@pytest.mark.parametrize(("message", "most"), [(LIMIT, 25), (DOWN, 9), (BUSY, 9)])
def test_a_submission_refused_for_now_waits_and_is_tried_again(submit, tmp_path, message, most):
    calls, done = submit(most, message)
    assert calls == ["--parsable a b"] * (most + 1)
    assert (done.returncode, done.stdout) == (0, "4711\n")
    assert (tmp_path / "script").read_text() == "#!/bin/sh\nmilmer\n"


@pytest.mark.parametrize(
    ("message", "queue", "tries"), [(WRONG, "1", 1), (LIMIT, "", 1), (DOWN, "1", 10)]
)
def test_a_submission_refused_for_good_is_told(submit, message, queue, tries):
    calls, done = submit(99, message, queue)
    assert len(calls) == tries
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n")
