"""Trained models in folders: written as transformers does, loaded whole or refused in one line."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from milmer import storage
from milmer.backbone.loading import FAMILIES
from milmer.backbone.model_folder import (
    CONFIG,
    WEIGHTS,
    loading_errors,
    require_config,
    require_fit,
    require_weights,
)
from milmer.errors import MilmerError
from milmer.model.configuration import NetworkConfig
from milmer.model.network import MilmerNetwork

_PROBLEM, _REMEDY = "cannot be loaded", "give the folder of a model that milmer trained"


def save_trained(network: MilmerNetwork, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` to a folder."""
    storage.write_json(folder / CONFIG, network.config.to_dict())
    state = {k: tensor.detach().cpu().contiguous() for k, tensor in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})


def read_config(folder: Path) -> NetworkConfig:
    """The configuration of a trained model."""
    with loading_errors(_PROBLEM, folder, _REMEDY):
        config = require_config(folder, ["milmer"])
        backbone = config.get("backbone_config")
        if backbone is not None and backbone.get("model_type") not in FAMILIES:
            raise MilmerError(
                "its backbone is of no known type",
                where=folder / CONFIG,
                remedy=f"give a model with one of type {' or '.join(FAMILIES)}",
            )
        return NetworkConfig.from_dict(config)


def read_image_processor(folder: Path) -> Any:
    """The image processor of a trained model that holds its backbone."""
    from transformers import AutoImageProcessor

    with loading_errors(_PROBLEM, folder, _REMEDY):
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)


def load_trained(folder: Path) -> MilmerNetwork:
    """A trained model in evaluation mode; refused where a tensor is missing or does not fit."""
    config = read_config(folder)
    with loading_errors(_PROBLEM, folder, _REMEDY):
        shapes = require_weights(folder, config.to_dict())
        with torch.device("meta"):
            network = MilmerNetwork(config)
        require_fit(network, shapes, folder)
        if lacking := sorted(network.state_dict().keys() - shapes.keys()):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise MilmerError(f"its weights lack {lacking[0]}{more}", where=folder)
        if config.backbone_config is not None:
            network = MilmerNetwork(config)  # a backbone has buffers that are not saved
        # Copied into memory: mapped from the file they need not be aligned, and a matrix product
        # may then differ in its last bit.
        state = {name: t.clone() for name, t in load_file(folder / WEIGHTS).items()}
        network.load_state_dict(state, assign=True)
    return network.eval()
