import pytest

from milmer.check.ranges import names, numbers, places, span


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([3], "3"), ([2, 1], "1, 2"), ([1, 2, 3, 5], "1–3, 5"), ([9, 7, 8, 8], "7–9")],
)
def test_numbers_in_a_row_are_written_with_a_dash(values, text):
    assert numbers(values) == text


def test_many_subjects_are_counted():
    assert names(["s01"]) == "s01"
    assert names(["s10", "s09"]) == "s09, s10"
    assert names(f"s{i:02d}" for i in (1, 2, 3, 9)) == "s01–s03, s09 (4)"


def test_subjects_with_the_same_trials_stand_together():
    trials = {"s11": [38, 39, 40], "s05": [40], "s03": [40], "s07": []}
    assert places(trials) == "s03, s05 trial 40; s11 trials 38–40"


def test_a_span_of_one_value_is_that_value():
    assert span([60.0, 60.0]) == "60"
    assert span([59.05, 60], "{:.1f}") == "59.0–60.0"
