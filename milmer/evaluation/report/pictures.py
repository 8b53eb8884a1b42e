"""Pictures of frames. They show participants and are included only if ``report.faces`` asks for it.

Blurring keeps 8 x 8 smoothed points of a face, from which nobody can be recognised. Pictures are
blurred or reduced before they are written in any form, so the page contains nothing finer.
"""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from milmer import storage
from milmer.contracts.faces import FACES
from milmer.evaluation.report.sources import Results
from milmer.faces.bags import decode_crop

_SIDE = 72  # px of a picture on the page
_POINTS = 8  # along each side of a blurred face
_MOST = 6  # bags


@dataclass(frozen=True)
class Bag:
    """The frames of a segment in order, as one JPEG strip that marks the chosen ones."""

    heading: str
    description: str
    strip: str
    width: int
    height: int


def bags(results: Results) -> list[Bag]:
    """Bags of the first experiment that chooses among frames, one per subject."""
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
    with storage.open_h5(results.faces_file(variant, row.subject), FACES) as file:
        same_trial = file["trial"][()] == row.trial
        segment = np.flatnonzero(same_trial & (file["position"][()] == row.position))[0]
        bag = file["bag"][segment]  # (instance,)
        pictures = [decode_crop(file["image"][i]) if i >= 0 else None for i in bag]
    chosen = {int(i) for i in row.chosen}
    tiles = [_tile(picture, how, i in chosen) for i, picture in enumerate(pictures)]
    strip = np.concatenate(tiles, axis=1)
    done, coded = cv2.imencode(
        ".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    assert done
    heading = f"{title}: {row.subject}, trial {row.trial}, segment {row.position}"
    description = f"{len(bag)} frames, of which {', '.join(map(str, sorted(chosen)))} were chosen"
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
    """A picture (height, width, 3) reduced to 8 x 8 smoothed points, at its size on the page."""
    points = cv2.resize(picture, (_POINTS, _POINTS), interpolation=cv2.INTER_AREA)
    points = cv2.GaussianBlur(points, (0, 0), 1.0)
    return cv2.resize(points, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)


def _small(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
