"""Does the selection find the frames that matter? Bags in which k of 10 frames carry the class.

Milmer's model sees bags and their classes, but never which frames were planted. The oracle does:
its scorer is trained on the planted truth by cross-entropy, then frozen while a model is trained on
the frames that it chooses. It learns from ten labels per bag and the others from one, so the
distance to it shrinks with more bags. planted.py makes the bags.
"""

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from planted import CLASSES, INSTANCES, PlantedBags, token_bags, twin_bags
from scipy import stats
from timing import machine, table
from torch import Tensor
from torch.nn import functional as F

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification, MilmerOutput
from milmer.model.selection import GatedScorer

CHOSEN = 3
CONTESTANTS = {
    "`subset` (default)": {"selection_gradient": "subset"},
    "`unit_gain`": {"selection_gradient": "unit_gain"},
    "`none` (published)": {"selection_gradient": "none"},
    "`random`": {"selection": "random"},
    "`evenly_spaced`": {"selection": "evenly_spaced"},
    "`amil`": {"selection": "amil"},
    "`all`": {"selection": "all"},
}
ORACLE = "oracle"


@dataclass(frozen=True)
class Part:
    """A part of the benchmark: how bags are made, how many there are, how models are trained."""

    bags: Callable[[int, int, int, float, int], tuple[PlantedBags, PlantedBags]]
    planted: tuple[int, ...]
    strength_is: str
    strengths: tuple[float, ...]
    train: int
    test: int
    epochs: int = 16
    batch: int = 64
    lr: float = 3e-3


PARTS = {
    "tokens": Part(token_bags, (1, 3), "strength", (2.0, 3.0), train=2048, test=1024),
    "twin": Part(
        twin_bags, (3,), "face_signal", (0.6, 1.0), train=640, test=320, epochs=32, batch=32
    ),
}
QUICK = {
    "tokens": replace(PARTS["tokens"], planted=(3,), strengths=(2.0,), train=64, test=64, epochs=1),
    "twin": replace(PARTS["twin"], strengths=(0.6,), train=32, test=16, epochs=1),
}


def train(
    model: torch.nn.Module, loss: Callable[[Tensor], Tensor], count: int, part: Part, seed: int
) -> None:
    """Minimise ``loss(rows)`` over ``count`` rows by AdamW on a cosine, as the stage ``train``."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=part.lr)
    model.train()
    for epoch in range(part.epochs):
        for group in optimizer.param_groups:
            group["lr"] = part.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * epoch / part.epochs)))
        for rows in torch.randperm(count).split(part.batch):
            optimizer.zero_grad(set_to_none=True)
            loss(rows).backward()
            optimizer.step()
    model.eval()


def make_model(options: dict, bags: PlantedBags, seed: int) -> MilmerForEmotionClassification:
    """A small Milmer model for faces alone, with the default dropout."""
    torch.manual_seed(seed)
    *_, tokens, dim = bags.tokens.shape
    small = {"modalities": ["face"], "num_select": CHOSEN, "num_queries": 16, "num_heads": 4}
    small |= {"hidden_size": dim, "feed_forward": 2 * dim, "num_layers": 1}
    config = MilmerConfig(
        options=small | options,
        num_instances=INSTANCES,
        num_tokens=tokens,
        token_dim=dim,
        num_labels=CLASSES,
    )
    return MilmerForEmotionClassification(config)


def contest(
    options: dict, training: PlantedBags, test: PlantedBags, part: Part, seed: int
) -> tuple[float, float]:
    """Recall of planted frames and accuracy on ``new`` bags of a model trained on ``known``."""
    model = make_model(options, training, seed)
    return _fit_and_measure(model, training, test, part, seed)


def oracle(training: PlantedBags, test: PlantedBags, part: Part, seed: int) -> tuple[float, float]:
    """The same with a scorer trained on the planted truth, and a model on what it chooses."""
    model = make_model({"selection_gradient": "none"}, training, seed)
    scorer: GatedScorer = model.visual.score.scorer

    def loss(rows: Tensor) -> Tensor:
        truth, seen = training.planted[rows].float(), training.valid[rows].float()
        scores = scorer(training.tokens[rows])
        return F.binary_cross_entropy_with_logits(scores, truth, seen)

    train(scorer, loss, len(training.labels), part, seed)
    scorer.requires_grad_(False)
    return _fit_and_measure(model, training, test, part, seed)


def _fit_and_measure(
    model, training: PlantedBags, test: PlantedBags, part: Part, seed: int
) -> tuple[float, float]:
    def output(bags: PlantedBags, rows: Tensor, **labels: Tensor) -> MilmerOutput:
        return model(face_tokens=bags.tokens[rows], valid=bags.valid[rows], **labels)

    def loss(rows: Tensor) -> Tensor:
        return output(training, rows, labels=training.labels[rows]).loss

    train(model, loss, len(training.labels), part, seed)
    recalls, right = [], []
    with torch.no_grad():
        for rows in torch.arange(len(test.labels)).split(part.batch):
            batch = output(test, rows)
            scores = batch.scores.masked_fill(~test.valid[rows], -torch.inf)
            chosen = batch.selected if batch.selected is not None else scores.topk(CHOSEN).indices
            recalls.append(recall(chosen, test.planted[rows]))
            right.append(batch.logits.argmax(1) == test.labels[rows])
    return float(torch.cat(recalls).mean()), float(torch.cat(right).float().mean())


def recall(chosen: Tensor, planted: Tensor) -> Tensor:
    """The share of each bag's planted frames, of at most K, that are among ``chosen`` (bag, K)."""
    chosen_planted = planted.gather(1, chosen).sum(1)
    return chosen_planted / planted.sum(1).clamp(max=chosen.shape[1])


def interval(values: Sequence[float]) -> str:
    """The mean ± half the width of its 95 % interval (Student's t over the seeds), in percent."""
    mean = f"{100 * np.mean(values):.1f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean} ± {100 * half:.1f}"


def _compare(part: Part, k: int, strength: float, seeds: int) -> str:
    names = [*CONTESTANTS, ORACLE]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for seed in range(seeds):
        training, test = part.bags(part.train, part.test, k, strength, seed)
        for name, options in CONTESTANTS.items():
            results[name].append(contest(options, training, test, part, seed))
        results[ORACLE].append(oracle(training, test, part, seed))
    measured = {name: np.array(values).T for name, values in results.items()}
    best, everything = measured[ORACLE][0].mean(), measured["`all`"][1]
    rows = []
    for name, (recalls, accuracy) in measured.items():
        every = name == "`all`"
        rows.append(
            [
                name,
                "–" if every else interval(recalls),
                "–" if every else f"{recalls.mean() / best:.2f}",
                interval(accuracy),
                "–" if every else interval(accuracy - everything),
            ]
        )
    header = ["selection", "recall %", "of the oracle's", "accuracy %", "minus that of `all`"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="how bags are made; default: both")
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--seeds", type=int, default=5, help="draws of bags, weights and order")
    parser.add_argument("--planted", type=int, nargs="+", help="k of 10 frames")
    parser.add_argument("--strength", type=float, nargs="+", help="of the class in planted frames")
    parser.add_argument("--bags", type=int, help="to train on")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    for name in [args.part] if args.part else PARTS:
        part = QUICK[name] if args.quick else PARTS[name]
        if args.bags:
            part = replace(part, train=args.bags)
        seeds = 2 if args.quick else args.seeds
        for k in args.planted or part.planted:
            for strength in args.strength or part.strengths:
                print(f"{name}: k = {k} of {INSTANCES} frames", end=", ")
                print(f"{part.strength_is} {strength:g}, {part.train} bags, {seeds} seeds\n")
                print(_compare(part, k, strength, seeds), end="\n\n", flush=True)
    print(machine(args.threads, ["torch"]))


if __name__ == "__main__":
    main()
