import pytest
import torch

from milmer.model.fusion import CrossAttention, TokenMLP

CEILING = 20.0  # how far a key's logit may lie above the best chosen one


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
    e = (logits - top).clamp(max=CEILING).exp() * m
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


def pytorchs(module):
    """PyTorch's own multi-head attention with the weights of ``module``."""
    dim = module.query.in_features
    theirs = torch.nn.MultiheadAttention(dim, module.heads, batch_first=True)
    layers = (module.query, module.key, module.value)
    with torch.no_grad():
        for name in ("weight", "bias"):
            packed = torch.cat([getattr(layer, name) for layer in layers])
            getattr(theirs, f"in_proj_{name}").copy_(packed)
            getattr(theirs.out_proj, name).copy_(getattr(module.out, name))
    return theirs


@pytest.mark.parametrize("heads", [1, 4])
def test_tokens_and_shares_are_those_of_pytorchs_attention(heads):
    torch.manual_seed(0)
    module = CrossAttention(16, heads=heads, queries=6, dropout=0.5).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    tokens = torch.randn(3, 5, 2, 16)
    present = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]).bool()
    expected, weights = pytorchs(module)(
        module.queries.expand(3, -1, -1),
        *[tokens.flatten(1, 2)] * 2,
        key_padding_mask=~present.repeat_interleave(2, dim=1),
    )
    torch.testing.assert_close(module(tokens, present), expected)
    shares = module.shares(tokens, present)
    assert shares.shape == (3, 6, 5, 2)
    torch.testing.assert_close(shares.flatten(2), weights)
    assert not shares.transpose(1, 2)[~present].any()


def test_dropout_is_of_training_alone():
    torch.manual_seed(0)
    module = CrossAttention(16, heads=2, queries=3, dropout=0.5)
    tokens, present = torch.randn(2, 5, 3, 16), torch.ones(2, 5).bool()
    assert not torch.equal(module(tokens, present), module(tokens, present))
    module.eval()
    assert torch.equal(module(tokens, present), module(tokens, present))


def test_weights_begin_as_those_of_a_transformer():
    torch.manual_seed(0)
    module = CrossAttention(64, heads=2, queries=40, dropout=0.0)
    for layer in (module.query, module.key, module.value):  # uniform, by Glorot & Bengio (2010)
        assert layer.weight.abs().max().item() == pytest.approx((6 / 128) ** 0.5, rel=0.02)
    assert not any(b.any() for name, b in module.named_parameters() if name.endswith("bias"))
    assert module.queries.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_mlp_widens_a_token_four_times():
    torch.manual_seed(0)
    mlp, x = TokenMLP(6), torch.randn(2, 3, 6)
    assert mlp.up.weight.shape == (24, 6)
    h = x @ mlp.up.weight.T + mlp.up.bias
    h = h * torch.special.ndtr(h)  # the exact GELU
    torch.testing.assert_close(mlp(x), h @ mlp.down.weight.T + mlp.down.bias)


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
    alone = (weight > 0) & (
        weight.sum(1, keepdim=True) == 1
    )  # its gradient is zero but for rounding
    assert ((actual[1]["weight"] != 0) | alone)[:3].all()


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
