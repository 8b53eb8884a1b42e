"""From a model's folder and a recording to predictions, a timeline and a page.

Segments are prepared one after the other and predicted in batches, so that memory does not grow
with the recording.
"""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from milmer import folders, storage
from milmer.errors import MilmerError
from milmer.model.network import MilmerNetwork
from milmer.model.trained import load_trained
from milmer.plain_text import as_cells
from milmer.prediction.faces import BagReader
from milmer.prediction.options import SIZES, PredictOptions
from milmer.prediction.page import page
from milmer.prediction.processor import MilmerProcessor, Prepared, Source
from milmer.prediction.seen import Content, part_of, sentence
from milmer.prediction.stretches import Span, Stretch, table_stretches
from milmer.prediction.timeline import timeline
from milmer.readers.digests import eeg_digests, samples_digest
from milmer.runtime.device import choose_device, compute_reproducibly, describe
from milmer.runtime.progress import track
from milmer.training.recipe import FILE

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordingFiles:
    """The files to predict: ``eeg`` and ``video``, or a subject's table ``trials`` of a dataset.

    Files that the table names are relative to ``root``.
    """

    eeg: Path | None = None
    video: Path | None = None
    trials: Path | None = None
    root: Path | None = None


def predict(
    model: Path,
    files: RecordingFiles,
    options: PredictOptions,
    out: Path,
    like: Path | None = None,
) -> None:
    """Predict the recording in ``files`` with the model in the folder ``model``.

    ``like`` is the folder of a run whose preprocessing a converted checkpoint takes. Writes
    ``predictions.parquet`` and ``.csv`` (one row per segment), ``timeline.svg``, ``index.html`` and
    ``about.json`` to the folder ``out``. Raises :class:`MilmerError` where the recording does not
    fit the model, or shows no face in any segment.
    """
    inputs = (model, like, files.eeg, files.video, files.trials, files.root)
    named = (options.backbone, options.detector_model)
    paths = [*filter(None, inputs), *map(Path, filter(None, named))]
    folders.require_replaceable(out, "predict", paths)
    model = _model_folder(model)
    like = None if like is None else _model_folder(like)
    processor = MilmerProcessor.from_pretrained(
        model,
        like=like,
        backbone=options.backbone,
        detector_model=options.detector_model,
        device=options.device,
        faces=options.faces,
    )
    computed = processor.recipe.computed
    torch.set_num_threads(computed.threads)
    compute_reproducibly()
    device = choose_device(options.device)
    network = load_trained(model).to(device)
    bags = processor.bags(files.video is not None or files.trials is not None)
    with bags or nullcontext():
        stretches, inputs = _stretches(processor, files, options, bags)
        notes = [note for stretch in stretches for note in stretch.notes]
        for note in notes:
            _log.info("%s", note)
        segments = _segments(processor, stretches, bags)
        total = sum(len(stretch.grid) for stretch in stretches)
        rows = _rows(processor, network, track(segments, "segments", total), device)
    table = pd.DataFrame(rows)
    gaps = _gap_notes(table, files)
    for note in gaps:
        _log.info("%s", note)
    inputs["model"] = model / "model.safetensors"
    inputs["processor"] = storage.digest((like or model) / FILE)
    provenance = storage.provenance("predict", __name__, options.result(), inputs, describe(device))
    contents = [content for stretch in stretches for content in stretch.contents]
    run = processor.recipe.run
    earlier = () if run is None else run.trained_on or ()
    about = {"training": sentence(processor.recipe.seen, contents, table["seen"], earlier)}
    digests = {name: digest[:12] for name, digest in provenance["inputs"].items()}  # names no file
    about |= {"recording": {n: digests[n] for n in ("eeg", "video", "trials") if n in digests}}
    about |= {"model": digests["model"], "notes": notes + gaps}
    _log.info("%s", about["training"])
    _write(processor, table, about, provenance, out)


def _model_folder(path: Path) -> Path:
    """The folder of a model, of which ``path`` may be the run."""
    return path / "model" if (path / "model" / "config.json").is_file() else path


def _stretches(
    processor: MilmerProcessor,
    files: RecordingFiles,
    options: PredictOptions,
    bags: BagReader | None,
) -> tuple[list[Stretch], dict[str, Path | str]]:
    """What is predicted, and the digests of the files that it is read from."""
    if files.trials is None:
        source = Source(
            files.eeg,
            files.video,
            trial=options.trial,
            missing=options.missing_channels,
            use_eog=options.use_eog,
            face=options.face,
        )
        stretch = processor.stretch(source, Span(options.start, options.stop, options.offset), bags)
        inputs: dict[str, Path | str] = {}
        contents = []
        if stretch.eeg is not None:
            inputs |= eeg_digests(files.eeg.parent, [files.eeg.name])
            contents.append(Content(samples_digest(files.eeg), 0.0, options.trial))
        if stretch.video is not None:
            inputs["video"] = storage.digest(stretch.video.path)
            contents.append(Content(samples_digest(stretch.video.path), -stretch.offset))
        return [replace(stretch, contents=contents)], inputs
    if files.root is None or files.eeg is not None or files.video is not None:
        raise MilmerError(
            "requires --root and cannot be combined with --eeg or --video", where="--trials"
        )
    parts = options.result() | {"use_eog": None, **dict.fromkeys(SIZES)}
    if excluded := [name for name, value in parts.items() if value is not None]:
        raise MilmerError(
            "cannot be combined with --trials",
            where=f"--{excluded[0].replace('_', '-')}",
            remedy="leave out one of them",
        )
    recipe = processor.recipe
    eeg = recipe.eeg if "eeg" in processor.modalities else None
    stretches, digests = table_stretches(files.trials, files.root, eeg, recipe.segmentation, bags)
    return stretches, {"trials": files.trials, **digests}


def _segments(
    processor: MilmerProcessor, stretches: list[Stretch], bags: BagReader | None
) -> Iterator[tuple[Stretch, Prepared]]:
    for stretch in stretches:
        for prepared in processor.prepared(stretch, bags):
            yield stretch, prepared


def _rows(
    processor: MilmerProcessor,
    network: MilmerNetwork,
    segments: Iterator[tuple[Stretch, Prepared]],
    device: torch.device,
) -> list[dict[str, Any]]:
    """One row per segment; those with all that the model needs are predicted in batches."""
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[dict[str, Any], Stretch, Prepared]] = []
    for stretch, prepared in segments:
        rows.append(_blank_row(processor, stretch, prepared))
        if prepared.complete:
            waiting.append((rows[-1], stretch, prepared))
        if len(waiting) == processor.recipe.computed.batch_size:
            _fill(processor, network, waiting, device)
            waiting.clear()
    if waiting:
        _fill(processor, network, waiting, device)
    return rows


def _blank_row(processor: MilmerProcessor, stretch: Stretch, prepared: Prepared) -> dict[str, Any]:
    """A segment's row before it is predicted."""
    segment, bag, labels = prepared.segment, prepared.bag, processor.recipe.labels
    begin = stretch.start + segment.start
    stop = begin + processor.recipe.segmentation.seconds
    return (
        stretch.about
        | {
            "position": segment.position,
            "start": begin,
            "stop": stop,
            "class": None,
            "seen": part_of(processor.recipe.seen, stretch.contents, begin, stop),
        }
        | {f"p_{name}": np.nan for name in labels}
        | {f"raw_{name}": np.nan for name in labels}
        | {
            "eeg_usable": prepared.eeg_usable,
            "face_seen": prepared.face_seen,
            "faces": None if bag is None else int(bag.valid.sum()),
            **dict.fromkeys(("chosen", "scores", "frames", "frame_times")),
        }
    )


@torch.no_grad()
def _fill(
    processor: MilmerProcessor,
    network: MilmerNetwork,
    waiting: list[tuple[dict[str, Any], Stretch, Prepared]],
    device: torch.device,
) -> None:
    """Predict a batch and fill in its rows."""
    recipe = processor.recipe
    prepared_batch = processor.inputs([prepared for _, _, prepared in waiting])
    inputs = {name: tensor.to(device) for name, tensor in prepared_batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.computed.bfloat16):
        output = network(**inputs)
    raw = output.logits.float().softmax(dim=1).cpu().numpy()  # (segment, class)
    p = processor.probabilities(output.logits)
    selected, scores = (
        [None] * len(raw) if tensor is None else tensor.float().cpu().numpy()
        for tensor in (output.selected, output.scores)
    )
    for i, (row, stretch, prepared) in enumerate(waiting):
        row["class"] = recipe.labels[int(raw[i].argmax())]
        for j, name in enumerate(recipe.labels):
            row[f"p_{name}"], row[f"raw_{name}"] = p[i, j], raw[i, j]
        if scores[i] is not None:
            row["scores"] = scores[i].tolist()
        if selected[i] is not None:
            row |= _chosen(processor, selected[i].astype(int), stretch, prepared)


def _chosen(
    processor: MilmerProcessor, selected: np.ndarray, stretch: Stretch, prepared: Prepared
) -> dict[str, list]:
    """Chosen instances of the cached bag, and the frames of those that show a face."""
    bag, clip = prepared.bag, stretch.video.clip
    frames = sorted(int(bag.frames[i]) for i in selected if bag.valid[i])
    return {
        "chosen": processor.instances[selected].tolist(),
        "frames": frames,
        "frame_times": [round(clip.time(n) + stretch.offset, 4) for n in frames],
    }


def _gap_notes(table: pd.DataFrame, files: RecordingFiles) -> list[str]:
    """Remarks on segments without a prediction; raises :class:`MilmerError` if all are."""
    faceless, unusable = (
        int((table[name] == False).sum())  # noqa: E712
        for name in ("face_seen", "eeg_usable")
    )
    if faceless == len(table):
        raise MilmerError(
            f"no face was seen in any of {faceless} segments",
            where=files.video or files.trials,
            remedy="a face that is small in the picture is found with a larger "
            "--second-detection-size",
        )
    if table["class"].isna().all():
        raise MilmerError(
            "no segment has both a face and usable EEG", where=files.eeg or files.trials
        )
    reasons = ((faceless, "show no face"), (unusable, "have EEG that cannot be used"))
    return [
        f"{count} of {len(table)} segments {reason}: nothing is predicted there."
        for count, reason in reasons
        if count
    ]


def _write(
    processor: MilmerProcessor,
    table: pd.DataFrame,
    about: dict[str, Any],
    provenance: dict[str, Any],
    out: Path,
) -> None:
    recipe = processor.recipe
    about |= {
        "labels": recipe.labels,
        "temperature": recipe.temperature,
        "segments": len(table),
        "without_prediction": int(table["class"].isna().sum()),
        "card": recipe.card,
    }
    figure = timeline(table, recipe.labels)
    text = page(table, recipe, about, figure)
    kinds = {"eeg_usable": "boolean", "face_seen": "boolean", "faces": "Int32"}
    kinds |= dict.fromkeys(("class", "seen"), "string")
    table = table.astype(kinds)
    with folders.replacing_folder(out, "predict") as folder:
        storage.write_table(folder / "predictions.parquet", table, provenance | {"about": about})
        storage.write_text(folder / "predictions.csv", _csv(table))
        storage.write_text(folder / "timeline.svg", figure.file())
        storage.write_text(folder / "index.html", text)
        storage.write_json(folder / "about.json", about | {"provenance": provenance})


def _csv(table: pd.DataFrame) -> str:
    """The table as CSV; the values of a list are separated by blanks."""
    flat = as_cells(table)
    for name in ("chosen", "scores", "frames", "frame_times"):
        flat[name] = [
            None if values is None else " ".join(f"{value:.6g}" for value in values)
            for values in flat[name]
        ]
    return flat.to_csv(index=False)
