"""`make release-check` tells what is missing for a release."""

import shutil
import subprocess

import pytest

from tests.conftest import REPOSITORY
from tools import release_check

VERSION = release_check.version()


@pytest.fixture
def repository(tmp_path):
    """A repository that could be released, of the files that the checks read."""
    for name in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n## [{VERSION}] - 2026-11-28\n## [0.0.1]\n"
    )
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


CHECKS = [release_check.unclean, release_check.citation, release_check.changelog, release_check.tag]


def test_what_can_be_released_passes(repository):
    assert [check(repository) for check in CHECKS] == [""] * 4


def test_each_fault_is_named(repository):
    (repository / "CITATION.cff").write_text("version: 9.9.9\n")
    (repository / "CHANGELOG.md").write_text(f"## [Unreleased]\n## [{VERSION}] - 2026-11-28\n")
    subprocess.run(["git", "-C", str(repository), "tag", f"v{VERSION}"], check=True)
    assert [check(repository) for check in CHECKS] == [
        "M CHANGELOG.md  M CITATION.cff",
        "CITATION.cff names version ['9.9.9']",
        f"its first section is ['[Unreleased]']; head it [{VERSION}] - YYYY-MM-DD",
        f"v{VERSION} is there; raise the version",
    ]


def test_citation_is_in_step_now():
    assert release_check.citation() == ""


def test_the_wheel_is_compared_with_the_tracked_files(monkeypatch):
    files = release_check.wheel_files()
    assert {"milmer/_workflow/Snakefile", "milmer/_workflow/workflow/slurm/sbatch"} <= files
    assert "milmer/faces/face_detection_yunet_2023mar.onnx" in files
    monkeypatch.setattr(release_check, "wheel_files", lambda _: files | {"milmer/missing.py"})
    assert release_check.wheel() == "milmer/missing.py"
