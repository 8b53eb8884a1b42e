"""The scripts behind the README's figures run; what they measure is not judged here."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    "arguments",
    [
        ["segments.py", "--no-ica"],
        ["faces.py"],
        ["tokens.py"],
        ["train.py"],
        ["finetune.py"],
        ["selection.py"],
        ["eeg.py"],
    ],
    ids=lambda a: a[0],
)
def test_a_benchmark_prints_its_table(arguments):
    script, *rest = arguments
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / script), "--quick", *rest],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| --- |" in done.stdout
    assert "cores" in done.stdout.splitlines()[-1]
