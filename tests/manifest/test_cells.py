"""Tables of trials that claim to be large."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from milmer.manifest.cells import MOST_BYTES, MOST_ROWS
from milmer.manifest.table import read_manifest
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
