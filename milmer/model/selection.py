"""Selects K of a bag's N instances, and lets the scorer learn from the choice.

Symbols, as in the docs: X (batch, instance N, token T, dim D) are the tokens, M (batch, instance)
says which instances are valid, s (batch, instance) are the scores, m in {0, 1} is the choice.

The choice is always the hard top K of the valid instances. What differs is its gradient:

* ``none``: as in the published code; scores only yield indices, so the scorer never learns.
* ``unit_gain``: the chosen tokens are multiplied by 1 + a - stop(a), a = softmax(s).
* ``subset``: m̂ = m + π - stop(π), where π are the exact marginals of p(S) ∝ Π_{i∈S} exp(s_i) over
  subsets of size K (Ahmed et al. 2023, "SIMPLE").

If two frames tell the class, a third has nothing to add, and the scorer learns nothing about it.
With ``subset``, therefore, a training step may leave out some of the chosen frames (instance
dropout), so that each has to matter.

The scorer ``gated`` is gated attention (Ilse et al. 2018) on a frame's mean token.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NEVER = -1e9  # log weight of an instance that must not be chosen; finite, to avoid NaN gradients


@dataclass(frozen=True)
class Selection:
    """The outcome of a selection.

    ``scores`` (batch, instance); ``selected`` (batch, K) indices of instances, best first;
    ``present`` (batch, K) says which of these are valid and not dropped; ``weight``
    (batch, instance) is m̂, the choice with its gradient.
    """

    scores: Tensor
    selected: Tensor
    present: Tensor
    weight: Tensor


# --------------------------------------------------------------------- scorers


class GatedScorer(nn.Module):
    """s_i = wᵀ(tanh(V u_i) ⊙ σ(U u_i)), u_i = LN(mean_t X_it); 0.2 M parameters at D = 768."""

    hidden = 128

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.value = nn.Linear(dim, self.hidden)
        self.gate = nn.Linear(dim, self.hidden)
        self.score = nn.Linear(self.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, instance) of tokens ``x`` (batch, instance, token, dim)."""
        u = self.norm(x.mean(dim=2))  # (batch, instance, dim)
        h = torch.tanh(self.value(u)) * torch.sigmoid(self.gate(u))  # (batch, instance, hidden)
        return self.score(h).squeeze(-1)

    @staticmethod
    def features(x: Tensor) -> Tensor:
        """What ``attention_topk`` pools over a bag: a frame's mean token."""
        return x.mean(dim=2)  # (batch, instance, dim)


class LowRankScorer(nn.Module):
    """s_i = wᵀ tanh(A vec X_i), A of rank 32: it sees where in the face a token lies."""

    hidden = 32

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.value = nn.Linear(tokens * dim, self.hidden)
        self.score = nn.Linear(self.hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, instance) of tokens ``x`` (batch, instance, token, dim)."""
        return self.score(torch.tanh(self.value(x.flatten(2)))).squeeze(-1)

    features = staticmethod(GatedScorer.features)


class PublishedScorer(nn.Module):
    """s_i = w2 · tanh(W1 vec X_i) with W1 square: 1,416 M parameters at 49 x 768."""

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.value = nn.Linear(tokens * dim, tokens * dim)
        self.score = nn.Linear(tokens * dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, instance) of tokens ``x`` (batch, instance, token, dim)."""
        return self.score(torch.tanh(self.value(self.features(x)))).squeeze(-1)

    @staticmethod
    def features(x: Tensor) -> Tensor:
        """What ``attention_topk`` pools over a bag: all of a frame's tokens."""
        return x.flatten(2)  # (batch, instance, token * dim)


Scorer = GatedScorer | LowRankScorer | PublishedScorer
SCORERS: dict[str, Callable[[int, int], Scorer]] = {
    "gated": GatedScorer,
    "low_rank": LowRankScorer,
    "published": PublishedScorer,
}


class PositionScorer(nn.Module):
    """Selection ``softmax``: one learned weight per position in the bag."""

    def __init__(self, instances: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, instances))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Prefer no position."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        return self.weight.expand(len(x), -1)


class BagScorer(nn.Module):
    """Selection ``attention_weighted_topk``: a scorer applied to each instance."""

    def __init__(self, scorer: nn.Module):
        super().__init__()
        self.scorer = scorer

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        return self.scorer(x)


class PooledScorer(nn.Module):
    """Selection ``attention_topk``: the bag, pooled by attention, is mapped to N scores."""

    def __init__(self, scorer: Scorer, features: int, instances: int):
        super().__init__()
        self.scorer = scorer
        self.recover = nn.Linear(features, instances)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        a = masked_softmax(self.scorer(x), valid)  # (batch, instance)
        pooled = torch.einsum("bi,bif->bf", a, self.scorer.features(x))
        return self.recover(pooled)


class FirstScorer(nn.Module):
    """Selection ``none``: the earlier the better."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        return -torch.arange(x.shape[1], device=x.device, dtype=torch.float32).expand(len(x), -1)


class EqualScorer(nn.Module):
    """Selection ``all``: no instance is better than another."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        return torch.zeros(x.shape[:2], device=x.device)


class RandomScorer(nn.Module):
    """Selection ``random``: drawn anew in each training step, fixed by content at evaluation.

    At evaluation the content of a frame decides, so that a prediction depends neither on the rest
    of the batch nor on the order of the bag.
    """

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance)."""
        if self.training:
            return torch.rand(x.shape[:2], device=x.device)
        # In float64, where sums of float16 tokens are exact and leave digits to draw from.
        return torch.remainder(x.double().abs().sum(dim=(2, 3)) * 997.0, 1.0).float()


class EvenlySpacedScorer(nn.Module):
    """Selection ``evenly_spaced``: K of the valid instances, evenly spaced in time."""

    def __init__(self, num_select: int):
        super().__init__()
        self.num_select = num_select

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Scores (batch, instance): 1 for each instance to choose, else 0."""
        rank = valid.cumsum(dim=1) - 1  # (batch, instance) among the valid ones
        count = valid.sum(dim=1, keepdim=True)
        k = torch.arange(self.num_select, device=x.device)
        targets = ((k + 0.5) * count / self.num_select).long()  # (batch, K)
        return ((rank.unsqueeze(2) == targets.unsqueeze(1)).any(dim=2) & valid).float()


# ------------------------------------------------------------------- selection


def choose(
    scores: Tensor, valid: Tensor, num_select: int, gradient: str, dropout: float = 0.0
) -> Selection:
    """Choose the ``num_select`` best valid instances by ``scores`` (batch, instance).

    If fewer are valid, invalid ones fill up ``selected`` and are not ``present``. Of equal scores
    the earlier instance wins. While a scorer learns by ``subset``, each chosen instance is dropped,
    and not ``present``, with probability ``dropout``, but never all of a bag.
    """
    num_select = min(num_select, scores.shape[1])
    ranked = scores.detach().float().masked_fill(~valid, -torch.inf)
    selected = ranked.argsort(dim=1, descending=True, stable=True)[:, :num_select]  # (batch, K)
    present = valid.gather(1, selected)
    learns = scores.requires_grad
    if dropout and gradient == "subset" and learns:
        u = torch.rand(present.shape, device=scores.device).masked_fill(~present, -1.0)
        present = present & ((u >= dropout) | (u == u.amax(dim=1, keepdim=True)))
    m = torch.zeros_like(ranked).scatter(1, selected, present.float())  # (batch, instance)
    if gradient == "subset" and learns:
        pi = subset_marginals(scores, valid, num_select)
        m = m + (pi - pi.detach())
    elif gradient == "unit_gain" and learns:
        a = masked_softmax(scores.float(), valid)
        m = m * (1 + (a - a.detach()))
    return Selection(scores, selected, present, m)


def subset_marginals(scores: Tensor, valid: Tensor, num_select: int) -> Tensor:
    """Marginals π (batch, instance) of p(S) ∝ Π_{i∈S} exp(s_i) over K-subsets of the valid.

    π_i = exp(s_i) e_{K-1}(all but i) / e_K(all) with the elementary symmetric polynomials e_k,
    computed as logarithms in float64 (Ahmed et al. 2023). K is ``num_select``, or the number of
    valid instances if that is smaller. Differentiable; Σ_i π_i = K.
    """
    log_w = scores.double()
    log_w = log_w - log_w.detach().masked_fill(~valid, -torch.inf).amax(1, keepdim=True).nan_to_num(
        neginf=0.0
    )
    log_w = log_w.masked_fill(~valid, _NEVER)
    n = log_w.shape[1]
    k = valid.sum(dim=1).clamp(max=num_select)  # (batch,)
    others = ~torch.eye(n, dtype=torch.bool, device=log_w.device)  # row i leaves out instance i
    # Row n leaves out none, so that one recursion yields the numerators and the denominator.
    kept = torch.cat([others, others.new_ones(1, n)])  # (instance + 1, instance)
    terms = torch.where(kept, log_w.unsqueeze(1), 2 * _NEVER)  # (batch, instance + 1, instance)
    table = _log_elementary_symmetric(terms, num_select)  # (batch, instance + 1, K + 1)
    total = table[:, n].gather(1, k.unsqueeze(1))  # (batch, 1)
    rest = table[:, :n].gather(2, (k - 1).clamp(min=0).view(-1, 1, 1).expand(-1, n, 1)).squeeze(2)
    pi = (log_w + rest - total).exp() * (valid & (k > 0).unsqueeze(1))
    return pi.to(scores.dtype)


def _log_elementary_symmetric(log_w: Tensor, degree: int) -> Tensor:
    """log e_0 … log e_degree of exp(log_w) along its last axis: (..., degree + 1)."""
    log_e = log_w.new_full((*log_w.shape[:-1], degree + 1), 4 * _NEVER)
    log_e[..., 0] = 0
    for w in log_w.unbind(-1):
        longer = torch.logaddexp(log_e[..., 1:], log_e[..., :-1] + w.unsqueeze(-1))
        log_e = torch.cat([log_e[..., :1], longer], dim=-1)
    return log_e


def masked_softmax(scores: Tensor, valid: Tensor) -> Tensor:
    """Softmax over the valid instances; zero for the others, even if none is valid."""
    a = torch.softmax(scores.masked_fill(~valid, _NEVER), dim=1)
    return a * valid


def gather(x: Tensor, selection: Selection) -> Tensor:
    """The chosen tokens x̂_i = m̂_i x_i, (batch, K, token, dim)."""
    index = selection.selected[..., None, None].expand(-1, -1, *x.shape[2:])
    weight = selection.weight.gather(1, selection.selected)  # (batch, K)
    return x.gather(1, index) * weight[..., None, None].to(x.dtype)
