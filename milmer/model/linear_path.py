"""A linear classifier beside the deep path: what shrinkage LDA knows, training begins with.

From a hundred segments a transformer does not learn what a linear classifier on the same features
has in closed form. So that classifier is part of the model: it is fitted to the training part
before the first step, when the deep path adds nothing yet.
"""

import torch
from torch import Tensor, nn

from milmer.model.configuration import NetworkConfig
from milmer.model.eeg import LogPower


class ZeroLinear(nn.Linear):
    """A linear layer that begins at zero."""

    def reset_parameters(self) -> None:
        """Add nothing."""
        nn.init.zeros_(self.weight)


class LinearPath(nn.Module):
    """Logits Σ W_m f_m + b of what the modalities m show without any choice of frames.

    f_eeg (batch, channel * filter) is the encoder's standardised log power, averaged over its
    windows; an encoder without one has a fixed bank of Morlet wavelets, ``power``, beside it.
    f_face (batch, dim) is the mean token of the valid instances, standardised, and zero for a bag
    without one. ``face_mean`` and ``face_std`` (dim,) are those of the training part.
    """

    face_mean: Tensor
    face_std: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        options = config.model
        self.power: LogPower | None = None
        self.eeg: nn.Linear | None = None
        self.face: nn.Linear | None = None
        if "eeg" in options.modalities:
            if options.eeg_encoder != "log_power":
                self.power = LogPower(config, trained=False)
            features = config.num_channels * LogPower.FILTERS
            self.eeg = ZeroLinear(features, config.num_labels, bias=False)
        if "face" in options.modalities:
            self.face = ZeroLinear(config.token_dim, config.num_labels, bias=False)
            self.register_buffer("face_mean", torch.empty(config.token_dim))
            self.register_buffer("face_std", torch.empty(config.token_dim))
        self.bias = nn.Parameter(torch.empty(config.num_labels))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Add nothing to the logits, as before it is fitted."""
        self.bias.zero_()
        if self.face is not None:
            self.face_mean.zero_()
            self.face_std.fill_(1.0)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Logits (batch, class) in float32, also under autocast, of :meth:`features`."""
        with torch.autocast(self.bias.device.type, enabled=False):
            logits = self.bias.float()
            if self.eeg is not None:
                logits = logits + self.eeg(features["eeg"])
            if self.face is not None:
                logits = logits + self.face(features["face"])
        return logits

    def features(
        self, power: Tensor | None, x: Tensor | None, valid: Tensor | None
    ) -> dict[str, Tensor]:
        """f by modality (batch, feature), float32.

        ``power`` (batch, channel, filter, window) is standardised log power; ``x`` (batch,
        instance, token, dim) and ``valid`` (batch, instance) are a bag's.
        """
        features = {}
        if power is not None:
            features["eeg"] = power.mean(-1).flatten(1)
        if x is not None and valid is not None:
            mean = (mean_token(x, valid) - self.face_mean.float()) / self.face_std.float()
            features["face"] = mean * valid.any(1, keepdim=True)
        return features


def mean_token(x: Tensor, valid: Tensor) -> Tensor:
    """The mean token (batch, dim) of a bag's valid instances in float32; zero without one."""
    frames = x.float().mean(dim=2).masked_fill(~valid.unsqueeze(2), 0.0)  # (batch, instance, dim)
    return frames.sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
