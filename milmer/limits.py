"""Limits on text and plain values from strangers, and how such values are shown in a line.

Imports nothing heavy: options and the configuration stand on it.
"""

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError

TEXT_BYTES = 20_000_000
"""Largest configuration, header, or file of JSON."""

VALUES = 100_000
"""Most values of a configuration, aliases of YAML written out."""

LEVELS = 50
"""Deepest nesting of a configuration."""

EXPERIMENTS = 10_000
"""Most experiments of a configuration, grids written out."""

_BITS = 256  # of a whole number: more is nothing that anybody counts, and is slow to show
_SHOWN = 80  # characters of a value in an error
_ITEMS, _DEPTH = 20, 3  # of a list or a mapping that are looked at to show it


def require_size(path: Path, most: int = TEXT_BYTES) -> None:
    """Refuse a file of more than ``most`` bytes; see :func:`require_file`."""
    size = require_file(path)
    if size > most:
        raise MilmerError(f"{size:,} bytes; at most {most:,} are read", where=path)


def require_file(path: Path) -> int:
    """The size of a file in bytes; refuses a pipe or a device, which would be waited for.

    What is missing, a folder or cannot be looked at counts as empty: whoever opens it says so.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise MilmerError("is a pipe or a device, not a file", where=path)
    return status.st_size


@contextmanager
def read_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn errors of the system when ``path`` is opened or read into a :class:`MilmerError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise unreadable(path, error, remedy) from error


def unreadable(path: Path, error: BaseException, remedy: str) -> MilmerError:
    """The error for people that ``path`` cannot be read."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    problem = f"cannot be read ({reason.splitlines()[0][:300]})"
    return MilmerError(problem, where=path, remedy=remedy)


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """The values by name in a JSON file of somebody else, such as those of a model's folder.

    Raises :class:`MilmerError` where it is none, or too large or too deep for what it is.
    """
    require_size(path)
    with read_errors(path, remedy):
        content = path.read_bytes()
    value = parse_json(content, path, remedy)
    if not isinstance(value, dict):
        raise MilmerError("holds no values by name", where=path, remedy=remedy)
    require_written_out(value, str(path))
    return value


def parse_json(
    text: Any, where: object, remedy: str = "", mapping: Callable[[dict], Any] | None = None
) -> Any:
    """The plain values of a text in JSON, in which all numbers are finite.

    ``mapping`` makes what values by name become.
    """
    try:
        return json.loads(text, parse_constant=_not_finite, object_hook=mapping)
    except (ValueError, TypeError, RecursionError) as error:
        problem = f"is no JSON ({str(error)[:80]})"
        raise MilmerError(problem, where=where, remedy=remedy) from error


def _not_finite(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def require_written_out(value: Any, where: str) -> None:
    """Refuse plain values that are nested too deep, or too many once aliases are written out.

    An alias of YAML is the same object in several places: ten lists, each of nine aliases of the
    one before, are billions of values to whoever walks through them.
    """
    counts: dict[int, int] = {}

    def count(value: Any, level: int) -> int:
        if isinstance(value, int) and value.bit_length() > _BITS:
            raise MilmerError(f"{shortened(value)} is not allowed", where=where)
        if not isinstance(value, Mapping | list | tuple | set):
            return 1
        if level > LEVELS:
            raise MilmerError(f"nested more than {LEVELS} levels deep", where=where)
        if id(value) not in counts:
            items = value.values() if isinstance(value, Mapping) else value
            plain = (str, float, bool)  # most items are
            deep = [item for item in items if type(item) not in plain]
            below = sum(count(item, level + 1) for item in deep)
            counts[id(value)] = 1 + len(items) - len(deep) + below
        return counts[id(value)]

    if (total := count(value, 0)) > VALUES:
        key = _largest(value, counts)
        raise MilmerError(
            f"{total:,} values, aliases written out; at most {VALUES:,} are read",
            where=f"{where}: {key}" if key else where,
            remedy="write down fewer",
        )


def _largest(value: Any, counts: Mapping[int, int]) -> str:
    """The key, with those below it, whose values alone are too many."""
    keys = []
    while isinstance(value, Mapping):
        key = max(value, key=lambda key: counts.get(id(value[key]), 1))
        value = value[key]
        if counts.get(id(value), 1) <= VALUES:
            break
        keys.append(str(key)[:_SHOWN])
    return ".".join(keys)


def require_few_experiments(count: int) -> None:
    """Refuse grids that make too many experiments, before any is made."""
    if count > EXPERIMENTS:
        raise MilmerError(
            f"makes {count:,} experiments; at most {EXPERIMENTS:,} are made",
            where="config: experiments",
            remedy="shorten the grids",
        )


def shortened(value: Any) -> str:
    """A value as Python writes it, in 80 characters at most and in no more time than these take."""
    text = _part(value, _DEPTH)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _part(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes):
        return repr(value[:_SHOWN])
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if not isinstance(value, Mapping | list | tuple | set):
        return repr(value)
    opening, closing = "()" if isinstance(value, tuple) else "[]"
    if isinstance(value, Mapping | set):
        opening, closing = "{}"
    if not depth:
        return f"{opening}…{closing}"
    items = [_part(item, depth - 1) for item in islice(value, _ITEMS)]
    if isinstance(value, Mapping):
        below = (_part(item, depth - 1) for item in islice(value.values(), _ITEMS))
        items = [f"{key}: {item}" for key, item in zip(items, below, strict=True)]
    items += ["…"] if len(value) > _ITEMS else []
    return f"{opening}{', '.join(items)}{closing}"
