"""A fold's data: EEG segments, bags of faces, and which rows belong to which part.

A face is its tokens, or a picture where the backbone is trained too. Tokens and EEG stay where they
are: mapped from their files, or on the device where they fit. A batch is an index look-up; pictures
are decoded for it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from milmer import claims, storage
from milmer.contracts.faces import FACES
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.eeg.alignment import aligning_matrix
from milmer.faces.bags import decode_crop, evenly_spaced, valid_instances
from milmer.runtime.device import sent
from milmer.splits.rows import (
    count_parts,
    joined,
    read_split,
    require_fit,
    sampling_rate,
    unknown_segment,
    without_rejected,
)

Prepare = Callable[[Tensor], Tensor]
_AT_ONCE = 64  # segments whose covariance is taken
_DEVICE_SHARE = 0.6  # of a device's free memory that a fold's data may take


class Rows:
    """Rows of several arrays under one numbering, read by index.

    ``arrays`` have the same shape but for their first axis; they may be mapped from files.
    """

    def __init__(self, arrays: Sequence[np.ndarray]):
        self._arrays = list(arrays)
        self.first = np.cumsum([0, *(len(a) for a in arrays)])
        self._resident: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self._arrays[0].shape[1:]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(a.nbytes for a in self._arrays)

    def to(self, device: torch.device) -> None:
        """Keep all rows in the memory of ``device`` from now on."""
        kind = torch.from_numpy(self._arrays[0][:0]).dtype
        self._resident = torch.empty((int(self.first[-1]), *self.shape), dtype=kind, device=device)
        for array, first in zip(self._arrays, self.first, strict=False):
            self._resident[first : first + len(array)].copy_(
                torch.from_numpy(np.ascontiguousarray(array))
            )

    def take(self, index: np.ndarray, valid: np.ndarray | None = None) -> Tensor:
        """Rows ``index`` of any shape; zeros where not ``valid``, whose index is never used."""
        if valid is None:
            valid = index >= 0
        if self._resident is not None:
            where = sent(torch.from_numpy(np.where(valid, index, 0)), self._resident.device)
            mask = sent(torch.from_numpy(valid), self._resident.device)
            rows = self._resident[where]
            return rows * mask.view(*mask.shape, *[1] * len(self.shape))
        flat, used = index.ravel(), np.flatnonzero(valid.ravel())
        out = np.zeros((flat.size, *self.shape), self._arrays[0].dtype)
        source = np.searchsorted(self.first, flat[used], side="right") - 1
        for i in np.unique(source):
            places = used[source == i]
            out[places] = self._arrays[i][flat[places] - self.first[i]]
        return torch.from_numpy(out.reshape(*index.shape, *self.shape))


class Pictures:
    """Face crops of several files under one numbering, decoded when they are taken.

    ``prepare`` makes pixel values (frame, 3, height, width) of RGB uint8 pictures
    (frame, height, width, 3), on its device. Files stay open as long as this lives.
    """

    def __init__(self, paths: Sequence[Path], prepare: Prepare, threads: int):
        self._images = []
        for path in paths:
            with storage.read_errors(path):
                self._images.append(claims.open_h5(path)["image"])
        self.first = np.cumsum([0, *(len(images) for images in self._images)])
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(threads)

    def take(self, index: np.ndarray, valid: np.ndarray) -> Tensor:
        """Pixel values (*index.shape, 3, height, width); zeros where not ``valid``."""
        rows = index[valid]
        source = np.searchsorted(self.first, rows, side="right") - 1
        coded = [self._images[i][row - self.first[i]] for i, row in zip(source, rows, strict=True)]
        pictures = list(self._pool.map(decode_crop, coded))
        frames = self._prepare(torch.from_numpy(np.stack(pictures)))
        x = frames.new_zeros(*index.shape, *frames.shape[1:])
        x[torch.from_numpy(valid).to(frames.device)] = frames
        return x


@dataclass(frozen=True)
class Aligning:
    """Matrices (recording, channel, channel), and which of them a row of the EEG takes (row,)."""

    matrices: Tensor
    recording: np.ndarray

    def of(self, rows: np.ndarray) -> Tensor:
        """The matrices (batch, channel, channel) of ``rows`` of the EEG."""
        return self.matrices[torch.from_numpy(self.recording[rows])]


@dataclass
class FoldData:
    """The segments of a fold, one row each of ``table`` (subject, …, label, part).

    ``eeg_row`` (row,) and ``bag`` (row, instance) index :class:`Rows` or :class:`Pictures`;
    ``valid`` (row, instance); ``instances`` (instance,) are the cached bag's that make up a row's;
    ``sfreq`` is the EEG's rate in Hz, ``aligning`` says by what it is multiplied.
    What the model does not look at is null. ``dropped`` counts the segments without a valid
    instance that were left out, by part, ``rejected`` those whose EEG cannot be used.
    """

    table: pd.DataFrame
    labels: list[str]
    facts: dict
    eeg: Rows | None
    sfreq: float | None
    eeg_row: np.ndarray | None
    tokens: Rows | None
    pictures: Pictures | None
    bag: np.ndarray | None
    valid: np.ndarray | None
    instances: np.ndarray | None
    dropped: dict[str, int]
    rejected: dict[str, int]
    aligning: Aligning | None = None

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of a part, in the one segment order."""
        return np.flatnonzero(self.table["part"] == part)

    def batch(self, rows: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """The model's arguments for ``rows``."""
        labels = torch.from_numpy(self.table["label"].to_numpy(np.int64)[rows])
        inputs = {"labels": sent(labels, device)}
        if self.eeg is not None:
            inputs["eeg"] = self.eeg_of(rows, device)
        if self.bag is not None:
            bag, valid = self.bag[rows], self.valid[rows]  # (batch, instance)
            if self.pictures is not None:
                inputs["pixel_values"] = sent(self.pictures.take(bag, valid), device)
            else:
                inputs["face_tokens"] = sent(self.tokens.take(bag, valid), device).float()
            inputs["valid"] = torch.from_numpy(valid)  # the host looks at it first
        return inputs

    def inputs(
        self, rows: np.ndarray, size: int, device: torch.device
    ) -> Iterator[dict[str, Tensor]]:
        """The model's arguments for ``rows`` but their labels, ``size`` rows at a time."""
        for first in range(0, len(rows), size):
            inputs = self.batch(rows[first : first + size], device)
            inputs.pop("labels")
            yield inputs

    def eeg_of(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """EEG (batch, channel, sample) of ``rows`` in µV, or aligned, which has no unit."""
        eeg = sent(self.eeg.take(self.eeg_row[rows]), device)
        if self.aligning is None:
            return eeg
        return sent(self.aligning.of(self.eeg_row[rows]), device) @ eeg

    def to(self, device: torch.device, jobs: int = 1) -> None:
        """Keep the data on a GPU where it fits, else read batches from the host's memory.

        ``jobs`` share the GPU, each a like part of its memory.
        """
        if device.type != "cuda":
            return
        free, total = torch.cuda.mem_get_info(device)
        free = min(free, total / jobs) * _DEVICE_SHARE
        for rows in (self.eeg, self.tokens):
            if rows is not None and rows.nbytes < free:
                free -= rows.nbytes
                rows.to(device)


def read_fold(
    split: Path,
    segments: Sequence[Path],
    tokens: Sequence[Path],
    instances: int | None = None,
    alignment: str = "none",
) -> FoldData:
    """Read a fold: its split and the subjects' segments and tokens (none where not looked at).

    ``instances`` takes that many of each cached bag, evenly spaced, and not all. A subject of the
    split without tokens has no valid instance. Raises :class:`MilmerError` where files do not fit
    together: other trials, another segment grid.
    """
    data = _read_table_and_eeg(split, segments, alignment)
    if not tokens:
        return data
    provenance = storage.read_provenance(split)
    for path in tokens:
        require_fit(split, provenance, path, TOKENS)
    rows, row, files = joined(data.table, tokens, TOKENS, "tokens", split)
    data.tokens = Rows(rows)
    _add_bags(data, files, row, data.tokens.first, instances)
    return data


def read_fold_with_pictures(
    split: Path,
    segments: Sequence[Path],
    faces: Sequence[Path],
    prepare: Prepare,
    instances: int | None = None,
    use_borrowed_boxes: bool = False,
    threads: int = 1,
    alignment: str = "none",
) -> FoldData:
    """The same with the subjects' face crops in place of tokens; see :class:`Pictures`."""
    data = _read_table_and_eeg(split, segments, alignment)
    provenance = storage.read_provenance(split)
    for path in faces:
        require_fit(split, provenance, path, FACES)
    _, row, files = joined(data.table, faces, FACES, None, split)
    for file in files:
        file["valid"] = valid_instances(file["bag"], file["detected"], use_borrowed_boxes)
    data.pictures = Pictures(faces, prepare, threads)
    _add_bags(data, files, row, data.pictures.first, instances)
    return data


def _read_table_and_eeg(split: Path, segments: Sequence[Path], alignment: str) -> FoldData:
    table, provenance = read_split(split)
    eeg = eeg_row = sfreq = None
    rejected: dict[str, int] = {}
    for path in segments:
        require_fit(split, provenance, path, SEGMENTS)
    if segments:
        arrays, eeg_row, files = joined(table, segments, SEGMENTS, "eeg", split)
        eeg, sfreq = Rows(arrays), sampling_rate(segments)
        if (eeg_row < 0).any():
            raise unknown_segment(table, eeg_row, split)
        table, eeg_row, rejected = without_rejected(table, eeg_row, files)
    aligning = None
    if eeg is not None and alignment == "euclidean" and len(table):
        aligning = _aligning(table, eeg, eeg_row)
    return FoldData(
        table=table,
        labels=provenance["facts"]["labels"],
        facts=provenance["facts"],
        eeg=eeg,
        sfreq=sfreq,
        eeg_row=eeg_row,
        tokens=None,
        pictures=None,
        bag=None,
        valid=None,
        instances=None,
        dropped={},
        rejected=rejected,
        aligning=aligning,
    )


def _aligning(table: pd.DataFrame, eeg: Rows, eeg_row: np.ndarray) -> Aligning:
    """What aligns each session of a subject: its training segments, all of them where none is.

    So a subject who trains is aligned by what the model learns from, and a new one by itself.
    """
    keys = [name for name in ("subject", "session") if name in table]
    number = table.groupby(keys, dropna=False, sort=True).ngroup().to_numpy()
    recording, trains = np.zeros(eeg.first[-1], int), (table["part"] == "train").to_numpy()
    recording[eeg_row] = number
    matrices = []
    for own in (number == n for n in range(number.max() + 1)):
        rows = eeg_row[own & trains if (own & trains).any() else own]
        parts = (rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE))
        matrices.append(aligning_matrix(eeg.take(part).numpy() for part in parts))
    return Aligning(torch.from_numpy(np.stack(matrices)), recording)


def _add_bags(
    data: FoldData,
    files: list[dict[str, np.ndarray]],
    row: np.ndarray,
    first: np.ndarray,
    instances: int | None,
) -> None:
    """Add the bags and leave out the segments that have no valid instance."""
    bag, valid = _bags(files, row, first)
    data.instances = evenly_spaced(bag.shape[1], instances)
    bag, valid = bag[:, data.instances], valid[:, data.instances]
    kept = valid.any(axis=1)
    data.dropped = count_parts(data.table, ~kept)
    data.table = data.table[kept].reset_index(drop=True)
    data.bag, data.valid = bag[kept], valid[kept]
    data.eeg_row = data.eeg_row[kept] if data.eeg_row is not None else None


def _bags(
    files: list[dict[str, np.ndarray]], row: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bags of the split's rows in the joint numbering of frames, and which instances are valid."""
    bags = [
        np.where(f["bag"] >= 0, f["bag"] + start, -1)
        for f, start in zip(files, first, strict=False)
    ]
    bag, valid = np.concatenate(bags), np.concatenate([f["valid"] for f in files])
    has_file = row >= 0
    row = np.where(has_file, row, 0)
    return np.where(has_file[:, None], bag[row], -1), valid[row] & has_file[:, None]
