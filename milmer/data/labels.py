"""Labels: quadrants of valence and arousal, one rating split into low and high, or names."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from milmer.data.options import LabelsOptions
from milmer.errors import MilmerError

QUADRANTS = ["HAHV", "LAHV", "LALV", "HALV"]
DROPPED = -1
"""The label of a trial without one: not rated, not named, or on the border with ``ties: drop``."""


def label_names(options: LabelsOptions) -> list[str]:
    """Names of the classes, in the order of their numbers."""
    if options.scheme == "label":
        if not options.classes:
            raise MilmerError(
                "no names of classes are known",
                where="labels.scheme: label",
                remedy="set labels.classes",
            )
        return list(options.classes)
    return QUADRANTS if options.scheme == "quadrant" else ["low", "high"]


def thresholds(trials: pd.DataFrame, options: LabelsOptions) -> dict[str, float]:
    """The border of each rating; the median is that of ``trials``, the training trials."""
    if options.threshold == "median":
        return {scale: float(trials[scale].median()) for scale in options.scales}
    return dict.fromkeys(options.scales, float(options.threshold))


def label(trials: pd.DataFrame, border: Mapping[str, float], options: LabelsOptions) -> np.ndarray:
    """Classes of ``trials``, int64 (trial,): 0 HAHV, 1 LAHV, 2 LALV, 3 HALV; or 0 low, 1 high; or
    the index of the trial's label among the classes.

    A trial without the rating or label is :data:`DROPPED`. A rating on its border is high, low or
    dropped as ``labels.ties`` says. ``as_published`` is the rule of the authors' code: 0 if v > 5
    and a > 5, 1 if v >= 5 and a < 5, 2 if v < 5 and a < 5, else 3.
    """
    if options.scheme == "label":
        place = {name: i for i, name in enumerate(label_names(options))}
        return trials["label"].map(place).fillna(DROPPED).to_numpy(np.int64)
    unrated = trials[options.scales].isna().any(axis=1).to_numpy()
    return np.where(unrated, DROPPED, _rated(trials, border, options))


def _rated(trials: pd.DataFrame, border: Mapping[str, float], options: LabelsOptions) -> np.ndarray:
    if options.ties == "as_published":
        v, a = (trials[scale].to_numpy() for scale in ("valence", "arousal"))
        conditions = [(v > 5) & (a > 5), (v >= 5) & (a < 5), (v < 5) & (a < 5)]
        return np.select(conditions, [0, 1, 2], 3)
    ratings = {scale: trials[scale].to_numpy() for scale in border}
    above = {
        scale: r >= border[scale] if options.ties == "high" else r > border[scale]
        for scale, r in ratings.items()
    }
    if options.scheme == "quadrant":
        v, a = above["valence"], above["arousal"]
        labels = np.select([v & a, v & ~a, ~v & ~a], [0, 1, 2], 3)
    else:
        labels = above[options.scheme].astype(np.int64)
    if options.ties == "drop":
        tied = np.any([r == border[scale] for scale, r in ratings.items()], axis=0)
        labels = np.where(tied, DROPPED, labels)
    return labels
