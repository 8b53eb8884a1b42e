"""How much of a network's logits comes from where: each linear path, the chosen frames, the EEG.

A part's share is its covariance with the logits, over segments and classes, in proportion to their
variance (Pratt 1987): shares add up to 1, and one is below 0 where a part speaks against the rest.
The deep path is parted by leaving its visual tokens out of the attention: what remains is the
EEG's, what is lost the frames'.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from milmer.model.network import MilmerNetwork

_ROUNDING = 1e-9  # of float32, squared and with a margin
LINEAR_EEG, LINEAR_FACE, FRAMES, EEG = "linear_eeg", "linear_face", "frames", "eeg"


@torch.no_grad()
def logit_shares(network: MilmerNetwork, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Shares of the logits of all segments in ``batches``, the network's inputs.

    By part, as far as the network has it; empty where the logits of all segments are the same.
    """
    parts: dict[str, list[Tensor]] = {}
    linear: dict[str, Tensor] = {}
    hooks = []
    if network.linear is not None:
        for name, layer in ((LINEAR_EEG, network.linear.eeg), (LINEAR_FACE, network.linear.face)):
            if layer is not None:
                hooks.append(layer.register_forward_hook(_keep(linear, name)))
    try:
        for inputs in batches:
            logits = network(**inputs).logits.double()
            here = {name: logit.double() for name, logit in linear.items()}
            deep = logits - sum(here.values(), torch.zeros_like(logits))
            if network.visual is None or network.eeg is None:
                here[EEG if network.visual is None else FRAMES] = deep
            else:
                here[FRAMES] = logits - _without_frames(network, inputs)
                here[EEG] = deep - here[FRAMES]
            for name, part in here.items():
                parts.setdefault(name, []).append(part)
    finally:
        for hook in hooks:
            hook.remove()
    varying = {name: _centred(torch.cat(values)) for name, values in parts.items()}
    total = torch.stack(list(varying.values())).sum(0)  # (segment, class)
    variance = float(total.square().sum())
    squares = sum(float(torch.cat(values).square().sum()) for values in parts.values())
    if variance <= _ROUNDING * squares:
        return {}
    return {name: float((part * total).sum()) / variance for name, part in varying.items()}


def _without_frames(network: MilmerNetwork, inputs: dict[str, Tensor]) -> Tensor:
    """Logits (batch, class) where no token attends to a visual one."""
    channels = network.config.num_channels

    def ignore(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        sequence, ignored = arguments
        if ignored is None:
            ignored = torch.zeros(sequence.shape[:2], dtype=torch.bool, device=sequence.device)
        ignored = ignored.clone()
        ignored[:, 1:-channels] = True  # CLS, visual tokens, a token a channel
        return sequence, ignored

    hook = network.encoder.register_forward_pre_hook(ignore)
    try:
        return network(**inputs).logits.double()
    finally:
        hook.remove()


def _keep(outputs: dict[str, Tensor], name: str) -> Any:
    return lambda _layer, _inputs, output: outputs.__setitem__(name, output)


def _centred(logits: Tensor) -> Tensor:
    """Without what all classes share, to which softmax is invariant, and all segments."""
    logits = logits - logits.mean(1, keepdim=True)
    return logits - logits.mean(0)
