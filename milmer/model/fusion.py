"""Fusion: from the chosen instances' tokens to visual tokens."""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CACHED = 2**20  # numbers of one intermediate result that a CPU holds at a time
_CEILING = 20.0  # of a key's logit above the best chosen one: bounds the gradient to its frame


class CrossAttention(nn.Module):
    """Learned queries attend to tokens; multi-head attention as Vaswani et al. (2017).

    With ``weight`` (batch, instance), a hard choice m̂ of zeros and ones, the keys are the tokens of
    *all* instances and the attention is ∝ m̂_i exp(q·k). Its value is attention over the chosen
    ones alone, and only those are looked at on the way forward; but every instance's m̂ gets a
    gradient, see :class:`_CreditToInstances`.
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

        ``present`` (batch, instance) masks instances out; with ``weight`` its zeros do.
        """
        if weight is None:
            attended, *_ = self._attend(tokens, present)
        else:
            attended = self._attend_to_all(tokens, weight)
        return self.out(attended.transpose(1, 2).flatten(2))

    def shares(self, tokens: Tensor, present: Tensor) -> Tensor:
        """How each query shares its attention (batch, query, instance, token), mean over heads.

        Arguments as in :meth:`forward`; shares of a query add up to 1.
        """
        q = self._split(self.query(self.queries))
        k = self._split(self.key(tokens.flatten(1, 2)))  # (batch, head, key, d)
        mask = present.repeat_interleave(tokens.shape[2], dim=1)[:, None, None]
        logits = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(~mask, -torch.inf)
        return logits.softmax(dim=-1).mean(dim=1).unflatten(2, tokens.shape[1:3])

    def _attend(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attended values (batch, head, query, d), and the q, k and v that they were made of."""
        batch, _, count, _ = tokens.shape
        q = self._split(self.query(self.queries)).expand(batch, -1, -1, -1)
        keys = tokens.flatten(1, 2)  # (batch, instance * token, dim)
        k, v = self._split(self.key(keys)), self._split(self.value(keys))  # (batch, head, key, d)
        mask = present.repeat_interleave(count, dim=1)[:, None, None]  # (batch, 1, 1, key)
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p), q, k, v

    def _attend_to_all(self, tokens: Tensor, weight: Tensor) -> Tensor:
        chosen = weight.detach() > 0  # (batch, instance)
        order = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        weight, chosen = weight.gather(1, order), chosen.gather(1, order)  # the chosen first
        most = int(chosen.sum(1).max())  # of a bag: K, or all where no instance is valid
        attended, q, k, v = self._attend(_taken(tokens, order[:, :most]), chosen[:, :most])
        if not weight.requires_grad:
            return attended
        far = _taken(tokens.detach(), order[:, most:])
        projections = (self.key.weight, self.key.bias, self.value.weight, self.value.bias)
        return _CreditToInstances.apply(attended, weight, chosen, far, q, k, v, *projections)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, head, token, d)


class _CreditToInstances(torch.autograd.Function):
    """Attention over chosen instances as it is; in return, a gradient to the choice of *every* one.

    Let e_j = exp(q·k_j) for the keys j of all instances, Z = Σ_j m̂_j e_j and
    out = Σ_j m̂_j e_j v_j / Z. Then

        ∂out / ∂m̂_i = Σ_{j of i} e_j (v_j − out) / Z.

    Keys and values of what was not chosen are needed for this alone: with m̂ = 0 they get no
    gradient themselves. So they are made here, on the way back, and nothing of them is kept. The
    credit is that of attention without dropout: what was never chosen was never dropped, and so
    the credit of a bag's chosen instances adds up to zero as it should.
    """

    @staticmethod
    def forward(ctx, attended, weight, chosen, far, q, k, v, *projections):
        ctx.save_for_backward(chosen, far, q, k, v, *projections)
        return attended.view_as(attended)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        chosen, far, q, k, v, *projections = ctx.saved_tensors
        key_weight, key_bias, value_weight, value_bias = (p.to(q.dtype) for p in projections)
        batch, instances = chosen.shape
        keys = far.flatten(1, 2).to(q.dtype)  # (batch, key that was not chosen, dim)
        heads = (q.shape[1], q.shape[-1])
        far_k = F.linear(keys, key_weight, key_bias).unflatten(2, heads).transpose(1, 2)
        far_v = F.linear(keys, value_weight, value_bias).unflatten(2, heads).transpose(1, 2)
        k = torch.cat([k, far_k], dim=2).transpose(2, 3)  # (batch, head, d, key)
        v = torch.cat([v, far_v], dim=2).transpose(2, 3)
        m = chosen.repeat_interleave(k.shape[-1] // instances, dim=1)[:, None, None]
        q = q / math.sqrt(q.shape[-1])
        # What is as large as (head, query, key) fits into a CPU's cache for few bags at a time.
        numbers = q.shape[1] * q.shape[2] * k.shape[3]  # of a bag
        size = max(1, _CACHED // numbers) if grad.device.type == "cpu" else batch
        credit = torch.cat(
            [
                _credit(*(x[first : first + size] for x in (q, k, v, grad.to(q.dtype), m)))
                for first in range(0, batch, size)
            ]
        )  # (batch, key)
        return grad, credit.unflatten(1, (instances, -1)).sum(2), *[None] * 9


def _credit(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, m: Tensor) -> Tensor:
    """Gradient to the m̂ of each key (batch, key), summed over heads and queries.

    ``q`` and ``grad`` (batch, head, query, d); ``k`` and ``v`` (batch, head, d, key); ``m``
    (batch, 1, 1, key).
    """
    logits = _widened(q @ k)  # (batch, head, query, key)
    gain = _widened(grad @ v)  # of attending to a key: ∂loss/∂out · v_j
    top = logits.masked_fill(~m, -torch.inf).amax(-1, keepdim=True)
    # Relative to the best chosen key nothing chosen overflows; others are cut off.
    e = logits.sub_(top).clamp_(max=_CEILING).exp_()
    gained = gain.mul_(e)
    m = m.to(e.dtype).transpose(2, 3)  # (batch, 1, key, 1)
    z = e @ m  # (batch, head, query, 1)
    mean = (gained @ m) / z  # ∂loss/∂out · out
    each = (1 / z).transpose(2, 3) @ gained - (mean / z).transpose(2, 3) @ e
    return each.sum((1, 2))


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _taken(tokens: Tensor, index: Tensor) -> Tensor:
    """Instances ``index`` (batch, some) of ``tokens`` (batch, instance, token, dim)."""
    return tokens.gather(1, index[..., None, None].expand(-1, -1, *tokens.shape[2:]))


class TokenMLP(nn.Module):
    """The published ``mlp``: each token through dim → 4 dim → dim with a GELU."""

    def __init__(self, dim: int):
        super().__init__()
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape."""
        return self.down(F.gelu(self.up(tokens)))
