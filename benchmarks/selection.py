"""Does the selection find the frames that matter? Bags in which k of 10 frames carry the class.

A frame is T tokens of unit noise. To half of them a direction is added: the class's where the frame
is planted, else one of as many directions that say nothing of the class, so that norm and structure
are the same. The product's model sees bags and their classes; which frames were planted it is never
told. The oracle is: its scorer, trained on the planted truth by cross-entropy, then kept as it is
while a model is trained on what it chooses. It learns from ten labels a bag and the others from
one, so the distance to it shrinks with more bags.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from timing import machine, table
from torch import Tensor
from torch.nn import functional as F

from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification
from milmer.model.selection import GatedScorer

INSTANCES, CHOSEN, CLASSES = 10, 3, 4
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
class Size:
    """How large bags, model and training are."""

    train: int = 2048
    test: int = 1024
    tokens: int = 4
    dim: int = 32
    epochs: int = 16
    batch: int = 64
    lr: float = 3e-3


@dataclass(frozen=True)
class Bags:
    """Tokens (bag, instance, token, dim), class numbers (bag,), planted (bag, instance)."""

    tokens: Tensor
    labels: Tensor
    planted: Tensor


def make_bags(size: Size, k: int, strength: float, seed: int) -> tuple[Bags, Bags]:
    """Training and test bags with ``k`` planted frames each."""
    draw = torch.Generator().manual_seed(seed)
    square = torch.linalg.qr(torch.randn(size.dim, size.dim, generator=draw))[0]
    of_class, of_nothing = square[:CLASSES], square[CLASSES : 2 * CLASSES]

    def bags(count: int) -> Bags:
        frames = (count, INSTANCES)
        labels = torch.randint(CLASSES, (count,), generator=draw)
        planted = torch.rand(frames, generator=draw).argsort(1) < k
        token = torch.rand(*frames, size.tokens, generator=draw).argsort(2) < size.tokens // 2
        decoys = of_nothing[torch.randint(CLASSES, frames, generator=draw)]
        added = torch.where(planted[..., None], of_class[labels][:, None], decoys)
        noise = torch.randn(*frames, size.tokens, size.dim, generator=draw)
        return Bags(noise + strength * token[..., None] * added[:, :, None], labels, planted)

    return bags(size.train), bags(size.test)


def train(
    model: torch.nn.Module, loss: Callable[[Tensor], Tensor], count: int, size: Size, seed: int
) -> None:
    """AdamW on a cosine, as the stage ``train`` does, of ``loss`` (rows) of ``count`` rows."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=size.lr)
    model.train()
    for epoch in range(size.epochs):
        for group in optimizer.param_groups:
            group["lr"] = size.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * epoch / size.epochs)))
        for rows in torch.randperm(count).split(size.batch):
            optimizer.zero_grad(set_to_none=True)
            loss(rows).backward()
            optimizer.step()
    model.eval()


def make_model(options: dict, size: Size, seed: int) -> MilmerForEmotionClassification:
    """A small model of the product's, for faces alone; its dropout is the default one."""
    torch.manual_seed(seed)
    small = {"modalities": ["face"], "num_select": CHOSEN, "num_queries": 16, "num_heads": 4}
    small |= {"hidden_size": size.dim, "feed_forward": 2 * size.dim, "num_layers": 1}
    config = MilmerConfig(
        options=small | options,
        num_instances=INSTANCES,
        num_tokens=size.tokens,
        token_dim=size.dim,
        num_labels=CLASSES,
    )
    return MilmerForEmotionClassification(config)


def contest(options: dict, known: Bags, new: Bags, size: Size, seed: int) -> tuple[float, float]:
    """Recall of planted frames and accuracy on ``new`` bags of a model trained on ``known``."""
    model = make_model(options, size, seed)
    return _fit_and_measure(model, known, new, size, seed)


def oracle(known: Bags, new: Bags, size: Size, seed: int) -> tuple[float, float]:
    """The same of the scorer trained on the planted truth and a model on what it chooses."""
    model = make_model({"selection_gradient": "none"}, size, seed)
    scorer: GatedScorer = model.visual.score.scorer

    def loss(rows: Tensor) -> Tensor:
        truth = known.planted[rows].float()
        return F.binary_cross_entropy_with_logits(scorer(known.tokens[rows]), truth)

    train(scorer, loss, len(known.labels), size, seed)
    scorer.requires_grad_(False)
    return _fit_and_measure(model, known, new, size, seed)


def _fit_and_measure(model, known: Bags, new: Bags, size: Size, seed: int) -> tuple[float, float]:
    def loss(rows: Tensor) -> Tensor:
        return model(face_tokens=known.tokens[rows], labels=known.labels[rows]).loss

    train(model, loss, len(known.labels), size, seed)
    with torch.no_grad():
        output = model(face_tokens=new.tokens)
    accuracy = (output.logits.argmax(1) == new.labels).float().mean()
    chosen = output.selected if output.selected is not None else output.scores.topk(CHOSEN).indices
    return recall(chosen, new.planted), float(accuracy)


def recall(chosen: Tensor, planted: Tensor) -> float:
    """Part of the planted frames that are among the ``chosen`` (bag, K), of those that can be."""
    found = planted.gather(1, chosen).sum(1)
    return float((found / planted.sum(1).clamp(max=chosen.shape[1])).mean())


def interval(values: Sequence[float]) -> str:
    """Mean and half the width of its 95 % interval (Student's t over the seeds), in percent."""
    mean = f"{100 * np.mean(values):.1f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean} ± {100 * half:.1f}"


def _compare(k: int, strength: float, size: Size, seeds: int) -> str:
    names = [*CONTESTANTS, ORACLE]
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for seed in range(seeds):
        known, new = make_bags(size, k, strength, seed)
        for name, options in CONTESTANTS.items():
            results[name].append(contest(options, known, new, size, seed))
        results[ORACLE].append(oracle(known, new, size, seed))
    measured = {name: np.array(values).T for name, values in results.items()}
    best, everything = measured[ORACLE][0].mean(), measured["`all`"][1]
    rows = []
    for name, (found, accuracy) in measured.items():
        every = name == "`all`"
        rows.append(
            [
                name,
                "–" if every else interval(found),
                "–" if every else f"{found.mean() / best:.2f}",
                interval(accuracy),
                "–" if every else interval(accuracy - everything),
            ]
        )
    header = ["selection", "recall %", "of the oracle's", "accuracy %", "minus that of `all`"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    parser.add_argument("--seeds", type=int, default=5, help="draws of bags, weights and order")
    parser.add_argument("--planted", type=int, nargs="+", default=[1, 3], help="k of 10 frames")
    parser.add_argument(
        "--strength", type=float, nargs="+", default=[2.0, 3.0], help="of the direction; noise is 1"
    )
    parser.add_argument("--bags", type=int, default=Size.train, help="to train on")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    size, seeds = Size(train=asked.bags), asked.seeds
    if asked.quick:
        size, seeds = Size(train=64, test=64, epochs=1), 2
    for k in asked.planted:
        for strength in asked.strength:
            print(f"k = {k} of {INSTANCES} frames, strength {strength:g}", end=", ")
            print(f"{size.train} bags, {seeds} seeds\n")
            print(_compare(k, strength, size, seeds), end="\n\n", flush=True)
    print(machine(asked.threads, ["torch"]))


if __name__ == "__main__":
    main()
