"""Trained models in folders: written as transformers does, loaded whole or refused in one line."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from milmer import storage
from milmer.backbone.encoder import PictureFormat, picture_format, require_image_family
from milmer.backbone.loading import encoder_with
from milmer.backbone.model_folder import (
    CONFIG,
    WEIGHTS,
    loading_errors,
    require_config,
    require_fit,
    require_weights,
)
from milmer.errors import MilmerError
from milmer.model.configuration import AUTO_MAP, CODE, CODE_FILE, NetworkConfig
from milmer.model.face_encoder import FaceEncoder
from milmer.model.network import MilmerNetwork

_PROBLEM, _REMEDY = "cannot be loaded", "give the folder of a model that milmer trained"
_AGAIN = "copy the model again, or train it again"


def save_trained(network: MilmerNetwork, folder: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and the code that others load them by."""
    storage.write_json(folder / CONFIG, network.config.to_dict())
    storage.write_text(folder / CODE_FILE, CODE)
    state = {k: tensor.detach().cpu().contiguous() for k, tensor in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def read_config(folder: Path) -> NetworkConfig:
    """The configuration of a trained model."""
    with loading_errors(_PROBLEM, folder, _REMEDY):
        config = require_config(folder, ["milmer"], AUTO_MAP)
        backbone = config.get("backbone_config")
        if backbone is not None:
            where = f"{folder / CONFIG}: backbone_config"
            require_image_family(backbone.get("model_type"), where)
        return NetworkConfig.from_dict(config)


def read_image_processor(folder: Path) -> Any:
    """The image processor of a trained model that holds its backbone."""
    from transformers import AutoImageProcessor

    with loading_errors(_PROBLEM, folder, _REMEDY):
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)


def taken_pictures(config: NetworkConfig, image_processor: Any) -> PictureFormat:
    """How a model of ``config`` that holds its backbone takes its pictures."""
    from transformers import AutoConfig

    return picture_format(image_processor, AutoConfig.for_model(**(config.backbone_config or {})))


def load_trained(folder: Path) -> MilmerNetwork:
    """A trained model in evaluation mode.

    Raises :class:`MilmerError` where a tensor is missing, unknown, of another shape or not finite.
    """
    config = read_config(folder)
    with loading_errors(_PROBLEM, folder, _REMEDY):
        shapes = require_weights(folder, config.to_dict())
        with torch.device("meta"):
            network = MilmerNetwork(config)
        require_fit(network, shapes, folder)
        state = load_file(folder / WEIGHTS)
        if network.backbone is not None:
            state = _load_encoder(state, network.backbone)
        expected = network.state_dict()
        _require_same_tensors(state, expected, folder)
        # Copied into memory: mapped from the file they need not be aligned, and a matrix product
        # may then differ in its last bit.
        state = {name: t.to(expected[name].dtype, copy=True) for name, t in state.items()}
        network.load_state_dict(state, assign=True)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise MilmerError(
                f"{name} holds values that are not finite", where=folder / WEIGHTS, remedy=_AGAIN
            )
    return network.eval()


def _load_encoder(state: dict[str, Tensor], faces: FaceEncoder) -> dict[str, Tensor]:
    """Give ``faces`` its encoder, by transformers: it knows the names of its tensors in the past.

    Returns ``state`` with today's names.
    """
    prefix = "backbone.swin."
    tensors = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    faces.swin, info = encoder_with(faces.swin.config, tensors)
    state = {name: t for name, t in state.items() if not name.startswith(prefix)}
    state |= {prefix + name: tensors[name] for name in info["unexpected_keys"]}
    missing = info["missing_keys"]
    return state | {prefix + n: t for n, t in faces.swin.state_dict().items() if n not in missing}


def _require_same_tensors(
    state: dict[str, Tensor], expected: dict[str, Tensor], folder: Path
) -> None:
    shapes, needed = ({n: list(t.shape) for n, t in s.items()} for s in (state, expected))
    for problem, odd in (
        ("lack", needed.keys() - shapes.keys()),
        ("hold an unknown", shapes.keys() - needed.keys()),
        ("hold another shape of", {n for n in needed if shapes.get(n, needed[n]) != needed[n]}),
    ):
        if odd:
            more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
            raise MilmerError(
                f"its weights {problem} {min(odd)}{more}", where=folder, remedy=_AGAIN
            )
