"""Text stays text: names of others are refused or escaped, and no spreadsheet computes a cell."""

import csv
import io
import time

import pandas as pd
import pytest
import yaml

from milmer.config import load_config
from milmer.errors import MilmerError
from milmer.manifest.table import read_manifest
from milmer.plain_text import as_cell, as_cells, escaped, first_unseen, from_cell, unseen_character

UNSEEN = ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\x9b", *"\u200e\u200f\u202a\u202e\u2066\u2069"]
UNSEEN += [*"\u061c\u2028\u2029\ud800\udfff\ufffe\uffff"]  # bidirectional too, or in no file
HEADER = "subject,trial,stimulus,eeg_file,eeg_start,eeg_stop,label"


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_characters_that_nobody_sees_are_named_and_escaped(character):
    text = f"a{character}b"
    assert unseen_character(text) == f"U+{ord(character):04X}"
    assert escaped(text) == f"a{character!r}b".replace("'", "")
    assert first_unseen({"labels": {"classes": ["x", text]}}, "config").startswith(
        "config.labels.classes: "
    )


@pytest.mark.parametrize("text", ["", "Fröhlich 2", "怒り", "a\tb", "👩‍🔬", "−1", "naïve"])
def test_what_people_write_is_let_through(text):
    assert unseen_character(text) is None
    assert escaped(text) == text


def test_an_error_shows_no_control_character():
    error = MilmerError("a\x1b[31mb\u202ec\r\nd", where="x\x9b", remedy="\x07")
    assert str(error) == "x\\x9b: a\\x1b[31mb\\u202ec d; \\x07"


def test_aliases_of_aliases_are_looked_at_once():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    began = time.monotonic()
    assert first_unseen(yaml.safe_load("\n".join(levels))) is None
    assert time.monotonic() - began < 1


# ------------------------------------------------------------------------- spreadsheets


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")', "＝1"]
)
def test_a_cell_that_would_be_computed_begins_with_an_apostrophe(text):
    assert as_cell(text) == f"'{text}"
    assert from_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "'quoted'", "it's", "– none", "HAHV"])
def test_other_cells_stay_as_they_are(text):
    assert as_cell(text) == from_cell(text) == text


def test_numbers_stay_numbers():
    table = pd.DataFrame(
        {
            "a": [-1.5, None],
            "=b": pd.array([-2, None], "Int32"),
            "c": pd.array(["=1", None], "string"),
            "d": [None, "@x"],
            "e": [-3, "+x"],
            "f": [[-1, 2], None],
        }
    )
    text = as_cells(table).to_csv(index=False)
    assert list(csv.reader(io.StringIO(text))) == [
        ["a", "'=b", "c", "d", "e", "f"],
        ["-1.5", "-2", "'=1", "", "-3", "[-1, 2]"],
        ["", "", "", "'@x", "'+x", ""],
    ]
    assert as_cells(table[["a"]]).to_csv() == table[["a"]].to_csv()
    assert table["c"].iloc[0] == "=1"


# ----------------------------------------------------------------- where names are read


def hostile(folder, word, column="label"):
    """A manifest with a word in the second row's column."""
    cells = dict(zip(HEADER.split(","), ["p01", 2, "v2", "e.fif", 11, 17, "calm"], strict=True))
    with open(folder / "labels.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(cells)
        writer.writerow(["p01", 1, "v1", "e.fif", 3, 9, "glad"])
        writer.writerow((cells | {column: word}).values())
    return folder / "labels.csv"


@pytest.mark.parametrize("word", ["red\x1b[31m", "a\u202eb", "a\nb", "a\x9bb"], ids=ascii)
@pytest.mark.parametrize("column", ["label", "stimulus", "subject", "eeg_file"])
def test_a_manifest_with_such_a_name_is_refused_by_row(tmp_path, refused, word, column):
    with refused(f"labels.csv: line 3: {column}: "):
        read_manifest(hostile(tmp_path, word, column))


@pytest.mark.parametrize("word", ["=1+1", "@SUM(A1)", "<script>alert(1)</script>"])
def test_a_label_that_can_be_seen_is_text(tmp_path, word):
    assert read_manifest(hostile(tmp_path, word)).classes == sorted(["glad", word])
    assert read_manifest(hostile(tmp_path, as_cell(word))).classes == sorted(["glad", word])


def test_a_column_with_such_a_name_is_refused(tmp_path, refused):
    path = tmp_path / "m.csv"
    path.write_text(f"{HEADER},no\x1b[31mte\np01,1,v,e.fif,,,\n")
    with refused("the column 'no\\x1b[31mte' holds the character U+001B"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ({"labels": {"scheme": "label", "classes": ["a", "b\x1b"]}}, "labels.classes"),
        ({"variants": {"labels": {"x": {"classes": ["a\u202e", "b"]}}}}, "classes"),
        ({"dataset": {"kind": "manifest", "manifest": "m\x9b.csv"}}, "dataset.manifest"),
        ({"dataset": {"channels": ["Fz", "Cz", "Pz", "O\x07z"]}}, "dataset.channels"),
        ({"experiments": {"a\x1b": {}}}, "a\\x1b"),
        ({"a\x1b": 1}, "a\\x1b"),
    ],
)
def test_a_configuration_with_such_a_name_is_refused_by_key(refused, user, key):
    with refused("config: ", key):
        load_config(user)
