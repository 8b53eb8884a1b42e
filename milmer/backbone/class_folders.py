"""Pictures of faces in class folders, divided into parts for pre-training.

A folder holds ``{class}/*.jpg``, or ``train/{class}/…`` and optionally ``val/{class}/…`` and
``test/{class}/…``, as FER-2013, RAF-DB and AffectNet are exported. A picture is identified by the
digest of its file; so neither names nor order matter, and equal files, of which FER-2013 holds
many, never lie in two parts.
"""

import hashlib
import logging
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from milmer.errors import MilmerError
from milmer.readers.pictures import require_pixels
from milmer.runtime.progress import track

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_AT_ONCE = 1024  # pictures that are read between two updates of the progress
_log = logging.getLogger(__name__)


class Part(Dataset):
    """The pictures of one part, RGB uint8 (height, width, 3) of any size, and their class numbers.

    Raises :class:`MilmerError` for a picture that can no longer be decoded.
    """

    def __init__(self, paths: list[Path], labels: np.ndarray):
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        picture = _decode(self.paths[row].read_bytes(), self.paths[row])
        if picture is None:
            raise MilmerError(
                "changed while it was in use", where=self.paths[row], remedy="run again"
            )
        return torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), int(self.labels[row])


@dataclass(frozen=True)
class LabelledPictures:
    """A folder of pictures: its classes, its parts train, val and possibly test, and its digest.

    ``repeated`` counts, by part, the pictures left out because another part holds the same file.
    """

    classes: list[str]
    parts: dict[str, Part]
    repeated: dict[str, int]
    digest: str


def read_pictures(images: Path, validation: float, seed: int, threads: int) -> LabelledPictures:
    """Read all pictures of the folder ``images`` once and divide them into parts.

    If there is no folder val, the share ``validation`` of each class is drawn from the training
    pictures. A file in several parts stays in test, or else in val. Raises :class:`MilmerError`
    for a folder of another layout, a file that is not a picture or claims too many pixels, and a
    class with too few.
    """
    folders = _folders(images)
    classes = list(_classes(folders["train"]))
    if len(classes) < 2:
        raise MilmerError(
            f"holds one class, {classes[0]}",
            where=folders["train"],
            remedy="give a folder for each of at least two classes",
        )
    table = _table(folders, classes, threads)
    digest = hashlib.sha256(table.drop(columns="path").to_csv(index=False).encode()).hexdigest()
    counts = table["part"].value_counts()
    for part, others in (("val", ["test"]), ("train", ["val", "test"])):
        elsewhere = table.loc[table["part"].isin(others), "content"]
        table = table[~((table["part"] == part) & table["content"].isin(elsewhere))]
    repeated = {part: int(counts[part] - (table["part"] == part).sum()) for part in folders}
    if "val" not in folders:
        contents = _held_out(table[table["part"] == "train"], validation, seed)
        held_out = (table["part"] == "train") & table["content"].isin(contents)
        table = table.assign(part=table["part"].mask(held_out, "val"))
    _require_enough(table, folders, classes)
    several = table.groupby("content")["class"].nunique().gt(1)
    for content in several.index[several]:
        places = table.loc[table["content"] == content, "path"]
        names = " and ".join(str(place.relative_to(images)) for place in places)
        _log.warning("%s: one picture in more than one class: %s", images, names)
    parts = {
        part: Part(list(rows["path"]), rows["class"].map(classes.index).to_numpy())
        for part, rows in table.groupby("part")
    }
    return LabelledPictures(classes, parts, repeated, digest)


def _folders(images: Path) -> dict[str, Path]:
    """The folder of each part; without folders of parts, all pictures are for training."""
    folders = _below(images)
    parts: dict[str, Path] = {}
    for folder in folders:
        part = _PARTS.get(folder.name.casefold())
        if part in parts:
            raise MilmerError(
                f"{parts[part].name} is there too", where=folder, remedy="keep one of them"
            )
        if part:
            parts[part] = folder
    if parts and "train" not in parts:
        raise MilmerError(
            f"holds {', '.join(sorted(parts))} without train beside it",
            where=images,
            remedy="add the folder train",
        )
    if others := [folder.name for folder in folders if parts and folder not in parts.values()]:
        _log.warning("%s: beside train, not read: %s", images, ", ".join(others))
    return parts or {"train": images}


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Pictures by class, both sorted by name."""
    classes = {
        below.name: [
            path
            for path in sorted(below.iterdir())
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        for below in _below(folder)
    }
    if not classes:
        raise MilmerError("holds no class folders", where=folder, remedy="give each class a folder")
    for name, paths in classes.items():
        if not paths:
            raise MilmerError(
                f"holds no pictures ({', '.join(sorted(SUFFIXES))})",
                where=folder / name,
                remedy="remove it, or fill it",
            )
    return classes


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MilmerError("no such folder of pictures", where=folder, remedy="check the path")
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _table(folders: dict[str, Path], classes: list[str], threads: int) -> pd.DataFrame:
    """``part, class, content, path`` of all pictures, in an order that does not depend on names."""
    rows = []
    for part, folder in folders.items():
        for name, paths in _classes(folder).items():
            if name not in classes:
                raise MilmerError(
                    f"is not a class of {folders['train']}, which has {', '.join(classes)}",
                    where=folder / name,
                    remedy="rename or remove it",
                )
            rows += [(part, name, path) for path in paths]
    table = pd.DataFrame(rows, columns=["part", "class", "path"])
    contents: list[str | None] = []
    with ThreadPoolExecutor(threads) as pool:
        for first in track(range(0, len(table), _AT_ONCE), "reading pictures"):
            contents += pool.map(_content, table["path"][first : first + _AT_ONCE])
    table.insert(2, "content", contents)
    if table["content"].isna().any():
        unreadable = table.loc[table["content"].isna(), "path"]
        more = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise MilmerError(
            f"is not a readable picture{more}", where=unreadable.iloc[0], remedy="remove it"
        )
    return table.sort_values(["part", "class", "content"], ignore_index=True)


def _content(path: Path) -> str | None:
    """The digest of a picture's file; None if it is not a picture."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return None if _decode(data, path) is None else hashlib.sha256(data).hexdigest()


def _decode(data: bytes, path: Path) -> np.ndarray | None:
    """BGR uint8 (height, width, 3) of a picture's file; None if it is not a picture."""
    if not require_pixels(data, where=path):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def _require_enough(table: pd.DataFrame, folders: dict[str, Path], classes: list[str]) -> None:
    groups = set(table.groupby(["part", "class"]).groups)
    drawn = "val" not in folders
    for name in classes:
        if ("train", name) not in groups or (drawn and ("val", name) not in groups):
            least = "two, one to learn from and one to hold out" if drawn else "one"
            raise MilmerError(
                "holds too few different pictures",
                where=folders["train"] / name,
                remedy=f"give at least {least}, not counting what test or val hold too",
            )
    for part in folders:
        if part not in set(table["part"]):
            raise MilmerError(
                "holds only pictures that are in test too",
                where=folders[part],
                remedy="give it other pictures, or remove it",
            )


def _held_out(train: pd.DataFrame, share: float, seed: int) -> set[str]:
    """Contents to hold out: about ``share`` of each class's pictures, equal ones together.

    Drawn from (seed, class), so that a class is divided the same way when others are added. A
    content in two classes is drawn with the first.
    """
    held_out: set[str] = set()
    copies = train["content"].value_counts()
    for name, rows in train.drop_duplicates("content").groupby("class"):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        contents = rng.permutation(rows["content"].to_numpy())
        counts = copies[contents].to_numpy()
        before = counts.cumsum() - counts  # pictures that are held out already
        wanted = max(1, round(share * counts.sum()))
        held_out |= set(contents[before < wanted][: len(contents) - 1])
    return held_out
