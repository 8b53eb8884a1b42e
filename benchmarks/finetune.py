"""Training the backbone too (`backbone.finetune`): memory and speed of a step beside the plain way.

Swin-T and the default model, bags of 10 pictures of 224 px, bfloat16 mixed precision, AdamW. Ours
takes the published batch of 14 bags, keeps their tokens and computes the rest again in the backward
pass. The plain way keeps everything and takes 2 bags, the most that the published code could be run
with in 24 GB. Each runs in its own process, so that the peaks are separate.
"""

import argparse
import json
import statistics
import time

import torch
from timing import arguments, child, machine, memory, table
from train import SMALL
from transformers import SwinConfig

from milmer.model import network
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification

WAYS = {"ours": "computed again, 14 bags", "plain": "everything kept, 2 bags"}
BAGS = {"ours": 14, "plain": 2}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--way", choices=WAYS, help="measure this way alone and print JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.way:
        print(json.dumps(_measure(args)))
        return
    options = ["--threads", str(args.threads), "--rounds", str(args.rounds)]
    options += ["--quick"] if args.quick else []
    rows = []
    for way, name in WAYS.items():
        step = json.loads(child(__file__, "--way", way, *options).splitlines()[-1])
        rows.append([name, step["seconds"], BAGS[way] / step["seconds"], step["peak"]])
    print(table(["a training step", "s", "bags/s", "peak MiB"], rows))
    print()
    print(machine(args.threads, ["torch", "transformers"]))


def _measure(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step, and the process's peak memory in MiB."""
    small = {"image_size": 56, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2]}
    swin = SwinConfig(**small) if args.quick else SwinConfig()
    tokens = (swin.image_size // swin.patch_size // 2 ** (len(swin.depths) - 1)) ** 2
    config = MilmerConfig(
        options=SMALL if args.quick else {},
        num_tokens=tokens,
        token_dim=swin.hidden_size,
        backbone_config=swin.to_dict(),
    )
    torch.manual_seed(0)
    model = MilmerForEmotionClassification(config).train()
    if args.way == "plain":
        model.backbone.frames_at_once = 10_000
        network.checkpoint = lambda function, *inputs, **_: function(*inputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    count, size = BAGS[args.way], swin.image_size
    inputs = {
        "eeg": torch.randn(count, 32, 384),
        "pixel_values": torch.randn(count, 10, 3, size, size),
        "labels": torch.arange(count) % 4,
    }
    seconds = []
    for _ in range(1 + args.rounds):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds[1:]), "peak": memory()["peak"]}


if __name__ == "__main__":
    main()
