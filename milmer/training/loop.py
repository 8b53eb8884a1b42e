"""Stage ``train``: one fold, from its split to a model, its predictions and its history.

Nothing depends on order or history: permutations are drawn from
(seed, fold, epoch) and dropout from (seed, fold, step), so one fold alone equals the same fold of
a whole run, and a run that was interrupted goes on as if it had not been.
"""

import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from milmer import storage
from milmer.backbone.loading import Backbone, load_backbone
from milmer.backbone.options import LOCAL, TokensOptions
from milmer.errors import MilmerError
from milmer.metrics.epoch_score import BEFORE, epoch_scores
from milmer.model.network import NetworkOutput
from milmer.model.shares import logit_shares
from milmer.runtime.checkpoints import ResumeState
from milmer.runtime.device import choose_device, compute_reproducibly, describe, fast_bfloat16
from milmer.runtime.losses import Losses
from milmer.runtime.progress import track
from milmer.runtime.stopping import stop_requests
from milmer.training.continuing import read_start, trained_on
from milmer.training.fold_data import FoldData, read_fold, read_fold_with_pictures
from milmer.training.initial import Begin, initial_network, parameter_groups
from milmer.training.options import TrainOptions
from milmer.training.recipe import seen_content, training_recipe
from milmer.training.results import RunResults, require_free, write_run
from milmer.training.skipped import skip_reason, write_skipped

_REMEDY = "lower training.lr"
_AT_ONCE = 256  # segments that a GPU classifies at once
_log = logging.getLogger(__name__)


def train_fold(
    split: Path,
    segments: Sequence[Path],
    faces: Sequence[Path],
    options: TrainOptions,
    seed: int,
    out: Path,
    backbone_name: str | None = None,
    init: Path | None = None,
) -> None:
    """Train and test one fold and write the run's folder ``out``.

    ``segments`` and ``faces`` are the files of the fold's subjects; the latter hold tokens, or face
    crops where the backbone is trained too (``options.finetune``), which then lies where
    ``backbone_name`` says if the options do not; ``init`` says likewise where the model lies that
    the run continues from. Writes ``model/``, ``predictions.parquet`` and
    ``validation.parquet`` (one row a segment of the test and the validation part) and
    ``history.parquet`` (one row an epoch, and one of the model before its first step where it may
    be kept: with a linear path, under ``select: validation``). The test part is read once, after
    the epoch was chosen; only ``select: best_on_test`` looks at it in every epoch, and keeps what
    it saw in the history.
    """
    init = init or (Path(options.training.init) if options.training.init else None)
    places = [Path(place) for place in (backbone_name, init) if place]
    require_free(out, [split, *segments, *faces, *places])
    torch.set_num_threads(options.training.threads)
    compute_reproducibly()
    modalities = options.model.modalities
    kind = "tokens" if options.finetune is None else "faces"
    segments = segments if "eeg" in modalities else []
    faces = faces if "face" in modalities else []
    for name, what, files in (("eeg", "segments", segments), ("face", kind, faces)):
        if name in modalities and not files:
            raise MilmerError(
                f"the model looks at {name} and no {what} were given",
                where=split,
                remedy=f"add --{what}, or change model.modalities",
            )
    device = choose_device(options.training.device)
    inputs: dict[str, Path | str] = {"split": split} | {
        f"{name}_{path.stem}": path
        for name, paths in (("segments", segments), (kind, faces))
        for path in paths
    }
    backbone = None
    if options.finetune is None or not faces:
        data = read_fold(split, segments, faces, options.model.num_instances, options.alignment)
    else:
        backbone = _backbone(options.finetune, backbone_name, device)
        inputs["backbone"] = backbone.fingerprint
        data = read_fold_with_pictures(
            split,
            segments,
            faces,
            backbone.prepare,
            options.model.num_instances,
            options.finetune.use_borrowed_boxes,
            options.training.threads,
            options.alignment,
        )
    borrowed = options.finetune.use_borrowed_boxes if options.finetune else None
    # Refuses what does not belong together.
    recipe = training_recipe(segments, faces, borrowed, options.alignment)
    recipe["seen"] = seen_content(split, eeg=bool(segments), video=bool(faces))
    start = None
    if init is not None:
        start = read_start(init, data.table, [*segments, *faces], split)
        inputs["init"] = start.weights
        options = options.updated({"training": {"init": LOCAL}})
    provenance = storage.provenance(
        "train", __name__, options.result() | {"seed": seed}, inputs, describe(device)
    )
    if reason := skip_reason(data, options):
        _log.warning("%s %s is skipped: %s", data.facts["protocol"], data.facts["fold"], reason)
        write_skipped(data, options, seed, reason, provenance, out)
        return
    begin = partial(start.give, recipe=recipe) if start is not None else None
    training = Training(data, options, seed, device, backbone, begin)
    state = ResumeState(out, provenance, options.training.checkpoint_minutes)
    training.fit(state)
    known = trained_on(data.table, [*segments, *faces], start)
    write_run(training.results({"trained_on": known}), recipe, provenance, out)
    state.remove()


def _backbone(options: TokensOptions, name: str | None, device: torch.device) -> Backbone:
    """The backbone to begin from, in float32: what it learns in a step is smaller than bfloat16."""
    changes = {"dtype": "float32"} | ({"name": name} if name else {})
    return load_backbone(options.backbone.updated(changes), device)


class Training:
    """One fold's training: the model, its optimizer and what has been seen so far."""

    def __init__(
        self,
        data: FoldData,
        options: TrainOptions,
        seed: int,
        device: torch.device,
        backbone: Backbone | None = None,
        begin: Begin | None = None,
    ):
        self.data, self.options, self.training = data, options, options.training
        self.select = options.training.select
        self.rows = {part: data.rows(part) for part in ("train", "val", "test")}
        if not options.validation:
            both = (self.rows["train"], self.rows["val"])
            self.rows |= {"train": np.sort(np.concatenate(both)), "val": np.array([], int)}
        self.seed = seed
        self.words = [seed, zlib.crc32("{protocol} {fold}".format(**data.facts).encode())]
        self.bfloat16 = {"bfloat16": True, "float32": False}.get(
            self.training.precision, fast_bfloat16(device)
        )
        self.device, self.backbone, self.begin = device, backbone, begin
        self.batch_size = self.training.batch_size  # of what is classified
        if backbone is None and device.type == "cuda":
            self.batch_size = max(self.batch_size, _AT_ONCE)
        data.to(device, self.training.jobs_per_gpu)
        self._begin()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.refitting = False

    def _begin(self) -> None:
        """Stand before the first step on the training part."""
        torch.manual_seed(self._seed("weights"))
        self.model, self.begun = initial_network(
            self.data, self.rows["train"], self.options, self.device, self.backbone, self.begin
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model),
            lr=self.training.lr,
            weight_decay=self.training.weight_decay,
        )
        self.step, self.losses = 0, Losses(self._name, _REMEDY)

    # ------------------------------------------------------------------ training

    def fit(self, state: ResumeState) -> None:
        """Train all epochs, or what is left of them, and go back to the chosen one.

        With ``refit``, train anew on the training and validation part, for as many steps as led to
        the chosen epoch.
        """
        if (saved := state.load()) is not None:
            self._restore(saved)
            _log.info("goes on from step %d", self.step)
        began = time.monotonic()
        with stop_requests() as stop_requested:
            if not self.refitting:
                is_classifier = self.select == "validation" and self.model.linear is not None
                if is_classifier and not self.history:
                    self._end_epoch(BEFORE)
                done = self.history[-1]["epoch"] + 1 if self.history else 0
                for epoch in track(range(done, self.training.epochs), self._name):
                    if epoch - 1 - self.best.get("epoch", epoch) == self.training.patience:
                        break
                    self._train_epoch(epoch, epoch, state, stop_requested)
                    self._end_epoch(epoch)
                self._choose()
            if self.training.refit:
                if not self.refitting:
                    self._begin_refit()
                batches = self._batch_count()
                for epoch in range(self.step // batches, -(-self.refit_steps // batches)):
                    schedule = epoch * batches // self.first_batches
                    self._train_epoch(epoch, schedule, state, stop_requested)
        _log.info(
            "%d epochs in %.1f s, kept %s",
            self.history[-1]["epoch"] + 1,
            time.monotonic() - began,
            "the model before them" if self.best["epoch"] == BEFORE else self.best["epoch"],
        )

    def _train_epoch(
        self, epoch: int, schedule: int, state: ResumeState, stop_requested: Callable[[], bool]
    ) -> None:
        """Take what is left of an epoch's steps, at the learning rate of epoch ``schedule``."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(schedule) * group["share"]
        self.model.train()
        for rows in list(self._batches(epoch))[self.step - epoch * self._batch_count() :]:
            if self.refitting and self.step == self.refit_steps:
                break
            self._train_on(rows)
            state.after_step(self._state, self.step, self._name, stop_requested)
        self.losses.total()  # is it finite?

    def _batch_count(self) -> int:
        """The number of batches of an epoch."""
        return math.ceil(len(self.rows["train"]) / self.training.batch_size)

    def _choose(self) -> None:
        """Go back to the chosen epoch, and keep what it says of the validation part."""
        self.model.load_state_dict(self.best["model"])
        self.validation = self.predict("val")

    def _begin_refit(self) -> None:
        self.first_batches = self._batch_count()
        self.refit_steps = (self.best["epoch"] + 1) * self.first_batches
        self.rows["train"] = np.sort(np.concatenate([self.rows["train"], self.rows["val"]]))
        self.refitting = True
        self._begin()

    def _train_on(self, rows: np.ndarray) -> None:
        torch.manual_seed(self._seed("step", self.step))
        self.optimizer.zero_grad(set_to_none=True)
        inputs = self.data.batch(rows, self.device)
        labels = inputs.pop("labels")
        loss = F.cross_entropy(self._forward(inputs).logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self.losses.add(self.step, loss, len(rows))

    def _end_epoch(self, epoch: int) -> None:
        """Note what an epoch came to, and keep the model where none was better."""
        entry: dict[str, Any] = {"epoch": epoch, "lr": None, "train_loss": None}
        if epoch != BEFORE:
            entry["lr"] = self._lr(epoch)
            entry["train_loss"] = self.losses.total() / len(self.rows["train"])
        self.losses = Losses(self._name, _REMEDY)
        watched = {"validation": "val", "best_on_test": "test"}.get(self.select)
        for part in ("val", "test"):
            if len(self.rows[part]) and (part == "val" or watched == "test"):
                predictions = self.predict(part)
                probability = predictions[self._columns].to_numpy(np.float64)  # (row, class)
                scores = epoch_scores(predictions["label"].to_numpy(), probability)
                entry |= {f"{part}_{name}": score for name, score in scores.items()}
                if part == "test":
                    # The published numbers are each the best of all epochs by itself.
                    entry["test_probabilities"] = probability.astype(np.float32).ravel()
        self.history.append(entry)
        # Of equal epochs the one with the lower loss is kept, then the earlier; training that names
        # no more segments rightly than the linear path did before it is not worth its changes.
        metric = {"val": "val_macro_f1", "test": "test_accuracy"}.get(watched)
        rank = (entry[metric], -entry[f"{watched}_loss"]) if metric else (epoch, 0.0)
        rank = (rank[0], math.inf) if epoch == BEFORE else rank
        if not self.best or rank > tuple(self.best["rank"]):
            weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best = {"epoch": epoch, "rank": list(rank), "model": weights}

    def _batches(self, epoch: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([*self.words, epoch])
        order = rng.permutation(self.rows["train"])
        for first in range(0, len(order), self.training.batch_size):
            yield order[first : first + self.training.batch_size]

    def _lr(self, epoch: int) -> float:
        cosine = (1 + math.cos(math.pi * epoch / self.training.epochs)) / 2
        return self.training.lr * (cosine * (1 - self.training.lrf) + self.training.lrf)

    # ---------------------------------------------------------------- prediction

    @torch.no_grad()
    def predict(self, part: str) -> pd.DataFrame:
        """Predictions of a part: its rows with probabilities, chosen instances and scores."""
        self.model.eval()
        columns: dict[str, list] = {"p": [], "chosen": [], "scores": []}
        rows = self.rows[part]
        for inputs in self.data.inputs(rows, self.batch_size, self.device):
            output = self._forward(inputs)
            columns["p"].append(output.logits.float().softmax(dim=1).cpu().numpy())
            chosen = output.selected
            if chosen is not None and self.data.instances is not None:
                chosen = torch.from_numpy(self.data.instances).to(chosen.device)[chosen]
            for name, tensor in (("chosen", chosen), ("scores", output.scores)):
                columns[name] += _listed(tensor, len(inputs[next(iter(inputs))]))
        table = self.data.table.iloc[rows].drop(columns="part").reset_index(drop=True)
        none = np.empty((0, len(self.data.labels)), np.float32)
        table[self._columns] = np.concatenate([none, *columns["p"]])  # (row, class)
        table["chosen"], table["scores"] = columns["chosen"], columns["scores"]
        return table

    def results(self, facts: Mapping[str, Any]) -> RunResults:
        """What the finished run leaves; ``facts`` are those of its inputs."""
        return RunResults(
            model=self.model,
            image_processor=self.backbone.processor if self.backbone else None,
            predictions=self.predict("test"),
            validation=self.validation,
            history=pd.DataFrame(self.history),
            facts=self._facts() | dict(facts),
            computed={
                "bfloat16": self.bfloat16,
                "batch_size": self.batch_size,
                "threads": self.training.threads,
            },
        )

    def _facts(self) -> dict[str, Any]:
        """What was trained and tested on, and how, as plain JSON values."""
        split, config = self.data.facts, self.model.config
        parts = {part: self.data.table.iloc[rows] for part, rows in self.rows.items()}
        classes = np.bincount(parts["train"]["label"], minlength=len(self.data.labels))
        return {
            "protocol": split["protocol"],
            "fold": split["fold"],
            "seed": self.seed,
            "labels": self.data.labels,
            "scheme": split["scheme"],
            "leaky": split["leaky"],
            "permuted": split["permuted"],
            "warnings": split["warnings"],
            "select": self.select,
            "epoch": self.best["epoch"],
            "epochs": self.history[-1]["epoch"] + 1,
            "refit": self.refitting,
            "logit_shares": self._logit_shares(),
            "init": self.begun,
            "segments": {part: len(table) for part, table in parts.items()},
            "subjects": {part: table["subject"].nunique() for part, table in parts.items()},
            "classes": classes.tolist(),
            "without_valid_face": self.data.dropped,
            "rejected": self.data.rejected,
            "modalities": list(config.model.modalities),
            "num_instances": config.num_instances,
            "holds_backbone": config.backbone_config is not None,
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    # ------------------------------------------------------------------- details

    def _logit_shares(self) -> dict[str, float]:
        self.model.eval()
        batches = self.data.inputs(self.rows["test"], self.batch_size, self.device)
        return logit_shares(self.model, batches)

    def _forward(self, inputs: dict[str, Tensor]) -> NetworkOutput:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.model(**inputs)

    @property
    def _columns(self) -> list[str]:
        """The columns of probabilities in tables of predictions."""
        return [f"p_{name}" for name in self.data.labels]

    @property
    def _name(self) -> str:
        return "{protocol} {fold}".format(**self.data.facts)

    def _seed(self, *words: str | int) -> int:
        return zlib.crc32(repr((self.words, words)).encode())

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "loss_sum": self.losses.total(),
            "history": self.history,
            "best": self.best,
            "refitting": self.refitting,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.history, self.best = state["history"], state["best"]
        if state["refitting"]:
            self._choose()
            self._begin_refit()
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], Losses(self._name, _REMEDY, state["loss_sum"])


def _listed(tensor: Tensor | None, count: int) -> list:
    return [None] * count if tensor is None else tensor.float().cpu().numpy().tolist()
