"""The scorer learns from classes alone which frames matter: bags with planted frames.

The size is small; `benchmarks/selection.py` has the figures for several settings and controls.
"""

import pytest
import torch

from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification

INSTANCES, CHOSEN, TOKENS, DIM, CLASSES = 10, 3, 4, 16, 4
BAGS, STEPS, BATCH = 1024, 240, 64


def make_bags(count: int, strength: float, seed: int) -> tuple[torch.Tensor, ...]:
    """Tokens, classes and the three planted frames of ``count`` bags.

    A frame's tokens are noise and a direction: the class's where it is planted, else one of as
    many that say nothing of the class, so that neither norm nor structure gives it away.
    """
    draw = torch.Generator().manual_seed(seed)
    directions = strength * torch.eye(DIM)  # rows: those of the classes, then of no class
    labels = torch.randint(CLASSES, (count,), generator=draw)
    planted = torch.rand(count, INSTANCES, generator=draw).argsort(1) < CHOSEN
    decoys = torch.randint(CLASSES, 2 * CLASSES, (count, INSTANCES), generator=draw)
    kind = torch.where(planted, labels[:, None], decoys)  # (bag, instance)
    noise = torch.randn(count, INSTANCES, TOKENS, DIM, generator=draw)
    return noise + directions[kind].unsqueeze(2), labels, planted


def make_model(seed: int, **options) -> MilmerForEmotionClassification:
    torch.manual_seed(seed)
    small = {"modalities": ["face"], "num_select": CHOSEN, "num_queries": 8, "num_heads": 2}
    small |= {"hidden_size": DIM, "feed_forward": 2 * DIM, "num_layers": 1}
    config = MilmerConfig(
        options=small | options,
        num_instances=INSTANCES,
        num_tokens=TOKENS,
        token_dim=DIM,
        num_labels=CLASSES,
    )
    return MilmerForEmotionClassification(config)


def train(model: MilmerForEmotionClassification, tokens, labels, steps: int = STEPS) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(labels), (BATCH,))
        optimizer.zero_grad()
        model(face_tokens=tokens[rows], labels=labels[rows]).loss.backward()
        optimizer.step()
    model.eval()


@torch.no_grad()
def recall(model: MilmerForEmotionClassification, tokens, planted) -> float:
    """Part of the planted frames that are chosen."""
    return float(planted.gather(1, model(face_tokens=tokens).selected).float().mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_trained_on_classes_alone_the_default_chooses_the_planted_frames(seed):
    tokens, labels, _ = make_bags(BAGS, 1.5, seed)
    new, classes, planted = make_bags(BAGS, 1.5, seed + 100)
    model = make_model(seed)
    untrained = recall(model, new, planted)
    train(model, tokens, labels)
    trained = recall(model, new, planted)
    # Chance is 0.3; random weights may prefer planted frames or avoid them.
    assert trained > max(untrained, CHOSEN / INSTANCES) + 0.3
    assert trained > 0.75
    with torch.no_grad():
        accuracy = (model(face_tokens=new).logits.argmax(1) == classes).float().mean()
    assert accuracy > 0.9


def test_with_the_published_gradient_the_choice_stays_as_it_was_drawn():
    tokens, labels, _ = make_bags(BAGS, 1.5, seed=0)
    model = make_model(seed=0, selection_gradient="none")
    before = model(face_tokens=tokens).selected
    train(model, tokens, labels, steps=5)
    after = model(face_tokens=tokens).selected
    assert torch.equal(before, after)
