"""Other labels of trials: what each scheme keeps, all where there are few, subsets."""

import itertools

import numpy as np
import pandas as pd
import pytest

from milmer.evaluation.labellings import labellings, within

# Rows are in no order, s02 saw fewer stimuli, and saw b twice.
TRIALS = pd.DataFrame(
    [
        ("s01", 3, "b", 0), ("s01", 1, "c", 0), ("s01", 2, "a", 2), ("s01", 9, "d", 1),
        ("s02", 4, "b", 2), ("s02", 2, "d", 1), ("s02", 7, "b", 2),
    ],
    columns=["subject", "order", "stimulus", "label"],
)  # fmt: skip
TRIALS["visit"] = TRIALS["subject"].map({"s01": 4, "s02": 1})
SUBJECT = TRIALS["subject"].to_numpy()
LABEL = TRIALS["label"].to_numpy()


def labels(scheme, draws, trials=TRIALS, seed=0):
    sources, complete = labellings(scheme, trials, draws, seed)
    return trials["label"].to_numpy()[sources], complete


@pytest.mark.parametrize("draws", [36, 35])
def test_all_arrangements_within_subjects_where_there_are_few(draws):
    drawn, complete = labels("by_trial", draws)
    # Twelve orders of 0 0 2 1, three of 2 1 2.
    expected = {
        a + b
        for a in set(itertools.permutations([0, 0, 2, 1]))
        for b in set(itertools.permutations([2, 1, 2]))
    }
    assert complete
    assert (drawn[0] == LABEL).all()
    assert sorted(map(tuple, drawn)) == sorted(expected)


def test_one_draw_less_and_they_are_drawn():
    drawn, complete = labels("by_trial", 34)
    assert not complete
    assert len(drawn) == 34
    for subject in ("s01", "s02"):
        mine = np.sort(drawn[:, subject == SUBJECT], axis=1)
        assert (mine == np.sort(LABEL[subject == SUBJECT])).all()
    assert len(set(map(tuple, drawn))) > 15
    assert (labels("by_trial", 34)[0] == drawn).all()
    assert (labels("by_trial", 34, seed=1)[0] != drawn).any()


def test_shifts_stay_within_a_session():
    trials = TRIALS.assign(visit=[4, 2, 2, 4, 1, 1, 1])
    drawn, complete = labels("shifted", 11, trials)
    first, second, third = [0, 1], [0, 2], [1, 2, 2]  # each in presentation order
    expected = [
        (a[0], b[0], b[1], a[1], c[1], c[0], c[2])
        for a in (first, first[::-1])
        for b in (second, second[::-1])
        for c in (np.roll(third, -k).tolist() for k in range(3))
    ]
    assert complete
    assert sorted(map(tuple, drawn)) == sorted(expected)


def test_shifts_are_in_presentation_order_each_subject_by_its_own():
    drawn, complete = labels("shifted", 11)
    first = [0, 2, 0, 1]  # of s01 in presentation order
    second = [1, 2, 2]
    expected = [
        tuple(np.roll(first, -i)) + tuple(np.roll(second, -j)) for i in range(4) for j in range(3)
    ]
    in_order = [1, 2, 0, 3, 5, 4, 6]
    assert complete
    assert sorted(map(tuple, drawn[:, in_order])) == sorted(expected)
    few, complete = labels("shifted", 10)
    assert not complete
    assert set(map(tuple, few[:, in_order])) <= set(expected)


def test_stimuli_exchange_their_labels_alike_for_all_subjects():
    sources, complete = labellings("by_stimulus", TRIALS, 24, 0)
    assert complete
    assert len(sources) == 24
    shown = TRIALS["stimulus"].to_numpy()
    assert (SUBJECT[sources] == SUBJECT).all()
    agreed = 0
    for source in sources:
        exchange = dict(zip(shown[:4], shown[source][:4], strict=True))
        for i in (4, 5, 6):
            other = exchange[shown[i]]
            while other not in ("b", "d"):  # which s02 did not see
                other = exchange[other]
            assert shown[source][i] == other
            agreed += other == exchange[shown[i]]
        if exchange["b"] == "b":
            assert list(source[[4, 6]]) == [4, 6]  # the first as the first
    assert agreed > 30


def test_labels_go_to_anybody_where_no_link_is_kept():
    drawn, complete = labels("any_trial", 50)
    assert not complete
    assert (np.sort(drawn, axis=1) == np.sort(LABEL)).all()
    assert len({tuple(np.sort(row[:4])) for row in drawn}) > 3


def test_of_one_class_there_is_one_arrangement():
    same = TRIALS.assign(label=(SUBJECT == "s02").astype(int))
    drawn, complete = labels("by_trial", 5, same)
    assert complete
    assert (drawn == same["label"].to_numpy()).all()
    assert len(drawn) == 1


def test_trials_that_are_absent_lend_no_label():
    sources = np.array([[1, 2, 3, 0, 4], [4, 0, 1, 2, 3], [0, 1, 2, 3, 4]])
    present = np.array([0, 3, 4])
    assert present[within(sources, present)].tolist() == [[3, 0, 4], [4, 0, 3], [0, 3, 4]]
