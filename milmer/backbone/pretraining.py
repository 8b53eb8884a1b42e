"""Stage ``pretrain``: a Swin learns emotions from pictures of faces before it encodes any crop.

As in the paper, with ``transformers.Trainer``: the whole backbone is trained under a new head,
which is left out where the result serves as a backbone. Nothing depends on history: the order of
pictures is drawn from (seed, epoch), flips and stochastic depth from (seed, step). So a run that
was interrupted resumes as if it had not been.
"""

import copy
import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    AutoModelForImageClassification,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from milmer import folders, storage
from milmer.backbone.class_folders import LabelledPictures, Part, read_pictures
from milmer.backbone.encoder import prepare
from milmer.backbone.loading import choose_dtype, read_backbone, weights_digest
from milmer.backbone.options import PretrainOptions, PretrainStageOptions
from milmer.backbone.resuming import Checkpoints
from milmer.errors import MilmerError, Stopped
from milmer.metrics.epoch_score import NAMES, epoch_scores
from milmer.runtime.device import choose_device, compute_reproducibly, describe
from milmer.runtime.progress import track
from milmer.runtime.stopping import stop_requests

_STEPS = 10  # between two checks of the loss and of the clock
_log = logging.getLogger(__name__)


def pretrain_backbone(
    images: Path, options: PretrainStageOptions, out: Path, backbone_name: str | None = None
) -> None:
    """Train a classifier of the pictures in ``images`` and write it to the folder ``out``.

    ``out`` is in Hugging Face format, for use as ``backbone.name``; its ``metrics.json`` holds
    classes, counts, history and scores. The epoch of the best macro-F1 on the held-out part is
    kept; the part test is used once, after that. ``backbone_name`` names the backbone to begin with
    if the options do not. Raises :class:`MilmerError` if the pictures, the backbone, the device or
    the disk do not do or the loss diverges, and :class:`Stopped` after a request to stop.
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
    checkpoints = Checkpoints(out, provenance)
    model = _classifier(encoder, pictures.classes, training.seed)
    _require_space(model, out, states=3)  # the best, the last and a new one
    weights = class_weights(pictures.parts["train"].labels, len(pictures.classes))
    learner = _Learner(model, processor, weights if training.class_weights else None)
    settings = _settings(training, options.backbone.threads, device, dtype, checkpoints.folder)
    last = checkpoints.last()
    if last is not None and last.ended:
        settings.num_train_epochs = last.epochs  # all that is left is to load the best
    try:
        with stop_requests() as stop_requested:
            trainer = _Trainer(learner, settings, pictures, training, checkpoints, stop_requested)
            trainer.train(resume_from_checkpoint=last and str(last.path))
    except (OSError, RuntimeError, SafetensorError):
        _require_space(model, out, states=1)  # a full disk shows in many ways during a save
        raise
    metrics = trainer.collect_metrics() | {"provenance": provenance}
    with folders.replacing_folder(out, "finetune-backbone") as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        storage.write_json(folder / "metrics.json", metrics)
    checkpoints.remove()


class _Learner(nn.Module):
    """From pictures to loss and logits.

    A plain module, because Trainer saves a ``PreTrainedModel`` under the names that its weights
    have on the hub, and does not find them again under those that Swin has here.
    """

    def __init__(self, model: nn.Module, processor: Any, weights: Tensor | None):
        super().__init__()
        self.model = model
        self.register_buffer("weights", weights, persistent=False)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(processor, f"image_{name}"))
            self.register_buffer(name, value, persistent=False)

    def forward(self, pictures: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Classify groups of pictures uint8 (picture, height, width, 3), labels (picture,)."""
        if self.training:
            pictures = [_flip_half(group) for group in pictures]
        size, norm = self.model.config.image_size, (self.mean, self.std, torch.float32)
        x = torch.cat([prepare(group, size, *norm) for group in pictures])
        logits = self.model(pixel_values=x).logits.float()  # (picture, class)
        return {"loss": nn.functional.cross_entropy(logits, labels, self.weights), "logits": logits}


class _Settings(TrainingArguments):
    """Settings for a single device, where Trainer would use all GPUs that it sees, or the first."""

    single_device: torch.device = torch.device("cpu")

    @property
    def device(self) -> torch.device:
        super().device  # noqa: B018  (sets accelerate up)
        return self.single_device

    @property
    def n_gpu(self) -> int:
        return int(self.single_device.type == "cuda")


def _settings(
    options: PretrainOptions, threads: int, device: torch.device, dtype: torch.dtype, folder: Path
) -> TrainingArguments:
    cuda = device.type == "cuda"
    settings = _Settings(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        learning_rate=options.lr,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        bf16=dtype == torch.bfloat16,
        seed=options.seed,
        use_cpu=not cuda,
        dataloader_num_workers=threads if cuda else 0,
        dataloader_pin_memory=cuda,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # the last and the best
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_strategy="no",  # _Schedule decides when
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )
    settings.single_device = device
    if device.index is not None:
        torch.cuda.set_device(device)  # accelerate uses the current one
    return settings


def _classifier(encoder: nn.Module, classes: list[str], seed: int) -> nn.Module:
    """The encoder under a new head."""
    config = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    torch.manual_seed(seed)
    model = AutoModelForImageClassification.from_config(
        config, dtype=torch.float32, trust_remote_code=False
    )
    model.base_model.load_state_dict(encoder.state_dict())
    return model


def _require_space(model: nn.Module, out: Path, states: int) -> None:
    """Refuse a disk too full for the result and ``states``, of weights and AdamW's two moments."""
    needed = (3 * states + 1) * sum(p.numel() * p.element_size() for p in model.parameters())
    if needed > storage.free_bytes(out):
        raise MilmerError(
            f"no space left on the disk: pre-training takes {needed / 1e9:.1f} GB",
            where=out,
            remedy="free that much",
        )


class _Trainer(Trainer):
    """Trainer with our order, random draws and metrics."""

    def __init__(
        self,
        learner: _Learner,
        settings: TrainingArguments,
        pictures: LabelledPictures,
        options: PretrainOptions,
        checkpoints: Checkpoints,
        stop_requested: Callable[[], bool],
    ):
        super().__init__(
            learner,
            settings,
            data_collator=_collate,
            train_dataset=pictures.parts["train"],
            eval_dataset=pictures.parts["val"],
            compute_metrics=lambda output: _scores(output.label_ids, output.predictions),
            callbacks=[EarlyStoppingCallback(options.patience)],
        )
        self.pictures, self.seed = pictures, options.seed
        self.steps_per_epoch = math.ceil(len(pictures.parts["train"]) / options.batch_size)
        self.remove_callback(PrinterCallback)
        minutes = options.checkpoint_minutes
        self.add_callback(_Schedule(checkpoints, self.steps_per_epoch, minutes, stop_requested))

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> Tensor:
        """One step, whose random draws depend on its number alone."""
        torch.manual_seed(zlib.crc32(repr((self.seed, self.state.global_step)).encode()))
        return super().training_step(model, inputs, *rest)

    def collect_metrics(self) -> dict[str, Any]:
        """Scores of the chosen epoch, counts of pictures, and the history, as plain values."""
        history = _history(self.state.log_history)
        epoch = self.state.best_global_step // self.steps_per_epoch - 1
        parts = self.pictures.parts
        most_common = np.bincount(parts["train"].labels).argmax()
        chosen = {name: history[epoch][f"val_{name}"] for name in NAMES}
        metrics = {"validation": chosen, "test": None}
        if "test" in parts:
            output = self.predict(parts["test"])
            metrics["test"] = _scores(output.label_ids, output.predictions)
        for name, part in (("validation", "val"), ("test", "test")):
            if metrics[name]:
                metrics[name]["majority"] = float((parts[part].labels == most_common).mean())
        names, size = self.pictures.classes, len(self.pictures.classes)
        return metrics | {
            "classes": names,
            "pictures": {
                part: dict(zip(names, np.bincount(p.labels, minlength=size), strict=True))
                for part, p in parts.items()
            },
            "repeated": self.pictures.repeated,
            "epoch": epoch,
            "history": history,
        }

    def _get_train_sampler(self, train_dataset: Part | None = None) -> Sampler:
        return _Order(self)


class _Order(Sampler):
    """The rows of an epoch in an order drawn from (seed, epoch)."""

    def __init__(self, trainer: _Trainer):
        self._trainer = trainer

    def __len__(self) -> int:
        return len(self._trainer.train_dataset)

    def __iter__(self) -> Iterator[int]:
        epoch = self._trainer.state.global_step // self._trainer.steps_per_epoch
        rng = np.random.default_rng([self._trainer.seed, epoch])
        yield from rng.permutation(len(self)).tolist()


class _Schedule(TrainerCallback):
    """Decides when to log and to save, reports progress, and seals what was saved.

    Logging precedes each save, so that a resumed run sums its losses in the same parts.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        steps_per_epoch: int,
        minutes: float,
        stop_requested: Callable[[], bool],
    ):
        self._checkpoints, self._steps_per_epoch = checkpoints, steps_per_epoch
        self._stop_requested = stop_requested
        self._seconds = 60 * minutes
        self._last_save = time.monotonic()

    def on_train_begin(self, args, state, control, **_: Any) -> None:
        if state.global_step:
            _log.info("goes on from step %d", state.global_step)
        self._bar = track(range(state.global_step, state.max_steps), "pre-training")

    def on_step_end(self, args, state, control, **_: Any) -> None:
        next(self._bar, None)
        ends_epoch = state.global_step % self._steps_per_epoch == 0  # Trainer saves there itself
        if state.global_step % _STEPS == 0 and not ends_epoch:
            control.should_log = True
            due = time.monotonic() - self._last_save >= self._seconds
            control.should_save = due or self._stop_requested()

    def on_epoch_end(self, args, state, control, **_: Any) -> None:
        control.should_log = True

    def on_log(self, args, state, control, logs=None, **_: Any) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise MilmerError(
                f"the loss is no longer finite at step {state.global_step}",
                where="pre-training",
                remedy="lower backbone.pretrain.lr",
            )

    def on_evaluate(self, args, state, control, metrics, **_: Any) -> None:
        _log.info("epoch %d: macro-F1 %.3f", round(state.epoch) - 1, metrics["eval_macro_f1"])

    def on_save(self, args, state, control, **_: Any) -> None:
        self._checkpoints.seal(state.global_step, round(state.epoch), control.should_training_stop)
        self._last_save = time.monotonic()
        if self._stop_requested():
            raise Stopped(
                f"asked to stop at step {state.global_step}",
                where="pre-training",
                remedy="the same command goes on from there",
            )

    def on_train_end(self, args, state, control, **_: Any) -> None:
        self._bar.close()


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Loss weights (class,), inverse to a class's frequency in ``labels``; 1 if all are equal."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def _collate(rows: list[tuple[Tensor, int]]) -> dict[str, Any]:
    """A batch, its pictures (picture, height, width, 3) in one group, or each in its own."""
    pictures, labels = zip(*rows, strict=True)
    equal_sizes = len({picture.shape for picture in pictures}) == 1
    groups = [torch.stack(pictures)] if equal_sizes else [picture[None] for picture in pictures]
    return {"pictures": groups, "labels": torch.tensor(labels)}


def _flip_half(pictures: Tensor) -> Tensor:
    """Pictures (picture, height, width, 3), about half of them mirrored at random."""
    mirrored = (torch.rand(len(pictures)) < 0.5).to(pictures.device)
    return torch.where(mirrored[:, None, None, None], pictures.flip(2), pictures)


def _scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    return epoch_scores(labels, torch.from_numpy(logits).double().softmax(dim=1).numpy())


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per epoch of Trainer's log, in which mean losses of steps precede an evaluation."""
    history: list[dict[str, Any]] = []
    loss, first, last, lr = 0.0, 0, 0, 0.0  # summed over the steps after first, up to last
    for entry in log:
        if "loss" in entry:
            loss += entry["loss"] * (entry["step"] - last)
            last, lr = entry["step"], entry["learning_rate"]
        elif "eval_loss" in entry:
            row = {"epoch": len(history), "lr": lr, "train_loss": loss / (last - first)}
            history.append(row | {f"val_{name}": entry[f"eval_{name}"] for name in NAMES})
            loss, first = 0.0, last
    return history
