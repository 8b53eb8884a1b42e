"""Shrinkage LDA is scikit-learn's, in whichever space it is solved; its confidence is held out."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.covariance import ledoit_wolf as reference_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from milmer.metrics.shrinkage_lda import (
    TEMPERATURES,
    deal,
    fit_classifier,
    ledoit_wolf,
    shrinkage_lda,
)


def draw(rows, features, classes=3, seed=0, signal=0.5):
    """Correlated features of very different scales and offsets, and uneven classes."""
    rng = np.random.default_rng(seed)
    label = rng.choice(classes, rows, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    mixing = rng.normal(size=(features, features)) * rng.uniform(0.01, 100, features)
    x = (rng.normal(size=(rows, features)) + signal * np.eye(features)[label]) @ mixing
    return x + 1000 * rng.normal(size=features), label


def residuals(x, label):
    means = np.stack([x[label == c].mean(0) for c in range(label.max() + 1)])
    within = x - means[label]
    return within / np.sqrt(np.square(within).mean(0))


def relative(logits):
    """Logits up to a constant of a row, to which softmax is invariant."""
    return logits - logits.mean(1, keepdims=True)


@pytest.mark.parametrize(("rows", "features"), [(90, 7), (40, 150)])
@pytest.mark.parametrize("dual", [False, True])
def test_it_is_scikit_learns_with_ledoit_and_wolfs_shrinkage(rows, features, dual):
    x, label = draw(rows, features)
    z = residuals(x, label)
    shrinkage = reference_shrinkage(z, assume_centered=True)[1]
    assert 0.01 < shrinkage < 0.95
    gram = z @ z.T if dual else z.T @ z
    np.testing.assert_allclose(ledoit_wolf(z, gram), [shrinkage, 1.0], rtol=1e-9)
    scaled = x / (np.sqrt(np.square(x - z_means(x, label)).mean(0)))
    weight, bias = shrinkage_lda(x, label, 3, dual)
    for solver in ("lsqr", "eigen"):
        reference = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage)
        expected = reference.fit(scaled, label).decision_function(scaled)
        np.testing.assert_allclose(
            relative(x @ weight.T + bias), relative(expected), rtol=1e-6, atol=1e-7
        )


def z_means(x, label):
    return np.stack([x[label == c].mean(0) for c in range(label.max() + 1)])[label]


@pytest.mark.parametrize(("rows", "features", "dual"), [(90, 7, False), (40, 150, True)])
def test_the_smaller_space_is_taken(rows, features, dual):
    x, label = draw(rows, features)
    chosen, forced = shrinkage_lda(x, label, 3), shrinkage_lda(x, label, 3, dual)
    other = shrinkage_lda(x, label, 3, not dual)
    assert np.array_equal(chosen[0], forced[0])
    assert not np.array_equal(chosen[0], other[0])
    np.testing.assert_allclose(chosen[0], other[0], rtol=1e-6, atol=1e-12)


def test_another_numbering_of_classes_gives_the_same_logits_under_other_numbers():
    x, label = draw(60, 20)
    new = np.array([2, 0, 1])
    weight, bias = shrinkage_lda(x, label, 3)
    moved_weight, moved_bias = shrinkage_lda(x, new[label], 3)
    np.testing.assert_allclose(moved_weight[new], weight, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(moved_bias[new], bias, rtol=1e-7)


@pytest.mark.parametrize("present", [[0, 2], [1]])
def test_a_class_without_a_row_is_below_the_others_and_finite(present):
    x, label = draw(60, 20)
    rows = np.isin(label, present)
    weight, bias = shrinkage_lda(x[rows], label[rows], 4)
    logits = x[rows] @ weight.T + bias
    missing = [c for c in range(4) if c not in present]
    assert np.isfinite(logits).all()
    gap = logits[:, present].min(1) - logits[:, missing].max(1)
    assert gap.min() >= np.log(2 * rows.sum()) - 1e-6
    alone, _ = shrinkage_lda(x[rows], np.searchsorted(present, label[rows]), len(present))
    np.testing.assert_allclose(weight[present], alone, rtol=1e-9, atol=1e-15)


def test_features_without_deviation_and_classes_of_one_row_are_finite():
    x, label = draw(40, 6)
    x = np.concatenate([x, np.full((40, 2), 7.0), x[:, :1]], 1)  # constant, and one twice
    weight, bias = shrinkage_lda(x, label, 3)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    single, _ = shrinkage_lda(np.eye(3), np.arange(3), 3)
    assert (single.argmax(0) == np.arange(3)).all()  # the nearest mean


# --------------------------------------------------------------------- parts


def test_whole_groups_are_dealt_class_by_class():
    groups = np.repeat(np.arange(14), 3)
    label = np.where(np.arange(14) < 4, 0, 1).repeat(3)  # 4 groups against 10
    part = deal(label, groups)
    assert [len(np.unique(part[groups == g])) for g in range(14)] == [1] * 14
    assert sorted(np.unique(part[label == 0])) == [0, 1, 2, 3]
    counts = [np.unique(groups[(part == p) & (label == 1)]).size for p in range(4)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("rarest", "parts"), [(1, 2), (2, 2), (3, 3), (5, 5), (9, 5)])
def test_there_are_as_many_parts_as_the_rarest_class_has_groups(rarest, parts):
    label = np.repeat([0, 1], [rarest, 9])
    assert deal(label, np.arange(rarest + 9)).max() + 1 == parts


def test_a_single_group_cannot_be_left_out():
    assert deal(np.array([0, 1, 0]), np.zeros(3, int)) is None


# --------------------------------------------------------------- temperature


def by_hand(x, label, part, classes):
    """Left-out logits, part by part."""
    logits = np.empty((len(x), classes))
    for p in np.unique(part):
        weight, bias = shrinkage_lda(x[part != p], label[part != p], classes)
        logits[part == p] = x[part == p] @ weight.T + bias
    return logits


def cross_entropy(logits, label):
    """With Platt's targets, as if each class had been seen once more at each row."""
    target = np.ones(logits.shape)
    for row, own in enumerate(label):
        target[row, own] += (label == own).sum()
    target /= target.sum(1, keepdims=True)
    return -(target * log_softmax(logits, 1)).sum(1).mean()


def test_the_temperature_is_that_which_left_out_groups_ask_for():
    x, label = draw(90, 60, signal=1.0)
    groups = np.arange(90) // 2
    fit = fit_classifier({"eeg": x}, label, groups, 3)
    logits = by_hand(x, label, deal(label, groups), 3)
    best = minimize_scalar(
        lambda t: cross_entropy(logits / t, label),
        bounds=TEMPERATURES,
        method="bounded",
        options={"xatol": 1e-8},
    ).x
    assert 1.5 < best < 20
    assert fit.temperature["eeg"] == pytest.approx(best, rel=1e-4)
    weight, bias = shrinkage_lda(x, label, 3)
    np.testing.assert_allclose(fit.logits({"eeg": x}), (x @ weight.T + bias) / best, rtol=1e-4)


def test_features_that_say_nothing_are_as_cold_as_it_goes_and_one_group_too():
    x, label = draw(60, 200, signal=0.0)
    assert fit_classifier({"eeg": x}, label, np.arange(60), 3).temperature["eeg"] > 25
    x, label = draw(60, 5, signal=5.0)
    alone = fit_classifier({"eeg": x}, label, np.zeros(60, int), 3)
    assert alone.temperature == {"eeg": 32.0}
    assert fit_classifier({"eeg": x}, label, np.arange(60), 3).temperature["eeg"] < 10


def test_of_few_rows_that_are_all_classified_correctly_it_is_not_sure_without_limit():
    x, label = draw(40, 5, signal=50.0)
    logits = fit_classifier({"eeg": x}, label, np.arange(40), 3).logits({"eeg": x})
    assert (logits.argmax(1) == label).all()
    weight, bias = shrinkage_lda(x, label, 3)
    raw = x @ weight.T + bias
    assert np.median(raw.max(1) - raw.min(1)) / np.median(logits.max(1) - logits.min(1)) > 20


def test_modalities_are_weighed_by_what_is_left_out_and_equally_where_nothing_is():
    x, label = draw(90, 6, signal=2.0)
    noise, _ = draw(90, 40, seed=1, signal=0.0)
    features, groups = {"eeg": noise, "face": x}, np.arange(90)
    fit = fit_classifier(features, label, groups, 3)
    part = deal(label, groups)
    parts = {n: by_hand(f, label, part, 3) / fit.temperature[n] for n, f in features.items()}
    single = {n: shrinkage_lda(f, label, 3)[0] / fit.temperature[n] for n, f in features.items()}
    weight = {n: float(np.vdot(fit.weight[n], w) / np.vdot(w, w)) for n, w in single.items()}
    grid = np.linspace(0, 1, 101)
    losses = {
        (a, b): cross_entropy(a * parts["eeg"] + b * parts["face"], label)
        for a in grid
        for b in grid
    }
    best = min(losses, key=losses.get)
    assert (weight["eeg"], weight["face"]) == pytest.approx(best, abs=0.011)
    share = {name: weight[name] / fit.temperature[name] for name in features}
    assert share["eeg"] < 0.2 < 0.5 < share["face"]
    equal = fit_classifier(features, label, np.zeros(90, int), 3)
    for name, w in single.items():
        np.testing.assert_allclose(equal.weight[name], w * fit.temperature[name] / 64, rtol=1e-9)


def test_the_order_of_rows_does_not_matter():
    x, label = draw(60, 90)
    groups = np.random.default_rng(3).integers(0, 20, 60)
    order = np.random.default_rng(4).permutation(60)
    first = fit_classifier({"eeg": x}, label, groups, 3)
    again = fit_classifier({"eeg": x[order]}, label[order], groups[order], 3)
    np.testing.assert_allclose(again.logits({"eeg": x}), first.logits({"eeg": x}), rtol=1e-5)


def test_a_row_whose_class_no_other_part_has_does_not_decide_the_temperature():
    x, label = draw(60, 5, signal=5.0)
    label = np.append(label, 3)  # one group of its own
    x = np.concatenate([x, x[:1] + 1])
    assert fit_classifier({"eeg": x}, label, np.arange(61), 4).temperature["eeg"] < 10
