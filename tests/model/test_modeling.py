"""The model as a whole: what it can see, what masks do, and that it saves and loads."""

from typing import get_args

import pytest
import torch
from transformers import AutoModel, SwinConfig, Swinv2Config

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.model.options import ModelOptions

QUIET = {"dropout": 0.0, "head_dropout": 0.0, "instance_dropout": 0.0, "eeg_dropout": 0.0}
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


def values(option):
    """All values that an option of the model can have."""
    return get_args(ModelOptions.model_fields[option].annotation)


@pytest.mark.parametrize("fusion", values("fusion"))
@pytest.mark.parametrize("selection", values("selection"))
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


@pytest.mark.parametrize("option", ["scorer", "selection_gradient", "eeg_encoder"])
@pytest.mark.parametrize("selection", ["attention_weighted_topk", "attention_topk"])
def test_every_scorer_gradient_and_encoder_trains(option, selection):
    for value in values(option):
        model = build(selection=selection, **{option: value}).train()
        output = model(**data(), labels=torch.tensor([0, 1, 2]))
        output.loss.backward()
        assert torch.isfinite(output.logits).all(), value


@pytest.mark.parametrize("option", ["selection", "fusion"])
def test_a_value_that_no_code_handles_is_said_to_be_so(monkeypatch, option):
    options = ModelOptions().model_copy(update={option: "another"})
    monkeypatch.setattr(MilmerConfig, "model", options)
    with pytest.raises(ValueError, match=f"model.{option}: no code for 'another'"):
        MilmerForEmotionClassification(MilmerConfig(**SHAPES))


@pytest.mark.parametrize("fusion", ["cross_attention", "mlp", "none"])
@pytest.mark.parametrize("selection", ["attention_weighted_topk", "attention_topk", "amil", "all"])
def test_an_invalid_frame_changes_nothing(selection, fusion):
    model, inputs = build(selection=selection, fusion=fusion), data()
    inputs["valid"][:, 2:5] = False
    first = model(**inputs).logits
    inputs["face_tokens"][:, 2:5] = 99.0
    torch.testing.assert_close(model(**inputs).logits, first)


def test_training_forward_equals_the_hard_choice_of_evaluation():
    model, inputs = build(**QUIET), data()
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


def with_backbone(kind=SwinConfig, **options):
    """A model that holds a small Swin of pictures of 64 px: 16 tokens of 16 numbers."""
    backbone = kind(
        image_size=64,
        patch_size=4,
        window_size=4,
        embed_dim=4,
        depths=[1, 1, 1],
        num_heads=[1, 1, 2],
    )
    shapes = SHAPES | {"num_tokens": 16, "backbone_config": backbone.to_dict()}
    torch.manual_seed(0)
    config = MilmerConfig(options=SMALL | options, **shapes)
    return MilmerForEmotionClassification(config).eval()


def pictures(batch=3):
    inputs = data(batch)
    del inputs["face_tokens"]
    g = torch.Generator().manual_seed(2)
    return inputs | {"pixel_values": torch.randn(batch, 6, 3, 64, 64, generator=g)}


def tokens_of(model, inputs):
    """The same inputs with the backbone's tokens, made the plain way, in place of pictures."""
    inputs = dict(inputs)
    frames = inputs.pop("pixel_values")
    tokens = model.backbone.swin(frames.flatten(0, 1)).last_hidden_state
    return inputs | {"face_tokens": tokens.unflatten(0, frames.shape[:2])}


def test_pictures_through_the_models_backbone_equal_its_tokens():
    model, inputs = with_backbone(), pictures()
    model.backbone.frames_at_once = 5  # not a divisor of 18
    expected = model(**tokens_of(model, inputs)).logits
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-5, rtol=1e-5)


def test_a_backbone_computed_again_on_the_way_back_gets_the_gradient_of_the_plain_way():
    model, inputs, labels = with_backbone(**QUIET), pictures(), torch.tensor([0, 1, 2])
    model.backbone.frames_at_once = 5
    gradients = []
    for batch in (inputs, tokens_of(model, inputs)):
        model.zero_grad()
        model.train()
        model.backbone.eval()  # without stochastic depth
        model(**batch, labels=labels).loss.backward()
        gradients.append([p.grad.clone() for p in model.backbone.parameters()])
    assert sum(bool(g.any()) for g in gradients[0]) > 20
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_an_invalid_frame_does_not_go_through_the_backbone():
    model, inputs = with_backbone(), pictures()
    inputs["valid"][0, 2:] = False
    first = model(**inputs).logits
    inputs["pixel_values"][0, 2:] = torch.nan
    torch.testing.assert_close(model(**inputs).logits, first)


@pytest.mark.parametrize("kind", [SwinConfig, Swinv2Config])
def test_a_model_with_its_backbone_is_saved_and_loaded_bit_for_bit(kind, tmp_path):
    model, inputs = with_backbone(kind), pictures()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_a_model_without_a_backbone_asks_for_tokens():
    with pytest.raises(ValueError, match="face_tokens: this model looks at faces"):
        build()(**pictures())
    with pytest.raises(ValueError, match="pixel_values: this model looks at faces"):
        with_backbone()(eeg=data()["eeg"])
