"""What the package declares: what it imports, no more and no less, at the versions of the lock."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tools import make_third_party

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
NEVER_IMPORTED = {
    "snakemake-executor-plugin-slurm": "the profile slurm",
}


def imported_modules():
    """Top-level modules that the package imports, anywhere in it."""
    modules = set()
    for path in (REPOSITORY / "milmer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - {"milmer"} - sys.stdlib_module_names


def test_each_dependency_is_imported_and_what_is_imported_is_a_dependency():
    distributions = packages_distributions()
    # A package that is not installed, such as the optional mediapipe, is looked for at run time.
    installed = imported_modules() & set(distributions)
    imported = {canonicalize_name(distributions[module][0]) for module in installed}
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert declared - set(NEVER_IMPORTED) == imported


def test_the_lock_holds_a_version_of_each_dependency_that_is_allowed():
    locked = make_third_party.locked_versions()
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), line


def test_the_hooks_are_of_the_locked_versions():
    lock = (REPOSITORY / "requirements.lock").read_text()
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in hooks:
        name = hook["repo"].rpartition("/")[2].removesuffix("-pre-commit")
        assert f"\n{name}=={hook['rev'].removeprefix('v')} \\\n" in lock


def test_what_others_wrote_brings_its_licence():
    assert "milmer/faces/face_detection_yunet_LICENSE.txt" in PROJECT["license-files"]
    assert PROJECT["license"] == "BSD-3-Clause AND MIT"


def test_each_locked_package_has_its_hashes():
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = [i for i, line in enumerate(lines) if "==" in line]
    assert len(pins) > 100
    for i in pins:
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", lines[i + 1]), lines[i]
    # torch has another build on each index, with CUDA and without; it is installed by itself.
    names = {canonicalize_name(lines[i].partition("==")[0]) for i in pins}
    assert "torch" not in names
    # What builds the project without a network.
    assert {"hatchling", "editables"} <= names


def test_the_lock_holds_all_that_the_dependencies_need():
    assert set(make_third_party.default_packages()) <= set(make_third_party.locked_versions())


def test_the_page_on_third_parties_is_that_of_the_packages(capsys):
    make_third_party.main()
    page = (REPOSITORY / "THIRD_PARTY.md").read_text()
    assert page == capsys.readouterr().out, "make docs writes THIRD_PARTY.md"
    assert "not stated" not in page
