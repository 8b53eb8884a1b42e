import random

import numpy as np
import pandas as pd
import pytest

from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.ratings import check_labels, ratings_of, read_ratings

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
    with refused("participant_ratings.csv: line 2: 10 values for 9 columns"):
        read_ratings(path)


def test_ratings_of_a_spreadsheet_are_read(twin, table):
    """With a mark at the beginning, semicolons, decimal commas and a blank row."""
    path = table()
    header, *rows = path.read_text().splitlines()
    rows = [row.replace(",", ";").replace(".", ",") for row in rows]
    lines = [header.replace(",", ";"), rows[0], ";" * 8, "", *rows[1:]]
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    pd.testing.assert_frame_equal(read_ratings(path), read_ratings(twin / RATINGS))


def test_a_wrong_value_below_a_blank_row_is_at_its_own_line(table, refused):
    path = table(setting("Arousal", 4, "high"))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "", *lines[3:]]))
    with refused("participant_ratings.csv: line 7: Arousal: 'high' is not a number from 1 to 9"):
        read_ratings(path)


WRONG = {
    "a column is missing": (lambda raw: raw.drop(columns="Valence"), ["no column Valence"]),
    "no trial column": (lambda raw: raw.drop(columns="Trial"), ["no column Trial"]),
    "empty": (lambda raw: raw.iloc[:0], ["no rows"]),
    "a word": (setting("Arousal", 4, "high"), ["line 6", "not a number"]),
    "a gap": (setting("Valence", 0, ""), ["line 2: Valence: '' is not a number"]),
    "infinite": (setting("Liking", 2, "inf"), ["line 4"]),
    "too high": (
        setting("Valence", 3, "9.5"),
        ["line 5: Valence: '9.5' is not a number from 1 to 9"],
    ),
    "too low": (setting("Dominance", 3, "0"), ["line 5: Dominance", "1 to 9"]),
    "trial twice": (setting("Trial", 1, "1"), ["s01", "trial 1 twice"]),
    "experiment twice": (
        lambda raw: setting("Experiment_id", 1, raw.loc[0, "Experiment_id"])(raw),
        ["s01", "experiment_id", "twice"],
    ),
    "half a trial": (setting("Trial", 1, "1.5"), ["line 3: Trial", "whole number"]),
    "trial zero": (setting("Trial", 1, "0"), ["line 3: Trial", "from 1"]),
    "huge trial": (setting("Experiment_id", 1, "1e12"), ["Experiment_id"]),
    "no subject": (setting("Participant_id", 0, "0"), ["Participant_id", "not a subject"]),
    "half a subject": (setting("Participant_id", 0, "1.5"), ["Participant_id"]),
    "two columns of a name": (
        lambda raw: raw.assign(valence=raw["Valence"]),
        ["valence", "twice"],
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


def test_each_value_stands_in_its_column(table):
    """Read by name, in whichever order columns stand."""
    row = {"Liking": 4.5, "Participant_id": 7, "Start_time": 123456, "Arousal": 2.25, "Trial": 3}
    row |= {"Familiarity": 2, "Valence": 8.75, "Experiment_id": 11, "Dominance": 6}
    second = row | {"Trial": 2, "Experiment_id": 9, "Start_time": "", "Participant_id": 6}
    read = read_ratings(table(lambda _: pd.DataFrame([row, row | {"Trial": 1, "Experiment_id": 12},
                                                      second])))  # fmt: skip
    expected = pd.DataFrame(
        {
            "subject": ["s06", "s07", "s07"],
            "trial": np.array([2, 3, 1], np.int32),
            "experiment_id": np.array([9, 11, 12], np.int32),
            "start_time": [np.nan, 123456, 123456],
            **{"valence": 8.75, "arousal": 2.25, "dominance": 6.0, "liking": 4.5},
            "familiarity": 2.0,
        }
    )
    pd.testing.assert_frame_equal(read, expected)
    own = ratings_of("s07", read, "x")
    pd.testing.assert_frame_equal(own, expected[1:].reset_index(drop=True))


@pytest.fixture
def rated(twin):
    """The ratings of s01 but for one trial, and the labels of its file."""
    ratings = ratings_of("s01", read_ratings(twin / RATINGS), twin / RATINGS)
    ratings = ratings[ratings["experiment_id"] != 5].reset_index(drop=True)
    return ratings, read_preprocessed(twin / DAT).labels.copy()


def test_labels_of_the_same_copy_agree(rated):
    ratings, labels = rated
    check_labels("s01", ratings, labels, DAT)
    labels[4] = np.nan  # of the trial that was not rated
    check_labels("s01", ratings, labels + 0.004, DAT)


@pytest.mark.parametrize("change", [0.006, -0.01, np.nan])
@pytest.mark.parametrize("scale", range(4))
def test_labels_that_disagree_in_one_rating_name_the_trial_and_both(rated, scale, change, refused):
    ratings, labels = rated
    labels[[7, 5], scale] += change
    in_file, right = labels[5], ratings.loc[4, ["valence", "arousal", "dominance", "liking"]]
    both = ("/".join(f"{v:g}" for v in values) for values in (in_file, right))
    values = "{} in the file, {} rated".format(*both)
    with refused(
        f"{DAT}: labels of s01 disagree with participant_ratings.csv in 2 of 7 trials, "
        f"first at experiment_id 6 ({values}); EEG and faces would be paired wrongly"
    ):
        check_labels("s01", ratings, labels, DAT)


def test_a_file_of_fewer_trials_than_are_rated_is_refused(rated, refused):
    ratings, labels = rated
    check_labels("s01", ratings, labels[:8], DAT)
    with refused("s01 holds 7 trials, the ratings name experiment_id 8"):
        check_labels("s01", ratings, labels[:7], DAT)
