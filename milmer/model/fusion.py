"""Fusion: from the chosen instances' tokens to visual tokens."""

import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CACHED = 2**20  # numbers of an intermediate result that fit into a CPU's cache
_CEILING = 20.0  # of a key's logit above the best chosen one; bounds the gradient to its frame


class UnbiasedLinear(nn.Linear):
    """A linear layer whose bias begins at zero."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)


class XavierLinear(UnbiasedLinear):
    """The same with Xavier's weights: so begin the projections of PyTorch's attention."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class CrossAttention(nn.Module):
    """Learned queries attend to tokens; multi-head attention as Vaswani et al. (2017).

    With ``weight`` (batch, instance), a hard choice m̂ of zeros and ones, the keys are the tokens of
    *all* instances and the attention is ∝ m̂_i exp(q·k). Its value is that of attention over the
    chosen ones, and the forward pass computes no others; but every instance's m̂ gets a gradient,
    see :class:`_CreditToInstances`.
    """

    def __init__(self, dim: int, heads: int, queries: int, dropout: float):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(1, queries, dim))
        self.query = XavierLinear(dim, dim)
        self.key = XavierLinear(dim, dim)
        self.value = XavierLinear(dim, dim)
        self.out = UnbiasedLinear(dim, dim)
        self.heads = heads
        self.dropout = dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the queries anew."""
        nn.init.normal_(self.queries, std=0.02)

    def forward(
        self, tokens: Tensor, present: Tensor, weight: Tensor | None = None, most: int | None = None
    ) -> Tensor:
        """Visual tokens (batch, query, dim) of ``tokens`` (batch, instance, token, dim).

        Instances are masked out where ``present`` (batch, instance) is False; if ``weight`` is
        given, where that is zero, as it is for all but ``most`` of each bag.
        """
        if weight is None:
            attended, *_ = self._attend(tokens, present)
        else:
            attended = self._attend_to_all(tokens, weight, most)
        return self.out(attended.transpose(1, 2).flatten(2))

    def shares(self, tokens: Tensor, present: Tensor) -> Tensor:
        """The attention of each query (batch, query, instance, token), averaged over heads.

        Arguments as in :meth:`forward`; the shares of a query add up to 1.
        """
        q = self._split(self.query(self.queries))
        k = self._split(self.key(tokens.flatten(1, 2)))  # (batch, head, key, d)
        mask = present.repeat_interleave(tokens.shape[2], dim=1)[:, None, None]
        logits = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).masked_fill(~mask, -torch.inf)
        return logits.softmax(dim=-1).mean(dim=1).unflatten(2, tokens.shape[1:3])

    def _attend(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Attended values (batch, head, query, d), and the q, k and v that they come from."""
        batch, _, count, _ = tokens.shape
        q = self._split(self.query(self.queries)).expand(batch, -1, -1, -1)
        keys = tokens.flatten(1, 2)  # (batch, instance * token, dim)
        k, v = self._split(self.key(keys)), self._split(self.value(keys))  # (batch, head, key, d)
        mask = present.repeat_interleave(count, dim=1)[:, None, None]  # (batch, 1, 1, key)
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p), q, k, v

    def _attend_to_all(self, tokens: Tensor, weight: Tensor, most: int | None) -> Tensor:
        most = tokens.shape[1] if most is None else most
        chosen = weight.detach() > 0  # (batch, instance)
        order = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        weight, chosen = weight.gather(1, order), chosen.gather(1, order)  # the chosen first
        attended, q, k, v = self._attend(_instances(tokens, order[:, :most]), chosen[:, :most])
        if not weight.requires_grad:
            return attended
        far = _instances(tokens.detach(), order[:, most:])
        projections = (self.key.weight, self.key.bias, self.value.weight, self.value.bias)
        return _CreditToInstances.apply(attended, weight, chosen, far, q, k, v, *projections)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, head, token, d)


class _CreditToInstances(torch.autograd.Function):
    """Attention over the chosen instances, with a gradient to the choice of *every* instance.

    The attended values pass through unchanged. Let e_j = exp(q·k_j) for the keys j of all
    instances, Z = Σ_j m̂_j e_j and out = Σ_j m̂_j e_j v_j / Z. Then

        ∂out / ∂m̂_i = Σ_{j of i} e_j (v_j − out) / Z.

    Keys and values of unchosen instances serve this gradient alone: with m̂ = 0 they get none
    themselves. So they are computed in the backward pass, and none of them is kept. The credit is
    that of attention without dropout: an unchosen key was never dropped, and without dropout the
    credits of a bag's chosen instances add up to zero, as they should.
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
        keys = far.flatten(1, 2).to(q.dtype)  # (batch, unchosen key, dim)
        heads = (q.shape[1], q.shape[-1])
        far_k = F.linear(keys, key_weight, key_bias).unflatten(2, heads).transpose(1, 2)
        far_v = F.linear(keys, value_weight, value_bias).unflatten(2, heads).transpose(1, 2)
        k = torch.cat([k, far_k], dim=2).transpose(2, 3)  # (batch, head, d, key)
        v = torch.cat([v, far_v], dim=2).transpose(2, 3)
        m = chosen.repeat_interleave(k.shape[-1] // instances, dim=1)[:, None, None]
        q = q / math.sqrt(q.shape[-1])
        # Arrays of (head, query, key) fit into a CPU's cache for few bags at a time.
        numbers = q.shape[1] * q.shape[2] * k.shape[3]  # per bag
        size = max(1, _CACHED // numbers) if grad.device.type == "cpu" else batch
        credit = torch.cat(
            [
                _credit(*(x[first : first + size] for x in (q, k, v, grad.to(q.dtype), m)))
                for first in range(0, batch, size)
            ]
        )  # (batch, key)
        return grad, credit.unflatten(1, (instances, -1)).sum(2), *[None] * 9


def _credit(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, m: Tensor) -> Tensor:
    """The gradient to the m̂ of each key (batch, key), summed over heads and queries.

    ``q`` and ``grad`` (batch, head, query, d); ``k`` and ``v`` (batch, head, d, key); ``m``
    (batch, 1, 1, key).
    """
    logits = _at_least_float32(q @ k)  # (batch, head, query, key)
    gain = _at_least_float32(grad @ v)  # of attending to a key: ∂loss/∂out · v_j
    top = logits.masked_fill(~m, -torch.inf).amax(-1, keepdim=True)
    # Relative to the best chosen key no chosen one overflows; the others are clamped.
    e = logits.sub_(top).clamp_(max=_CEILING).exp_()
    weighted = gain.mul_(e)
    m = m.to(e.dtype).transpose(2, 3)  # (batch, 1, key, 1)
    z = e @ m  # (batch, head, query, 1)
    mean = (weighted @ m) / z  # ∂loss/∂out · out
    credit = (1 / z).transpose(2, 3) @ weighted - (mean / z).transpose(2, 3) @ e
    return credit.sum((1, 2))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _instances(tokens: Tensor, index: Tensor) -> Tensor:
    """The instances ``index`` (batch, k) of ``tokens`` (batch, instance, token, dim)."""
    return tokens.gather(1, index[..., None, None].expand(-1, -1, *tokens.shape[2:]))


class TokenMLP(nn.Module):
    """The published ``mlp``: a map of each token, dim → 4 dim → dim with a GELU."""

    def __init__(self, dim: int):
        super().__init__()
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape."""
        return self.down(F.gelu(self.up(tokens)))
