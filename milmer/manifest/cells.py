"""The cells of a table of trials, as text: CSV, TSV or Parquet, however large it claims to be.

CSV needs the standard library only: the Snakefile reads the manifest each time it is parsed.
"""

import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from milmer.errors import MilmerError
from milmer.limits import require_size

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

Line = tuple[int, list[str]]

MOST_ROWS = 1_000_000
"""Trials of a manifest."""

MOST_BYTES = 100_000_000
"""Size of a manifest as CSV or TSV."""

_MOST_CELLS = 20_000_000  # empty ones too
_LONGEST_LINE = 1_000_000  # characters
_ROWS_AT_ONCE = 64


def read_cells(path: Path) -> list[Line]:
    """The number and the cells of each line, the header first.

    Raises :class:`MilmerError` where it is no such table, or a larger one than anybody has.
    """
    lines = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    _require_rows(path, len(lines) - 1)
    if lines and (count := len(lines) * len(lines[0][1])) > _MOST_CELLS:
        raise MilmerError(
            f"{count:,} cells; at most {_MOST_CELLS:,} are read",
            where=path,
            remedy="leave out columns that are not read",
        )
    return lines


def _require_rows(path: Path, count: int) -> None:
    if count > MOST_ROWS:
        raise MilmerError(
            f"more than {MOST_ROWS:,} rows ({count:,})",
            where=path,
            remedy="give one row a trial",
        )


def _csv(path: Path) -> list[Line]:
    require_size(path, MOST_BYTES)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline(_LONGEST_LINE)
            file.seek(0)
            delimiter = max(",;\t", key=head.count)
            reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
            rows = ((reader.line_num, values) for values in reader)
            return list(itertools.islice(rows, MOST_ROWS + 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MilmerError(
            f"not a readable table ({error})", where=path, remedy="save it as CSV in UTF-8"
        ) from error


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line of {_LONGEST_LINE:,} characters")
        yield line


def _parquet(path: Path) -> list[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _require_rows(path, file.metadata.num_rows)
            return [(1, file.schema_arrow.names), *enumerate(_texts(path, file), 2)]
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:  # dates far away
        raise MilmerError(
            f"not a readable Parquet file ({error})", where=path, remedy="write it again"
        ) from error


def _texts(path: Path, file: "ParquetFile") -> Iterator[list[str]]:
    """The cells of each row, read a few rows at once: small pages may hold long texts."""
    from milmer.claims import largest_chunk

    total = 0
    if (longest := largest_chunk(file.metadata)) > MOST_BYTES:
        raise _too_long(path)
    for batch in file.iter_batches(max(1, min(_ROWS_AT_ONCE, MOST_BYTES // max(1, longest)))):
        columns = []
        for column in batch.columns:
            columns.append([])
            for value in column:
                columns[-1].append(_text(value.as_py()))
                total += 1 + len(columns[-1][-1])
                if total > MOST_BYTES:
                    raise _too_long(path)
        yield from map(list, zip(*columns, strict=True))


def _too_long(path: Path) -> MilmerError:
    return MilmerError(f"its cells hold more than {MOST_BYTES:,} characters", where=path)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
