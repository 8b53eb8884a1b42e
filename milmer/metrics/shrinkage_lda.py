"""Linear discriminant analysis that a few rows of many features suffice for, and its confidence.

Features are scaled by their deviation within classes, whose pooled covariance is shrunk towards a
multiple of the identity by as much as Ledoit and Wolf (2004) estimate. Blankertz et al. (2011) use
the same for EEG. The logits are divided by the temperature (Guo et al. 2017) that rows of left-out
groups ask for, because in many dimensions the classifier is far surer than it is right; with the
targets of Platt (1999) also where it is always right. Solved in the space of features or of rows,
whichever is smaller; nothing depends on the order of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

TEMPERATURES = 1.0, 32.0
_PARTS = 2, 5  # fewest and most parts that groups are dealt into
_LEAST_SHRINKAGE = 1e-6  # so that features that repeat one another have a solution


@dataclass(frozen=True)
class LinearClassifier:
    """Logits ``sum of features[name] @ weight[name].T + bias`` (row, class).

    ``weight`` (class, feature) and ``temperature`` are by name of the features, ``bias`` (class,).
    """

    weight: Mapping[str, np.ndarray]
    bias: np.ndarray
    temperature: Mapping[str, float]

    def logits(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits (row, class) of ``features`` (row, feature) by name."""
        return sum((features[name] @ w.T for name, w in self.weight.items()), self.bias)


def fit_classifier(
    features: Mapping[str, np.ndarray], label: np.ndarray, groups: np.ndarray, classes: int
) -> LinearClassifier:
    """Fit shrinkage LDA to each kind of ``features`` (row, feature), and weigh them.

    ``label`` and ``groups`` (row,) are whole numbers: what shares a group is left out together.
    Each kind is divided by its own temperature, 32 where nothing can be left out. Kinds are added
    with the weights between 0 and 1 at which left-out rows have the least cross-entropy, equal
    weights where nothing can be left out.
    """
    parts = deal(label, groups)
    fits = {name: shrinkage_lda(x, label, classes) for name, x in features.items()}
    temperature = dict.fromkeys(features, TEMPERATURES[1])
    weights = dict.fromkeys(features, 1 / len(features))
    if parts is not None:
        left_out = {n: _left_out_logits(x, label, parts, classes) for n, x in features.items()}
        usable = np.isfinite(next(iter(left_out.values()))).all(axis=1)
        if usable.any():
            truth = label[usable]
            low, high = (1 / t for t in reversed(TEMPERATURES))
            for name, logits in left_out.items():
                temperature[name] = 1 / _best_factor(logits[usable], truth, low, high)
            tempered = {n: logits[usable] / temperature[n] for n, logits in left_out.items()}
            weights = _best_weights(tempered, truth)
    factor = {name: weights[name] / temperature[name] for name in features}
    return LinearClassifier(
        {name: factor[name] * weight for name, (weight, _) in fits.items()},
        sum((factor[name] * bias for name, (_, bias) in fits.items()), np.zeros(classes)),
        temperature,
    )


def shrinkage_lda(
    features: np.ndarray, label: np.ndarray, classes: int, dual: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (class, feature) and bias (class,) of LDA on ``features`` (row, feature), float64.

    ``label`` (row,). ``dual`` solves in the space of rows; by default, where they are fewer. A
    class without a row gets the mean logit of the others less so much that it is below each of them
    on all rows.
    """
    x = np.asarray(features, np.float64)
    counts = np.bincount(label, minlength=classes)
    present = np.flatnonzero(counts)
    weight, bias = np.zeros((classes, x.shape[1])), np.zeros(classes)
    if len(present) > 1:
        center = x.mean(axis=0)
        means = np.stack([x[label == c].mean(axis=0) for c in present])  # (class, feature)
        residuals = x - means[np.searchsorted(present, label)]
        deviation = np.sqrt(np.square(residuals).mean(axis=0))
        deviation[deviation <= 1e-10 * np.abs(x).max(axis=0, initial=0.0)] = 1.0
        deviation[deviation == 0] = 1.0
        means = (means - center) / deviation
        solved = _solve(residuals / deviation, means.T, dual).T  # (class, feature)
        bias[present] = np.log(counts[present] / len(x)) - (solved * means).sum(axis=1) / 2
        weight[present] = solved / deviation
        bias[present] -= weight[present] @ center
    if len(present) < classes:
        missing = counts == 0
        logits = x @ weight[present].T + bias[present]  # (row, class)
        below = (logits.mean(axis=1) - logits.min(axis=1)).max() + np.log(2 * len(x))
        weight[missing] = weight[present].mean(axis=0)
        bias[missing] = bias[present].mean() - below
    return weight, bias


def ledoit_wolf(residuals: np.ndarray, gram: np.ndarray) -> tuple[float, float]:
    """Shrinkage between 0 and 1 of the covariance of ``residuals`` (row, feature), and its scale.

    The covariance S = residuals.T @ residuals / rows becomes (1 - shrinkage) S + shrinkage · scale
    · identity (Ledoit and Wolf 2004). ``gram`` is residuals.T @ residuals or residuals @
    residuals.T. Where S is zero they are 1 and 1.
    """
    rows, features = residuals.shape
    scale = np.trace(gram) / rows / features
    if scale == 0:
        return 1.0, 1.0
    squared = np.square(gram / rows).sum()
    distance = squared / features - scale**2
    error = np.square(np.square(residuals).sum(axis=1)).sum() / rows - squared
    error = min(error / features / rows, distance)
    shrinkage = error / distance if error > 0 else 0.0
    return max(shrinkage, _LEAST_SHRINKAGE), scale


def deal(label: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    """The part (row,) that each group is dealt to, class by class; None where there is one group.

    There are as many parts as the rarest class has groups, but 2 to 5. A group of several classes
    counts as one of its most frequent.
    """
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    counts = np.zeros((len(names), label.max() + 1), int)
    np.add.at(counts, (group, label), 1)
    kind = counts.argmax(axis=1)  # (group,)
    rarest = min(int((counts[:, c] > 0).sum()) for c in np.unique(label))
    parts = min(max(rarest, _PARTS[0]), _PARTS[1])
    part = np.empty(len(names), int)
    part[np.argsort(kind, kind="stable")] = np.arange(len(names)) % parts
    return part[group]


def _solve(residuals: np.ndarray, means: np.ndarray, dual: bool | None) -> np.ndarray:
    """The shrunk covariance of ``residuals`` (row, feature) solved for ``means`` (feature, class).

    In the space of rows by Woodbury's identity.
    """
    rows, features = residuals.shape
    dual = rows < features if dual is None else dual
    gram = residuals @ residuals.T if dual else residuals.T @ residuals
    shrinkage, scale = ledoit_wolf(residuals, gram)
    ridge, share = shrinkage * scale, (1 - shrinkage) / rows
    if not dual:
        return np.linalg.solve(share * gram + ridge * np.eye(features), means)
    if share == 0:
        return means / ridge
    inner = np.linalg.solve(gram + ridge / share * np.eye(rows), residuals @ means)
    return (means - residuals.T @ inner) / ridge


def _left_out_logits(
    features: np.ndarray, label: np.ndarray, part: np.ndarray, classes: int
) -> np.ndarray:
    """Logits (row, class) by the rows of other parts; NaN where none of these is of its class."""
    logits = np.full((len(features), classes), np.nan)
    for left_out in np.unique(part):
        rows, rest = part == left_out, part != left_out
        rows &= np.isin(label, label[rest])
        weight, bias = shrinkage_lda(features[rest], label[rest], classes)
        logits[rows] = features[rows] @ weight.T + bias
    return logits


def _best_factor(
    logits: np.ndarray,
    truth: np.ndarray,
    low: float,
    high: float,
    offset: np.ndarray | float = 0.0,
) -> float:
    """The factor of ``logits`` (row, class) at which the cross-entropy with ``offset`` is least.

    Between ``low`` and ``high``, by bisection: the cross-entropy is convex. The target of a row is
    (n + 1) / (n + classes) for its class, which n rows are of, and 1 / (n + classes) for each other
    (Platt 1999).
    """
    classes = logits.shape[1]
    rows = np.bincount(truth, minlength=classes)[truth][:, None]  # of the same class
    target = (1 + rows * np.eye(classes)[truth]) / (rows + classes)  # (row, class)

    def slope(factor: float) -> float:
        z = offset + factor * logits
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return float(((p - target) * logits).sum(axis=1).mean())

    if slope(low) >= 0:
        return low
    if slope(high) <= 0:
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) >= 0 else (middle, high)
    return (low + high) / 2


def _best_weights(logits: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """Weights of several ``logits`` (row, class), by turns; that of a single one is 1."""
    if len(logits) == 1:
        return dict.fromkeys(logits, 1.0)
    weights = dict.fromkeys(logits, 1 / len(logits))
    for _ in range(50):
        for name, own in logits.items():
            others = sum(weights[n] * x for n, x in logits.items() if n != name)
            weights[name] = _best_factor(own, truth, 0.0, 1.0, others)
    return weights
