"""The plan of the house: what may import what, and how large a room is."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "milmer"

FLOORS = [
    "plain_text errors limits options fingerprints planned claims contracts storage folders",
    "runtime metrics",
    "data",
    "readers drawing",
    "deap manifest synthetic",
    "eeg faces",
    "backbone model",
    "splits training",
    "evaluation prediction",
    "config_files config config_text plan check",
    "cli",
]
"""From the ground up: a room imports from floors below its own, or from one named before it."""

ORDER = {room: place for place, room in enumerate(" ".join(FLOORS).split())}
MOST_LINES = 420  # about 400; what is longer is two subjects


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            base = node.module or ""
            below = {f"{base}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else base for name in below}
    return {name for name in names if name in MODULES and name != module}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in ORDER])
def test_imports_point_down(module):
    upwards = {
        other
        for other in imports(module)
        if room(other) and ORDER[room(other)] > ORDER[room(module)]
    }
    assert not upwards


def test_each_room_stands_in_the_plan():
    assert {room(module) for module in MODULES} - {"", "__main__"} == set(ORDER)


def test_the_two_kinds_of_dataset_do_not_know_each_other():
    pairs = [(m, o) for m in MODULES for o in imports(m)]
    assert not [pair for pair in pairs if {room(name) for name in pair} == {"deap", "manifest"}]


def test_no_module_imports_itself_by_way_of_others():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for other in sorted(imports(module)):
            visit(other, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_one_subject(module):
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


def test_options_and_packages_load_nothing_heavy():
    light = [m for m in MODULES if m.endswith("options") or MODULES[m].name == "__init__.py"]
    light = [m for m in light if room(m) not in ("cli", "plan")]
    heavy = ("torch", "mne", "pandas", "h5py", "cv2", "scipy", "sklearn", "transformers")
    code = (
        f"import sys\nfor name in {light}:\n    __import__(name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def table(heading: str) -> list[list[str]]:
    """Cells of the table below a heading of docs/architecture.md."""
    page = (PACKAGE.parent / "docs/architecture.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_names_each_rule_with_its_command_and_its_modules():
    rules = {}
    for file in sorted((PACKAGE.parent / "rules").glob("*.smk")):
        for name, body in re.findall(
            r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.M | re.S
        ):
            rules[name] = (
                re.search(r"milmer --log \{log\} ([\w-]+)", body)[1],
                set(re.findall(r'"milmer\.([\w.]+)"', body)),
                body,
            )
    rows = {code(row[0])[0]: row for row in table("Stages")}
    assert set(rows) == set(rules)
    for name, (command, modules, body) in rules.items():
        _, said, written, files = rows[name]
        assert code(said) == [f"milmer {command}"]
        paths = {
            c.removesuffix(".py").replace("/", ".") for c in code(written) if c.endswith(".py")
        }
        assert modules <= paths, name
        assert all((PACKAGE / f"{path.replace('.', '/')}.py").is_file() for path in paths)
        if name not in ("tables", "report"):
            assert f"results/{code(files)[0].rstrip('/')}" in body, name


def test_the_page_says_where_to_change_what():
    paths = [path for row in table("Where to change what") for path in code(row[1])]
    assert all((PACKAGE / path).is_file() for path in paths), paths


def test_the_page_names_the_floors():
    assert [code(row[1]) for row in table("Direction of imports")] == [f.split() for f in FLOORS]
