"""The table of protocols: what a new row needs elsewhere, and that each row makes sound splits."""

from typing import get_args

import numpy as np
import pytest

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
    paths = {s: write_trials(tmp_path, s, ratings(rng, 10)) for s in subjects}
    folds = fold_names(protocol, subjects, 2)
    assert len(set(folds)) == len(folds) > 1
    for fold in folds:
        read = fold_subjects(protocol, fold, subjects)
        table, facts = split(tmp_path, [paths[s] for s in read], protocol, fold, folds=2)
        assert {"train", "val", "test"} == set(table["part"])
        assert facts["leaky"] == (protocol not in HONEST)
        trials = table.assign(test=table["part"] == "test").groupby(["subject", "experiment_id"])
        assert (trials["test"].nunique() == 1).all() == (protocol in HONEST)


def test_the_first_honest_protocol_is_what_others_are_compared_with():
    assert HONEST == ("trial", "stimulus", "loso")


@pytest.mark.parametrize(
    ("protocol", "folds"),
    [
        ("segment", ["p10", "Eve_2"]),
        ("trial", ["p10-k0", "p10-k1", "Eve_2-k0", "Eve_2-k1"]),
        ("stimulus", ["k0", "k1"]),
        ("loso", ["p10", "Eve_2"]),
    ],
)
def test_folds_are_named_subject_by_subject_and_read_their_own_or_all(protocol, folds):
    subjects = ["p10", "Eve_2"]
    assert fold_names(protocol, subjects, 2) == folds
    read = [fold_subjects(protocol, fold, subjects) for fold in folds]
    own = [[fold.removesuffix("-k0").removesuffix("-k1")] for fold in folds]
    assert read == (own if protocol in ("segment", "trial") else [subjects] * 2)
