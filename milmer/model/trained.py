"""Trained models in folders, from whomever: checked, then loaded whole or refused in one line."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor

from milmer.backbone.loading import FAMILIES
from milmer.backbone.model_folder import (
    CONFIG,
    loading_errors,
    require_complete,
    require_config,
    require_fit,
    require_weights,
)
from milmer.errors import MilmerError
from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification

_PROBLEM, _REMEDY = "cannot be loaded", "give the folder of a model that milmer trained"


def read_config(folder: Path) -> MilmerConfig:
    """The configuration of a trained model."""
    with loading_errors(_PROBLEM, folder, _REMEDY):
        backbone = require_config(folder, ["milmer"]).get("backbone_config")
        if backbone is not None and backbone.get("model_type") not in FAMILIES:
            raise MilmerError(
                "its backbone is of no known type",
                where=folder / CONFIG,
                remedy=f"give a model with one of type {' or '.join(FAMILIES)}",
            )
        return MilmerConfig.from_pretrained(folder)


def read_image_processor(folder: Path) -> Any:
    """The image processor of a trained model that holds its backbone."""
    with loading_errors(_PROBLEM, folder, _REMEDY):
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)


def load_trained(folder: Path) -> MilmerForEmotionClassification:
    """A trained model in evaluation mode; refused where a tensor is missing or does not fit."""
    config = read_config(folder)
    with loading_errors(_PROBLEM, folder, _REMEDY):
        shapes = require_weights(folder, config.to_dict())
        with torch.device("meta"):
            require_fit(MilmerForEmotionClassification(config), shapes, folder)
        model, info = MilmerForEmotionClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True
        )
        require_complete(info, folder)
    return model.eval()
