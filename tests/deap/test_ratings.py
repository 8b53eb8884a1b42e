import random

import numpy as np
import pandas as pd
import pytest

from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.ratings import LABEL_SCALES, check_labels, read_ratings

RATINGS = "metadata_csv/participant_ratings.csv"
DAT = "data_preprocessed_python/s01.dat"


@pytest.fixture
def table(twin, tmp_path):
    """Write the twin's ratings, changed as a table of text; returns the path."""

    def write(change=lambda raw: raw):
        path = tmp_path / "participant_ratings.csv"
        change(pd.read_csv(twin / RATINGS, dtype=str, keep_default_na=False)).to_csv(
            path, index=False
        )
        return path

    return write


def setting(column, row, value):
    def change(raw):
        raw.loc[row, column] = value
        return raw

    return change


def test_ratings_are_read_in_the_order_of_experiment_id(twin, twin_truth):
    ratings = read_ratings(twin / RATINGS)
    for subject, truth in twin_truth.items():
        own = ratings[ratings["subject"] == subject]
        assert own["experiment_id"].tolist() == list(range(1, 9))
        shown = dict(zip(truth["experiment_id"], range(1, 9), strict=True))
        assert own["trial"].tolist() == [shown[e] for e in range(1, 9)]
        classes = np.array(truth["class_by_experiment_id"])
        assert ((own["valence"] > 5) == np.isin(classes, (0, 1))).all()
        assert ((own["arousal"] > 5) == np.isin(classes, (0, 3))).all()


def test_familiarity_is_null_where_it_was_not_asked_for(twin, table):
    ratings = read_ratings(twin / RATINGS)
    asked = ratings["familiarity"].notna().groupby(ratings["subject"]).all()
    assert asked.to_dict() == {"s01": True, "s02": False}
    without = read_ratings(table(lambda raw: raw.drop(columns="Familiarity")))
    assert without["familiarity"].isna().all()


def test_the_order_of_the_rows_does_not_matter(twin, table):
    order = list(range(16))
    random.Random(0).shuffle(order)
    mixed = read_ratings(table(lambda raw: raw.iloc[order]))
    pd.testing.assert_frame_equal(mixed, read_ratings(twin / RATINGS))


def test_the_case_and_spaces_of_column_names_do_not_matter(twin, table):
    for rename in (str.upper, str.lower, " {} ".format):
        assert read_ratings(table(lambda raw, rename=rename: raw.rename(columns=rename))).equals(
            read_ratings(twin / RATINGS)
        )


@pytest.mark.parametrize("rows", [[1], [1, 2], range(17)], ids=str)
def test_a_row_with_a_comma_too_many_is_refused(table, rows, refused):
    path = table()
    lines = path.read_text().splitlines()
    path.write_text("\n".join("," * (i in rows and i > 0) + x for i, x in enumerate(lines)))
    with refused("participant_ratings.csv", "not a readable CSV"):
        read_ratings(path)


WRONG = {
    "a column is missing": (lambda raw: raw.drop(columns="Valence"), ["no column Valence"]),
    "no trial column": (lambda raw: raw.drop(columns="Trial"), ["no column Trial"]),
    "empty": (lambda raw: raw.iloc[:0], ["no rows"]),
    "a word": (setting("Arousal", 4, "high"), ["line 6", "not a number"]),
    "a gap": (setting("Valence", 0, ""), ["line 2", "missing"]),
    "infinite": (setting("Liking", 2, "inf"), ["line 4"]),
    "too high": (setting("Valence", 3, "9.5"), ["valence", "1 to 9"]),
    "too low": (setting("Dominance", 3, "0"), ["dominance", "1 to 9"]),
    "trial twice": (setting("Trial", 1, "1"), ["s01", "trial 1 twice"]),
    "experiment twice": (
        lambda raw: setting("Experiment_id", 1, raw.loc[0, "Experiment_id"])(raw),
        ["s01", "experiment_id", "twice"],
    ),
    "half a trial": (setting("Trial", 1, "1.5"), ["Trial", "whole numbers"]),
    "trial zero": (setting("Trial", 1, "0"), ["Trial", "from 1"]),
    "huge trial": (setting("Experiment_id", 1, "1e12"), ["Experiment_id"]),
    "no subject": (setting("Participant_id", 0, "0"), ["Participant_id", "not a subject"]),
    "half a subject": (setting("Participant_id", 0, "1.5"), ["Participant_id"]),
    "two columns of a name": (
        lambda raw: raw.assign(valence=raw["Valence"]),
        ["Valence", "twice"],
    ),
}


@pytest.mark.parametrize(("change", "parts"), WRONG.values(), ids=WRONG)
def test_a_wrong_table_is_refused_by_its_line_or_column(table, tmp_path, change, parts, refused):
    path = table(change)
    with refused(str(path), *parts, nothing_in=tmp_path):
        read_ratings(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00\x01" * 40, b"PK\x03\x04 an .xls file", b'a,b\n"open', b"\n\n"]
)
def test_what_is_no_table_is_refused(tmp_path, content, refused):
    path = tmp_path / "participant_ratings.csv"
    path.write_bytes(content)
    with refused(str(path)):
        read_ratings(path)


def test_labels_of_the_same_copy_agree(twin):
    ratings = read_ratings(twin / RATINGS)
    labels = read_preprocessed(twin / DAT).labels
    check_labels("s01", ratings[ratings["subject"] == "s01"], labels, twin / DAT)


def test_labels_that_disagree_name_the_subject_and_the_first_experiment_id(twin, refused):
    ratings = read_ratings(twin / RATINGS)
    own = ratings[ratings["subject"] == "s01"].reset_index(drop=True)
    labels = own[LABEL_SCALES].to_numpy().copy()
    labels[[2, 5]] += 0.01
    with refused("s01", "2 of 8 trials", "first at experiment_id 3", "same copy"):
        check_labels("s01", own, labels, twin / DAT)
    labels[2, 0] = np.nan
    with refused("first at experiment_id 3"):
        check_labels("s01", own, labels, twin / DAT)
    with refused("holds 5 trials", "experiment_id 8"):
        check_labels("s01", own, labels[:5], twin / DAT)
