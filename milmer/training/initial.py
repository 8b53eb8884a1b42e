"""A network before its first step: built, and fitted where the training part fits it at once.

The EEG encoder learns the scale of its inputs, and the linear path is fitted.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milmer.backbone.loading import Backbone
from milmer.metrics.shrinkage_lda import fit_classifier
from milmer.model.configuration import NetworkConfig
from milmer.model.eeg import LogPowerEEGEncoder
from milmer.model.network import MilmerNetwork
from milmer.splits.groups import group_numbers
from milmer.training.fold_data import FoldData
from milmer.training.options import TrainOptions

Begin = Callable[[MilmerNetwork], dict[str, Any]]
LINEAR_RATE = 0.1  # of the learning rate, for the linear path
_AT_ONCE = 64  # segments
_LEAST_STD = 1e-6  # of a token's dimension, so that a constant one is not blown up


def initial_network(
    data: FoldData,
    rows: np.ndarray,
    options: TrainOptions,
    device: torch.device,
    backbone: Backbone | None,
    begin: Begin | None = None,
) -> tuple[MilmerNetwork, dict[str, Any] | None]:
    """The network on ``device`` that training on ``rows`` of ``data`` begins with.

    Weights are drawn from PyTorch's generator; those of a ``backbone`` are copied, and then
    ``begin`` may change them. What it returns is returned too.
    """
    network = MilmerNetwork(network_config(data, options, backbone))
    if backbone is not None:
        network.backbone.swin.load_state_dict(backbone.model.state_dict())
        network.backbone.frames_at_once = options.finetune.backbone.batch_size
    begun = begin(network) if begin is not None else None
    network.to(device)
    if isinstance(network.eeg, LogPowerEEGEncoder):
        parts = [rows[first : first + _AT_ONCE] for first in range(0, len(rows), _AT_ONCE)]
        network.eeg.fit_scale(lambda: (data.eeg_of(part, device) for part in parts))

    table = data.table.iloc[rows]
    groups = group_numbers(table, data.facts["protocol"])
    batches = partial(data.inputs, rows, _AT_ONCE, device)
    fit_linear_path(network, batches, table["label"].to_numpy(), groups)
    return network, begun


def network_config(
    data: FoldData, options: TrainOptions, backbone: Backbone | None
) -> NetworkConfig:
    """What the network is built from: the options, and the shapes of the data."""
    shapes: dict[str, Any] = {}
    if data.eeg is not None:
        shapes |= dict(zip(("num_channels", "num_samples"), data.eeg.shape, strict=True))
        shapes["sfreq"] = data.sfreq
    if data.tokens is not None:
        shapes |= dict(zip(("num_tokens", "token_dim"), data.tokens.shape, strict=True))
    if backbone is not None:
        shapes |= {"num_tokens": backbone.tokens, "token_dim": backbone.dim}
        shapes["backbone_config"] = backbone.model.config.to_dict()
    if data.bag is not None:
        shapes["num_instances"] = data.bag.shape[1]
    return NetworkConfig(options.model, labels=tuple(data.labels), **shapes)


def parameter_groups(network: MilmerNetwork) -> list[dict[str, Any]]:
    """The optimizer's, with the ``share`` of the learning rate that each learns at.

    The linear path begins about where it should end, and learns slowly.
    """
    linear = [] if network.linear is None else list(network.linear.parameters())
    slow = {id(p) for p in linear}
    deep = [p for p in network.parameters() if id(p) not in slow]
    return [
        {"params": [p for p in parameters if p.requires_grad], "share": share}
        for parameters, share in ((deep, 1.0), (linear, LINEAR_RATE))
        if parameters
    ]


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
