"""A fold's split, and the rows of its subjects' files that it names; loads no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.arrays import Arrays, attribute
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.split import SOURCES, SPLIT
from milmer.contracts.tables import SEGMENT
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.options import read_options
from milmer.splits.guard import require_sound

_SMALL = ("rejected", "bag", "valid", "detected")


def read_split(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A split without its sources, and its provenance, once the guard has let it through.

    Raises :class:`MilmerError` where it leaks, see :func:`milmer.splits.guard.require_sound`.
    """
    table, provenance = storage.read_table(path, SPLIT), storage.read_provenance(path)
    segmentation = read_options(
        SegmentationOptions, provenance["options"]["segmentation"], str(path)
    )
    require_sound(table, provenance["facts"], segmentation, str(path))
    return table.drop(columns=[*SOURCES], errors="ignore"), provenance


def require_fit(split: Path, split_provenance: dict, path: Path, contract: Arrays) -> None:
    """Refuse a subject's file that breaks ``contract``, of other trials or another segmentation."""
    with storage.open_h5(path, contract):
        provenance = storage.read_provenance(path)
    if contract.stage == "tokens":  # whose grid is that of the faces
        provenance = provenance["upstream"]["faces"]
    if provenance["inputs"]["trials"] not in split_provenance["inputs"].values():
        raise MilmerError(
            f"made from other trials than {split}",
            where=path,
            remedy="run snakemake again, or delete it",
        )
    storage.require_same(
        "segmentation",
        (split, split_provenance["options"]["segmentation"]),
        (path, provenance["options"]["segmentation"]),
    )


def require_once(paths: Sequence[Path]) -> None:
    """Refuse two files of one subject, or one given twice."""
    subjects: dict[str, Path] = {}
    for path in paths:
        if (first := subjects.get(path.stem)) is not None:
            what = "given twice" if first == path else f"of the same subject as {first}"
            raise MilmerError(what, where=path, remedy="give one file a subject")
        subjects[path.stem] = path


def joined(
    table: pd.DataFrame,
    paths: Sequence[Path],
    contract: Arrays,
    dataset: str | None,
    split: Path,
) -> tuple[list[np.ndarray], np.ndarray, list[dict[str, np.ndarray]]]:
    """Each file's ``dataset`` as it is mapped, and each split row's row in the files' grids.

    The grids follow one another; −1 where a subject has no file. What small arrays about segments
    and bags a file holds comes as a third. Raises :class:`MilmerError` where a file lacks a
    segment, or is damaged.
    """
    require_once(paths)
    arrays, grids, files = [], [], []
    montages: dict[tuple[str, ...], Path] = {}
    for path in paths:
        storage.require_intact(path)
        with storage.open_h5(path, contract) as file:
            if dataset is not None:
                arrays.append(storage.mapped(file[dataset]))
            if contract is SEGMENTS:
                montages.setdefault(tuple(attribute(file, "channels", path)), path)
            files.append({n: file[n][()] for n in _SMALL if n in file})
            grids.append(
                pd.DataFrame(
                    {
                        "subject": path.stem,
                        "trial": file["trial"][()],
                        "position": file["position"][()],
                    }
                )
            )
    if len(montages) > 1:
        raise _other_channels(*list(montages.items())[:2])
    if len({a.shape[1:] for a in arrays}) > 1:
        raise MilmerError(f"subjects differ in the shape of their {dataset}", where=paths[0].parent)
    grid = pd.concat(grids, ignore_index=True)
    place = pd.Series(np.arange(len(grid)), index=pd.MultiIndex.from_frame(grid[SEGMENT]))
    row = place.reindex(pd.MultiIndex.from_frame(table[SEGMENT])).fillna(-1).to_numpy(np.int64)
    absent = (row < 0) & table["subject"].isin(set(grid["subject"])).to_numpy()
    if absent.any():
        raise unknown_segment(table, np.where(absent, -1, 0), split)
    return arrays, row, files


def without_rejected(
    table: pd.DataFrame, row: np.ndarray, files: Sequence[dict[str, np.ndarray]]
) -> tuple[pd.DataFrame, np.ndarray, dict[str, int]]:
    """A split and its ``row`` in the grids, see :func:`joined`, without rejected segments.

    Also returns how many were left out, by part.
    """
    left_out = np.concatenate([file["rejected"] != b"" for file in files])[row]
    kept = ~left_out
    return table[kept].reset_index(drop=True), row[kept], count_parts(table, left_out)


def count_parts(table: pd.DataFrame, left_out: np.ndarray) -> dict[str, int]:
    """How many rows of a split are ``left_out`` (row,), by part."""
    counts = table.loc[left_out, "part"].value_counts().sort_index()
    return {str(part): int(n) for part, n in counts.items()}


def nothing_left(rows: Mapping[str, int], left_out: Mapping[str, Mapping[str, int]]) -> str | None:
    """Why a fold is skipped of which the parts in ``rows`` are needed; None if each has rows.

    ``left_out`` counts, by reason, the rows that were left out of each part.
    """
    empty = [part for part, count in rows.items() if not count]
    if not empty:
        return None
    counts = [f"{sum(parts.values())} {why}" for why, parts in left_out.items() if parts]
    return f"no segment is left for {', '.join(empty)} ({', '.join(counts) or 'none left out'})"


def _other_channels(
    first: tuple[tuple[str, ...], Path], second: tuple[tuple[str, ...], Path]
) -> MilmerError:
    """The error of two subjects whose EEG channels are not the same in the same order."""
    alone = sorted(set(first[0]) ^ set(second[0]))
    difference = f"{', '.join(alone[:8])} in one alone" if alone else "in another order"
    return MilmerError(
        f"not the EEG channels of {first[1]} ({difference})",
        where=second[1],
        remedy="name those to take in dataset.channels",
    )


def sampling_rate(paths: Sequence[Path]) -> float:
    """The sampling rate of the subjects' segments in Hz; the same for all, or an error."""
    rates = set()
    for path in paths:
        with storage.open_h5(path, SEGMENTS) as file:
            rates.add(attribute(file, "sfreq", path))
    if len(rates) > 1:
        raise MilmerError(
            "subjects differ in their sampling rate",
            where=paths[0].parent,
            remedy="set dataset.sfreq",
        )
    return rates.pop()


def unknown_segment(table: pd.DataFrame, row: np.ndarray, split: Path) -> MilmerError:
    """The error of a split that names a segment whose ``row`` is below 0."""
    missing = table.iloc[int(np.flatnonzero(row < 0)[0])]
    return MilmerError(
        f"names {missing.subject}, trial {missing.trial}, position "
        f"{missing.position}, which the subject's files do not hold",
        where=split,
        remedy="run snakemake again",
    )
