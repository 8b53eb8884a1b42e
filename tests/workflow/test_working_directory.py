"""What lies in the working directory is data: no module is imported from there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.runner import REPOSITORY, write_config

BIN = Path(sys.executable).parent
HOSTILE = ("yaml", "numpy", "pandas", "torch", "json", "milmer", "snakemake")


@pytest.fixture
def work(tmp_path, twin):
    """A working directory with modules of other names' libraries, which leave a file when run."""
    write_config(tmp_path, dataset={"root": str(twin)})
    for name in HOSTILE:
        text = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name}\\n')\n"
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def run(work, *command):
    done = subprocess.run(
        list(map(str, command)), cwd=work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (work / "ran").exists(), (work / "ran").read_text()
    return done


def test_no_command_imports_it(work):
    run(work, BIN / "milmer", "config", "mine.yaml")
    run(work, sys.executable, "-P", "-m", "milmer", "config", "mine.yaml")
    (work / "milmer.py").unlink()  # which Python itself takes for what -m names
    run(work, sys.executable, "-m", "milmer", "config", "mine.yaml")


def test_neither_snakemake_nor_its_jobs_nor_resuming_import_it(work):
    snakemake = [BIN / "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "1"]
    snakemake += ["results/trials/s01.parquet", "--configfile", "mine.yaml"]
    run(work, *snakemake, "--dry-run")
    run(work, *snakemake)
    assert (work / "results/trials/s01.parquet").is_file()
    run(work, BIN / "milmer", "resume")
