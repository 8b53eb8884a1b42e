"""What is left out of a checkpoint, or resized, begins as in a new model."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from milmer.model.eeg import LogPower
from milmer.model.fusion import CrossAttention
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.model.linear_path import LinearPath
from milmer.model.selection import PositionScorer

OPTIONS = {"hidden_size": 48, "num_heads": 4, "feed_forward": 96, "num_queries": 40}
SHAPES = {
    **{"num_channels": 32, "num_samples": 128, "num_instances": 6},
    **{"num_tokens": 4, "token_dim": 24},
}
KINDS = [
    {},
    {"eeg_encoder": "published", "fusion": "mlp", "selection": "softmax"},
    {"selection": "attention_topk", "scorer": "low_rank", "linear_path": False},
    {"selection": "amil", "train_cls": False, "modalities": ["face"]},
]


def new(**changes):
    options = OPTIONS | changes.pop("options", {})
    return MilmerForEmotionClassification(MilmerConfig(options=options, **SHAPES | changes))


def deviation(name, module, tensor):
    """The deviation of what ``tensor`` is drawn from; None where it begins with fixed values."""
    kind = type(module).__name__
    if name == "cls":
        return 0.02 if tensor.requires_grad else 0.0
    if isinstance(module, LogPower | PositionScorer | nn.LayerNorm) or "face_" in name:
        return None
    if isinstance(module, LinearPath) or kind == "ZeroLinear":
        return 0.0
    if isinstance(module, nn.Embedding):
        return getattr(module, "std", 1.0)
    if isinstance(module, CrossAttention):
        return 0.02
    if name.endswith("bias") and ("attn" in name or "attend" in name):
        return 0.0
    if isinstance(module, nn.MultiheadAttention) or kind == "XavierLinear":
        return math.sqrt(2 / sum(tensor.shape))
    return 1 / math.sqrt(3 * module.in_features)  # uniform from -1/sqrt(n) to 1/sqrt(n)


def require_as_new(model):
    """Compare each tensor with the distribution it is drawn from, or with a new model's."""
    fresh = MilmerForEmotionClassification(model.config).state_dict(keep_vars=True)
    for name, tensor in model.state_dict(keep_vars=True).items():
        module = model.get_submodule(name.rpartition(".")[0])
        std = deviation(name, module, tensor)
        values = tensor.detach()
        if std is None:
            assert torch.equal(values, fresh[name]), name
        elif std == 0:
            assert not values.any(), name
        else:
            error = 5 / math.sqrt(values.numel())
            assert abs(values.mean()) < error * std, name
            assert values.square().mean().sqrt().item() == pytest.approx(std, rel=error), name
            uniform = isinstance(module, nn.Linear | nn.MultiheadAttention)
            assert values.abs().max() <= std * (math.sqrt(3) + 1e-6 if uniform else 6), name


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_each_tensor_begins_as_its_layer_does(options):
    torch.manual_seed(0)
    require_as_new(new(options=options))


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_after_the_meta_device_all_is_drawn_as_in_a_new_model(options):
    with torch.device("meta"):
        model = new(options=options)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(1e38)
    torch.manual_seed(0)
    model.apply(model._init_weights)
    require_as_new(model)


def trained(folder):
    """A saved model whose every tensor was moved away from where it began."""
    torch.manual_seed(1)
    model = new()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(0.5 + torch.rand(()))
    model.save_pretrained(folder)
    return model.state_dict()


def loaded(folder, **changes):
    torch.manual_seed(2)
    return MilmerForEmotionClassification.from_pretrained(
        folder, ignore_mismatched_sizes=True, **changes
    )


def test_with_two_classes_only_what_depends_on_their_number_is_drawn_anew(tmp_path):
    before = trained(tmp_path)
    after = loaded(tmp_path, num_labels=2).state_dict()
    resized = {n for n in before if before[n].shape != after[n].shape}
    assert resized == {
        *("classifier.weight", "classifier.bias", "linear.bias"),
        *("linear.eeg.weight", "linear.face.weight"),
    }
    for name in before.keys() - resized:
        assert torch.equal(before[name], after[name]), name
    assert not any(after[n].any() for n in resized if n.startswith("linear."))
    bound = 1 / math.sqrt(48)
    weight = after["classifier.weight"]
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)


def test_with_eight_channels_the_encoder_begins_without_a_scale(tmp_path):
    before = trained(tmp_path)
    model = loaded(tmp_path, num_channels=8)
    after = model.state_dict()
    resized = {n for n in before if before[n].shape != after[n].shape}
    assert resized == {
        *("eeg.scale", "eeg.mean", "eeg.std", "eeg.gate.weight", "eeg.channel.weight"),
        "linear.eeg.weight",
    }
    for name in before.keys() - resized:
        assert torch.equal(before[name], after[name]), name
    assert torch.equal(after["eeg.scale"], torch.ones(8))
    assert torch.equal(after["eeg.mean"], torch.zeros(8, 20))
    assert torch.equal(after["eeg.std"], torch.ones(8, 20))
    assert after["eeg.gate.weight"].std().item() == pytest.approx(3.0, rel=0.2)
    assert after["eeg.channel.weight"].std().item() == pytest.approx(1.0, rel=0.2)
    batch = {"eeg": 20 * torch.randn(3, 8, 128), "face_tokens": torch.randn(3, 6, 4, 24)}
    assert model.eval()(**batch).logits.isfinite().all()


@pytest.mark.parametrize(
    "name",
    [
        *("cls", "eeg.filters", "eeg.scale", "visual.attend.queries", "visual.attend.key.weight"),
        *("encoder.layers.0.self_attn.in_proj_weight", "encoder.layers.1.self_attn.out_proj.bias"),
        *("linear.face.weight", "linear.face_mean", "token_type.weight", "classifier.bias"),
    ],
)
def test_one_tensor_left_out_is_drawn_anew_and_no_other_touched(tmp_path, name):
    before = trained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if n != name}, path, metadata={"format": "pt"})
    model = loaded(tmp_path)
    after = model.state_dict(keep_vars=True)
    for other in before.keys() - {name}:
        assert torch.equal(before[other], after[other]), other
    std = deviation(name, model.get_submodule(name.rpartition(".")[0]), after[name])
    if std is None:
        assert torch.equal(after[name], new().state_dict()[name])
    else:
        spread = after[name].detach().square().mean().sqrt().item()
        assert spread == pytest.approx(std, rel=0.8, abs=1e-12)
