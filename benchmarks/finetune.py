"""Training the backbone too (`backbone.finetune`): memory and speed of a step beside the plain way.

Swin-T and the default model, bags of 10 pictures of 224 px, bfloat16 mixed precision, AdamW. Ours
takes the published batch of 14 bags, of which it keeps the tokens and computes the rest again on
the way back. The plain way keeps everything, and takes 2 bags, as much as the published code could
be run with in 24 GB. Each is a process of its own, so that its peak is its own.
"""

import argparse
import json
import statistics
import time

import torch
from timing import arguments, child, machine, memory, table
from transformers import SwinConfig

from milmer.model import modeling
from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification

WAYS = {"ours": "computed again, 14 bags", "plain": "everything kept, 2 bags"}
BAGS = {"ours": 14, "plain": 2}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--way", choices=WAYS, help="measure this one and print JSON")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.way:
        print(json.dumps(_measured(asked)))
        return
    options = ["--threads", str(asked.threads), "--rounds", str(asked.rounds)]
    options += ["--quick"] if asked.quick else []
    rows = []
    for way, name in WAYS.items():
        found = json.loads(child(__file__, "--way", way, *options).splitlines()[-1])
        rows.append([name, found["seconds"], BAGS[way] / found["seconds"], found["peak"]])
    print(table(["a training step", "s", "bags/s", "peak MiB"], rows))
    print()
    print(machine(asked.threads, ["torch", "transformers"]))


def _measured(asked: argparse.Namespace) -> dict[str, float]:
    small = {"image_size": 56, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2]}
    swin = SwinConfig(**small) if asked.quick else SwinConfig()
    tokens = (swin.image_size // swin.patch_size // 2 ** (len(swin.depths) - 1)) ** 2
    config = MilmerConfig(
        num_tokens=tokens, token_dim=swin.hidden_size, backbone_config=swin.to_dict()
    )
    torch.manual_seed(0)
    model = MilmerForEmotionClassification(config).train()
    if asked.way == "plain":
        model.backbone.frames_at_once = 10_000
        modeling.checkpoint = lambda function, *inputs, **_: function(*inputs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    count, size = BAGS[asked.way], swin.image_size
    inputs = {
        "eeg": torch.randn(count, 32, 384),
        "pixel_values": torch.randn(count, 10, 3, size, size),
        "labels": torch.arange(count) % 4,
    }
    seconds = []
    for _ in range(1 + (1 if asked.quick else asked.rounds)):
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
