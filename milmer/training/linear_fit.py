"""Fits a network's linear path to the training part, before the first step."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from milmer.metrics.shrinkage_lda import fit_classifier
from milmer.model.network import MilmerNetwork

_LEAST_STD = 1e-6  # of a token's dimension, so that a constant one is not blown up
Inputs = Callable[[], Iterable[dict[str, Tensor]]]


@torch.no_grad()
def fit_linear_path(
    network: MilmerNetwork, batches: Inputs, label: np.ndarray, groups: np.ndarray
) -> None:
    """Fit the network's linear path to the training part, and let the deep path add nothing.

    Each call of ``batches()`` yields the inputs of all rows in the order of ``label`` and
    ``groups`` (row,), of which :func:`~milmer.metrics.shrinkage_lda.fit_classifier` says more.
    """
    path = network.linear
    if path is None:
        return
    was_training = network.training
    network.eval()
    if path.power is not None:
        path.power.fit_scale(lambda: (inputs["eeg"] for inputs in batches()))
    parts: dict[str, list[np.ndarray]] = {}
    for inputs in batches():  # tokens are encoded once: the backbone may be the model's own
        for name, values in network.linear_features(**inputs).items():
            parts.setdefault(name, []).append(values.double().cpu().numpy())
    features = {name: np.concatenate(values) for name, values in parts.items()}
    if "face" in features:
        # The path was not fitted yet, so that these are the tokens themselves.
        mean, std = features["face"].mean(0), features["face"].std(0).clip(_LEAST_STD)
        path.face_mean.copy_(torch.from_numpy(mean))
        path.face_std.copy_(torch.from_numpy(std))
        features["face"] = (features["face"] - mean) / std
    classifier = fit_classifier(features, label, groups, len(path.bias))
    for name, weight in classifier.weight.items():
        getattr(path, name).weight.copy_(torch.from_numpy(weight))
    path.bias.copy_(torch.from_numpy(classifier.bias))
    network.classifier.weight.zero_()
    network.classifier.bias.zero_()
    network.train(was_training)
