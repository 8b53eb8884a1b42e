"""The published model: the authors' weights give the authors' logits."""

import json
import zlib

import numpy as np
import pytest
import torch

from milmer.errors import MilmerError
from milmer.model import published

SELECTIONS = ["none", "softmax", "amil", "attention_topk", "attention_weighted_topk"]
FUSIONS = ["none", "cross_attention", "mlp"]


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "published_head_logits.json").read_text())


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
    model = published.from_state_dict(
        checkpoint, selection=selection, fusion=fusion, num_select=golden["select"]
    )
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
    expected = np.array(golden["logits"][f"{selection}/{fusion}"])
    np.testing.assert_allclose(logits, expected, atol=2e-4)


def test_a_gpu_checkpoint_has_no_cls_token_and_the_backbone_is_left_out(checkpoint, inputs):
    state = {k: v for k, v in checkpoint.items() if k != "cls_token"}
    state["swin_model.embeddings.norm.weight"] = torch.ones(96)
    model = published.from_state_dict(state, selection="none", fusion="none")
    assert not model.cls.any()
    assert torch.isfinite(model(**inputs).logits).all()


def test_another_checkpoint_is_refused_in_one_line():
    with pytest.raises(MilmerError, match=r"checkpoint: no tensor .*not one of the authors'"):
        published.from_state_dict({"weight": torch.ones(1)}, selection="none", fusion="none")
