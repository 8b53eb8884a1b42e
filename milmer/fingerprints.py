"""Fingerprints of the code behind a stage, so that an edit reruns exactly what it can change.

Snakemake does not see code behind ``python -m milmer``. Each rule therefore carries, among its
params, the fingerprints of the modules that its stage can import: the static import closure of
the stage's module within this package. They do not depend on comments, docstrings, formatting,
descriptions of options, remedies of errors, or the version of Python that reads the code.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_ROOT = Path(__file__).resolve().parent
_MEMORY = _ROOT / "__pycache__" / "fingerprints.json"


def closure(*modules: str) -> dict[str, str]:
    """Names and hashes of ``modules`` and of all that they import from this package, sorted."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _imports(name)
    hashes = {name: _hash(name) for name in sorted(seen)}
    _remembered().keep()
    return hashes


def fingerprint(*modules: str) -> str:
    """The closure of ``modules`` as one string, for a rule's params."""
    return " ".join(f"{name}:{digest}" for name, digest in closure(*modules).items())


def module_file(module: str) -> Path | str:
    """The file of a module, relative to the folder that the package lies in; else its name."""
    path = _path(module)
    return path.relative_to(_ROOT.parent) if path else module


def module_hash(module: str) -> str | None:
    """The hash of a module's content; None where it is gone."""
    path = _path(module)
    return _hash(module) if path is not None and path.is_file() else None


@functools.cache
def _path(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):  # a package comes first
        if path.is_file():
            return path
    return None


def _imports(module: str) -> list[str]:
    """Modules of this package that ``module`` names in an import, with their packages."""
    names: set[str] = set()
    for name in _facts(module)[0]:
        if _path(name) is not None:
            parts = name.split(".")
            names |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    return sorted(names)


def _hash(module: str) -> str:
    return _facts(module)[1]


def _facts(module: str) -> tuple[list[str], str]:
    """The names from this package in the imports of ``module``, and the hash of its content."""
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(module)
    about, method = path.stat(), Path(__file__).stat()
    state = [about.st_size, about.st_mtime_ns, method.st_size, method.st_mtime_ns]
    memory = _remembered()
    if module not in memory or memory[module][0] != state:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        digest = hashlib.sha256(repr(_content(tree)).encode()).hexdigest()[:12]
        memory[module] = [state, _named(tree, package), digest]
        memory.changed = True
    return memory[module][1], memory[module][2]


def _named(tree: ast.Module, package: str) -> list[str]:
    """Names of this package in the imports of a module of ``package``."""
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from milmer.eeg import filtering` names a module, `from … import PATTERN` does not.
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return sorted(name for name in names if name.split(".")[0] == _PACKAGE)


class _Memory(dict):
    """A cache of each module's facts, valid for the size and time of its file, like bytecode.

    Each job on a cluster parses the Snakefile, and parsing all modules takes longer than the rest.
    """

    changed = False

    def keep(self) -> None:
        """Save it if it changed and the folder can be written to."""
        if not self.changed:
            return
        self.changed = False
        partial = _MEMORY.with_name(f"{_MEMORY.name}.{os.getpid()}")
        with suppress(OSError):
            _MEMORY.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps(self), encoding="utf-8")
            os.replace(partial, _MEMORY)


@functools.cache
def _remembered() -> _Memory:
    try:
        content = json.loads(_MEMORY.read_text(encoding="utf-8"))
        return _Memory(content if isinstance(content, dict) else {})
    except (OSError, ValueError):
        return _Memory()


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node; expressions are skipped because they take long."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for below in getattr(node, field, ()):
            yield below
            yield from _statements(below)


def _content(node: Any) -> Any:
    """A syntax tree as lists, without prose: docstrings, also those of attributes and constants,
    descriptions of options, and remedies of errors.

    Empty fields are left out, because newer versions of Python have more of them, and so is
    whether a name is read or set, which its place implies.
    """
    if isinstance(node, ast.AST):
        content: list[Any] = [type(node).__name__]
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(node, ast.Call) and name == "keywords":
                value = [word for word in value if not _is_prose(word, node.func)]
            if value is not None and value != [] and name != "ctx":
                content += name, _content(value)
        return content
    if isinstance(node, list):
        return [_content(item) for item in node if not _is_text(item)]
    return node


def _is_prose(word: ast.keyword, called: ast.expr) -> bool:
    """Whether a keyword argument is only text for people and cannot change a result."""
    function = getattr(called, "id", getattr(called, "attr", ""))
    return word.arg == "remedy" or (
        word.arg == "description" and function in ("Field", "execution")
    )


def _is_text(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
