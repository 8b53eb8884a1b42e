#!/usr/bin/env python3
"""Plant small faults in a module, one at a time, and say which of them its close tests let live.

    tools/teeth.py [MODULE…] [--share 0.2] [--seed 0]

Mutation testing with the operators of Cosmic Ray (https://cosmic-ray.readthedocs.io), and some of
our own for the faults that decide a number: a part of a list that is left out, an argument that is
dropped, a check that is gone. tests/teeth.toml says which tests mirror which module, and which
faults change nothing. Each fault is planted in a copy of the repository; a child process, forked
after the libraries were imported, runs the tests against it. Ends with 1 where fewer than 95 % of
the faults that change something are killed.
"""

import argparse
import ast
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import parso
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

from milmer.fingerprints import _content

REPOSITORY = Path(__file__).resolve().parents[1]
GOAL = 0.95
_LIBRARIES = ("pytest", "hypothesis", "pandas", "pyarrow.parquet", "h5py", "scipy.stats")
_LIBRARIES += ("sklearn.metrics", "sklearn.linear_model", "torch", "transformers", "av", "cv2")
_LIBRARIES += ("mne", "pydantic", "psutil", "yaml", "cosmic_ray.plugins")
_TWINS = {"any": "all", "all": "any", "min": "max", "max": "min", "amax": "amin", "sum": "mean"}


# ------------------------------------------------------------------- operators


class _Replacing(Operator):
    """An operator that puts another text in the place of some nodes."""

    def mutation_positions(self, node):
        """Where the operator applies."""
        for _ in self.texts(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        """The node with the text in its place."""
        return _leaf(list(self.texts(node))[index], node)

    @classmethod
    def examples(cls):
        """None."""
        return ()


class ReplaceName(_Replacing):
    """``any`` for ``all``, ``min`` for ``max``, and the like."""

    def texts(self, node):
        """The other name."""
        if node.type == "name" and node.value in _TWINS:
            yield _TWINS[node.value]


class DropPart(_Replacing):
    """One element of a list, tuple, set or dictionary, or one keyword argument, is left out."""

    def texts(self, node):
        """The text without each of its parts in turn."""
        kinds = ("arglist", "testlist_comp", "testlist", "dictorsetmaker")
        if node.type not in kinds or any(n.type.endswith("comp_for") for n in node.children):
            return
        parts: list[str] = [""]
        for child in node.children:
            if child.type == "operator" and child.value == ",":
                parts.append("")
            else:
                parts[-1] += child.get_code()
        parts = [part for part in parts if part]
        for i, part in enumerate(parts):
            rest = [*parts[:i], *parts[i + 1 :]]
            if node.type != "arglist":
                yield ",".join(rest) + ("," if len(rest) == 1 else "")
            elif "=" in part.partition("(")[0]:
                yield ",".join(rest)


class DropStatement(_Replacing):
    """An expression, an error that is raised or an augmented assignment is gone."""

    def texts(self, node):
        """``pass``."""
        if node.parent is None or node.parent.type != "simple_stmt":
            return
        call = node.type == "atom_expr" and node.children[0].type != "string"
        added = node.type == "expr_stmt" and node.children[1].get_code().strip().endswith("=")
        added = added and node.children[1].get_code().strip() != "="
        if call or added or node.type == "raise_stmt":
            yield "pass"


class DropFilter(_Replacing):
    """The condition of a comprehension or of a conditional expression always holds."""

    def texts(self, node):
        """The text without the condition."""
        if node.type == "comp_if":
            yield "if True"
        elif node.type == "ternary":
            yield node.children[0].get_code(include_prefix=False)
            yield node.children[4].get_code(include_prefix=False)


def _leaf(text: str, node: parso.tree.NodeOrLeaf) -> parso.tree.Leaf:
    prefix = node.get_first_leaf().prefix
    return parso.python.tree.Name(text.strip(), node.start_pos, prefix=prefix)


def _operators() -> Iterator[Operator]:
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        if not operator.arguments():
            yield operator()
    yield from (ReplaceName(), DropPart(), DropStatement(), DropFilter())


# ---------------------------------------------------------------------- faults


def faults(code: str, share: float, seed: int) -> Iterator[tuple[str, str]]:
    """A random share of a module's faults: lines that change, as in a diff, and the faulty code.

    Of the operators that put another comparison, number or sign in one place, one is drawn. What is
    prose to :mod:`milmer.fingerprints` (docstrings, remedies) and annotations are left alone.
    """
    rng, plain, tree = random.Random(seed), _meaning(code), get_ast(code)
    places: dict[tuple, list[tuple[Operator, int]]] = {}
    for operator in _operators():
        kind = type(operator).__name__.partition("_")[0]
        positions = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            part = occurrence if isinstance(operator, _Replacing) else None
            places.setdefault((kind, start, end, part), []).append((operator, occurrence))
    order = rng.sample(list(places.values()), len(places))
    for alternatives in order[: max(1, round(share * len(order)))]:
        try:
            other = mutate_code(code, *rng.choice(alternatives))
            if _meaning(other) != plain:
                yield _change(code, other), other
        except (SyntaxError, TypeError, AttributeError):  # not Python any more
            continue


def _meaning(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return repr(_content(tree))


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [" ".join(f"{line[0]} {line[1:].strip()}".split()) for line in lines]
    return "\n".join(c for c in changed if c[0] in "+-" and c[:3] not in ("+ +", "- -"))


# ----------------------------------------------------------------------- tests


def passes(copy: Path, tests: list[str], seconds: float | None = None) -> bool | None:
    """Whether the tests pass in a child process, whose bytecode is kept where ``seconds`` is None.

    None where they take longer than ``seconds``.
    """
    base = Path(tempfile.mkdtemp(prefix="teeth-"))
    child = os.fork()
    if not child:
        _run_tests(copy, tests, base, keep=seconds is None)
    end = time.monotonic() + (seconds or 3600)
    status: int | None = None
    while status is None and time.monotonic() < end:
        done, state = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(state) if done else None
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    if seconds is None and status:
        print((base / "output").read_text()[-3000:], file=sys.stderr)
    shutil.rmtree(base, ignore_errors=True)
    return None if status is None else status == 0


def _run_tests(copy: Path, tests: list[str], base: Path, keep: bool) -> None:
    os.setsid()
    output = os.open(base / "output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = not keep
    if not keep:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in [n for n in sys.modules if n.split(".")[0] in ("milmer", "tests", "tools")]:
        del sys.modules[name]
    import pytest

    arguments = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", str(base / "tmp"), *tests]
    status = 99
    try:
        status = pytest.main(arguments)
    finally:
        os._exit(int(status))


def examine(
    copy: Path, module: str, tests: list[str], idle: list[dict], share: float, seed: int
) -> tuple[int, int]:
    """Plant a share of a module's faults; prints those that live, returns how many died and lived.

    ``idle`` lists faults that change nothing.
    """
    path = copy / module
    code = path.read_text(encoding="utf-8")
    began = time.monotonic()
    if not passes(copy, tests):
        sys.exit(f"{module}: its tests fail without any fault")
    seconds = time.monotonic() - began
    print(f"{module}: its tests take {seconds:.0f} s", flush=True)
    same = {entry["change"].strip() for entry in idle if entry["module"] == module}
    killed = lived = nothing = 0
    for change, other in faults(code, share, seed):
        if change in same:
            nothing += 1
            continue
        for bytecode in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            bytecode.unlink()
        path.write_text(other, encoding="utf-8")
        if passes(copy, tests, 4 * seconds + 20):
            lived += 1
            print(f"lives in {module}:\n{change}\n", flush=True)
        else:
            killed += 1
    path.write_text(code, encoding="utf-8")
    print(
        f"{module}: {killed} of {killed + lived} killed; {nothing} more change nothing",
        flush=True,
    )
    return killed, lived


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--share", type=float, default=0.2, help="of the faults of each module")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of that share")
    arguments = parser.parse_args()
    table = tomllib.loads((REPOSITORY / "tests/teeth.toml").read_text(encoding="utf-8"))
    modules = arguments.modules or list(table["tests"])
    if unknown := set(modules) - set(table["tests"]):
        parser.error(f"not in tests/teeth.toml: {', '.join(sorted(unknown))}")
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    for library in _LIBRARIES:
        __import__(library)
    killed = lived = 0
    with tempfile.TemporaryDirectory(prefix="teeth-") as folder:
        copy = Path(folder) / "milmer"
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, check=True)
        for name in files.stdout.decode().splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
        for module in modules:
            numbers = examine(
                copy,
                module,
                table["tests"][module],
                table.get("changes_nothing", []),
                arguments.share,
                arguments.seed,
            )
            killed, lived = killed + numbers[0], lived + numbers[1]
    print(f"{killed} of {killed + lived} killed ({killed / max(1, killed + lived):.1%})")
    sys.exit(killed < GOAL * (killed + lived))


if __name__ == "__main__":
    main()
