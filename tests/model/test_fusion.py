import pytest
import torch

from milmer.model.fusion import _CEILING, CrossAttention


def reference(module, tokens, weight):
    """Attention ∝ m̂_i exp(q·k) over all instances, written as it reads."""
    batch, _, count, dim = tokens.shape
    heads, d = module.heads, dim // module.heads

    def split(x):
        return x.unflatten(2, (heads, d)).transpose(1, 2)

    keys = tokens.flatten(1, 2)
    q = split(module.query(module.queries).expand(batch, -1, -1))
    k, v = split(module.key(keys)), split(module.value(keys))
    logits = q @ k.transpose(-1, -2) / d**0.5
    m = weight.repeat_interleave(count, dim=1)[:, None, None]
    top = logits.detach().masked_fill(m.detach() == 0, -torch.inf).amax(-1, keepdim=True)
    e = (logits - top).clamp(max=_CEILING).exp() * m
    attended = e / e.sum(-1, keepdim=True) @ v
    return module.out(attended.transpose(1, 2).flatten(2))


def gradients(forward, module, tokens, weight, target):
    """The output, and its gradients to the parameters, the tokens and the weights."""
    tokens, weight = tokens.clone().requires_grad_(), weight.clone().requires_grad_()
    module.zero_grad()
    out = forward(tokens, weight)
    (out * target).sum().backward()
    by_name = {name: p.grad.clone() for name, p in module.named_parameters()}
    return out.detach(), by_name | {"tokens": tokens.grad, "weight": weight.grad}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_gradients_are_those_of_attention_over_all_instances(dtype, tolerance, scale):
    torch.manual_seed(0)
    module = CrossAttention(16, heads=4, queries=6, dropout=0.2).to(dtype).eval()
    tokens = torch.randn(4, 5, 3, 16, dtype=dtype) * scale
    # Bags with three, two and one chosen, and one in which all are, as without a valid instance.
    weight = torch.tensor(
        [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1]], dtype=dtype
    )
    target = torch.randn(4, 6, 16, dtype=dtype)

    def ours(tokens, weight):
        return module(tokens, torch.ones(4, 5, dtype=torch.bool), weight)

    expected = gradients(
        lambda tokens, weight: reference(module, tokens, weight), module, tokens, weight, target
    )
    actual = gradients(ours, module, tokens, weight, target)
    torch.testing.assert_close(actual[0], expected[0], rtol=tolerance, atol=tolerance)
    for name, value in expected[1].items():
        size = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(
            actual[1][name] / size, value / size, rtol=tolerance, atol=tolerance, msg=name
        )
    assert (actual[1]["weight"][:3] != 0).all()


def test_only_the_chosen_are_attended_to():
    torch.manual_seed(0)
    module = CrossAttention(16, heads=4, queries=6, dropout=0.0)
    tokens = torch.randn(2, 5, 3, 16)
    weight = torch.tensor([[1.0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], requires_grad=True)
    everything = torch.ones(2, 5, dtype=torch.bool)
    out = module(tokens, everything, weight)
    alone = module(tokens, weight.detach() > 0)
    torch.testing.assert_close(out, alone)
    other = tokens.clone()
    other[weight == 0] += 100
    torch.testing.assert_close(module(other, everything, weight), out)


def test_dropout_leaves_the_credit_of_the_choice_alone():
    torch.manual_seed(0)
    module = CrossAttention(16, heads=4, queries=6, dropout=0.5).train()
    tokens, target = torch.randn(2, 5, 3, 16), torch.randn(2, 6, 16)
    everything = torch.ones(2, 5, dtype=torch.bool)
    credits, outs = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weight = torch.tensor([[1.0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], requires_grad=True)
        out = module(tokens, everything, weight)
        (out * target).sum().backward()
        credits.append(weight.grad)
        outs.append(out.detach())
    assert not torch.equal(*outs)
    torch.testing.assert_close(*credits)
    chosen = (weight.detach() * credits[0]).sum(1)  # scaling all chosen alike changes nothing
    torch.testing.assert_close(chosen, torch.zeros(2), atol=1e-5, rtol=0)


def test_bfloat16_gradient_to_the_choice_is_close():
    torch.manual_seed(0)
    module = CrossAttention(64, heads=4, queries=8, dropout=0.0)
    tokens, target = torch.randn(3, 6, 4, 64), torch.randn(3, 8, 64)
    weight = torch.tensor([[1.0, 0, 0, 1, 0, 1]]).repeat(3, 1)

    def ours(tokens, weight):
        return module(tokens, torch.ones(3, 6, dtype=torch.bool), weight)

    def rounded(tokens, weight):
        with torch.autocast("cpu", torch.bfloat16):
            return ours(tokens, weight).float()

    exact = gradients(ours, module, tokens, weight, target)[1]["weight"]
    approximate = gradients(rounded, module, tokens, weight, target)[1]["weight"]
    cosine = torch.cosine_similarity(exact.flatten(), approximate.flatten(), dim=0)
    assert cosine > 0.999
