"""Tables as text: hostile rows are read as they were written, or refused in one line."""

import contextlib
import csv
import io
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer.errors import MilmerError
from milmer.manifest.table import read_manifest
from milmer.plain_text import as_cell
from milmer.readers.cells import MOST_BYTES, MOST_ROWS, read_cells
from tests.limited import refusal

READ = "milmer.manifest.table:read_manifest"


def test_a_parquet_file_of_millions_of_rows_is_refused_by_their_number(hostile):
    assert "rows.parquet: more than 1,000,000 rows (20,000,000)" in refusal(
        READ, hostile / "rows.parquet"
    )


def test_one_long_text_in_many_rows_is_refused(tmp_path):
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(900_000, "i4")), ["x" * 1_000_000])
    pq.write_table(pa.table({"subject": text}), tmp_path / "m.parquet", compression="zstd")
    assert (tmp_path / "m.parquet").stat().st_size < 100_000
    assert "its cells hold more than 100,000,000 characters" in refusal(
        READ, tmp_path / "m.parquet"
    )


def test_a_csv_of_gigabytes_is_refused_by_its_size(tmp_path):
    with open(tmp_path / "m.csv", "wb") as file:
        file.truncate(50 * 10**9)
    line = refusal(READ, tmp_path / "m.csv")
    assert f"m.csv: 50,000,000,000 bytes; at most {MOST_BYTES:,} are read" in line


def test_a_csv_of_millions_of_rows_is_refused(tmp_path, refused):
    (tmp_path / "m.csv").write_text("subject,trial,stimulus,eeg_file\n" + ",,,\n" * (MOST_ROWS + 1))
    with refused("m.csv: more than 1,000,000 rows"):
        read_manifest(tmp_path / "m.csv")


def test_a_line_of_millions_of_cells_is_refused(tmp_path, refused):
    (tmp_path / "m.csv").write_text("subject" + "," * 2_000_000)
    with refused("m.csv: not a readable table (a line of 1,000,000 characters)"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize("column", ["trial", "subject", "eeg_start"])
def test_a_long_cell_is_shortened_where_it_is_shown(tmp_path, column):
    row = {"subject": "p", "trial": 1, "stimulus": "a", "eeg_file": "a.edf", column: "x-" * 40_000}
    pd.DataFrame([row]).to_csv(tmp_path / "m.csv", index=False)
    assert len(refusal(READ, tmp_path / "m.csv")) < 400


def test_a_cell_of_hundreds_of_megabytes_is_refused_before_it_is_read(tmp_path, refused):
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"note": [b"y" * 200_000_000]}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with refused("long.parquet: its cells hold more than 100,000,000 characters"):
        read_manifest(path)


def test_a_date_that_no_calendar_has_is_one_line(tmp_path, refused):
    path = tmp_path / "date.parquet"
    pq.write_table(pa.table({"note": pa.array([2**30], pa.date32())}), path)
    with refused("date.parquet: not a readable Parquet file"):
        read_manifest(path)


def test_short_rows_below_a_wide_header_are_one_line(tmp_path, refused):
    path = tmp_path / "wide.csv"
    path.write_text(",".join(map(str, range(10_000))) + "\n" + "a,1\n" * 3000)
    with refused("wide.csv: 30,010,000 cells; at most 20,000,000 are read"):
        read_manifest(path)


HOSTILE = st.text(st.sampled_from("a1,;\t\"' \n\r=+-@\ufeffé\u2028\x0b\x85"), max_size=6).filter(
    lambda text: not re.match(" *'[=+@\t\r\n-]", text)
)  # that as_cell could have written


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.lists(HOSTILE, min_size=1, max_size=3), max_size=6),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    head=st.sampled_from(["", "\ufeff", "\n\n", "\ufeff\r\n", "sep"]),
)
def test_hostile_rows_come_back_at_their_line(tmp_path_factory, rows, delimiter, ending, head):
    """Quotes, separators, breaks of lines, formulas and short rows, below blank lines or none."""
    path = tmp_path_factory.mktemp("cells") / "m.csv"
    head = f"sep={delimiter}\n" if head == "sep" else head
    text, expected = f"{head}one{delimiter}two{delimiter}three{ending}", []
    for row in rows:
        line = 1 + len(re.findall("\r\n|\r|\n", text))
        written = io.StringIO()
        quoting = csv.QUOTE_MINIMAL if ending == "\r\n" else csv.QUOTE_ALL
        csv.writer(written, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerow(
            map(as_cell, row)
        )
        text += written.getvalue()
        cells = [value.strip() for value in row] + [""] * (3 - len(row))
        if any(cells):
            expected.append((line, dict(zip(("one", "two", "three"), cells, strict=True))))
    path.write_bytes(text.encode())
    table = read_cells(path)
    assert (table.columns, table.delimiter) == (["one", "two", "three"], delimiter)
    assert table.rows == expected


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), HOSTILE.map(str.encode)))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "m.csv"
    path.write_bytes(content)
    with contextlib.suppress(MilmerError):
        read_cells(path)
        return
    with pytest.raises(MilmerError) as caught:
        read_cells(path)
    assert re.fullmatch(f"{re.escape(str(path))}: .+", str(caught.value))


@pytest.mark.parametrize(
    ("delimiter", "text", "number"),
    [
        (";", "1,5", 1.5),
        (";", "-0,25", -0.25),
        ("\t", ",5", 0.5),
        (";", "1.5", 1.5),
        (";", "1e3", 1000),
        (";", "1.234,5", math.nan),
        (";", "1,234,567", math.nan),
        (",", "1,5", math.nan),
        (",", "1_5", math.nan),
        (",", "high", math.nan),
    ],
)
def test_a_comma_is_decimal_where_it_separates_no_cells(tmp_path, delimiter, text, number):
    path = tmp_path / "m.csv"
    path.write_text(f'a{delimiter}b\n"{text}"{delimiter}x\n')
    table = read_cells(path)
    assert table.rows == [(2, {"a": text, "b": "x"})]
    assert table.number(text) == pytest.approx(number, nan_ok=True)


def test_names_of_columns_in_quotes_do_not_say_what_separates_them(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('"a, of all, kinds";b\n1;2\n')
    assert read_cells(path).columns == ["a, of all, kinds", "b"]


def test_empty_cells_beyond_the_header_are_none_and_others_are_refused(tmp_path, refused):
    path = tmp_path / "m.csv"
    path.write_text("a,b\n1,2,,\n\n3,4,,5\n")
    with refused("m.csv: line 4: 4 values for 2 columns"):
        read_cells(path)
    path.write_text("a,b\n1,2,,\n")
    assert read_cells(path).rows == [(2, {"a": "1", "b": "2"})]
