"""Pictures of frames, which show participants: only where ``report.faces`` asks for them.

A blurred picture keeps 8 x 8 points of a face, smoothed; nobody is recognised by them, and nothing
more is put into the page. The picture itself is made small before it is written in any form.
"""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from milmer import storage
from milmer.evaluation.report.sources import Results
from milmer.faces.bags import decode_crop

_SIDE = 72  # px of a picture on the page
_POINTS = 8  # that a blurred face is made of, along a side
_MOST = 6  # bags


@dataclass(frozen=True)
class Bag:
    """A segment's frames in their order, as one JPEG strip, and which were chosen."""

    heading: str
    description: str
    strip: str
    width: int
    height: int


def bags(results: Results) -> list[Bag]:
    """Bags of the first experiment that chooses among frames, one a subject."""
    how = results.options.report.faces
    if how == "none":
        return []
    for group in results.groups:
        table = group.predictions[group.predictions["chosen"].notna()]
        variant = results.options.experiments[group.experiment].faces
        if table.empty or variant is None:
            continue
        first = table.drop_duplicates("subject").head(_MOST)
        return [_bag(results, group.title, variant, row, how) for row in first.itertuples()]
    return []


def _bag(results: Results, title: str, variant: str, row: tuple, how: str) -> Bag:
    with storage.open_h5(results.faces_file(variant, row.subject), "faces") as file:
        known = (file["experiment_id"][()] == row.experiment_id) & (
            file["position"][()] == row.position
        )
        bag = file["bag"][np.flatnonzero(known)[0]]  # (instance,)
        pictures = [decode_crop(file["image"][i]) if i >= 0 else None for i in bag]
    chosen = {int(i) for i in row.chosen}
    tiles = [_tile(picture, how, i in chosen) for i, picture in enumerate(pictures)]
    strip = np.concatenate(tiles, axis=1)
    done, coded = cv2.imencode(
        ".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    assert done
    heading = f"{title}: {row.subject}, experiment_id {row.experiment_id}, segment {row.position}"
    description = f"{len(bag)} frames of which {', '.join(map(str, sorted(chosen)))} were chosen"
    uri = "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()
    return Bag(heading, description, uri, strip.shape[1], strip.shape[0])


def _tile(picture: np.ndarray | None, how: str, chosen: bool) -> np.ndarray:
    tile = np.full((_SIDE + 14, _SIDE + 4, 3), 128, np.uint8)
    if picture is not None:
        tile[2 : 2 + _SIDE, 2 : 2 + _SIDE] = (
            blurred(picture) if how == "blurred" else _small(picture)
        )
    if chosen:
        tile[-9:-2, 2:-2] = (240, 148, 92)
    return tile


def blurred(picture: np.ndarray) -> np.ndarray:
    """A picture (height, width, 3) of which 8 x 8 points are left, smoothed, at the page's size."""
    points = cv2.resize(picture, (_POINTS, _POINTS), interpolation=cv2.INTER_AREA)
    points = cv2.GaussianBlur(points, (0, 0), 1.0)
    return cv2.resize(points, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
