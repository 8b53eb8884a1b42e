"""The stage ``tokens``: its forward pass beside the plain one, float32 in batches of 32.

The backbone is a Swin-T of real size with random weights, which take as long as trained ones. The
plain way uses the image processor and the model as their documentation shows. The pictures are
noise in place of faces: the time does not depend on their content.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import arguments, interleaved, machine, ratio, table
from transformers import AutoImageProcessor, SwinConfig, SwinModel, ViTImageProcessorPil

from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions

_PLAIN_BATCH = 32


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=64, help="frames per round")
    parser.add_argument(
        "--batch-size", type=int, nargs="+", help="of ours; by default that of the stage"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    frames = 2 if args.quick else args.frames
    sizes = args.batch_size or [BackboneOptions().batch_size]
    with tempfile.TemporaryDirectory() as folder:
        write_swin(Path(folder), small=args.quick)
        print(_compare(folder, frames, sizes, args.rounds))
    print()
    print(machine(args.threads, ["torch", "transformers"]))


def _compare(folder: str, frames: int, sizes: list[int], rounds: int) -> str:
    pictures = np.random.default_rng(0).integers(0, 256, (frames, 224, 224, 3), np.uint8)
    backbone = load_backbone(BackboneOptions(name=folder), torch.device("cpu"))
    processor = AutoImageProcessor.from_pretrained(folder)
    model = SwinModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()

    def plain() -> torch.Tensor:
        states = []
        for first in range(0, frames, _PLAIN_BATCH):
            batch = processor(list(pictures[first : first + _PLAIN_BATCH]), return_tensors="pt")
            with torch.inference_mode():
                states.append(model(**batch).last_hidden_state)
        return torch.cat(states)  # (frame, token, dim)

    def ours(size: int) -> torch.Tensor:
        batches = (torch.from_numpy(pictures[i : i + size]) for i in range(0, frames, size))
        return torch.cat([backbone(batch) for batch in batches])

    expected = plain()
    contestants = {"plain": plain} | {f"{n}": lambda n=n: ours(n) for n in sizes}
    timed = interleaved(contestants, rounds)
    rows = [["float32, batches of 32", frames / timed["plain"].median, 1.0, 1.0]]
    for n in sizes:
        likeness = torch.cosine_similarity(ours(n).float(), expected, dim=-1).mean()
        name = f"ours, {str(backbone.dtype).removeprefix('torch.')}, batches of {n}"
        times = timed[f"{n}"]
        rows.append([name, frames / times.median, ratio(timed["plain"], times), f"{likeness:.5f}"])
    return table(["contestant", "frames/s", "times float32", "mean cosine similarity"], rows)


def write_swin(folder: Path, small: bool) -> None:
    """A Swin-T with random weights in Hugging Face format."""
    config = SwinConfig(
        image_size=224,
        patch_size=4,
        embed_dim=24 if small else 96,
        depths=[1, 1, 1, 1] if small else [2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
    )
    torch.manual_seed(0)
    SwinModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": 224, "width": 224},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
