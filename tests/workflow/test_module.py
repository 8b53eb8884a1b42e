"""Another workflow uses this one as a module: docs/running.md."""

import re
import subprocess
import sys

from tests.workflow.runner import REPOSITORY, to_run


def test_another_workflow_uses_the_rules_as_a_module(tmp_path):
    page = (REPOSITORY / "docs/running.md").read_text().split("## As a module")[1]
    folder = tmp_path / "another workflow"
    folder.mkdir()
    (folder / "Snakefile").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    (folder / "deap").symlink_to(REPOSITORY / "tests/data/layout")
    # Its own configuration, which knows other options than Milmer's.
    (folder / "own.yaml").write_text("threshold: 3\n")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", "own.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    jobs = to_run(done)
    assert jobs["mine"] == jobs["milmer_tables"] == 1
    assert jobs["milmer_trials"] == 2
    assert "milmer_report" not in jobs
