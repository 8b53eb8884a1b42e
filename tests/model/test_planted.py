"""The scorer learns from classes alone which frames matter: bags with planted frames.

The size is small; `benchmarks/selection.py` has the figures for several settings and controls.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification

pytestmark = pytest.mark.slow
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
    model.train()
    descend(model, lambda rows: model(face_tokens=tokens[rows], labels=labels[rows]).loss, steps)
    model.eval()


def descend(module: torch.nn.Module, loss: Callable, steps: int = STEPS) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(BAGS, (BATCH,))
        optimizer.zero_grad()
        loss(rows).backward()
        optimizer.step()


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


@pytest.mark.parametrize("seed", [0, 1])
def test_it_chooses_nearly_as_well_as_a_scorer_that_was_told_the_planted_frames(seed):
    tokens, labels, truth = make_bags(BAGS, 1.0, seed)
    new, _, planted = make_bags(BAGS, 1.0, seed + 100)
    model, oracle = make_model(seed), make_model(seed)
    train(model, tokens, labels)
    scorer = oracle.visual.score.scorer
    descend(
        scorer,
        lambda rows: F.binary_cross_entropy_with_logits(scorer(tokens[rows]), truth[rows].float()),
    )
    best = recall(oracle.eval(), new, planted)
    assert 0.7 < best < 0.85  # the task is neither trivial nor hopeless
    assert recall(model, new, planted) >= 0.9 * best  # 0.95 to 0.98 over 13 seeds


def test_unit_gain_learns_to_choose_the_planted_frames():
    tokens, labels, _ = make_bags(BAGS, 1.5, seed=2)
    new, _, planted = make_bags(BAGS, 1.5, seed=102)
    model = make_model(seed=2, selection_gradient="unit_gain")
    train(model, tokens, labels)
    assert recall(model, new, planted) > 0.5  # 0.63 to 0.87 over 12 seeds; chance is 0.3


@pytest.mark.parametrize("selection", ["random", "evenly_spaced"])
def test_a_control_chooses_planted_frames_by_chance(selection):
    tokens, labels, planted = make_bags(BAGS, 1.5, seed=0)
    model = make_model(seed=0, selection=selection)
    train(model, tokens, labels, steps=5)
    chance = CHOSEN / INSTANCES
    deviation = math.sqrt(chance * (1 - chance) / planted.sum())
    assert abs(recall(model, tokens, planted) - chance) < 4 * deviation
