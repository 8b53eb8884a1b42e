"""The published model: the authors' weights give the authors' logits."""

import json
import zlib

import numpy as np
import pytest
import torch

from milmer.errors import MilmerError
from milmer.model import published
from tests.conftest import GOLDEN

SELECTIONS = ["none", "softmax", "amil", "attention_topk", "attention_weighted_topk"]
FUSIONS = {
    "none": (),
    "cross_attention": ("query_tokens", "cross_attention."),
    "mlp": ("mlp_up.", "mlp_down."),
}
"""The fusions and the tensors that a checkpoint of that fusion alone holds."""


def saved(checkpoint, fusion):
    """What the authors' class of this ``fusion`` saves of the tensors of all fusions."""
    others = tuple(key for name, keys in FUSIONS.items() if name != fusion for key in keys)
    return {key: value for key, value in checkpoint.items() if not key.startswith(others)}


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "published_head_logits.json").read_text())


@pytest.fixture(scope="module")
def checkpoint(golden):
    """Weights by the recipe of the golden file, under the authors' names."""
    state = {}
    for key, shape in golden["state_dict_shapes"].items():
        seed = (golden["seed"] * 1000003 + zlib.crc32(key.encode())) % 2**32
        value = np.random.RandomState(seed).standard_normal(shape) * 0.05
        if key == "layernorm.weight" or key.endswith(("norm1.weight", "norm2.weight")):
            value = value + 1
        state[key] = torch.tensor(value.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def inputs(golden):
    r = np.random.RandomState(golden["seed"])
    eeg = (r.standard_normal((4, 32, 384)) * 10).astype(np.float32)
    tokens = r.standard_normal((4, 10, 2, 768)).astype(np.float32)
    return {"eeg": torch.tensor(eeg), "face_tokens": torch.tensor(tokens)}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_logits_equal_the_published_models(golden, checkpoint, inputs, selection, fusion):
    state = saved(checkpoint, fusion)
    assert len(state) == len(checkpoint) - {"none": 9, "cross_attention": 4, "mlp": 5}[fusion]
    model = published.from_state_dict(
        state, selection=selection, fusion=fusion, num_select=golden["select"]
    )
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
    expected = np.array(golden["logits"][f"{selection}/{fusion}"])
    np.testing.assert_allclose(logits, expected, atol=2e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_another_fusion_than_was_trained_is_refused_by_name(checkpoint, refused, fusion):
    for other in FUSIONS.keys() - {fusion}:
        with refused(f"its fusion is {fusion}", f"give --fusion {fusion}"):
            published.from_state_dict(saved(checkpoint, fusion), selection="amil", fusion=other)


@pytest.mark.parametrize(
    "weights",
    [
        [1.0] * 10,  # as the authors' code leaves them
        [0.5, 2.0, 0.5, 0.5, 0.5, 0.5, -1.0, 0.5, 0.5, 0.5],
        [0.0, 3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0],
        [1.0, 1.0 + 2**-23] * 5,  # which are equal after the softmax
    ],
    ids=["equal", "all but two equal", "distinct", "one bit apart"],
)
def test_softmax_chooses_what_topk_chooses_of_the_same_vector(checkpoint, inputs, weights):
    weights = torch.tensor([weights])
    state = saved(checkpoint, "mlp") | {"instance_weights": weights}
    for k in (1, 3, 4, 10):
        expected = torch.topk(weights.softmax(dim=1), k, dim=1).indices[0].tolist()
        model = published.from_state_dict(state, selection="softmax", fusion="mlp", num_select=k)
        with torch.no_grad():
            output = model(**inputs)
        assert output.selected.tolist() == [expected] * 4
        torch.testing.assert_close(
            output.scores[0], weights[0], rtol=10 * 2**-23, atol=0
        )  # a bit a rank


def test_the_first_release_is_refused_with_its_reason(checkpoint, refused):
    state = saved(checkpoint, "cross_attention")
    first = {
        key.replace("topk_value_proj", "attention_V")
        .replace("topk_weight_proj", "attention_w")
        .replace("topk_dimension_recover", "attention_recover"): value
        for key, value in state.items()
        if not key.startswith("amil_")
    }
    with refused("first release of January 2025", "never looks at the EEG"):
        published.from_state_dict(first, selection="softmax", fusion="cross_attention")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eeg_proj.weight", torch.ones(768)),
        ("eeg_proj.weight", torch.ones(0, 384)),
        ("topk_weight_proj.weight", torch.ones(1)),
        ("instance_weights", torch.ones(())),
        ("classifier.weight", torch.ones(4)),
        ("query_tokens", torch.ones(147, 768)),
        ("cross_attention.in_proj_weight", torch.ones(768, 768)),
        ("transformer_encoder.layers.0.linear1.weight", torch.ones(2048)),
        ("layernorm.bias", torch.ones(383)),
        ("token_type_embeddings.weight", torch.ones(3, 768)),
        ("classifier.bias", torch.full((4,), torch.nan)),
        ("topk_value_proj.weight", torch.full((1536, 1536), -torch.inf)),
        ("classifier.bias", torch.ones(4, dtype=torch.complex64)),
    ],
    ids=lambda value: value if isinstance(value, str) else str(list(value.shape)),
)
def test_a_tensor_of_another_shape_or_without_numbers_is_one_line(checkpoint, refused, name, value):
    state = saved(checkpoint, "cross_attention") | {name: value}
    place = {"cross_attention.in_proj_weight": "attend.key.weight", "layernorm.bias": "norm.bias"}
    place["token_type_embeddings.weight"] = "token_type.weight"
    with refused("checkpoint: ", place.get(name, name)):
        published.from_state_dict(
            state, selection="attention_weighted_topk", fusion="cross_attention"
        )


def test_a_gpu_checkpoint_has_no_cls_token_and_the_backbone_is_left_out(checkpoint, inputs):
    state = {k: v for k, v in saved(checkpoint, "none").items() if k != "cls_token"}
    state["swin_model.embeddings.norm.weight"] = torch.ones(96)
    model = published.from_state_dict(state, selection="none", fusion="none")
    assert not model.cls.any()
    assert torch.isfinite(model(**inputs).logits).all()
    assert model.config.id2label == {0: "HAHV", 1: "LAHV", 2: "LALV", 3: "HALV"}


def test_another_checkpoint_is_refused_in_one_line():
    with pytest.raises(MilmerError, match=r"checkpoint: no tensor .*not one of the authors'"):
        published.from_state_dict({"weight": torch.ones(1)}, selection="none", fusion="none")
