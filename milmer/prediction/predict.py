"""From a model's folder and a recording to predictions, a timeline and a page.

Segments are prepared one after the other and go through the model in batches, so that memory does
not grow with the recording.
"""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric.plugins.precision import MixedPrecision, Precision

from milmer import storage
from milmer.errors import MilmerError
from milmer.model.modeling import MilmerForEmotionClassification
from milmer.prediction.options import PredictOptions
from milmer.prediction.page import page
from milmer.prediction.processor import MilmerProcessor, Prepared, Source
from milmer.prediction.stretches import Piece, Span, table_pieces
from milmer.prediction.timeline import timeline
from milmer.readers.digests import eeg_digests
from milmer.runtime.device import choose_device, describe
from milmer.runtime.progress import track
from milmer.training.recipe import FILE

MARKER = "predictions.parquet"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """What is predicted: ``eeg`` and ``video``, or a subject's table ``trials`` of a dataset.

    Files that the table names lie below ``root``.
    """

    eeg: Path | None = None
    video: Path | None = None
    trials: Path | None = None
    root: Path | None = None


def predict(model: Path, recording: Recording, options: PredictOptions, out: Path) -> None:
    """Write the predictions of ``recording`` by the model in the folder ``model``.

    Writes ``predictions.parquet`` and ``.csv`` (one row a segment), ``timeline.svg``,
    ``index.html`` and ``about.json`` to the folder ``out``. Raises :class:`MilmerError` where the
    recording is not what the model looks at, or shows no face in any segment.
    """
    storage.require_replaceable(out, MARKER)
    model = model / "model" if (model / "model" / "config.json").is_file() else model
    processor = MilmerProcessor.from_pretrained(
        model,
        backbone=options.backbone,
        detector_model=options.detector_model,
        device=options.device,
    )
    computed = processor.remembered.computed
    torch.set_num_threads(computed.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = choose_device(options.device)
    network = MilmerForEmotionClassification.from_pretrained(model).eval().to(device)
    bags = processor.bags(recording.video is not None or recording.trials is not None)
    with bags or nullcontext():
        pieces, inputs = _pieces(processor, recording, options, bags)
        for note in (note for piece in pieces for note in piece.notes):
            _log.info("%s", note)
        segments = _segments(processor, pieces, bags)
        total = sum(len(piece.grid) for piece in pieces)
        rows = _rows(processor, network, track(segments, "segments", total), device)
    table = pd.DataFrame(rows)
    gaps = _gaps(table, recording)
    notes = [note for piece in pieces for note in piece.notes] + gaps
    for note in gaps:
        _log.info("%s", note)
    inputs["model"] = model / "model.safetensors"
    inputs["processor"] = storage.digest(model / FILE)
    made = storage.provenance("predict", __name__, options.result(), inputs, describe(device))
    _write(processor, table, notes, made, out)


def _pieces(
    processor: MilmerProcessor, recording: Recording, options: PredictOptions, bags: Any
) -> tuple[list[Piece], dict[str, Path | str]]:
    """What is predicted, and the digests of what it is read from."""
    if recording.trials is None:
        source = Source(
            recording.eeg,
            recording.video,
            trial=options.trial,
            missing=options.missing_channels,
            use_eog=options.use_eog,
        )
        piece = processor.piece(source, Span(options.start, options.stop, options.offset), bags)
        inputs: dict[str, Path | str] = {}
        if piece.eeg is not None:
            inputs |= eeg_digests(recording.eeg.parent, [recording.eeg.name])
        if piece.video is not None:
            inputs["video"] = storage.digest(piece.video.path)
        return [piece], inputs
    if recording.root is None or recording.eeg is not None or recording.video is not None:
        raise MilmerError("--trials goes with --root, and with neither --eeg nor --video")
    given = options.result() | {"use_eog": None}
    if named := [name for name, value in given.items() if value is not None]:
        raise MilmerError(f"--{named[0].replace('_', '-')} does not go with --trials")
    known = processor.remembered
    eeg = known.eeg if "eeg" in processor.modalities else None
    pieces, digests = table_pieces(recording.trials, recording.root, eeg, known.segmentation, bags)
    return pieces, {"trials": recording.trials, **digests}


def _segments(
    processor: MilmerProcessor, pieces: list[Piece], bags: Any
) -> Iterator[tuple[Piece, Prepared]]:
    for piece in pieces:
        for prepared in processor.prepared(piece, bags):
            yield piece, prepared


def _rows(
    processor: MilmerProcessor,
    network: MilmerForEmotionClassification,
    segments: Iterator[tuple[Piece, Prepared]],
    device: torch.device,
) -> list[dict[str, Any]]:
    """A row a segment; the model sees a batch of those that it can look at."""
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[dict[str, Any], Piece, Prepared]] = []
    for piece, prepared in segments:
        rows.append(_blank(processor, piece, prepared))
        if prepared.complete:
            waiting.append((rows[-1], piece, prepared))
        if len(waiting) == processor.remembered.computed.batch_size:
            _fill(processor, network, waiting, device)
            waiting.clear()
    if waiting:
        _fill(processor, network, waiting, device)
    return rows


def _blank(processor: MilmerProcessor, piece: Piece, prepared: Prepared) -> dict[str, Any]:
    """A segment's row without what the model says."""
    segment, bag, labels = prepared.segment, prepared.bag, processor.remembered.labels
    begin = piece.start + segment.start
    return (
        piece.about
        | {
            "position": segment.position,
            "start": begin,
            "stop": begin + processor.remembered.segmentation.seconds,
            "class": None,
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
    network: MilmerForEmotionClassification,
    waiting: list[tuple[dict[str, Any], Piece, Prepared]],
    device: torch.device,
) -> None:
    """What the model says of a batch."""
    known = processor.remembered
    inputs = processor.inputs([prepared for _, _, prepared in waiting]).to(device)
    # As in training, where Fabric hands the inputs over in the precision that it computes in.
    if known.computed.bfloat16:
        precision: Precision = MixedPrecision("bf16-mixed", device.type)
    else:
        precision = Precision()
    with precision.forward_context():
        output = network(**precision.convert_input(dict(inputs)))
    raw = output.logits.float().softmax(dim=1).cpu().numpy()  # (segment, class)
    p = processor.probabilities(output.logits)
    listed = [
        [None] * len(raw) if tensor is None else tensor.float().cpu().numpy()
        for tensor in (output.selected, output.scores)
    ]
    for i, (row, piece, prepared) in enumerate(waiting):
        row["class"] = known.labels[int(raw[i].argmax())]
        for j, name in enumerate(known.labels):
            row[f"p_{name}"], row[f"raw_{name}"] = p[i, j], raw[i, j]
        selected, scores = (values[i] for values in listed)
        if scores is not None:
            row["scores"] = scores.tolist()
        if selected is not None:
            row |= _chosen(processor, selected.astype(int), piece, prepared)


def _chosen(
    processor: MilmerProcessor, selected: np.ndarray, piece: Piece, prepared: Prepared
) -> dict[str, list]:
    """Chosen instances of the cached bag, and the frames of those that hold a face."""
    bag, clip = prepared.bag, piece.video.clip
    frames = sorted(int(bag.frames[i]) for i in selected if bag.valid[i])
    return {
        "chosen": processor.instances[selected].tolist(),
        "frames": frames,
        "frame_times": [round(clip.time(n) + piece.offset, 4) for n in frames],
    }


def _gaps(table: pd.DataFrame, recording: Recording) -> list[str]:
    """What is to be said about segments without a prediction; refused where there is no other."""
    faceless, bad = (int((table[name] == False).sum()) for name in ("face_seen", "eeg_usable"))  # noqa: E712
    if faceless == len(table):
        name = recording.video or recording.trials
        raise MilmerError(
            f"{name}: no face was seen in any of {faceless} segments, and the model looks at faces"
        )
    if table["class"].isna().all():
        raise MilmerError(
            f"{recording.eeg or recording.trials}: no segment has both a face and EEG of which "
            "few enough channels are bad"
        )
    told = (
        (faceless, "show no face"),
        (bad, "have too many bad channels of EEG"),
    )
    return [
        f"{count} of {len(table)} segments {what}: nothing is predicted there."
        for count, what in told
        if count
    ]


def _write(
    processor: MilmerProcessor,
    table: pd.DataFrame,
    notes: list[str],
    made: dict[str, Any],
    out: Path,
) -> None:
    known = processor.remembered
    about = {
        "labels": known.labels,
        "temperature": known.temperature,
        "notes": notes,
        "segments": len(table),
        "without_prediction": int(table["class"].isna().sum()),
        "card": known.card,
    }
    figure = timeline(table, known.labels)
    text = page(table, known, notes, figure)
    kinds = {"eeg_usable": "boolean", "face_seen": "boolean", "faces": "Int32", "class": "string"}
    table = table.astype(kinds)
    with storage.replacing_folder(out) as folder:
        storage.write_table(folder / MARKER, table, made | {"about": about})
        storage.write_text(folder / "predictions.csv", _csv(table))
        storage.write_text(folder / "timeline.svg", figure.file())
        storage.write_text(folder / "index.html", text)
        storage.write_json(folder / "about.json", about | {"provenance": made})


def _csv(table: pd.DataFrame) -> str:
    """The table as CSV; what is a list is written with blanks in between."""
    shown = table.copy()
    for name in ("chosen", "scores", "frames", "frame_times"):
        shown[name] = [
            None if values is None else " ".join(f"{value:.6g}" for value in values)
            for values in shown[name]
        ]
    return shown.to_csv(index=False)
