"""Loads a Swin or SwinV2 backbone from a directory in Hugging Face format or from the hub.

Liu et al. 2021 and 2022. Weights are read from safetensors alone; code that comes with a model is
never run.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from milmer.backbone.model_folder import (
    CONFIG,
    loading_errors,
    require_complete,
    require_config,
    require_fit,
    require_weights,
)
from milmer.backbone.options import SwinOptions
from milmer.errors import MilmerError
from milmer.runtime.device import fast_bfloat16

FAMILIES = ("swin", "swinv2")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """A backbone that encodes pictures as tokens.

    ``processor`` is Hugging Face's; its ``mean`` and ``std`` (3,) normalise RGB in 0..1 as in the
    backbone's training. ``fingerprint`` is a digest of the weights.
    """

    model: nn.Module
    processor: Any
    image_size: int
    mean: Tensor
    std: Tensor
    dtype: torch.dtype
    device: torch.device
    fingerprint: str

    @property
    def tokens(self) -> int:
        """The number T of tokens of a frame: the last stage's grid, 7 x 7 for 224 px."""
        config = self.model.config
        side = self.image_size // (config.patch_size * 2 ** (len(config.depths) - 1))
        return side * side

    @property
    def dim(self) -> int:
        """The width D of a token."""
        return self.model.config.hidden_size

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Tokens (frame, T, D) of RGB ``pictures`` uint8 (frame, height, width, 3)."""
        return self.model(self.prepare(pictures)).last_hidden_state

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pixel values (frame, 3, size, size) of such ``pictures``."""
        pictures = pictures.to(self.device, non_blocking=True)
        return prepare(pictures, self.image_size, self.mean, self.std, self.dtype)


def prepare(
    pictures: Tensor, image_size: int, mean: Tensor, std: Tensor, dtype: torch.dtype
) -> Tensor:
    """Pixel values for a backbone: ``pictures`` resized to its size and normalised.

    From RGB uint8 (frame, height, width, 3) to ``dtype`` (frame, 3, image_size, image_size);
    ``mean`` and ``std`` (3,) are of RGB in 0..1, on the pictures' device.
    """
    x = pictures.permute(0, 3, 1, 2).to(dtype)
    if x.shape[-2:] != (image_size, image_size):
        size = (image_size, image_size)
        # In float32: PyTorch has no such resampling in bfloat16 on a CPU.
        x = nn.functional.interpolate(x.float(), size, mode="bicubic", antialias=True)
        x = x.clamp(0, 255).to(dtype)
    mean, std = (t.view(1, 3, 1, 1) for t in (mean, std))
    return ((x / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def load_backbone(options: SwinOptions, device: torch.device) -> Backbone:
    """Load the backbone ``options.name`` for inference on ``device``.

    Raises :class:`MilmerError` if it cannot be loaded or is not of a Swin family.
    """
    model, processor = read_backbone(options)
    dtype = choose_dtype(options, device)
    fingerprint = weights_digest(model)
    return Backbone(
        model=model.eval().to(device, dtype),
        processor=processor,
        image_size=model.config.image_size,
        mean=torch.tensor(processor.image_mean, dtype=dtype, device=device),
        std=torch.tensor(processor.image_std, dtype=dtype, device=device),
        dtype=dtype,
        device=device,
        fingerprint=fingerprint,
    )


def read_backbone(options: SwinOptions) -> tuple[nn.Module, Any]:
    """The encoder ``options.name`` in float32, and its image processor.

    Raises :class:`MilmerError` if it cannot be loaded or is not of a Swin family.
    """
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoConfig, AutoImageProcessor, AutoModel

    name, folder = options.name, Path(options.name)
    how: dict[str, Any] = {"trust_remote_code": False}
    if options.revision:
        how["revision"] = options.revision
    remedy = (
        "give a directory in Hugging Face format with safetensors, or a name on the hub while "
        "online"
    )
    with loading_errors(f"{name} cannot be loaded", "backbone.name", remedy):
        if folder.is_dir():
            try:
                shapes = require_weights(folder, require_config(folder, FAMILIES))
            except MilmerError as error:
                raise error.within("backbone.name") from error
        config = AutoConfig.from_pretrained(name, **how)
        if config.model_type not in FAMILIES:
            raise MilmerError(
                f"{name} is of type {config.model_type}",
                where="backbone.name",
                remedy=f"give a model of type {' or '.join(FAMILIES)}",
            )
        if folder.is_dir():
            with torch.device("meta"):
                encoder = AutoModel.from_config(
                    config, add_pooling_layer=False, trust_remote_code=False
                )
            require_fit(encoder, shapes, folder)
        model, info = AutoModel.from_pretrained(
            name,
            dtype=torch.float32,
            add_pooling_layer=False,
            use_safetensors=True,
            output_loading_info=True,
            **how,
        )
        require_complete(info, name)
        processor = AutoImageProcessor.from_pretrained(name, **how)
    if not folder.is_dir() and not options.revision:
        commit = Path(str(try_to_load_from_cache(name, CONFIG))).parent.name
        _log.warning("%s is not pinned: set backbone.revision to its commit %s", name, commit)
    return model, processor


def encoder_with(config: Any, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Any]]:
    """The encoder of ``config`` with these ``tensors``, and what transformers says of loading them.

    The tensors may have the names of any version of transformers.
    """
    from transformers import AutoModel

    how: dict[str, Any] = {"add_pooling_layer": False}
    with torch.device("meta"):
        kind = type(AutoModel.from_config(config, trust_remote_code=False, **how))
    return kind.from_pretrained(
        None, config=config, state_dict=dict(tensors), output_loading_info=True, **how
    )


def choose_dtype(options: SwinOptions, device: torch.device) -> torch.dtype:
    """The precision that a backbone computes in on ``device``."""
    if options.dtype == "auto":
        return torch.bfloat16 if fast_bfloat16(device) else torch.float32
    return getattr(torch, options.dtype)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over the names and values of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
