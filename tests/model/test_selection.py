"""Selection: exact marginals, hard choices, gradients, and what is never chosen."""

import itertools

import pytest
import torch

from milmer.model.selection import (
    EvenlySpacedScorer,
    GatedScorer,
    RandomScorer,
    choose,
    gather,
    subset_marginals,
)


def enumerated(scores: torch.Tensor, valid: torch.Tensor, k: int) -> torch.Tensor:
    """Marginals of one bag by going through all subsets."""
    usable = [i for i in range(len(scores)) if valid[i]]
    subsets = list(itertools.combinations(usable, min(k, len(usable))))
    weights = torch.stack([scores[list(s)].sum() for s in subsets]).softmax(0)
    inside = torch.tensor(
        [[float(i in s) for i in range(len(scores))] for s in subsets], dtype=scores.dtype
    )
    return weights @ inside


def test_marginals_and_their_gradient_equal_enumeration_of_the_120_subsets():
    torch.manual_seed(0)
    scores = (torch.randn(6, 10, dtype=torch.float64) * 2).requires_grad_()
    valid = torch.ones(6, 10, dtype=torch.bool)
    valid[1, 3:6] = False
    valid[2, 2:] = False  # two valid of three wanted
    weight = torch.randn(6, 10, dtype=torch.float64)
    ours = subset_marginals(scores, valid, 3)
    plain = torch.stack([enumerated(s, v, 3) for s, v in zip(scores, valid, strict=True)])
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)
    first = torch.autograd.grad((ours * weight).sum(), scores)[0]
    second = torch.autograd.grad((plain * weight).sum(), scores)[0]
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def test_marginals_pass_gradcheck_and_sum_to_k():
    scores = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[0, 2] = False
    assert torch.autograd.gradcheck(lambda s: subset_marginals(s, valid, 3), scores)
    torch.testing.assert_close(
        subset_marginals(scores, valid, 3).sum(1), torch.full((2,), 3.0, dtype=torch.float64)
    )


@pytest.mark.parametrize("scale", [0.0, 1e2, 1e4, 1e30])
def test_extreme_scores_and_a_single_valid_instance_give_no_nan(scale):
    torch.manual_seed(1)
    scores = (torch.randn(4, 10) * scale).requires_grad_()
    valid = torch.ones(4, 10, dtype=torch.bool)
    valid[1] = False
    valid[2, 1:] = False
    pi = subset_marginals(scores, valid, 3)
    pi.square().sum().backward()
    assert torch.isfinite(pi).all()
    assert torch.isfinite(scores.grad).all()
    assert not pi[1].any()
    assert pi[2].tolist() == [1.0] + [0.0] * 9


@pytest.mark.parametrize("gradient", ["none", "unit_gain", "subset"])
def test_the_forward_choice_is_hard_and_never_takes_an_invalid_instance(gradient):
    torch.manual_seed(2)
    scores = torch.randn(50, 10, requires_grad=True)
    valid = torch.rand(50, 10) < 0.6
    valid[:, 0] = True
    chosen = choose(scores, valid, 3, gradient)
    assert set(chosen.weight.detach().unique().tolist()) <= {0.0, 1.0}
    assert not chosen.weight[~valid].any()
    torch.testing.assert_close(
        chosen.weight.sum(1), valid.sum(1).clamp(max=3).float(), atol=0, rtol=0
    )
    best = scores.masked_fill(~valid, -torch.inf).topk(3).indices
    full = valid.sum(1) >= 3
    assert (chosen.selected.sort(1).values == best.sort(1).values)[full].all()


def test_the_subset_gradient_reaches_every_valid_instance_and_none_reaches_no_other():
    scores = torch.randn(3, 10, requires_grad=True)
    valid = torch.ones(3, 10, dtype=torch.bool)
    valid[:, 4] = False
    value = torch.randn(3, 10)
    (choose(scores, valid, 3, "subset").weight * value).sum().backward()
    assert (scores.grad[valid] != 0).all()
    assert not scores.grad[~valid].any()
    assert not choose(scores, valid, 3, "none").weight.requires_grad


def test_choosing_follows_the_frames_when_their_order_changes():
    torch.manual_seed(3)
    scorer = GatedScorer(4, 16)
    x = torch.randn(5, 10, 4, 16)
    order = torch.randperm(10)
    valid = torch.ones(5, 10, dtype=torch.bool)
    valid[0, 2] = False
    here = choose(scorer(x), valid, 3, "none").weight
    there = choose(scorer(x[:, order]), valid[:, order], 3, "none").weight
    assert torch.equal(here[:, order], there)


def test_choosing_all_instances_is_the_bag_itself():
    x = torch.randn(2, 5, 3, 8)
    chosen = choose(torch.zeros(2, 5), torch.ones(2, 5, dtype=torch.bool), 5, "none")
    assert torch.equal(gather(x, chosen), x)


def test_dropout_leaves_chosen_instances_out_but_never_all():
    torch.manual_seed(0)
    scores = torch.randn(2000, 10, requires_grad=True)
    valid = torch.ones(2000, 10, dtype=torch.bool)
    valid[:500, 1:] = False  # a single one to choose
    valid[500:600] = False
    whole, some = (choose(scores, valid, 3, "subset", dropout) for dropout in (0.0, 0.3))
    assert torch.equal(whole.selected, some.selected)
    assert not (some.present & ~whole.present).any()
    assert torch.equal(some.present.any(1), valid.any(1))
    kept = some.weight.detach().gather(1, some.selected)
    torch.testing.assert_close(kept, some.present.float())
    assert kept[600:].mean() == pytest.approx(0.7 + 0.3**3 / 3, abs=0.03)  # one of none stays
    # What is left out of a step still learns from it.
    (some.weight[600:] * torch.randn(1400, 10)).sum().backward()
    assert scores.grad[600:].gather(1, some.selected[600:])[~some.present[600:]].abs().min() > 0


@pytest.mark.parametrize("gradient", ["none", "unit_gain"])
def test_dropout_is_part_of_the_subset_gradient_alone(gradient):
    scores, valid = torch.randn(50, 10, requires_grad=True), torch.ones(50, 10, dtype=torch.bool)
    assert choose(scores, valid, 3, gradient, 0.9).present.all()
    assert choose(scores.detach(), valid, 3, "subset", 0.9).present.all()


def test_evenly_spaced_skips_invalid_instances():
    valid = torch.ones(1, 10, dtype=torch.bool)
    scorer = EvenlySpacedScorer(3)
    assert scorer(torch.zeros(1, 10, 1, 1), valid).nonzero()[:, 1].tolist() == [1, 5, 8]
    valid[0, 3:] = False
    assert scorer(torch.zeros(1, 10, 1, 1), valid).nonzero()[:, 1].tolist() == [0, 1, 2]


def test_random_is_anew_in_training_and_fixed_by_content_at_evaluation():
    x = torch.randn(4, 10, 2, 8)
    valid = torch.ones(4, 10, dtype=torch.bool)
    scorer = RandomScorer()
    assert not torch.equal(scorer(x, valid), scorer(x, valid))
    scorer.eval()
    assert torch.equal(scorer(x, valid)[2:3], scorer(x[2:3], valid[2:3]))


def test_random_is_random_at_full_size_too():
    x = torch.randn(40, 10, 49, 768).half().float()
    valid = torch.ones(40, 10, dtype=torch.bool)
    chosen = choose(RandomScorer().eval()(x, valid), valid, 3, "none")
    assert set(chosen.selected.flatten().tolist()) == set(range(10))


def test_the_default_scorer_is_small():
    assert sum(p.numel() for p in GatedScorer(49, 768).parameters()) <= 200_000
