"""Stage ``pretrain``: a Swin learns emotions from pictures of faces before it makes tokens.

As the paper does, with ``transformers.Trainer``: the whole backbone is trained under a new head,
which whoever takes the result as a backbone leaves out. Nothing depends on order or history: the
order of pictures is drawn from (seed, epoch), flips and stochastic depth from (seed, step). So a
run that was interrupted goes on as if it had not been.
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

from milmer import storage
from milmer.backbone.class_folders import Part, Pictures, read_pictures
from milmer.backbone.loading import choose_dtype, prepare, read_backbone, weights_digest
from milmer.backbone.options import PretrainOptions, PretrainStageOptions
from milmer.backbone.resuming import Checkpoints
from milmer.errors import MilmerError, Stopped
from milmer.metrics.epoch_score import NAMES, epoch_scores
from milmer.runtime.device import choose_device, describe
from milmer.runtime.progress import track
from milmer.runtime.stopping import stop_requests

_STEPS = 10  # between two looks at the loss and at the clock
_log = logging.getLogger(__name__)


def pretrain_backbone(
    images: Path, options: PretrainStageOptions, out: Path, backbone_name: str | None = None
) -> None:
    """Train a classifier of the pictures in ``images`` and write it to the folder ``out``.

    ``out`` is in Hugging Face format, so that ``backbone.name`` takes it; ``metrics.json`` holds
    classes, counts, history and how well it does. The epoch of the best macro-F1 on the held-out
    part is kept; the part test is read once, after that. ``backbone_name`` says where the backbone
    to begin with lies if the options do not.
    """
    storage.require_replaceable(out, "metrics.json")
    torch.set_num_threads(options.backbone.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    named = {"name": backbone_name} if backbone_name else {}
    options = options.updated({"backbone": named})
    how, device = options.pretrain, choose_device(options.backbone.device)
    encoder, processor = read_backbone(options.backbone)
    pictures = read_pictures(images, how.validation, how.seed, options.backbone.threads)
    dtype = choose_dtype(options.backbone, device)
    made = storage.provenance(
        "pretrain",
        __name__,
        options.without_paths().result(),
        {"images": pictures.digest, "backbone": weights_digest(encoder)},
        device=f"{describe(device)} {str(dtype).removeprefix('torch.')}",
    )
    checkpoints = Checkpoints(out, made)
    model = _classifier(encoder, pictures.classes, how.seed)
    _require_space(model, out, states=3)  # the best, the last and a new one
    weights = class_weights(pictures.parts["train"].labels, len(pictures.classes))
    learner = _Learner(model, processor, weights if how.class_weights else None)
    settings = _settings(how, options.backbone.threads, device, dtype, checkpoints.folder)
    last = checkpoints.last()
    if last is not None and last.ended:
        settings.num_train_epochs = last.epochs  # nothing is left to do but to take the best
    try:
        with stop_requests() as asked:
            trainer = _Trainer(learner, settings, pictures, how, checkpoints, asked)
            trainer.train(resume_from_checkpoint=last and str(last.path))
    except (OSError, RuntimeError, SafetensorError):
        _require_space(model, out, states=1)  # a full disk has many faces while a state is saved
        raise
    metrics = trainer.measured() | {"provenance": made}
    with storage.replacing_folder(out) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        storage.write_json(folder / "metrics.json", metrics)
    checkpoints.remove()


class _Learner(nn.Module):
    """From pictures to loss and logits.

    A plain module, because Trainer saves a ``PreTrainedModel`` under the names of weights that it
    has on the hub, and does not find them again under those that Swin has here.
    """

    def __init__(self, model: nn.Module, processor: Any, weights: Tensor | None):
        super().__init__()
        self.model = model
        self.register_buffer("weights", weights, persistent=False)
        for name in ("mean", "std"):
            value = torch.tensor(getattr(processor, f"image_{name}"))
            self.register_buffer(name, value, persistent=False)

    def forward(self, pictures: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Of groups of pictures uint8 (picture, height, width, 3) and labels (picture,)."""
        if self.training:
            pictures = [_flipped(some) for some in pictures]
        size, norm = self.model.config.image_size, (self.mean, self.std, torch.float32)
        x = torch.cat([prepare(some, size, *norm) for some in pictures])
        logits = self.model(pixel_values=x).logits.float()  # (picture, class)
        return {"loss": nn.functional.cross_entropy(logits, labels, self.weights), "logits": logits}


class _Settings(TrainingArguments):
    """Settings on one device, where Trainer would take all GPUs that it sees, or the first."""

    one: torch.device = torch.device("cpu")

    @property
    def device(self) -> torch.device:
        super().device  # noqa: B018  (sets accelerate up)
        return self.one

    @property
    def n_gpu(self) -> int:
        return int(self.one.type == "cuda")


def _settings(
    how: PretrainOptions, threads: int, device: torch.device, dtype: torch.dtype, folder: Path
) -> TrainingArguments:
    cuda = device.type == "cuda"
    settings = _Settings(
        output_dir=str(folder),
        num_train_epochs=how.epochs,
        per_device_train_batch_size=how.batch_size,
        per_device_eval_batch_size=how.batch_size,
        learning_rate=how.lr,
        lr_scheduler_type="cosine",
        warmup_steps=how.warmup,
        weight_decay=how.weight_decay,
        bf16=dtype == torch.bfloat16,
        seed=how.seed,
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
        logging_strategy="no",  # _Steps says when
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )
    settings.one = device
    if device.index is not None:
        torch.cuda.set_device(device)  # accelerate takes the current one
    return settings


def _classifier(encoder: nn.Module, classes: list[str], seed: int) -> nn.Module:
    """The encoder under a new head."""
    config = copy.deepcopy(encoder.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    torch.manual_seed(seed)
    model = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
    model.base_model.load_state_dict(encoder.state_dict())
    return model


def _require_space(model: nn.Module, out: Path, states: int) -> None:
    """Of the result, and of ``states``, which are weights and AdamW's two moments each."""
    needed = (3 * states + 1) * sum(p.numel() * p.element_size() for p in model.parameters())
    if needed > storage.free_bytes(out):
        raise MilmerError(
            f"{out}: no space left on the disk: {needed / 1e9:.1f} GB are needed while it trains"
        )


class _Trainer(Trainer):
    """Trainer with our order, draws and metrics."""

    def __init__(
        self,
        learner: _Learner,
        settings: TrainingArguments,
        pictures: Pictures,
        how: PretrainOptions,
        checkpoints: Checkpoints,
        asked: Callable[[], bool],
    ):
        super().__init__(
            learner,
            settings,
            data_collator=_collate,
            train_dataset=pictures.parts["train"],
            eval_dataset=pictures.parts["val"],
            compute_metrics=lambda found: _scores(found.label_ids, found.predictions),
            callbacks=[EarlyStoppingCallback(how.patience)],
        )
        self.pictures, self.how = pictures, how
        self.steps_an_epoch = math.ceil(len(pictures.parts["train"]) / how.batch_size)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Steps(checkpoints, self.steps_an_epoch, how.checkpoint_minutes, asked))

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> Tensor:
        """One step, whose draws depend on nothing that came before."""
        torch.manual_seed(zlib.crc32(repr((self.how.seed, self.state.global_step)).encode()))
        return super().training_step(model, inputs, *rest)

    def measured(self) -> dict[str, Any]:
        """What is known of the chosen epoch, and how it got there."""
        history = _history(self.state.log_history)
        epoch = self.state.best_global_step // self.steps_an_epoch - 1
        parts = self.pictures.parts
        common = np.bincount(parts["train"].labels).argmax()
        chosen = {name: history[epoch][f"val_{name}"] for name in NAMES}
        measured = {"validation": chosen, "test": None}
        if "test" in parts:
            found = self.predict(parts["test"])
            measured["test"] = _scores(found.label_ids, found.predictions)
        for name, part in (("validation", "val"), ("test", "test")):
            if measured[name]:
                measured[name]["majority"] = float((parts[part].labels == common).mean())
        names, size = self.pictures.classes, len(self.pictures.classes)
        return measured | {
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
        epoch = self._trainer.state.global_step // self._trainer.steps_an_epoch
        rng = np.random.default_rng([self._trainer.how.seed, epoch])
        yield from rng.permutation(len(self)).tolist()


class _Steps(TrainerCallback):
    """Says when to log and to save, tells how far along it is, and seals what was saved.

    Logging comes before each saving, so that a run that goes on from there adds up the same.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        steps_an_epoch: int,
        minutes: float,
        asked: Callable[[], bool],
    ):
        self._checkpoints, self._steps_an_epoch, self._asked = checkpoints, steps_an_epoch, asked
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def on_train_begin(self, args, state, control, **_: Any) -> None:
        if state.global_step:
            _log.info("goes on from step %d", state.global_step)
        self._bar = track(range(state.global_step, state.max_steps), "pre-training")

    def on_step_end(self, args, state, control, **_: Any) -> None:
        next(self._bar, None)
        ends_epoch = state.global_step % self._steps_an_epoch == 0  # which saves by itself
        if state.global_step % _STEPS == 0 and not ends_epoch:
            control.should_log = True
            due = time.monotonic() - self._saved >= self._seconds
            control.should_save = due or self._asked()

    def on_epoch_end(self, args, state, control, **_: Any) -> None:
        control.should_log = True

    def on_log(self, args, state, control, logs=None, **_: Any) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise MilmerError(
                f"the loss is no longer finite at step {state.global_step}; lower "
                "backbone.pretrain.lr"
            )

    def on_evaluate(self, args, state, control, metrics, **_: Any) -> None:
        _log.info("epoch %d: macro-F1 %.3f", round(state.epoch) - 1, metrics["eval_macro_f1"])

    def on_save(self, args, state, control, **_: Any) -> None:
        self._checkpoints.seal(state.global_step, round(state.epoch), control.should_training_stop)
        self._saved = time.monotonic()
        if self._asked():
            raise Stopped(
                f"pre-training: asked to stop at step {state.global_step}; the same command goes "
                "on from there"
            )

    def on_train_end(self, args, state, control, **_: Any) -> None:
        self._bar.close()


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Weights (class,) inverse to how often a class occurs in ``labels``; 1 where all are equal."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (classes * counts), dtype=torch.float32)


def _collate(rows: list[tuple[Tensor, int]]) -> dict[str, Any]:
    """``pictures`` in groups (picture, height, width, 3): one, or each by itself if they differ."""
    pictures, labels = zip(*rows, strict=True)
    same = len({picture.shape for picture in pictures}) == 1
    groups = [torch.stack(pictures)] if same else [picture[None] for picture in pictures]
    return {"pictures": groups, "labels": torch.tensor(labels)}


def _flipped(pictures: Tensor) -> Tensor:
    """Pictures (picture, height, width, 3), half of them mirrored."""
    mirrored = (torch.rand(len(pictures)) < 0.5).to(pictures.device)
    return torch.where(mirrored[:, None, None, None], pictures.flip(2), pictures)


def _scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    return epoch_scores(labels, torch.from_numpy(logits).double().softmax(dim=1).numpy())


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an epoch of what Trainer logged: some mean losses of steps, then an evaluation."""
    history: list[dict[str, Any]] = []
    loss, first, last, lr = 0.0, 0, 0, 0.0
    for entry in log:
        if "loss" in entry:
            loss += entry["loss"] * (entry["step"] - last)
            last, lr = entry["step"], entry["learning_rate"]
        elif "eval_loss" in entry:
            row = {"epoch": len(history), "lr": lr, "train_loss": loss / (last - first)}
            history.append(row | {f"val_{name}": entry[f"eval_{name}"] for name in NAMES})
            loss, first = 0.0, last
    return history
