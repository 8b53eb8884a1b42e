"""Face bags of a new recording, made like the training data's, one segment after the other.

The video is decoded once, in order. Crops are encoded in batches, and the features of a frame are
kept as long as a later segment needs them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milmer.data.segmentation import Segment
from milmer.errors import MilmerError
from milmer.faces.bags import decode_crops
from milmer.faces.cropper import Crop, Cropper
from milmer.faces.crops import frame_numbers, probe_of, union
from milmer.faces.model_files import model_digest
from milmer.prediction.recipe import FaceRecipe
from milmer.readers.digests import file_size
from milmer.readers.video import Clip

Encode = Callable[[Tensor], Tensor]
"""From RGB pictures uint8 (frame, height, width, 3) to the model's input, one row per frame."""


@dataclass(frozen=True)
class FaceBag:
    """A segment's instances as the model's input.

    ``faces`` (instance, …) are tokens or pixel values, zero where not ``valid`` (instance,);
    ``frames`` (instance,) are numbers of the video's frames, −1 where there is none.
    """

    faces: Tensor
    valid: np.ndarray
    frames: np.ndarray


class BagReader:
    """Reads face bags from videos; a context manager, whose threads end with it.

    ``encode`` turns ``batch_size`` pictures at a time into rows of the shape and type of ``row``,
    the row of a frame that is not valid. ``instances`` are the model's choice of the
    ``faces.instances`` frames of a bag; ``changes`` take the place of options of the training.
    Raises :class:`MilmerError` where the detector's model file
    is not that of the training data.
    """

    def __init__(
        self,
        preparation: FaceRecipe,
        changes: Mapping[str, Any],
        encode: Encode,
        batch_size: int,
        row: Tensor,
        instances: np.ndarray,
    ):
        options = preparation.options.faces.updated(changes)
        if model_digest(options) != preparation.detector_model:
            raise MilmerError(
                "not the face detector's model file of the training data",
                where=options.detector_model or "",
                remedy="give that one (--detector-model)",
            )
        self._encode, self._batch, self._row = encode, batch_size, row
        self._stage = preparation.options.updated({"faces": changes})
        self._probe = probe_of(self._stage.faces)
        self._use_borrowed_boxes = preparation.use_borrowed_boxes
        self._instances = instances
        self._cropper = Cropper(options)

    def __enter__(self) -> "BagReader":
        self._cropper.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cropper.__exit__(*error)

    def probe(self, path: Path, times: Path | None = None) -> Clip:
        """What a video contains; raises :class:`MilmerError` where it is missing or empty.

        ``times`` is a table of when its frames are shown on the clock of the EEG.
        """
        file_size(path)
        return self._probe(path, times)

    def numbers(self, grid: Sequence[Segment], clip: Clip, start: float) -> list[np.ndarray]:
        """The frame numbers of each segment of ``grid``, beginning at ``start`` s in the clip."""
        faces, seconds = self._stage.faces, self._stage.segmentation.seconds
        return [
            frame_numbers(s, clip, seconds, faces.instances, faces.min_coverage, start)
            for s in grid
        ]

    def bags(
        self, path: Path, clip: Clip, numbers: Sequence[np.ndarray], place: str | None = None
    ) -> Iterator[FaceBag]:
        """The bags of the segments with these frame ``numbers``, in their order.

        ``place`` is where the face is, as in the manifest's column ``face``.
        """
        # The cropper leaves out some frames; a later frame shows that one will not come.
        wanted = union(dict(enumerate(numbers)))
        crops = self._cropper.crops(path, clip, wanted, place)[1] if wanted.size else iter(())
        encoded = self._encoded(crops)
        rows: dict[int, Tensor | None] = {}
        reached = -1
        for frames in numbers:
            while frames.size and reached < frames[-1]:
                batch = next(encoded, None)
                if batch is None:
                    break
                rows.update(batch)
                reached = max(batch)
            first = frames[0] if frames.size else -1
            rows = {number: row for number, row in rows.items() if number >= first}
            yield self._bag(frames, rows)

    def _encoded(self, crops: Iterator[Crop]) -> Iterator[dict[int, Tensor | None]]:
        """Rows of the crops by frame number, a batch at a time; None of one that is not valid."""
        rows: dict[int, Tensor | None] = {}
        waiting: list[Crop] = []

        def encode() -> None:
            pictures = torch.from_numpy(decode_crops(crop.image for crop in waiting))
            features = self._encode(pictures).to(self._row.dtype).cpu()
            rows.update((c.number, row) for c, row in zip(waiting, features, strict=True))
            waiting.clear()

        for crop in crops:
            rows[crop.number] = None
            if crop.detected or self._use_borrowed_boxes:
                waiting.append(crop)
            if len(waiting) == self._batch:
                encode()
                yield rows
                rows = {}
        if waiting:
            encode()
        if rows:
            yield rows

    def _bag(self, numbers: np.ndarray, features: dict[int, Tensor | None]) -> FaceBag:
        filled = [number for number in numbers if number in features]
        cached = np.full(self._stage.faces.instances, -1)
        cached[: len(filled)] = filled
        frames = cached[self._instances]
        rows = [features[n] if n >= 0 else None for n in frames]
        faces = torch.stack([self._row if row is None else row for row in rows])
        return FaceBag(faces, np.array([row is not None for row in rows]), frames)
