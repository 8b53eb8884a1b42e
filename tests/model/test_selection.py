"""Selection: exact marginals, hard choices, gradients, and what is never chosen."""

import itertools

import pytest
import torch

from milmer.model.selection import (
    SCORERS,
    EvenlySpacedScorer,
    FirstScorer,
    GatedScorer,
    PooledScorer,
    RandomScorer,
    choose,
    gather,
    masked_softmax,
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


def bags():
    """Scores of four bags, with more valid instances than are chosen, as many, fewer and none."""
    torch.manual_seed(4)
    scores = torch.randn(4, 7, dtype=torch.float64) * 2
    valid = torch.tensor([[1, 1, 0, 1, 1, 1, 0], [0, 1, 0, 1, 0, 0, 1], [0] * 5 + [1, 0], [0] * 7])
    scores[0, 2] = scores[0].max() + 5  # invalid, and the best of all
    return scores.requires_grad_(), valid.bool(), torch.randn(4, 7, dtype=torch.float64)


def test_the_gradient_of_the_subset_choice_is_that_of_the_exact_marginals():
    scores, valid, value = bags()
    weight = choose(scores, valid, 3, "subset").weight
    ours = torch.autograd.grad((weight * value).sum(), scores)[0]
    marginals = torch.stack([enumerated(s, v, 3) for s, v in zip(scores[:3], valid, strict=False)])
    expected = torch.autograd.grad((marginals * value[:3]).sum(), scores)[0]
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    assert (expected[0][valid[0]].abs() > 1e-3).all()
    # In the forward pass it is the hard choice.
    hard = choose(scores.detach(), valid, 3, "subset").weight
    torch.testing.assert_close(weight.detach().float(), hard.float())


def test_the_gradient_of_unit_gain_is_that_of_a_softmax_over_the_valid_of_the_chosen():
    scores, valid, value = bags()
    chosen = choose(scores, valid, 2, "unit_gain")
    ours = torch.autograd.grad((chosen.weight * value).sum(), scores)[0]
    for bag in range(3):
        inside = valid[bag]
        alone = scores.detach()[bag][inside].requires_grad_()
        m = chosen.weight.detach()[bag][inside]
        (alone.softmax(0) * m * value[bag][inside]).sum().backward()
        torch.testing.assert_close(ours[bag][inside], alone.grad, atol=1e-6, rtol=1e-5)
    assert not ours[~valid].any()


def test_a_softmax_is_over_the_valid_instances_alone():
    scores, valid, _ = bags()
    a = masked_softmax(scores, valid)
    for bag in range(4):
        torch.testing.assert_close(a[bag][valid[bag]], scores[bag][valid[bag]].softmax(0))
    assert not a[~valid].any()


def test_the_best_come_first_and_of_equal_ones_the_earlier():
    scores = torch.tensor([[1.0, 3, 9, 3, 2, 3], [5.0, 1, 1, 9, 9, 9]])
    valid = torch.tensor([[1, 1, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]).bool()
    chosen = choose(scores, valid, 4, "none")
    assert chosen.selected[0].tolist() == [1, 3, 5, 4]
    assert chosen.selected[1, :2].tolist() == [3, 2]
    assert chosen.present.tolist() == [[True] * 4, [True, True, False, False]]
    assert chosen.weight.tolist() == [[0, 1, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]
    x = torch.arange(2 * 6 * 3 * 2.0).view(2, 6, 3, 2)
    tokens = gather(x, chosen)
    assert torch.equal(tokens[0], x[0, [1, 3, 5, 4]])
    assert torch.equal(tokens[1], torch.stack([x[1, 3], x[1, 2], 0 * x[1, 0], 0 * x[1, 0]]))
    assert choose(scores, valid, 9, "none").selected.shape == (2, 6)  # no more than there are


def test_nothing_is_drawn_without_dropout_or_where_no_scorer_learns():
    scores, valid, _ = bags()
    for arguments in (("subset",), ("subset", 0.0), ("none", 0.5), ("unit_gain", 0.5)):
        before = torch.get_rng_state()
        choose(scores, valid, 3, *arguments)
        choose(scores.detach(), valid, 3, "subset", 0.5)
        assert torch.equal(torch.get_rng_state(), before), arguments
    torch.manual_seed(7)
    first = choose(scores, valid, 3, "subset", 0.5).present
    torch.manual_seed(7)
    assert torch.equal(choose(scores, valid, 3, "subset", 0.5).present, first)


def written_out(scorer, x):
    """A scorer's values by the formula in its docstring, instance by instance."""
    p = dict(scorer.named_parameters())
    value = lambda name, u: p[f"{name}.weight"] @ u + p[f"{name}.bias"]  # noqa: E731
    scores = []
    for frame in x.flatten(0, 1):  # (token, dim)
        if "gate.weight" in p:
            u = frame.mean(0)
            u = (u - u.mean()) / (u.var(unbiased=False) + 1e-5).sqrt()
            u = u * p["norm.weight"] + p["norm.bias"]
            h = value("value", u).tanh() / (1 + (-value("gate", u)).exp())
        else:
            h = value("value", torch.cat(list(frame))).tanh()
        scores.append(value("score", h))
    return torch.cat(scores).view(x.shape[:2])


@pytest.mark.parametrize(("name", "width"), [("gated", 128), ("low_rank", 32), ("published", 15)])
def test_scorers_are_their_formulas_and_pool_the_valid_frames_alone(name, width):
    torch.manual_seed(5)
    x = torch.randn(2, 4, 3, 5)
    scorer = SCORERS[name](3, 5)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter)
    assert scorer.value.out_features == width
    scores = written_out(scorer, x)
    torch.testing.assert_close(scorer(x), scores)
    features = x.flatten(2) if name == "published" else x.mean(2)
    pooled = PooledScorer(scorer, features.shape[2], 4)
    valid = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0]]).bool()
    weights = [scores[0][[0, 2, 3]].softmax(0) @ features[0][[0, 2, 3]], features[1, 1]]
    expected = pooled.recover(torch.stack(weights))
    torch.testing.assert_close(pooled(x, valid), expected)
    other = torch.where(valid[..., None, None], x, x * 3 + 9)
    torch.testing.assert_close(pooled(other, valid), expected)


def test_the_first_frames_are_chosen_without_a_scorer():
    scores = FirstScorer()(torch.zeros(2, 5, 1, 1), torch.ones(2, 5).bool())
    assert scores.argsort(1, descending=True).tolist() == [[0, 1, 2, 3, 4]] * 2


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
    for kept, chosen in (([0, 1, 2], [0, 1, 2]), ([1, 4, 5, 8, 9], [1, 5, 9]), ([3, 7], [3, 7])):
        valid = torch.zeros(1, 10, dtype=torch.bool)
        valid[0, kept] = True
        assert scorer(torch.zeros(1, 10, 1, 1), valid).nonzero()[:, 1].tolist() == chosen


def test_random_is_anew_in_training_and_fixed_by_content_at_evaluation():
    x = torch.randn(4, 10, 2, 8)
    valid = torch.ones(4, 10, dtype=torch.bool)
    scorer = RandomScorer()
    assert not torch.equal(scorer(x, valid), scorer(x, valid))
    scorer.eval()
    assert torch.equal(scorer(x, valid)[2:3], scorer(x[2:3], valid[2:3]))
    order = torch.tensor([3, 1, 9, 0, 2, 4, 6, 5, 8, 7])
    assert torch.equal(scorer(x[:, order], valid), scorer(x, valid)[:, order])
    changed = x.clone()
    changed[:, 4, 1, 3] += 0.25  # one number of one frame
    assert ((scorer(changed, valid) != scorer(x, valid)).nonzero()[:, 1] == 4).all()


def test_random_is_random_at_full_size_too():
    x = torch.randn(40, 10, 49, 768).half().float()
    valid = torch.ones(40, 10, dtype=torch.bool)
    chosen = choose(RandomScorer().eval()(x, valid), valid, 3, "none")
    assert set(chosen.selected.flatten().tolist()) == set(range(10))


def test_the_default_scorer_is_small():
    assert sum(p.numel() for p in GatedScorer(49, 768).parameters()) <= 200_000
