"""EEG tokens: one token a channel."""

from torch import Tensor, nn


class PublishedEEGEncoder(nn.Module):
    """LayerNorm over a channel's samples, Linear, ReLU, as the authors' code does it.

    It sees the shape of a waveform, but neither its amplitude nor, without ``channel_embeddings``,
    which channel it is from.
    """

    def __init__(self, channels: int, samples: int, dim: int, channel_embeddings: bool):
        super().__init__()
        self.norm = nn.LayerNorm(samples)
        self.project = nn.Linear(samples, dim)
        self.channel = nn.Embedding(channels, dim) if channel_embeddings else None
        if self.channel is not None:
            nn.init.normal_(self.channel.weight, std=0.02)

    def forward(self, eeg: Tensor) -> Tensor:
        """Tokens (batch, channel, dim) of ``eeg`` (batch, channel, sample) in µV."""
        tokens = self.project(self.norm(eeg)).relu()
        return tokens if self.channel is None else tokens + self.channel.weight


EEG_ENCODERS = {"published": PublishedEEGEncoder}
