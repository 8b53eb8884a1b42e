"""Fusion: from the chosen instances' tokens to visual tokens."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CEILING = 20.0  # of a key's logit above the best chosen one: bounds the gradient to its frame


class CrossAttention(nn.Module):
    """Learned queries attend to tokens; multi-head attention as Vaswani et al. (2017).

    With ``weight`` (batch, instance) the keys are the tokens of *all* instances and the attention
    is ∝ m̂_i exp(q·k): where m̂ is a hard choice, this equals attention over the chosen ones alone,
    but every instance's m̂ gets a gradient.
    """

    def __init__(self, dim: int, heads: int, queries: int, dropout: float):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, queries, dim) * 0.02)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.out.bias)
        self.heads = heads
        self.dropout = dropout

    def forward(self, tokens: Tensor, present: Tensor, weight: Tensor | None = None) -> Tensor:
        """Visual tokens (batch, query, dim) of ``tokens`` (batch, instance, token, dim).

        ``present`` (batch, instance) masks instances out.
        """
        batch, _, count, _ = tokens.shape
        keys = tokens.flatten(1, 2)  # (batch, instance * token, dim)
        q = self._split(self.query(self.queries).expand(batch, -1, -1))
        k, v = self._split(self.key(keys)), self._split(self.value(keys))  # (batch, head, key, d)
        p = self.dropout if self.training else 0.0
        if weight is None:
            mask = present.repeat_interleave(count, dim=1)[:, None, None]  # (batch, 1, 1, key)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        else:
            attended = self._weighted(q, k, v, weight.repeat_interleave(count, dim=1), p)
        return self.out(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, head, token, d)

    @staticmethod
    def _weighted(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, dropout: float) -> Tensor:
        logits = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
        weight = weight[:, None, None].float()  # (batch, 1, 1, key)
        chosen = weight.detach() > 0
        top = logits.detach().masked_fill(~chosen, -torch.inf).amax(-1, keepdim=True)
        # Relative to the best chosen key nothing chosen overflows; others are cut off.
        e = (logits - top).clamp(max=_CEILING).exp() * weight
        attention = e / e.sum(-1, keepdim=True)
        return F.dropout(attention, dropout).to(v.dtype) @ v


class TokenMLP(nn.Module):
    """The published ``mlp``: each token through dim → 4 dim → dim with a GELU."""

    def __init__(self, dim: int):
        super().__init__()
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape."""
        return self.down(F.gelu(self.up(tokens)))
