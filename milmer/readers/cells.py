"""The cells of a table as text: CSV, TSV or Parquet, however large it claims to be.

CSV needs the standard library only: the Snakefile reads the manifest each time it is parsed.
"""

import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from milmer.errors import MilmerError
from milmer.limits import require_file, require_size
from milmer.plain_text import from_cell

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


@dataclass(frozen=True)
class Cells:
    """A table as text: the names of its ``columns``, in lower case, and its ``rows``.

    A row is the line on which it begins and its cells by column; rows without content are left
    out. ``delimiter`` separates the cells of a CSV, and is empty in a Parquet file.
    """

    path: Path
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]
    delimiter: str

    def number(self, text: str) -> float:
        """The number that a cell holds; NaN where it holds none.

        A comma is a decimal comma unless commas separate the cells: ``1,500`` would be read as 1.5
        where a spreadsheet meant 1500.
        """
        if self.delimiter in (";", "\t"):
            text = re.sub(r"^([+-]?\d*),(\d+)$", r"\1.\2", text)
        try:
            return float(text) if "_" not in text else math.nan
        except ValueError:
            return math.nan


def read_cells(path: Path) -> Cells:
    """Read a table whose first row names the columns.

    Raises :class:`MilmerError` where it is no such table, or a larger one than anybody has.
    """
    parquet = path.suffix.lower() == ".parquet"
    lines, delimiter = (_parquet(path), "") if parquet else _csv(path)
    _require_rows(path, len(lines) - 1)
    lines = [(line, values) for line, values in lines if any(map(str.strip, values))]
    if lines and (count := len(lines) * len(lines[0][1])) > _MOST_CELLS:
        raise MilmerError(
            f"{count:,} cells; at most {_MOST_CELLS:,} are read",
            where=path,
            remedy="leave out columns that are not read",
        )
    header = [str(name).strip().lower() for name in lines[0][1]] if lines else []
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise MilmerError(
            f"the column {twice[0]} is there twice", where=path, remedy="keep one of them"
        )
    rows = []
    for line, values in lines[1:]:
        values = [from_cell(value.lstrip(" ")).strip() for value in values]
        if not any(values):
            continue
        if any(values[len(header) :]):
            raise MilmerError(
                f"{len(values)} values for {len(header)} columns",
                where=f"{path}: line {line}",
                remedy="put text that holds the separator in quotes",
            )
        values += [""] * (len(header) - len(values))
        cells = zip(header, values, strict=False)  # empty cells may follow
        rows.append((line, {name: value for name, value in cells if name}))
    return Cells(path, [name for name in header if name], rows, delimiter)


def _require_rows(path: Path, count: int) -> None:
    if count > MOST_ROWS:
        raise MilmerError(
            f"more than {MOST_ROWS:,} rows ({count:,})",
            where=path,
            remedy="give one row a trial",
        )


def _csv(path: Path) -> tuple[list[Line], str]:
    """Each row with the line on which it begins, and what separates its cells."""
    require_size(path, MOST_BYTES)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines, begin, head = _lines(file), 1, ""
            for head in lines:
                if head.strip():
                    break
                begin += 1
            if named := re.fullmatch(r"\s*sep=(.)\s*", head, re.IGNORECASE):  # by Excel, for Excel
                delimiter, begin = named[1], begin + 1
            else:
                outside = re.sub('"[^"]*"', "", head)  # quotes
                delimiter = max(",;\t", key=outside.count)
                lines = itertools.chain([head], lines)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            first, rows = begin, []
            for values in itertools.islice(reader, MOST_ROWS + 2):
                rows.append((begin, values))
                begin = first + reader.line_num
            return rows, delimiter
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

    require_file(path)
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
