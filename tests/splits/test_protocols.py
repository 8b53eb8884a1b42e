"""The table of protocols: what a new row needs elsewhere, and that each row makes sound splits."""

from typing import get_args

import numpy as np
import pytest

from milmer.errors import MilmerError
from milmer.evaluation import model_card
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.protocols import HONEST, PROTOCOLS, ProtocolName
from tests.splits.test_splits import ratings, split, write_trials


def test_each_protocol_can_be_configured():
    assert set(get_args(ProtocolName)) == set(PROTOCOLS), "milmer/splits/protocols.py: ProtocolName"


def test_the_model_card_says_what_each_protocol_means():
    assert set(model_card.PROTOCOLS) == set(PROTOCOLS), "milmer/evaluation/model_card.py"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_fold_can_be_split_and_tests_something(tmp_path, protocol):
    rng = np.random.default_rng(0)
    subjects = ["s01", "s02", "s03"]
    visits = np.repeat(["ses-1", "ses-2", "ses-10"], [4, 3, 3])
    paths = {s: write_trials(tmp_path, s, ratings(rng, 10), session=visits) for s in subjects}
    folds = fold_names(protocol, subjects, 2, dict.fromkeys(subjects, 3))
    assert len(set(folds)) == len(folds) > 1
    for fold in folds:
        read = fold_subjects(protocol, fold, subjects)
        table, facts = split(tmp_path, [paths[s] for s in read], protocol, fold, folds=2)
        assert {"train", "val", "test"} == set(table["part"])
        assert facts["leaky"] == (protocol not in HONEST)
        trials = table.assign(test=table["part"] == "test").groupby(["subject", "experiment_id"])
        assert (trials["test"].nunique() == 1).all() == (protocol in HONEST)


def test_the_first_honest_protocol_is_what_others_are_compared_with():
    assert HONEST == ("trial", "session", "stimulus", "loso")


@pytest.mark.parametrize(
    ("protocol", "folds"),
    [
        ("segment", ["p10", "Eve_2"]),
        ("trial", ["p10-k0", "p10-k1", "Eve_2-k0", "Eve_2-k1"]),
        ("stimulus", ["k0", "k1"]),
        ("loso", ["p10", "Eve_2"]),
        ("session", ["Eve_2-k0", "Eve_2-k1"]),
    ],
)
def test_folds_are_named_subject_by_subject_and_read_their_own_or_all(protocol, folds):
    subjects = ["p10", "Eve_2"]
    assert fold_names(protocol, subjects, 2, {"p10": 1, "Eve_2": 2}) == folds
    read = [fold_subjects(protocol, fold, subjects) for fold in folds]
    own = [[fold.removesuffix("-k0").removesuffix("-k1")] for fold in folds]
    assert read == (own if protocol in ("segment", "trial", "session") else [subjects] * 2)


@pytest.mark.parametrize("subject", ["sub-01", "a-k1", "k7"])
def test_a_subject_may_have_hyphens_in_its_name(tmp_path, subject):
    path = write_trials(tmp_path, subject, ratings(np.random.default_rng(0), 10))
    assert fold_subjects("segment", subject, []) == fold_subjects("loso", "k0", [subject])
    for k in range(2):
        assert fold_subjects("trial", f"{subject}-k{k}", []) == [subject]
        table, _ = split(tmp_path, [path], "trial", f"{subject}-k{k}", folds=2)
        assert set(table["subject"]) == {subject}


def test_each_fold_of_protocol_session_tests_one_session_in_their_order(tmp_path):
    """And validates by whole sessions."""
    visits = np.repeat(["ses-1", "ses-2", "ses-10"], [4, 3, 5])
    path = write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 12), session=visits)
    for k, name in enumerate(("ses-1", "ses-2", "ses-10")):
        table, facts = split(tmp_path, [path], "session", f"s01-k{k}", folds=5)
        assert set(table.loc[table["part"] == "test", "session"]) == {name}
        assert (table.groupby("session")["part"].nunique() == 1).all()
        assert set(table["part"]) == {"train", "val", "test"}
        assert facts["validation_groups"] == ["subject", "session"]


def test_trials_validate_where_one_session_trains(tmp_path):
    visits = np.repeat(["a", "b"], [5, 7])
    path = write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 12), session=visits)
    table, facts = split(tmp_path, [path], "session", "s01-k1")
    assert set(table.loc[table["part"] == "test", "session"]) == {"b"}
    assert set(table.loc[table["session"] == "a", "part"]) == {"train", "val"}
    assert (table.groupby("trial")["part"].nunique() == 1).all()
    assert facts["validation_groups"] == ["subject", "trial"]


def test_subjects_that_are_held_out_together_have_one_fold_named_after_the_first():
    tied = {"a": "a", "b": "b", "c": "a", "d": "b"}
    assert fold_names("loso", ["a", "b", "c", "d"], 2, {}, tied) == ["a", "b"]
    assert fold_names("loso", ["c", "d"], 2, {}, tied) == ["c", "d"]  # of those with video
    assert fold_names("trial", ["a", "c"], 1, {}, tied) == ["a-k0", "c-k0"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_group_of_the_manifest_is_divided_by_the_leaky_protocol_alone(tmp_path, protocol):
    rng = np.random.default_rng(1)
    visits = np.repeat(["1", "2", "3", "4"], 5)
    groups = np.array([None] * 20, object)
    groups[[1, 9]], groups[[3, 4]] = "x", "y"
    subjects = ["s01", "s02", "s03", "s04"]
    for subject in subjects:
        own = np.where(groups == "x", "x" if subject < "s03" else f"x of {subject}", groups)
        own = np.where(groups == "y", f"y of {subject}", own)
        path = tmp_path / f"{subject}.parquet"
        write_trials(tmp_path, subject, ratings(rng, 20), session=visits, group=own)
        assert path.is_file()
    tied = {"s01": "s01", "s02": "s01"}
    folds = fold_names(protocol, subjects, 3, dict.fromkeys(subjects, 4), tied)
    if protocol == "session":  # a group ties the first two
        with pytest.raises(MilmerError, match="3 groups cannot make 4 folds: 'x"):
            split(tmp_path, [tmp_path / "s03.parquet"], protocol, "s03-k0", folds=3)
        return
    divided = 0
    for fold in folds:
        read = [tmp_path / f"{s}.parquet" for s in fold_subjects(protocol, fold, subjects)]
        table, _ = split(tmp_path, read, protocol, fold, folds=3, validation=0.3)
        divided += (table.groupby("group")["part"].nunique() > 1).sum()
    assert (divided > 0) == (protocol not in HONEST)
