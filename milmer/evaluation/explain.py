"""Stage ``explain``: what a trained model relies on, and where on the face it looked.

* **Importance** of channels, instances, modalities and paths, by permutation among the test
  segments; see :mod:`milmer.evaluation.importance`.
* **Face** by attention: how the queries of ``cross_attention`` distribute their attention over the
  tokens of the chosen frames. Tokens form a grid over the crop, so this is a coarse map of the
  face. Attention shows where a model looked, not what decided.
* **Shares** of the logits: how much comes from each linear path, from the chosen frames and from
  the EEG of the deep path; see :mod:`milmer.model.shares`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from milmer import storage
from milmer.contracts.arrays import attribute
from milmer.contracts.explanation import EXPLANATION
from milmer.contracts.run import PREDICTIONS
from milmer.contracts.segments import SEGMENTS
from milmer.errors import MilmerError
from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.importance import parts, permutation_importance
from milmer.model.network import MilmerNetwork
from milmer.model.shares import logit_shares
from milmer.model.trained import load_trained, read_image_processor, taken_pictures
from milmer.options import read_options
from milmer.runtime.device import choose_device, compute_reproducibly, describe
from milmer.training.fold_data import FoldData, read_fold, read_fold_with_pictures
from milmer.training.options import TrainOptions

_BATCH = 32


def explain_run(
    run: Path,
    split: Path,
    segments: Sequence[Path],
    faces: Sequence[Path],
    options: ExplainOptions,
    out: Path,
) -> None:
    """Explain the model in the folder ``run`` on the test part of its split.

    ``segments`` and ``faces`` are the files that it was trained with. Writes ``channel``
    (repeat, channel), ``instance`` (repeat, instance) and ``part`` (repeat, part): the increase of
    the mean cross-entropy in nats when that one is exchanged among segments; the attributes
    ``channels`` and ``parts`` name them. ``attention`` (height, width) sums to 1. Each has size 0
    if the model has no such input or map, or if the run was skipped. The attribute
    ``logit_shares`` holds the shares by part, as JSON.
    """
    torch.set_num_threads(options.threads)
    compute_reproducibly()
    device = choose_device(options.device)
    importance = dict.fromkeys(("part", "channel", "instance"), np.zeros((0, 0), np.float32))
    attention, count, names = np.zeros((0, 0), np.float32), 0, []
    shares: dict[str, float] = {}
    trained = _trained(run, split, segments, faces)
    if "skipped" not in storage.read_provenance(run / "predictions.parquet", PREDICTIONS)["facts"]:
        model = load_trained(run / "model").to(device)
        data = _read(model, trained, split, segments, faces, run, device)
        rows = data.rows("test")
        if len(rows) > options.segments:
            rows = rows[np.linspace(0, len(rows) - 1, options.segments).astype(int)]
        importance, names = permutation_importance(model, data, rows, device), [*parts(model)]
        attention, count = _attention(model, data, rows, device), len(rows)
        shares = logit_shares(model, data.inputs(rows, _BATCH, device))
    inputs = {"weights": run / "model/model.safetensors", "split": split}
    inputs |= {f"segments_{p.stem}": p for p in segments} | {f"faces_{p.stem}": p for p in faces}
    provenance = storage.provenance("explain", __name__, options.result(), inputs, describe(device))
    with storage.new_h5(out, EXPLANATION, provenance) as file:
        for name, values in importance.items():
            file[name] = values
        file["attention"] = attention
        channels = _channel_names(segments) if importance["channel"].size else []
        file.attrs["channels"], file.attrs["parts"] = json.dumps(channels), json.dumps(names)
        file.attrs["segments"] = count
        file.attrs["logit_shares"] = json.dumps(shares)


def _trained(
    run: Path, split: Path, segments: Sequence[Path], faces: Sequence[Path]
) -> TrainOptions:
    """The options that the run was trained with; refuses files that it was not trained with."""
    path = run / "predictions.parquet"
    provenance = storage.read_provenance(path)
    options = {k: v for k, v in provenance["options"].items() if k != "seed"}
    trained = read_options(TrainOptions, options, str(path))
    kind = "tokens" if trained.finetune is None else "faces"
    given = {"split": split} | {f"segments_{path.stem}": path for path in segments}
    given |= {f"{kind}_{path.stem}": path for path in faces}
    for name, file in given.items():
        if storage.digest(file) != provenance["inputs"].get(name):
            raise MilmerError(
                f"not what {run} was trained with",
                where=file,
                remedy="give the files of its training, or train again",
            )
    return trained


def _read(
    model: MilmerNetwork,
    trained: TrainOptions,
    split: Path,
    segments: Sequence[Path],
    faces: Sequence[Path],
    run: Path,
    device: torch.device,
) -> FoldData:
    """The data of the run, prepared as for its training."""
    count = trained.model.num_instances
    if model.backbone is None or not faces:
        return read_fold(split, segments, faces, count, trained.alignment)
    taken = taken_pictures(model.config, read_image_processor(run / "model"))

    def prepared(pictures: Tensor) -> Tensor:
        return taken.prepare(pictures.to(device))

    borrowed = trained.finetune.use_borrowed_boxes
    return read_fold_with_pictures(
        split, segments, faces, prepared, count, borrowed, alignment=trained.alignment
    )


@torch.no_grad()
def _attention(
    model: MilmerNetwork, data: FoldData, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """Mean attention over the tokens of the chosen frames, as a grid (height, width)."""
    nothing = np.zeros((0, 0), np.float32)
    visual, side = model.visual, math.isqrt(model.config.num_tokens)
    if visual is None or visual.fusion != "cross_attention" or visual.pooling is not None:
        return nothing
    if side * side != model.config.num_tokens:
        return nothing
    attend = visual.attend
    total = torch.zeros(side * side, device=device)

    def look(_: object, arguments: tuple) -> None:
        tokens, present, *_ = arguments
        shares = attend.shares(tokens, present)  # (batch, query, instance, token)
        total.add_(shares.float().mean(1).sum((0, 1)))

    hook = attend.register_forward_pre_hook(look)
    try:
        for inputs in data.inputs(rows, _BATCH, device):
            model(**inputs)
    finally:
        hook.remove()
    return (total / total.sum()).view(side, side).cpu().numpy().astype(np.float32)


def _channel_names(segments: Sequence[Path]) -> list[str]:
    with storage.open_h5(segments[0], SEGMENTS) as file:
        return attribute(file, "channels", segments[0])
