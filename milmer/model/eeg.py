"""EEG encoders: one token per channel.

``log_power`` sees what EEG carries: how strong each rhythm is, and where. ``published`` is the
authors' encoder.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from milmer.model.configuration import NetworkConfig

Batches = Callable[[], Iterable[Tensor]]


class LogPower(nn.Module):
    """Log power of a filter bank, standardised by channel and filter.

    Temporal filters shared by all channels, power averaged over windows of about 3 s, log: the
    layers of ShallowConvNet (Schirrmeister et al. 2017) that precede the mixing of channels. The
    filters are complex, so that power is |·|², and they begin as Morlet wavelets, as LEAF's do
    (Zeghidour et al. 2021): a few hundred segments are too few to find bands from noise, and the
    power of a quadrature pair does not depend on phase. A segment is mirrored at its ends, so that
    all of it counts. Without ``trained`` the filters stay as they are.

    The buffers are set by :meth:`fit_scale`: ``scale`` (channel,), the root mean square in µV, and
    ``mean`` and ``std`` (channel, filter) of the log power. Before that they are 1, 0 and 1.
    """

    FILTERS = 20
    BAND = (2.0, 45.0)  # centres of the first and the last filter in Hz
    KERNEL_SECONDS = 0.5
    WINDOW_SECONDS = 3.0
    POWER_RATE = 32.0  # Hz; power changes more slowly than the signal
    MOMENT_SECONDS = 0.25  # time is kept or left out in stretches of this length
    FLOOR = 1e-6  # of a channel's mean power, so that a flat channel has a finite log

    scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, trained: bool = True):
        super().__init__()
        channels, samples, sfreq = config.num_channels, config.num_samples, config.sfreq
        self.margin = half = min(round(self.KERNEL_SECONDS * sfreq), samples // 2) // 2
        self.sfreq = sfreq
        bank = torch.empty(2, self.FILTERS, 2 * half + 1)
        self.filters = nn.Parameter(bank, requires_grad=trained)
        self.dropout = config.model.eeg_dropout if trained else 0.0
        self.stride = max(1, round(sfreq / self.POWER_RATE))
        self.moment = max(1, round(self.MOMENT_SECONDS * sfreq / self.stride))
        self.windows = max(1, round(samples / (self.WINDOW_SECONDS * sfreq)))
        self.register_buffer("scale", torch.empty(channels))
        self.register_buffer("mean", torch.empty(channels, self.FILTERS))
        self.register_buffer("std", torch.empty(channels, self.FILTERS))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Begin with Morlet wavelets, and without a scale."""
        self.filters.copy_(morlet_wavelets(self.FILTERS, self.margin, self.sfreq, self.BAND))
        self.scale.fill_(1.0)
        self.mean.zero_()
        self.std.fill_(1.0)

    def standardised(self, eeg: Tensor) -> Tensor:
        """Log power (batch, channel, filter, window) of ``eeg`` (batch, channel, sample) in µV."""
        kept = self._moments(eeg) if self.training and self.dropout else None
        power = self.log_power(eeg, kept)
        return (power - self.mean.float().unsqueeze(-1)) / self.std.float().unsqueeze(-1)

    def log_power(self, eeg: Tensor, kept: Tensor | None = None) -> Tensor:
        """Log power (batch, channel, filter, window), in float32 even under autocast.

        In bfloat16 the rounding of a slow wave would drown the fast rhythms. ``kept`` (batch, time)
        weights the times at which power is computed; without it all count alike.
        """
        with torch.autocast(eeg.device.type, enabled=False):
            x = eeg.float() / self.scale.float().unsqueeze(-1)
            bank = self.filters.float().flatten(0, 1).unsqueeze(1)  # (2 * filter, 1, tap)
            x = x.flatten(0, 1).unsqueeze(1)  # (batch * channel, 1, sample)
            x = F.pad(x, (self.margin, self.margin), mode="reflect")  # so that the ends count
            y = F.conv1d(x, bank, stride=self.stride)  # (batch * channel, 2 * filter, time)
            squared = y.square().unflatten(1, (2, -1)).sum(1).unflatten(0, eeg.shape[:2])
            if kept is None:
                power = self._windows(squared).mean(-1)  # (batch, channel, filter, window)
            else:
                kept = self._windows(kept)  # (batch, window, time)
                kept = kept / kept.sum(-1, keepdim=True)
                power = torch.einsum("bcfwt,bwt->bcfw", self._windows(squared), kept)
            return (power + self.FLOOR).log()

    def _windows(self, x: Tensor) -> Tensor:
        """Split the last axis, time, into (window, time)."""
        length = x.shape[-1] // self.windows
        return x[..., : length * self.windows].unflatten(-1, (self.windows, length))

    def _moments(self, eeg: Tensor) -> Tensor:
        """Random weights (batch, time): 1 for times that count, almost 0 for the others."""
        times = (eeg.shape[-1] - 1) // self.stride + 1
        shape = len(eeg), math.ceil(times / self.moment)
        kept = (torch.rand(shape, device=eeg.device) >= self.dropout) + 1e-6  # a sum is never 0
        return kept.repeat_interleave(self.moment, 1)[:, :times]

    @torch.no_grad()
    def fit_scale(self, batches: Batches) -> None:
        """Set the buffers from the training part.

        Each of two calls of ``batches()`` yields the same EEG (batch, channel, sample) in µV.
        """
        count, total = 0, torch.zeros(())
        for eeg in batches():
            total = total + eeg.double().square().mean(-1).sum(0)  # (channel,)
            count += len(eeg)
        flat = total == 0
        self.scale.copy_(torch.where(flat, 1.0, (total / max(count, 1)).sqrt()))
        first = second = torch.zeros(())
        for eeg in batches():
            power = self.log_power(eeg).double()
            first = first + power.mean(-1).sum(0)  # (channel, filter)
            second = second + power.square().mean(-1).sum(0)
        mean = first / count
        std = (second / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(0.1))  # so that a constant channel is not blown up


class LogPowerEEGEncoder(LogPower):
    """Log power of a learnable filter bank as tokens; the transformer mixes channels.

    In training, power is averaged over a random part of the time (``eeg_dropout`` is left out),
    drawn for each segment: a dropout whose noise is that of the estimate itself, large where the
    power is estimated from few cycles.

    Each channel has a learned embedding that scales its token and another that is added to it
    (FiLM, Perez et al. 2018). Because the scales are random from the start, the mean over channels,
    which is what untrained attention computes, still tells which channel was strong in which band.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__(config)
        self.project = nn.Linear(self.FILTERS * self.windows, config.model.hidden_size)
        self.gate = _channel_embeddings(config, std=3.0)
        self.channel = _channel_embeddings(config, std=1.0)

    def forward(self, eeg: Tensor) -> Tensor:
        """Tokens (batch, channel, dim) of ``eeg`` (batch, channel, sample) in µV."""
        return self.tokens(self.standardised(eeg))

    def tokens(self, power: Tensor) -> Tensor:
        """Tokens (batch, channel, dim) of standardised log power."""
        tokens = self.project(power.flatten(2).to(self.project.weight.dtype))
        if self.channel is None or self.gate is None:
            return tokens
        return tokens * self.gate.weight + self.channel.weight


class PublishedEEGEncoder(nn.Module):
    """LayerNorm over a channel's samples, Linear and ReLU, as in the authors' code.

    It sees the shape of a waveform, but not its amplitude, nor, without ``channel_embeddings``,
    the channel that it comes from.
    """

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.num_samples)
        self.project = nn.Linear(config.num_samples, config.model.hidden_size)
        self.channel = _channel_embeddings(config, std=0.02)

    def forward(self, eeg: Tensor) -> Tensor:
        """Tokens (batch, channel, dim) of ``eeg`` (batch, channel, sample) in µV."""
        tokens = self.project(self.norm(eeg.to(self.norm.weight.dtype))).relu()
        return tokens if self.channel is None else tokens + self.channel.weight


def morlet_wavelets(
    filters: int, half: int, sfreq: float, band: tuple[float, float], cycles: float = 5.0
) -> Tensor:
    """Complex Morlet wavelets (2, filter, 2 * half + 1) of gain 1: real and imaginary parts.

    Their centres are evenly spaced in log frequency between the ends of ``band`` in Hz, the upper
    end at most 0.9 of half the rate ``sfreq``. The Gaussian's standard deviation is ``cycles`` /
    (2 pi f), or less where the length allows fewer.
    """
    time = torch.arange(-half, half + 1) / sfreq  # s
    top = min(band[1], 0.45 * sfreq)
    centres = torch.logspace(math.log10(min(band[0], top)), math.log10(top), filters)
    width = (cycles / (2 * math.pi * centres)).clamp_max(max(half, 1) / sfreq / 2)  # s
    envelope = torch.exp(-0.5 * (time / width[:, None]).square())  # (filter, tap)
    envelope = 2 * envelope / envelope.sum(1, keepdim=True)
    phase = 2 * math.pi * centres[:, None] * time
    cosine, sine = envelope * phase.cos(), envelope * phase.sin()
    if half:  # remove the offset that a Gaussian of few cycles would let through
        cosine = cosine - envelope * (cosine.sum(1, keepdim=True) / envelope.sum(1, keepdim=True))
    return torch.stack([cosine, sine])


class ChannelEmbeddings(nn.Embedding):
    """A vector for each channel, drawn with the deviation ``std``."""

    def __init__(self, channels: int, dim: int, std: float):
        self.std = std  # first: the base class draws
        super().__init__(channels, dim)

    def reset_parameters(self) -> None:
        """Draw them anew."""
        nn.init.normal_(self.weight, std=self.std)


def _channel_embeddings(config: NetworkConfig, std: float) -> ChannelEmbeddings | None:
    if not config.model.channel_embeddings:
        return None
    return ChannelEmbeddings(config.num_channels, config.model.hidden_size, std)


EEG_ENCODERS = {"log_power": LogPowerEEGEncoder, "published": PublishedEEGEncoder}
