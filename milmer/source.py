"""Fingerprints of the code behind a stage, so that an edit reruns exactly what it can change.

Snakemake does not see code behind ``python -m milmer``. Each rule therefore carries, among its
params, the fingerprints of the modules that its stage can import: the static import closure of
the stage's module within this package. Comments, docstrings and formatting do not count, nor does
the version of Python that reads the code.
"""

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_ROOT = Path(__file__).resolve().parent


def closure(module: str) -> dict[str, str]:
    """Names and hashes of ``module`` and of all it imports from this package, sorted."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _imports(name)
    return {name: _hash(name) for name in sorted(seen)}


def fingerprint(module: str) -> str:
    """The closure of ``module`` as one string, for a rule's params."""
    return " ".join(f"{name}:{digest}" for name, digest in closure(module).items())


def _path(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):  # a package is found first
        if path.is_file():
            return path
    return None


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(module)
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _imports(module: str) -> list[str]:
    """Modules of this package that ``module`` names in an import, with their packages."""
    found: set[str] = set()
    package = module if _path(module).name == "__init__.py" else module.rpartition(".")[0]
    for node in _statements(_tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from milmer.eeg import filtering` names a module, `from … import PATTERN` does not.
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [base] + [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == _PACKAGE and _path(name) is not None:
                parts = name.split(".")
                found |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return sorted(found)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, without a look into expressions, which takes long."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for below in getattr(node, field, ()):
            yield below
            yield from _statements(below)


@functools.cache
def _hash(module: str) -> str:
    return hashlib.sha256(repr(_content(_tree(module))).encode()).hexdigest()[:12]


def _content(node: Any) -> Any:
    """A syntax tree as lists, without docstrings, also those of attributes and constants.

    Fields that hold nothing are left out: a newer Python has more of them. So is whether a name is
    read or set, which its place says.
    """
    if isinstance(node, ast.AST):
        made: list[Any] = [type(node).__name__]
        for name in node._fields:
            held = getattr(node, name, None)
            if held is not None and held != [] and name != "ctx":
                made += name, _content(held)
        return made
    if isinstance(node, list):
        return [_content(item) for item in node if not _is_text(item)]
    return node


def _is_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
