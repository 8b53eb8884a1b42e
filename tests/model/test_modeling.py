"""The model as a whole: what it can see, what masks do, and that it saves and loads."""

import pytest
import torch
from transformers import AutoModel

from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification

SMALL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 6}
SHAPES = {"num_samples": 64, "num_instances": 6, "num_tokens": 4, "token_dim": 16, "num_labels": 4}


def build(**options):
    torch.manual_seed(0)
    return MilmerForEmotionClassification(MilmerConfig(options=SMALL | options, **SHAPES)).eval()


def data(batch=3):
    g = torch.Generator().manual_seed(1)
    return {
        "eeg": torch.randn(batch, 32, 64, generator=g),
        "face_tokens": torch.randn(batch, 6, 4, 16, generator=g),
        "valid": torch.ones(batch, 6, dtype=torch.bool),
    }


@pytest.mark.parametrize("fusion", ["cross_attention", "mlp", "none"])
@pytest.mark.parametrize(
    "selection",
    ["none", "softmax", "amil", "attention_topk", "attention_weighted_topk", "all", "random",
     "evenly_spaced"],
)  # fmt: skip
def test_every_option_gives_finite_logits_also_without_a_valid_frame(selection, fusion):
    model = build(selection=selection, fusion=fusion)
    inputs = data()
    inputs["valid"][0] = False
    inputs["valid"][1, 1:] = False
    model.train()
    output = model(**inputs, labels=torch.tensor([0, 1, 2]))
    output.loss.backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("fusion", ["cross_attention", "mlp", "none"])
@pytest.mark.parametrize("selection", ["attention_weighted_topk", "attention_topk", "amil", "all"])
def test_an_invalid_frame_changes_nothing(selection, fusion):
    model, inputs = build(selection=selection, fusion=fusion), data()
    inputs["valid"][:, 2:5] = False
    first = model(**inputs).logits
    inputs["face_tokens"][:, 2:5] = 99.0
    torch.testing.assert_close(model(**inputs).logits, first)


def test_training_forward_equals_the_hard_choice_of_evaluation():
    model, inputs = build(dropout=0.0, head_dropout=0.0), data()
    hard = model(**inputs).logits
    torch.testing.assert_close(model.train()(**inputs).logits, hard, atol=1e-5, rtol=1e-5)


def test_the_scorer_learns_by_default_and_not_as_published():
    for gradient, learns in (("subset", True), ("unit_gain", True), ("none", False)):
        model = build(selection_gradient=gradient).train()
        model(**data(), labels=torch.tensor([0, 1, 2])).loss.backward()
        grad = model.visual.score.scorer.score.weight.grad
        assert (grad is not None and bool(grad.any())) == learns, gradient


def test_one_modality_ignores_the_other():
    inputs = data()
    eeg_only = build(modalities=["eeg"])
    assert torch.isfinite(eeg_only(eeg=inputs["eeg"]).logits).all()
    face_only = build(modalities=["face"])
    output = face_only(face_tokens=inputs["face_tokens"])
    assert output.selected.shape == (3, 3)
    with pytest.raises(ValueError, match="looks at faces"):
        face_only(eeg=inputs["eeg"])


@pytest.mark.parametrize("encoder", ["log_power", "published"])
def test_channel_embeddings_tell_channels_apart_and_nothing_else_does(encoder):
    swapped = data()
    swapped["eeg"] = swapped["eeg"].flip(1)
    for embeddings in (True, False):
        model = build(modalities=["eeg"], eeg_encoder=encoder, channel_embeddings=embeddings)
        same = torch.allclose(
            model(eeg=data()["eeg"]).logits, model(eeg=swapped["eeg"]).logits, atol=1e-5
        )
        assert same != embeddings


def test_the_published_cls_token_stays_zero():
    model = build(train_cls=False)
    assert not model.cls.requires_grad
    assert not model.cls.any()


def test_saved_and_loaded_logits_are_bit_equal(tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(again, MilmerForEmotionClassification)
    assert torch.equal(again(**data()).logits, model(**data()).logits)


def test_parameter_counts_at_full_size():
    options = {"eeg_encoder": "published"}
    model = MilmerForEmotionClassification(MilmerConfig(options=options, num_labels=4))
    count = {n: sum(p.numel() for p in m.parameters()) for n, m in model.named_modules()}
    scorer = count["visual.score"]
    embeddings = 32 * 768  # of channels: not in the published model
    assert 13.80e6 < count[""] - scorer - embeddings < 13.82e6
    assert scorer <= 0.2e6
