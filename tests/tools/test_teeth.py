"""What `make teeth` plants, and that its table names what is there."""

import ast
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import REPOSITORY
from tools.teeth import faults

TABLE = tomllib.loads((REPOSITORY / "tests/teeth.toml").read_text())

CODE = '''
"""Numbers up to 5."""

LEVELS = ["a", "b"]


def f(x: int | None, y: float = 1.5) -> int | None:
    """All of x > 3."""
    if all(v > y for v in x if v):
        raise ValueError("too large", remedy="take 5")
    check(x, strict=True)
    return min(x) - y
'''


def test_faults_are_of_what_decides_and_each_is_another():
    planted = dict(faults(CODE, share=1, seed=0))
    assert {
        '- LEVELS = ["a", "b"]\n+ LEVELS = ["b",]',
        "- check(x, strict=True)\n+ check(x)",
        "- check(x, strict=True)\n+ pass",
        '- raise ValueError("too large", remedy="take 5")\n+ pass',
        "- if all(v > y for v in x if v):\n+ if any(v > y for v in x if v):",
        "- if all(v > y for v in x if v):\n+ if all(v > y for v in x if True):",
        "- return min(x) - y\n+ return max(x) - y",
    } <= set(planted)
    for change, code in planted.items():
        assert "Numbers" not in change
        assert "> int | None:" in code  # an annotation decides nothing
        ast.parse(code)


def test_the_seed_draws_a_share():
    every, some = (list(faults(CODE, share, 0)) for share in (1, 0.3))
    assert 0 < len(some) < 0.5 * len(every)
    assert list(faults(CODE, 0.3, 0)) == some
    assert {tuple(change for change, _ in faults(CODE, 0.3, seed)) for seed in range(5)} != {
        tuple(change for change, _ in some)
    }


PASSES = r"""
import sys
from pathlib import Path

from tools.teeth import passes

folder = Path(sys.argv[1])
print(passes(folder, ["test_half.py"]))
for body in ("return x // 3", "while x:\n        pass"):
    for path in folder.glob("__pycache__/half*"):
        path.unlink()
    (folder / "half.py").write_text(f"def half(x):\n    {body}\n")
    print(passes(folder, ["test_half.py"], 2 if "while" in body else 60))
"""


def test_a_fault_is_found_by_what_a_test_says(tmp_path):
    (tmp_path / "half.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "test_half.py").write_text(
        "import half\n\n\ndef test():\n    assert half.half(4) == 2\n"
    )
    # A process of its own: a fork of this one, whose libraries have threads, can wait for ever.
    command = [sys.executable, "-c", PASSES, tmp_path]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["True", "False", "None"], done.stderr


def test_the_table_names_modules_and_tests_that_are_there():
    for module, tests in TABLE["tests"].items():
        assert (REPOSITORY / module).is_file(), module
        assert all((REPOSITORY / t).is_file() for t in tests if t.endswith(".py")), tests


@pytest.mark.parametrize("fault", TABLE["changes_nothing"], ids=lambda f: f["reason"])
def test_a_fault_that_changes_nothing_is_of_a_line_that_is_there(fault):
    code = {" ".join(line.split()) for line in (REPOSITORY / fault["module"]).open()}
    gone = [line[2:] for line in fault["change"].strip().splitlines() if line.startswith("- ")]
    assert gone
    assert set(gone) <= code
