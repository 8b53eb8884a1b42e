"""A backbone that is part of the model: the first of its layers, trained with the others."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from milmer.backbone.encoder import build_encoder, picture_tokens
from milmer.model.configuration import NetworkConfig
from milmer.runtime.device import sent


class FaceEncoder(nn.Module):
    """A vision encoder that is trained with the rest: from pictures to tokens.

    It is named after the published one, whatever its family. Frames are encoded ``frames_at_once``
    at a time. In training each such part is computed again in the backward pass (gradient
    checkpointing), so that only the tokens of a bag are kept. Batch normalisation keeps the
    statistics that it came with: a bag's frames are too alike to estimate them.
    """

    frames_at_once = 32

    def __init__(self, config: NetworkConfig):
        from transformers import AutoConfig

        super().__init__()
        self.shape = config.num_tokens, config.token_dim
        self.swin = build_encoder(AutoConfig.for_model(**(config.backbone_config or {})))

    def train(self, mode: bool = True) -> Self:
        """As the base class does, but for batch normalisation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor, valid: Tensor) -> Tensor:
        """Tokens (batch, instance, token, dim) of ``pixel_values`` (batch, instance, 3, h, w).

        Invalid instances cost nothing; their tokens are zero. No device is waited for where
        ``valid`` is in the host's memory.
        """
        frames = valid.flatten().nonzero().squeeze(1)
        if not len(frames):  # as in an empty batch
            return pixel_values.new_zeros(*valid.shape, *self.shape)
        frames = sent(frames, pixel_values.device)
        parts = pixel_values.flatten(0, 1)[frames].split(self.frames_at_once)
        if torch.is_grad_enabled():
            encoded = [checkpoint(self._tokens, part, use_reentrant=False) for part in parts]
        else:
            encoded = [self._tokens(part) for part in parts]
        tokens = torch.cat(encoded)  # (frame, token, dim)
        x = tokens.new_zeros(valid.numel(), *tokens.shape[1:])
        return x.index_put((frames,), tokens).unflatten(0, valid.shape)

    def _tokens(self, frames: Tensor) -> Tensor:
        return picture_tokens(self.swin, frames, self.shape[0])
