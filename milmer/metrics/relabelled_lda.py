"""Shrinkage LDA of the same rows under many labellings at once, for permutation tests.

Labels belong to groups of rows, such as trials. Of the rows only the means of the classes depend on
them, so the covariance of all rows is factorised once, and that within classes follows from it by
Woodbury's identity. Features are scaled by their deviation, and the shrinkage is that of Ledoit and
Wolf (2004), both over all rows: so no labelling has another regularisation than the true one.
"""

from collections.abc import Iterator

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from milmer.metrics.shrinkage_lda import ledoit_wolf

_AT_ONCE = 50  # labellings whose weights are in memory at a time


class RelabelledLDA:
    """LDA of ``features`` (row, feature) whose rows are of ``group`` (row,), numbered from 0."""

    def __init__(self, features: np.ndarray, group: np.ndarray):
        x = np.asarray(features, np.float64)
        self._center, self._scale = x.mean(axis=0), x.std(axis=0)
        self._scale[self._scale <= 1e-10 * np.abs(x).max(axis=0, initial=0.0)] = 1.0
        self._scale[self._scale == 0] = 1.0
        x = (x - self._center) / self._scale
        self.rows = np.bincount(group)  # (group,)
        self._sums = np.zeros((len(self.rows), x.shape[1]))
        np.add.at(self._sums, group, x)
        gram = x.T @ x
        shrinkage, scale = ledoit_wolf(x, gram)
        self._kept = 1 - shrinkage
        ridge = max(shrinkage * scale, 1e-9 * scale)
        self._factor = cho_factor(self._kept * gram / len(x) + ridge * np.eye(x.shape[1]))

    def guesses(self, new: np.ndarray, label: np.ndarray, classes: int) -> Iterator[np.ndarray]:
        """The class (labelling, row) of ``new`` (row, feature), a block of labellings at a time.

        ``label`` (labelling, group) are the labellings. A class without a row is never guessed.
        """
        new = (np.asarray(new, np.float64) - self._center) / self._scale
        for first in range(0, len(label), _AT_ONCE):
            weight, bias = self._fit(label[first : first + _AT_ONCE], classes)
            logits = np.tensordot(new, weight, axes=(1, 2)) + bias  # (row, labelling, class)
            yield logits.argmax(axis=2).T

    def _fit(self, label: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights (labelling, class, feature) of standardised features, and bias."""
        member = label[:, None] == np.arange(classes)[:, None]  # (labelling, class, group)
        count = member @ self.rows  # (labelling, class)
        share = count / self.rows.sum()
        mean = (member.astype(float) @ self._sums) / np.maximum(count, 1)[..., None]
        flat = mean.reshape(-1, mean.shape[2])
        solved = cho_solve(self._factor, flat.T).T.reshape(mean.shape)  # of all rows' covariance
        between = solved @ mean.swapaxes(1, 2)  # (labelling, class, class)
        inner = np.eye(classes) - self._kept * between * share[:, None]
        weight = np.linalg.solve(inner, solved)
        with np.errstate(divide="ignore"):
            bias = np.log(share) - (weight * mean).sum(axis=2) / 2
        return weight, bias
