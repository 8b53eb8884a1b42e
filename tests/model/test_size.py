"""The parameter counts that docs/model.md tells are those of the model."""

import re

import pytest
import torch
from transformers import SwinConfig

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from tests.conftest import REPOSITORY


def build(backbone=None, **options):
    with torch.device("meta"):
        return MilmerForEmotionClassification(MilmerConfig(options, backbone_config=backbone))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(scope="module")
def documented():
    """The documented counts: rows of (part, the numbers in its other columns, in order)."""
    text = (REPOSITORY / "docs/model.md").read_text()
    section = text.split("## How large it is")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    numbers = r"(?<![\w.-])\d{1,3}(?:,\d{3})+"
    return {
        part.strip(): [int(n.replace(",", "")) for n in re.findall(numbers, " ".join(columns))]
        for part, *columns in rows[2:]
    }


def test_every_count_is_told_as_it_is(documented):
    model = build()
    published = build(eeg_encoder="published")
    assert documented == {
        "scorer": [
            count(model.visual.score),
            count(build(scorer="low_rank").visual.score),
            count(build(scorer="published").visual.score),
        ],
        "cross-attention with 147 queries": [
            count(model.visual.attend),
            count(build(fusion="mlp").visual.mlp),
        ],
        "EEG encoder": [
            count(model.eeg),
            count(published.eeg),
            count(build(eeg_encoder="published", channel_embeddings=False).eeg),
        ],
        "token types and CLS": [count(model.token_type) + model.cls.numel()],
        "transformer": [count(model.encoder)],
        "classifier": [count(model.classifier)],
        "linear path": [count(model.linear)],
        "all": [count(model), count(build(SwinConfig().to_dict()))],
    }
    parts = [numbers[0] for part, numbers in documented.items() if part != "all"]
    assert sum(parts) == count(model)


def test_the_published_head_without_its_scorer_has_13_81_million():
    model = build(eeg_encoder="published", channel_embeddings=False)
    assert round((count(model) - count(model.visual.score)) / 1e6, 2) == 13.81
    assert count(model.visual.score) <= 0.2e6
