"""The contract of a table: its columns, what they hold, and the facts in its provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from milmer.contracts.facts import AGAIN, Facts
from milmer.errors import MilmerError

SEGMENT = ["subject", "trial", "position"]
"""The key of a segment."""

LABELLED = {
    **{"subject": "text", "trial": "integer", "position": "integer"},
    "label": "class",
}
"""Columns of a table with a row a segment and its class."""

_KINDS = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "integer": pa.types.is_integer,
    "class": pa.types.is_integer,
    "boolean": pa.types.is_boolean,
    "measure": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    "numbers": lambda kind: pa.types.is_list(kind) and pa.types.is_floating(kind.value_type),
}


@dataclass(frozen=True)
class Table:
    """The contract of a stage's table, by the kinds of its columns.

    A question mark after a kind allows nulls, which of a ``measure`` are numbers too. ``optional``
    columns may be missing. ``facts`` are those of its provenance. A ``predicted`` table has a
    column ``p_`` of each of the facts' labels, and no segment twice; no two rows of another agree
    in its ``key``.
    """

    stage: str
    columns: Mapping[str, str]
    optional: Mapping[str, str] | None = None
    facts: type[Facts] | None = None
    predicted: bool = False
    key: Sequence[str] = ()
    may_be_empty: bool = False

    def require(self, table: pa.Table, facts: Mapping[str, Any], path: Path) -> None:
        """Refuse a table without the columns that its readers count on."""
        if not (self.may_be_empty or "skipped" in facts or len(table)):
            raise MilmerError("holds no rows", where=path, remedy=AGAIN)
        labels = facts.get("labels", ())
        columns = {**self.columns}
        columns |= {n: k for n, k in (self.optional or {}).items() if n in table.column_names}
        columns |= {f"p_{name}": "number" for name in labels if self.predicted}
        require_kinds(table, columns, path, len(labels))
        key = self.key or (SEGMENT if self.predicted else ())
        if key and len(table.group_by(list(key)).aggregate([])) < len(table):
            what = "segment" if self.predicted else key[-1]
            raise MilmerError(f"holds a {what} twice", where=path, remedy=AGAIN)


def require_kinds(
    table: pa.Table, columns: Mapping[str, str], path: Path, classes: int = 0
) -> None:
    """Refuse a table without ``columns`` of these kinds; see :class:`Table`."""
    for name, kind in columns.items():
        if table.column_names.count(name) != 1:
            raise MilmerError(f"has no column {name}", where=path, remedy=AGAIN)
        column, is_kind = table[name], _KINDS[kind.rstrip("?")]
        if not len(table):
            continue
        untyped = kind.endswith("?") and kind != "measure?" and pa.types.is_null(column.type)
        if not is_kind(column.type) and not untyped:
            problem = f"{name} holds {column.type}, not {kind.rstrip('?')}"
            raise MilmerError(problem, where=path, remedy=AGAIN)
        if not kind.endswith("?") and not _complete(column):
            raise MilmerError(f"{name} lacks values", where=path, remedy=AGAIN)
        if kind == "class" and classes:
            lowest, highest = pc.min_max(column).as_py().values()
            if lowest < 0 or highest >= classes:
                problem = f"{name} goes beyond the {classes} classes"
                raise MilmerError(problem, where=path, remedy=AGAIN)


def _complete(column: pa.ChunkedArray) -> bool:
    """Whether no value is null, not a number or infinite."""
    if column.null_count:
        return False
    finite = pc.is_finite(column) if pa.types.is_floating(column.type) else []
    return bool(np.all(finite))
