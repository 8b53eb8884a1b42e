"""LDA under many labellings beside scikit-learn's under each of them."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from milmer.metrics.relabelled_lda import RelabelledLDA
from milmer.metrics.shrinkage_lda import ledoit_wolf

GROUP = np.repeat(np.arange(9), [3, 5, 2, 4, 7, 3, 4, 6, 5])
LABEL = np.array([[0, 1, 2, 2, 1, 0, 1, 0, 2], [2, 2, 0, 1, 0, 1, 1, 1, 0], [1] * 4 + [2] * 5])


class Shrunk:
    """A covariance of a class, shrunk as much as that of all rows."""

    def __init__(self, shrinkage, scale):
        self.shrinkage, self.scale = shrinkage, scale

    def fit(self, x):
        plain = np.cov(x.T, bias=True)
        unit = self.scale * np.eye(len(plain))
        self.covariance_ = (1 - self.shrinkage) * plain + self.shrinkage * unit
        return self


@pytest.mark.parametrize("features", [4, 60])
def test_each_labelling_is_that_of_scikit_learn(features):
    rng = np.random.default_rng(features)
    # Two features are far from zero and of other units, the third is always the same.
    scale, offset = rng.uniform(0.1, 50, features), rng.normal(0, 30, features)
    x = rng.normal(size=(len(GROUP), features)) * scale + offset
    x += np.eye(3, features)[LABEL[0, GROUP]] * scale
    new = rng.normal(size=(40, features)) * scale + offset
    x[:, 2] = new[:, 2] = 7.25
    lda = RelabelledLDA(x, GROUP)
    ours = np.concatenate(list(lda.guesses(new, LABEL, 4)))
    deviation = x.std(axis=0)
    deviation[2] = 1
    plain, fresh = ((table - x.mean(axis=0)) / deviation for table in (x, new))
    estimate = Shrunk(*ledoit_wolf(plain, plain.T @ plain))
    for label, guess in zip(LABEL, ours, strict=True):
        theirs = LinearDiscriminantAnalysis("lsqr", covariance_estimator=estimate)
        assert (guess == theirs.fit(plain, label[GROUP]).predict(fresh)).all()
    assert len({tuple(guess) for guess in ours}) == 3


def test_many_labellings_are_in_their_order_and_do_not_depend_on_one_another():
    rng = np.random.default_rng(3)
    x, new = rng.normal(size=(len(GROUP), 5)), rng.normal(size=(11, 5))
    label = rng.integers(0, 3, (120, 9))
    lda = RelabelledLDA(x, GROUP)
    together = np.concatenate(list(lda.guesses(new, label, 3)))
    alone = [next(lda.guesses(new, one[None], 3))[0] for one in label]
    assert together.shape == (120, 11)
    assert (together == alone).all()


def test_rows_that_are_all_equal_are_of_the_most_common_class():
    lda = RelabelledLDA(np.ones((6, 2)), np.arange(6))
    assert (next(lda.guesses(np.ones((2, 2)), np.array([[0, 1, 1, 1, 2, 2]]), 3)) == 1).all()
