"""Calibration: by hand, at the edges, and what a calibrated model has."""

import numpy as np
import pytest

from milmer.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability,
    validated_temperature,
)


def two_classes(confidence):
    confidence = np.asarray(confidence)
    return np.column_stack([confidence, 1 - confidence])


def test_the_error_by_hand():
    # Bins of a fifth: (0.4, 0.6] holds 0.55, 0.6; (0.6, 0.8] holds 0.7; (0.8, 1] 0.9, 1.0, 1.0.
    table = reliability(
        np.array([0, 1, 0, 0, 0, 1]), two_classes([0.55, 0.6, 0.7, 0.9, 1.0, 1.0]), bins=5
    )
    assert table["count"].tolist() == [0, 0, 2, 1, 3]
    assert table["confidence"].tolist()[2:] == pytest.approx([0.575, 0.7, 2.9 / 3])
    assert table["accuracy"].tolist()[2:] == pytest.approx([0.5, 1.0, 2 / 3])
    assert table["confidence"].isna().tolist()[:2] == [True, True]
    by_hand = (2 * 0.075 + 1 * 0.3 + 3 * 0.3) / 6
    assert expected_calibration_error(table) == pytest.approx(by_hand)


def test_each_prediction_is_in_one_of_fifteen_bins():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 500)
    table = reliability(np.zeros(500, int), p)
    assert (len(table), table["count"].sum()) == (15, 500)
    assert table["low"].iloc[0] == 0
    assert table["high"].iloc[-1] == 1
    for bin_ in table[table["count"] > 0].itertuples():
        assert bin_.low < bin_.confidence <= bin_.high


def test_what_rounding_puts_outside_is_in_the_outermost_bin():
    p = np.array([[0.0, 0.0], [0.0, 1.0 + 1e-7], [1 / 15, 0.0]])
    table = reliability(np.array([1, 1, 0]), p)
    assert table["count"].tolist() == [2] + [0] * 13 + [1]
    assert table["accuracy"].iloc[[0, 14]].tolist() == [0.5, 1.0]


def test_a_calibrated_model_has_next_to_none_and_a_boastful_one_its_boast():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1, 50_000)
    truth = (rng.random(50_000) > confidence).astype(int)
    assert expected_calibration_error(reliability(truth, two_classes(confidence))) < 0.01
    boast = np.clip(confidence + 0.2, 0, 1)
    gap = (boast - confidence).mean()
    error = expected_calibration_error(reliability(truth, two_classes(boast)))
    assert error == pytest.approx(gap, abs=0.01)


def planted(temperature, count=20_000, seed=2):
    """Truth, a model's overconfident probabilities, and those that the truth was drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, 4))
    calibrated = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (calibrated.cumsum(1) > rng.random((count, 1))).argmax(1)
    scaled = np.exp(logits * temperature)
    return truth, (scaled / scaled.sum(1, keepdims=True)).astype(np.float32), calibrated


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 6.0])
def test_the_temperature_finds_a_planted_one_and_names_the_same_classes(temperature):
    truth, probability, calibrated = planted(temperature)
    fitted = fit_temperature(truth, probability)
    assert fitted == pytest.approx(temperature, rel=0.05)
    recalibrated = apply_temperature(probability, fitted)
    assert (recalibrated.argmax(1) == probability.argmax(1)).all()
    assert np.abs(recalibrated - calibrated).max() < 0.05
    assert recalibrated.sum(1) == pytest.approx(1)
    assert expected_calibration_error(reliability(truth, recalibrated)) < 0.02
    if temperature != 1:
        assert expected_calibration_error(reliability(truth, probability)) > 0.05


def test_where_all_is_right_or_nothing_is_there_no_temperature_is_made_up():
    right = np.array([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]])
    assert fit_temperature(np.array([0, 1, 0]), right) is None
    assert fit_temperature(np.array([], int), np.zeros((0, 2))) is None
    assert apply_temperature(right, None).tolist() == right.tolist()


@pytest.mark.parametrize(("count", "expected"), [(49, None), (5000, 2.5)])
def test_a_temperature_takes_fifty_rows(count, expected):
    truth, probability, _ = planted(2.5, count)
    fitted = validated_temperature(truth, probability, np.arange(count) // 4)
    assert fitted == (expected and pytest.approx(expected, rel=0.1))


def test_a_temperature_that_does_not_hold_on_left_out_groups_is_not_used():
    truth, groups = np.zeros(100, int), np.arange(100) // 20
    probability = np.tile([0.9, 0.1], (100, 1))
    truth[groups == 0] = 1  # all wrong here, all right elsewhere
    assert fit_temperature(truth, probability) is not None
    assert validated_temperature(truth, probability, groups) is None
    mixed = np.arange(100) % 5  # a fifth is wrong in each group
    assert validated_temperature(truth, probability, mixed) == fit_temperature(truth, probability)


def test_a_probability_of_zero_stays_finite():
    p = apply_temperature(np.array([[1.0, 0.0, 0.0]], np.float32), 3.0)
    assert np.isfinite(p).all()
    assert p.argmax() == 0
