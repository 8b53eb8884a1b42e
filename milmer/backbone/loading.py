"""Loads a vision encoder from a directory in Hugging Face format or from the hub.

Weights are read from safetensors alone; code that comes with a model is never run.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from milmer.backbone.encoder import (
    PictureFormat,
    build_encoder,
    encoder_config,
    picture_format,
    picture_tokens,
    probe_encoder,
    require_image_family,
    without_pooling,
)
from milmer.backbone.model_folder import (
    CONFIG,
    loading_errors,
    require_complete,
    require_config,
    require_fit,
    require_weights,
)
from milmer.backbone.options import EncoderOptions, FrozenOptions
from milmer.errors import MilmerError
from milmer.runtime.device import fast_bfloat16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """A backbone that encodes pictures as ``tokens`` T of ``dim`` D numbers each.

    ``processor`` is Hugging Face's, ``format`` what it says of pictures. ``fingerprint`` is a
    digest of the weights.
    """

    model: nn.Module
    processor: Any
    format: PictureFormat
    tokens: int
    dim: int
    dtype: torch.dtype
    device: torch.device
    fingerprint: str

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Tokens (frame, T, D) of RGB ``pictures`` uint8 (frame, height, width, 3)."""
        return picture_tokens(self.model, self.prepare(pictures), self.tokens)

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pixel values (frame, 3, size, size) of such ``pictures``."""
        return self.format.prepare(pictures.to(self.device, non_blocking=True), self.dtype)


def load_backbone(options: FrozenOptions, device: torch.device) -> Backbone:
    """Load the backbone ``options.name`` for inference on ``device``.

    Raises :class:`MilmerError` if it cannot be loaded or gives no tokens.
    """
    model, processor = read_backbone(options)
    try:
        format_ = picture_format(processor, model.config)
        tokens, dim = probe_encoder(model, format_.size, options.pool)
    except MilmerError as error:
        raise error if error.where else error.within("backbone.name") from error
    dtype = choose_dtype(options, device)
    fingerprint = weights_digest(model)
    return Backbone(
        model=model.eval().to(device, dtype),
        processor=processor,
        format=format_,
        tokens=tokens,
        dim=dim,
        dtype=dtype,
        device=device,
        fingerprint=fingerprint,
    )


def read_backbone(options: EncoderOptions) -> tuple[nn.Module, Any]:
    """The encoder ``options.name`` in float32, and its image processor.

    Raises :class:`MilmerError` if it cannot be loaded or is not an image model.
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
                plain = require_config(folder)
                require_image_family(plain.get("model_type"), folder)
                shapes = require_weights(folder, plain)
            except MilmerError as error:
                raise error.within("backbone.name") from error
        config = AutoConfig.from_pretrained(name, **how)
        require_image_family(config.model_type, f"backbone.name: {name}")
        config = encoder_config(config)
        if folder.is_dir():
            with torch.device("meta"):
                encoder = build_encoder(config)
            require_fit(encoder, shapes, folder)
        model, info = AutoModel.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **without_pooling(config),
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
    with torch.device("meta"):
        kind = type(build_encoder(config))
    return kind.from_pretrained(
        None,
        config=config,
        state_dict=dict(tensors),
        output_loading_info=True,
        **without_pooling(config),
    )


def choose_dtype(options: EncoderOptions, device: torch.device) -> torch.dtype:
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
