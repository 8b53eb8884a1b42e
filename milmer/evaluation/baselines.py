"""Stage ``baseline``: a simple method on the folds of the experiments.

A model is worth what it adds to this. A baseline learns from the training part alone, even if an
experiment also learns from the validation part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from milmer import storage
from milmer.contracts.segments import SEGMENTS
from milmer.errors import MilmerError
from milmer.evaluation.band_power import class_probabilities, log_band_power
from milmer.evaluation.baseline_options import BandPowerOptions
from milmer.metrics.scores import class_shares
from milmer.options import Options
from milmer.splits.rows import (
    joined,
    nothing_left,
    read_split,
    require_fit,
    sampling_rate,
    without_rejected,
)


@dataclass(frozen=True)
class Method:
    """How a baseline computes.

    ``features(eeg, sfreq, options)`` computes features (segment, feature) of EEG (segment, channel,
    sample) in µV at ``sfreq`` Hz. ``classifier(features, label, new, classes, options)`` learns
    from the features and ``label`` (row,) of the training part and returns probabilities (row,
    class) of ``new``.
    """

    features: Callable[[np.ndarray, float, Any], np.ndarray]
    classifier: Callable[[np.ndarray, np.ndarray, np.ndarray, int, Any], np.ndarray]


def _band_powers(eeg: np.ndarray, sfreq: float, options: BandPowerOptions) -> np.ndarray:
    return log_band_power(eeg, sfreq, options.bands)


def _logistic_regression(
    features: np.ndarray,
    label: np.ndarray,
    new: np.ndarray,
    classes: int,
    options: BandPowerOptions,
) -> np.ndarray:
    return class_probabilities(features, label, new, classes, options.c)


METHODS = {"band_power": Method(_band_powers, _logistic_regression)}
"""The methods by the names in :data:`milmer.evaluation.baseline_options.BASELINES`."""


def make_baseline(
    name: str, split: Path, segments: Sequence[Path], options: Options, out: Path
) -> None:
    """Write the predictions of the baseline ``name`` on the test part of a split.

    ``segments`` are the files of the split's subjects. Columns: ``subject, trial, position,
    label`` and a probability ``p_<class>`` for each class. The facts in the provenance hold the
    ``shares`` of the classes in the training part, or why the fold was ``skipped``. Raises
    :class:`MilmerError` if the files do not fit together or the split leaks.
    """
    method = METHODS[name]
    table, split_provenance = read_split(split)
    for path in segments:
        require_fit(split, split_provenance, path, SEGMENTS)
    eeg, row, files = joined(table, segments, SEGMENTS, "eeg", split)
    if (row < 0).any():
        raise MilmerError(
            f"names {table['subject'][row < 0].iloc[0]}, whose segments were not given",
            where=split,
            remedy="give the segments of all its subjects",
        )
    table, row, rejected = without_rejected(table, row, files)
    train, test = ((table["part"] == part).to_numpy() for part in ("train", "test"))
    with threadpool_limits(1):
        sfreq = sampling_rate(segments)
        parts = [method.features(array, sfreq, options) for array in eeg]
        features = np.concatenate(parts)[row]  # (row, feature)
        label, facts = table["label"].to_numpy(), split_provenance["facts"]
        rows = {"train": train.sum(), "test": test.sum()}
        if reason := nothing_left(rows, {"rejected": rejected}):
            test = np.zeros(len(table), bool)
            probability = np.empty((0, len(facts["labels"])))
        else:
            probability = method.classifier(
                features[train], label[train], features[test], len(facts["labels"]), options
            )
    predictions = table[test].drop(columns="part").reset_index(drop=True)
    for i, class_name in enumerate(facts["labels"]):
        predictions[f"p_{class_name}"] = probability[:, i]
    baseline_facts = {key: facts[key] for key in ("protocol", "fold", "leaky", "labels")}
    baseline_facts["permuted"] = facts.get("permuted", False)  # older splits lack it
    baseline_facts["rejected"] = rejected
    if reason is None:
        baseline_facts["shares"] = class_shares(label[train], len(facts["labels"])).tolist()
    else:
        baseline_facts |= {"shares": [0.0] * len(facts["labels"]), "skipped": reason}
    inputs = {"split": split} | {f"segments_{path.stem}": path for path in segments}
    provenance = storage.provenance("baseline", __name__, options.result(), inputs)
    storage.write_table(out, predictions, provenance | {"facts": baseline_facts})
