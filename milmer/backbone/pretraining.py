"""Stage ``pretrain``: a vision encoder learns emotions from pictures before it encodes any crop.

As in the paper, the whole backbone is trained under a new head, which is left out where the result
serves as a backbone. Nothing depends on history: the order of pictures is drawn from (seed, epoch),
flips and stochastic depth from (seed, step). So a run that was interrupted resumes as if it had not
been, from the same kind of state as training.
"""

import copy
import logging
import math
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from milmer import folders, storage
from milmer.backbone.class_folders import LabelledPictures, Part, read_pictures
from milmer.backbone.encoder import prepare
from milmer.backbone.loading import choose_dtype, read_backbone, weights_digest
from milmer.backbone.model_folder import loading_errors
from milmer.backbone.options import PretrainOptions, PretrainStageOptions
from milmer.errors import MilmerError
from milmer.metrics.epoch_score import NAMES, epoch_scores
from milmer.runtime.checkpoints import ResumeState
from milmer.runtime.device import choose_device, compute_reproducibly, describe, sent
from milmer.runtime.losses import Losses
from milmer.runtime.progress import track
from milmer.runtime.stopping import stop_requests

_NAME = "pre-training"
_REMEDY = "lower backbone.pretrain.lr"
_LARGEST_GRADIENT = 1.0  # its norm; a larger one is scaled down to it
_log = logging.getLogger(__name__)


def pretrain_backbone(
    images: Path, options: PretrainStageOptions, out: Path, backbone_name: str | None = None
) -> None:
    """Train a classifier of the pictures in ``images`` and write it to the folder ``out``.

    ``out`` is in Hugging Face format, for use as ``backbone.name``; its ``metrics.json`` holds
    classes, counts, history and scores. The epoch of the best macro-F1 on the held-out part is
    kept; the part test is used once, after that. ``backbone_name`` names the backbone to begin with
    if the options do not. Raises :class:`MilmerError` if the pictures, the backbone, the device or
    the disk do not do or the loss diverges, and :class:`~milmer.errors.Stopped` after a request to
    stop.
    """
    torch.set_num_threads(options.backbone.threads)
    compute_reproducibly()
    named = {"name": backbone_name} if backbone_name else {}
    options = options.updated({"backbone": named})
    inputs = [images, Path(options.backbone.name)]
    folders.require_replaceable(out, "finetune-backbone", inputs)
    training, device = options.pretrain, choose_device(options.backbone.device)
    encoder, processor = read_backbone(options.backbone)
    pictures = read_pictures(images, training.validation, training.seed, options.backbone.threads)
    dtype = choose_dtype(options.backbone, device)
    provenance = storage.provenance(
        "pretrain",
        __name__,
        options.without_paths().result(),
        {"images": pictures.digest, "backbone": weights_digest(encoder)},
        device=f"{describe(device)} {str(dtype).removeprefix('torch.')}",
    )
    model = _classifier(encoder, pictures.classes, training.seed).to(device)
    _require_space(model, out)
    learner = _Learner(model, processor, pictures, training, options.backbone.threads, dtype)
    state = ResumeState(out.absolute(), provenance, training.checkpoint_minutes)
    learner.fit(state)
    metrics = learner.metrics() | {"provenance": provenance}
    with folders.replacing_folder(out, "finetune-backbone") as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        storage.write_json(folder / "metrics.json", metrics)
    state.remove()


def _classifier(encoder: nn.Module, classes: list[str], seed: int) -> nn.Module:
    """The encoder under a new head; refuses one that transformers has none for."""
    kind = encoder.config.model_type
    remedy = "pre-train a Swin, SwinV2 or ViT, or set backbone.pretrain.images to null"
    problem = f"an encoder of type {kind} cannot be pre-trained"
    if not isinstance(getattr(encoder.config, "image_size", None), int):
        raise MilmerError(problem, where="backbone.name", remedy=remedy)
    config = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    torch.manual_seed(seed)
    with loading_errors(problem, "backbone.name", remedy):
        model = AutoModelForImageClassification.from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
        model.base_model.load_state_dict(encoder.state_dict())
    return model


def _require_space(model: nn.Module, out: Path) -> None:
    """Refuse a disk too full for the result and two states: the last, and one to replace it.

    A state holds the weights, AdamW's two moments and the best weights.
    """
    needed = (2 * 4 + 1) * sum(p.numel() * p.element_size() for p in model.parameters())
    if needed > storage.free_bytes(out):
        raise MilmerError(
            f"no space left on the disk: pre-training takes {needed / 1e9:.1f} GB",
            where=out,
            remedy="free that much",
        )


class _Learner:
    """A classifier of pictures, its optimizer and what has been seen so far."""

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        pictures: LabelledPictures,
        options: PretrainOptions,
        threads: int,
        dtype: torch.dtype,
    ):
        self.model, self.pictures, self.options, self.threads = model, pictures, options, threads
        self.device, self.bfloat16 = next(model.parameters()).device, dtype == torch.bfloat16
        size = getattr(model.config, "image_size", None)
        moments = (torch.tensor(getattr(processor, f"image_{n}")) for n in ("mean", "std"))
        self.preparation = size, *(m.to(self.device) for m in moments), torch.float32
        labels = pictures.parts["train"].labels
        weights = class_weights(labels, len(pictures.classes)).to(self.device)
        self.weights = weights if options.class_weights else None
        self.batches = math.ceil(len(labels) / options.batch_size)  # of an epoch
        decaying, others = [], []
        for name, parameter in model.named_parameters():
            (decaying if parameter.ndim > 1 and "bias" not in name else others).append(parameter)
        groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, weight_decay=options.weight_decay)
        self.step, self.losses = 0, Losses(_NAME, _REMEDY)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}

    def fit(self, state: ResumeState) -> None:
        """Train all epochs, or until none has been better for long, and go back to the best."""
        if (saved := state.load()) is not None:
            self._restore(saved)
            _log.info("goes on from step %d", self.step)
        train, size = self.pictures.parts["train"], self.options.batch_size
        with stop_requests() as stop_requested:
            for epoch in track(range(len(self.history), self.options.epochs), _NAME):
                if self.best and epoch - 1 - self.best["epoch"] >= self.options.patience:
                    break
                self.model.train()
                rng = np.random.default_rng([self.options.seed, epoch])
                order = rng.permutation(len(train))[size * (self.step - epoch * self.batches) :]
                for pictures, labels in _read_ahead(train, order, size, self.threads):
                    self._train_on(pictures, labels)
                    state.after_step(self._state, self.step, _NAME, stop_requested)
                self._end_epoch(epoch)
        state.save_if_due(self._state, now=True)  # all that is left is to write
        self.model.load_state_dict(self.best["model"])
        few = len(self.history) < self.options.epochs
        _log.info(
            "ended after %d epochs%s; kept %d of the best macro-F1, %.3f",
            len(self.history),
            f", of which {self.options.patience} in a row were no better" if few else "",
            self.best["epoch"],
            self.best["macro_f1"],
        )

    def _train_on(self, pictures: list[Tensor], labels: Tensor) -> None:
        torch.manual_seed(zlib.crc32(repr((self.options.seed, self.step)).encode()))
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss, _ = self.forward([_flip_half(group) for group in pictures], labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        self.losses.add(self.step, loss, len(labels))

    def forward(self, pictures: list[Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits (picture, class) of groups uint8 (picture, height, width, 3)."""
        sent_pictures = [sent(group, self.device) for group in pictures]
        x = torch.cat([prepare(group, *self.preparation) for group in sent_pictures])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(pixel_values=x).logits
        logits = logits.float()
        loss = nn.functional.cross_entropy(logits, sent(labels, self.device), self.weights)
        return loss, logits

    def _lr(self, step: int) -> float:
        """The learning rate rises in the first steps, and then falls along a cosine to zero."""
        steps = self.options.epochs * self.batches
        rising = math.ceil(self.options.warmup * steps)
        if step < rising:
            return self.options.lr * step / rising
        return self.options.lr * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2

    def _end_epoch(self, epoch: int) -> None:
        """Note what an epoch came to, and keep the model where none was better."""
        train_loss = self.losses.total() / len(self.pictures.parts["train"])
        self.losses = Losses(_NAME, _REMEDY)
        scores = self._scores("val")
        if not math.isfinite(scores["loss"]):
            raise MilmerError(
                f"the loss is no longer finite at step {self.step}", where=_NAME, remedy=_REMEDY
            )
        entry = {"epoch": epoch, "lr": self._lr(self.step - 1), "train_loss": train_loss}
        self.history.append(entry | {f"val_{name}": scores[name] for name in NAMES})
        _log.info("epoch %d: macro-F1 %.3f", epoch, scores["macro_f1"])
        if not self.best or scores["macro_f1"] > self.best["macro_f1"]:
            weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best = {"epoch": epoch, "macro_f1": scores["macro_f1"], "model": weights}

    @torch.no_grad()
    def _scores(self, name: str) -> dict[str, float]:
        """Cross-entropy, accuracy and macro-F1 of a part."""
        self.model.eval()
        part = self.pictures.parts[name]
        batches = _read_ahead(part, range(len(part)), self.options.batch_size, self.threads)
        logits = torch.cat([self.forward(*batch)[1] for batch in batches])
        return epoch_scores(part.labels, logits.double().softmax(dim=1).cpu().numpy())

    def metrics(self) -> dict[str, Any]:
        """Scores of the chosen epoch, counts of pictures, and the history, as plain values."""
        parts, names = self.pictures.parts, self.pictures.classes
        most_common = np.bincount(parts["train"].labels).argmax()
        chosen = self.history[self.best["epoch"]]
        metrics: dict[str, Any] = {"validation": {name: chosen[f"val_{name}"] for name in NAMES}}
        metrics["test"] = self._scores("test") if "test" in parts else None
        for name, part in (("validation", "val"), ("test", "test")):
            if metrics[name]:
                metrics[name]["majority"] = float((parts[part].labels == most_common).mean())
        return metrics | {
            "classes": names,
            "pictures": {
                part: dict(
                    zip(names, np.bincount(p.labels, minlength=len(names)).tolist(), strict=True)
                )
                for part, p in parts.items()
            },
            "repeated": self.pictures.repeated,
            "epoch": self.best["epoch"],
            "history": self.history,
        }

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "loss_sum": self.losses.total(),
            "history": self.history,
            "best": self.best,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.best, self.step = state["history"], state["best"], state["step"]
        self.losses = Losses(_NAME, _REMEDY, state["loss_sum"])


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Loss weights (class,), inverse to a class's frequency in ``labels``; 1 if all are equal."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def _read_ahead(
    part: Part, rows: Iterable[int], size: int, threads: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Batches of ``rows``, pictures and labels; the next is decoded while one is in use.

    Pictures (picture, height, width, 3) are in one group, or each in its own where sizes differ.
    """
    rows = [int(row) for row in rows]
    with ThreadPoolExecutor(threads) as pool:
        batches = (
            [pool.submit(part.__getitem__, row) for row in rows[first : first + size]]
            for first in range(0, len(rows), size)
        )
        ahead = next(batches, None)
        while ahead is not None:
            current, ahead = ahead, next(batches, None)
            pictures, labels = zip(*(picture.result() for picture in current), strict=True)
            equal_sizes = len({picture.shape for picture in pictures}) == 1
            groups = [torch.stack(pictures)] if equal_sizes else [p[None] for p in pictures]
            yield groups, torch.tensor(labels)


def _flip_half(pictures: Tensor) -> Tensor:
    """Pictures (picture, height, width, 3), about half of them mirrored at random."""
    mirrored = torch.rand(len(pictures)) < 0.5
    return torch.where(mirrored[:, None, None, None], pictures.flip(2), pictures)
