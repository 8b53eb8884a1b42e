"""What a model relies on, by permutation importance (Breiman 2001).

A channel, an instance of the bag, a modality, a linear path or what the deep path makes of a
modality is exchanged among segments, at random. It keeps its values and loses what it says of the
class; by how much the cross-entropy increases is what the model used. It is repeated, so that the
noise of the draw can be told.

Each segment is encoded once. What is exchanged are the tokens and the linear path's features of a
channel, which depend on that channel alone; of instances, faces alone are encoded again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from milmer.model.network import Encoded, MilmerNetwork
from milmer.runtime.progress import track
from milmer.training.fold_data import FoldData

REPEATS = 5
"""Permutations of each part."""

_BATCH = 32
_Change = Callable[[Encoded, Encoded], Encoded]


@torch.no_grad()
def permutation_importance(
    model: MilmerNetwork, data: FoldData, rows: np.ndarray, device: torch.device
) -> dict[str, np.ndarray]:
    """Increase of the mean cross-entropy in nats when something is exchanged among ``rows``.

    ``part`` (repeat, part) of :func:`parts`, ``channel`` (repeat, channel), ``instance``
    (repeat, instance).
    """
    labels = torch.from_numpy(data.table["label"].to_numpy(np.int64)[rows]).to(device)
    faces = None if model.visual is None else _faces(model, data, rows, device)
    encoded = _encoded(model, data, rows, faces, device)
    before = _loss(model, encoded, labels)
    channels = 0 if encoded.eeg is None else encoded.eeg.shape[1]
    changes: dict[str, list[Any]] = {
        "part": list(parts(model).values()),
        "channel": [_exchange_channel(channel) for channel in range(channels)],
        "instance": list(range(0 if faces is None else faces.valid.shape[1])),
    }
    increase = {kind: np.zeros((REPEATS, len(each)), np.float32) for kind, each in changes.items()}
    for repeat in track(range(REPEATS), "importance"):
        for number, (kind, each) in enumerate(changes.items()):
            for i, change in enumerate(each):
                order = np.random.default_rng([repeat, number, i]).permutation(len(rows))
                if isinstance(change, int):
                    assert faces is not None
                    seen = _seen(model, faces.exchanged(change, order))
                    features = encoded.features | seen.features
                    changed = seen._replace(eeg=encoded.eeg, features=features)
                else:
                    changed = change(encoded, _taken(encoded, torch.from_numpy(order).to(device)))
                increase[kind][repeat, i] = _loss(model, changed, labels) - before
    return increase


def parts(model: MilmerNetwork) -> dict[str, _Change]:
    """How each part of the model is exchanged: its modalities, its linear and its deep paths."""
    modalities: dict[str, tuple[str, ...]] = {"eeg": ("eeg",), "face": ("visual", "counts")}
    present = {"eeg": model.eeg is not None, "face": model.visual is not None}
    names = [name for name, looked_at in present.items() if looked_at]
    changes = {name: _exchange(modalities[name], name) for name in names}
    if model.linear is not None:
        changes |= {f"linear_{name}": _exchange((), name) for name in names}
        changes |= {f"deep_{name}": _exchange(modalities[name]) for name in names}
    return changes


def _exchange(fields: Sequence[str], *features: str) -> _Change:
    """Takes tokens (``fields``) and features of the linear path from the other segments."""

    def change(encoded: Encoded, other: Encoded) -> Encoded:
        linear = encoded.features | {n: other.features[n] for n in features if n in other.features}
        return encoded._replace(features=linear, **{name: getattr(other, name) for name in fields})

    return change


def _exchange_channel(channel: int) -> _Change:
    """Takes an EEG channel from the other segments."""

    def change(encoded: Encoded, other: Encoded) -> Encoded:
        assert encoded.eeg is not None
        assert other.eeg is not None
        tokens, features = encoded.eeg.clone(), dict(encoded.features)
        tokens[:, channel] = other.eeg[:, channel]
        if "eeg" in features:
            by_channel = (len(tokens), tokens.shape[1], -1)
            power = features["eeg"].clone().view(by_channel)
            power[:, channel] = other.features["eeg"].view(by_channel)[:, channel]
            features["eeg"] = power.flatten(1)
        return encoded._replace(eeg=tokens, features=features)

    return change


class _Faces(NamedTuple):
    """Face tokens (segment, instance, token, dim) in float16, as they are cached, and ``valid``."""

    tokens: Tensor
    valid: Tensor

    def exchanged(self, instance: int, order: np.ndarray) -> Iterator["_Faces"]:
        """Batches in which one instance of each bag is that of another segment."""
        for first in range(0, len(order), _BATCH):
            part = slice(first, first + _BATCH)
            batch = _Faces(self.tokens[part].clone(), self.valid[part].clone())
            for values, every in zip(batch, self, strict=True):
                values[:, instance] = every[order[part], instance]
            yield batch


def _faces(model: MilmerNetwork, data: FoldData, rows: np.ndarray, device: torch.device) -> _Faces:
    tokens, valid = [], []
    for inputs in data.inputs(rows, _BATCH, device):
        x = inputs.get("face_tokens")
        if x is None:
            x = model.backbone(inputs["pixel_values"], inputs["valid"])
        tokens.append(x.masked_fill(~inputs["valid"][..., None, None], 0.0).half())
        valid.append(inputs["valid"])
    return _Faces(torch.cat(tokens), torch.cat(valid))


def _seen(model: MilmerNetwork, batches: Iterable[_Faces]) -> Encoded:
    """What the model makes of faces alone."""
    seen = []
    for x, valid in batches:
        visual, counts, *_ = model.visual(x.float(), valid)
        features = {} if model.linear is None else model.linear.features(None, x, valid)
        seen.append(Encoded(visual, counts, None, features, None, None))
    return _joined(seen)


def _encoded(
    model: MilmerNetwork,
    data: FoldData,
    rows: np.ndarray,
    faces: _Faces | None,
    device: torch.device,
) -> Encoded:
    """All segments, encoded."""
    encoded = []
    for first in range(0, len(rows), _BATCH):
        part, inputs = slice(first, first + _BATCH), {}
        if model.eeg is not None:
            inputs["eeg"] = data.eeg_of(rows[part], device)
        if faces is not None:
            inputs |= {"face_tokens": faces.tokens[part].float(), "valid": faces.valid[part]}
        encoded.append(model.encode(**inputs)._replace(scores=None, selection=None))
    return _joined(encoded)


def _joined(batches: Sequence[Encoded]) -> Encoded:
    """Batches as one."""
    first = batches[0]
    joined = {
        name: None
        if getattr(first, name) is None
        else torch.cat([getattr(b, name) for b in batches])
        for name in ("visual", "counts", "eeg")
    }
    features = {name: torch.cat([b.features[name] for b in batches]) for name in first.features}
    return Encoded(**joined, features=features, scores=None, selection=None)


def _taken(encoded: Encoded, order: Tensor | slice) -> Encoded:
    """Some segments of many, in an order."""
    taken = {
        name: None if getattr(encoded, name) is None else getattr(encoded, name)[order]
        for name in ("visual", "counts", "eeg")
    }
    features = {name: values[order] for name, values in encoded.features.items()}
    return Encoded(**taken, features=features, scores=None, selection=None)


def _loss(model: MilmerNetwork, encoded: Encoded, labels: Tensor) -> float:
    """The mean cross-entropy of encoded segments."""
    total = 0.0
    for first in range(0, len(labels), _BATCH):
        part = slice(first, first + _BATCH)
        logits, *_ = model.classify(_taken(encoded, part))
        total += float(F.cross_entropy(logits.float(), labels[part], reduction="sum"))
    return total / len(labels)
