"""Fingerprints of the code behind a stage, so that an edit reruns exactly what it can change.

Snakemake does not see code behind ``python -m milmer``. Each rule therefore carries, among its
params, the fingerprints of the modules that its stage can import: the static import closure of
the stage's module within this package. Comments, docstrings and formatting do not count.
"""

import ast
import functools
import hashlib
from pathlib import Path

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
    for path in (base.with_suffix(".py"), base / "__init__.py"):
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
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from milmer.eeg import filtering` names a module, `from … import PATTERN` does not.
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == _PACKAGE and _path(name) is not None:
                parts = name.split(".")
                found |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return sorted(found)


@functools.cache
def _hash(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
