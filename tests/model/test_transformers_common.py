"""Transformers' own tests of a model and its configuration, as it runs them on each of its models.

They run where they apply; :data:`WITHOUT` lists those that do not, and why.
"""

import unittest

import pytest
import torch

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from tests.model.transformers_common import load
from tools.fetch_test_data import COMMAND, find_transformers_tests

FOLDER = find_transformers_tests()
if FOLDER is None:
    reason = f"the tests of transformers are not here; `{COMMAND}` gets them"
    pytest.skip(reason, allow_module_level=True)
pytest.importorskip("parameterized", reason="transformers' tests are written with parameterized")
ModelTesterMixin, ConfigTester = load(FOLDER)

WITHOUT = {
    "has no embeddings of words": [
        "test_model_get_set_embeddings",
        "test_resize_tokens_embeddings",
        "test_resize_embeddings_untied",
        "test_resize_embeddings_untied_no_reinit_on_post_init",
        "test_inputs_embeds",
    ],
    "the network is plain PyTorch, without transformers' layer for it; test_hugging_face.py tests "
    "gradient checkpointing": [
        "test_gradient_checkpointing_enable_disable",
        "test_training_gradient_checkpointing",
        "test_training_gradient_checkpointing_use_reentrant_false",
        "test_training_gradient_checkpointing_use_reentrant_true",
    ],
    "PyTorch's attention returns its weights as a view that the output does not depend on": [
        "test_retain_grad_hidden_states_attentions"
    ],
}
"""Tests that do not apply, by the reason; those of other kinds of model skip themselves."""

SMALL = {"hidden_size": 16, "num_heads": 2, "feed_forward": 32, "num_queries": 4, "num_layers": 2}
SHAPES = {"num_channels": 4, "num_samples": 64, "num_instances": 6, "num_tokens": 4}


class Tester:
    """What the tests ask of a small model."""

    batch_size, is_training = 3, True
    num_hidden_layers, num_attention_heads, hidden_size = 2, 2, 16
    seq_length = 1 + 4 + 4  # CLS, queries, channels

    def __init__(self, parent):
        self.parent = parent

    def get_config(self):
        return MilmerConfig(options=SMALL, token_dim=16, **SHAPES)

    def prepare_config_and_inputs_for_common(self):
        draw = torch.Generator().manual_seed(0)
        valid = torch.ones(3, 6, dtype=torch.bool)
        valid[1, 2:] = False
        return self.get_config(), {
            "eeg": torch.randn(3, 4, 64, generator=draw),
            "face_tokens": torch.randn(3, 6, 4, 16, generator=draw),
            "valid": valid,
        }


class TestMilmer(ModelTesterMixin, unittest.TestCase):
    """The common tests of the model and of its configuration."""

    all_model_classes = (MilmerForEmotionClassification,)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True  # else it would look for a year

    def setUp(self):
        self.model_tester = Tester(self)
        self.config_tester = ConfigTester(
            self, config_class=MilmerConfig, has_text_modality=False, common_properties=["options"]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        labels = {"labels": torch.tensor([0, 3, 1])} if return_labels else {}
        return super()._prepare_for_class(inputs_dict, model_class) | labels

    def test_config(self):
        self.config_tester.run_common_tests()


for reason, names in WITHOUT.items():
    for name in names:
        assert hasattr(TestMilmer, name), name
        setattr(TestMilmer, name, unittest.skip(reason)(getattr(TestMilmer, name)))


def test_few_tests_are_left_out():
    assert sum(map(len, WITHOUT.values())) == 10
    common = [name for name in dir(ModelTesterMixin) if name.startswith("test_")]
    assert len(common) > 100
