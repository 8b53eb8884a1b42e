"""Bags of faces of a new recording, made as the training data's were, one segment after the other.

The video is decoded once, in order. Crops wait until there are enough of them for the backbone, and
what it makes of a frame is kept while a segment to come needs it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from milmer.data.segmentation import Segment
from milmer.errors import MilmerError
from milmer.faces.bags import decode_crops
from milmer.faces.cropper import Crop, Cropper
from milmer.faces.crops import frame_numbers, union
from milmer.faces.detection import model_digest
from milmer.prediction.recipe import RememberedFaces
from milmer.readers.seekable_video import probe
from milmer.readers.video import Clip

Encode = Callable[[Tensor], Tensor]
"""From RGB pictures uint8 (frame, height, width, 3) to what the model looks at, one row a frame."""


@dataclass(frozen=True)
class Bag:
    """A segment's instances as the model sees them.

    ``faces`` (instance, …) are tokens or pixel values, zero where not ``valid`` (instance,);
    ``frames`` (instance,) are numbers of the video's frames, −1 where there is none.
    """

    faces: Tensor
    valid: np.ndarray
    frames: np.ndarray


class Bags:
    """Makes bags of videos; a context, which its threads live as long as.

    ``encode`` takes ``batch_size`` pictures at once and makes rows of ``shape`` and ``dtype``;
    ``instances`` of those in ``faces.instances`` are taken. Raises :class:`MilmerError` where the
    detector's model file is not that of the training data.
    """

    def __init__(
        self,
        known: RememberedFaces,
        detector_model: str | None,
        encode: Encode,
        batch_size: int,
        row: Tensor,
        instances: np.ndarray,
    ):
        options = known.options.faces.updated({"detector_model": detector_model})
        if model_digest(options) != known.detector_model:
            raise MilmerError(
                f"{detector_model}: not the detector's model file that the training data was made "
                "with (--detector-model)"
            )
        self._known, self._encode, self._batch, self._row = known, encode, batch_size, row
        self._stage = known.options.updated({"faces": {"detector_model": detector_model}})
        self._instances = instances
        self._cropper = Cropper(options)

    def __enter__(self) -> "Bags":
        self._cropper.__enter__()
        return self

    def __exit__(self, *told: object) -> None:
        self._cropper.__exit__(*told)

    def numbers(self, grid: Sequence[Segment], clip: Clip, start: float) -> list[np.ndarray]:
        """The frame numbers of each segment of ``grid``, which is at ``start`` s of the clip."""
        faces, seconds = self._stage.faces, self._stage.segmentation.seconds
        return [
            frame_numbers(s, clip, seconds, faces.instances, faces.min_coverage, start)
            for s in grid
        ]

    def bags(self, path: Path, clip: Clip, numbers: Sequence[np.ndarray]) -> Iterator[Bag]:
        """The bag of each segment, whose frame ``numbers`` are given, in their order."""
        # A crop that is left out never comes: what comes after it tells that it will not.
        wanted = union(dict(enumerate(numbers)))
        crops = self._cropper.crops(path, clip, wanted) if wanted.size else iter(())
        encoded = self._encoded(crops)
        held: dict[int, Tensor | None] = {}
        reached = -1
        for own in numbers:
            while own.size and reached < own[-1]:
                batch = next(encoded, None)
                if batch is None:
                    break
                held.update(batch)
                reached = max(batch)
            first = own[0] if own.size else -1
            held = {number: row for number, row in held.items() if number >= first}
            yield self._bag(own, held)

    def _encoded(self, crops: Iterator[Crop]) -> Iterator[dict[int, Tensor | None]]:
        """Rows of the crops by frame number, a batch at a time; None of one that is not valid."""
        rows: dict[int, Tensor | None] = {}
        waiting: list[Crop] = []

        def encode() -> None:
            pictures = torch.from_numpy(decode_crops(crop.image for crop in waiting))
            made = self._encode(pictures).to(self._row.dtype).cpu()
            rows.update((c.number, row) for c, row in zip(waiting, made, strict=True))
            waiting.clear()

        for crop in crops:
            rows[crop.number] = None
            if crop.detected or self._known.use_borrowed_boxes:
                waiting.append(crop)
            if len(waiting) == self._batch:
                encode()
                yield rows
                rows = {}
        if waiting:
            encode()
        if rows:
            yield rows

    def _bag(self, own: np.ndarray, held: dict[int, Tensor | None]) -> Bag:
        filled = [number for number in own if number in held]
        cached = np.full(self._stage.faces.instances, -1)
        cached[: len(filled)] = filled
        frames = cached[self._instances]
        rows = [held[n] if n >= 0 else None for n in frames]
        faces = torch.stack([self._row if row is None else row for row in rows])
        return Bag(faces, np.array([row is not None for row in rows]), frames)


def look_at(path: Path) -> Clip:
    """What a video holds; a file that is missing or empty is refused in one line."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise MilmerError(f"{path}: no such file") from error
    if not size:
        raise MilmerError(f"{path}: is empty (0 bytes); copy it again")
    return probe(path)
