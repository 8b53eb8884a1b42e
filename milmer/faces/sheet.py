"""Contact sheets: one picture of how face detection went on a clip.

Evenly chosen frames in a grid, each with the box that was cropped, and above them what was
measured. A sheet shows a person's face, so nothing draws one unless the user asks for it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from milmer import storage
from milmer.errors import MilmerError
from milmer.faces.cropper import Cropper
from milmer.faces.crops import numbers_of, union
from milmer.faces.detection import Face
from milmer.faces.options import FaceStageOptions
from milmer.faces.tracking import same
from milmer.faces.video import Clip, decode, probe
from milmer.progress import track
from milmer.segmentation import Segment, segment_grid

_COLUMNS, _ROWS = 6, 4
_CELL = 2.4  # inches; the sheet has 100 px to the inch
_LABEL, _HEAD = 0.32, 0.8  # inches below each frame and above all
_DETECTED, _BORROWED = "#1a9850", "#e66101"


class Look(NamedTuple):
    """What became of a searched frame: its box, and whether a face was detected in it."""

    face: Face
    detected: bool


def draw_video_sheet(video: Path, options: FaceStageOptions, out: Path) -> None:
    """Search one video as the stage ``faces`` would and draw its sheet as PNG."""
    options = options.but({"faces": {"min_coverage": 0.0}})  # to the very end
    clip = probe(video)
    length = options.segmentation.seconds
    grid = [Segment(0, i, i * length) for i in range(math.ceil(clip.seconds / length))]
    searched = union(numbers_of(grid, 0, clip, options))
    with Cropper(options.faces) as cropper:
        looks = {
            crop.number: Look(Face(*crop.box, crop.score), crop.detected)
            for crop in cropper.crops(video, clip, searched)
        }
    _draw(video, clip, searched, looks, options.faces.threads, out)


def draw_subject_sheets(trials: Path, root: Path, faces: Path, folder: Path) -> list[Path]:
    """Draw a sheet of each clip in ``faces``, a file of the stage; returns the new files.

    ``trials`` and ``root`` are those that it was made from. Nothing is detected again: boxes are
    the stored ones, the frames come from the videos.
    """
    table = storage.read_table(trials, "trials")
    made = storage.read_provenance(faces)
    with storage.open_h5(faces, "faces") as file:
        held = {name: file[name][()] for name in ("box", "score", "detected", "time", "bag")}
        experiment_id = file["experiment_id"][()]
    if made["inputs"]["trials"] != storage.digest(trials):
        raise MilmerError(f"{faces}: made from other trials than {trials}; crop it again")
    options = FaceStageOptions.model_validate(made["options"])
    grid = segment_grid(
        zip(table["experiment_id"], table["eeg_seconds"], strict=True), options.segmentation
    )
    written = []
    clips = table.dropna(subset=["video_file"]).sort_values("trial")
    for row in track(clips.itertuples(), "sheets", len(clips)):
        video = Path(root) / row.video_file
        if made["inputs"].get(f"video{row.trial:02d}") != storage.digest(video):
            raise MilmerError(f"{faces}: made from another file than {video}; crop it again")
        clip = probe(video)
        searched = union(numbers_of(grid, row.experiment_id, clip, options))
        bag = held["bag"][experiment_id == row.experiment_id]
        looks = {
            int(np.rint(held["time"][i] * clip.fps)): Look(
                Face(*map(float, held["box"][i]), float(held["score"][i])),
                bool(held["detected"][i]),
            )
            for i in np.unique(bag[bag >= 0])
        }
        if searched.size:
            written.append(folder / f"{faces.stem}_trial{row.trial:02d}.png")
            _draw(video, clip, searched, looks, options.faces.threads, written[-1])
    return written


def jitter(looks: Sequence[Look | None]) -> tuple[float, float] | None:
    """How much boxes tremble: of their place and of their size, in parts of a box's width.

    Of each three successive searched frames that show one face: how far the middle box's centre
    lies from halfway between its neighbours', and how far its width is from their mean width; the
    medians of both. A steady movement makes none. None where no three frames follow one another.
    """
    place, size = [], []
    for three in zip(looks, looks[1:], looks[2:], strict=False):
        if not all(look is not None and look.detected for look in three):
            continue
        before, here, after = (look.face for look in three)
        if same(before, here) and same(here, after):
            boxes = np.array([before[:4], here[:4], after[:4]])
            centre = boxes[:, :2] + boxes[:, 2:] / 2  # (3, axis)
            off = np.hypot(*(centre[1] - (centre[0] + centre[2]) / 2))
            place.append(off / here.width)
            size.append(abs(here.width - (before.width + after.width) / 2) / here.width)
    return (float(np.median(place)), float(np.median(size))) if place else None


def _draw(
    video: Path,
    clip: Clip,
    searched: np.ndarray,
    looks: Mapping[int, Look],
    threads: int,
    out: Path,
) -> None:
    if out.suffix.lower() != ".png":
        raise MilmerError(f"{out}: a contact sheet is a PNG; give a name that ends in .png")
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    shown = searched[np.unique(np.linspace(0, len(searched) - 1, _COLUMNS * _ROWS).astype(int))]
    rows = math.ceil(len(shown) / _COLUMNS)
    tall = _CELL * clip.height / clip.width
    width, height = _COLUMNS * _CELL, _HEAD + rows * (tall + _LABEL)
    figure = Figure((width, height), dpi=100)
    figure.text(0.1 / width, 1 - 0.25 / height, video.name, weight="bold", size=13, va="center")
    told = _measured(searched / clip.fps, [looks.get(int(number)) for number in searched])
    figure.text(0.1 / width, 1 - 0.55 / height, told, size=11, va="center")
    for place, (number, frame) in enumerate(decode(video, shown, threads)):
        row, column = divmod(place, _COLUMNS)
        bottom = height - _HEAD - (row + 1) * (tall + _LABEL) + _LABEL
        box = [column * _CELL + 0.04, bottom, _CELL - 0.08, tall - 0.04]
        axes = figure.add_axes([box[0] / width, box[1] / height, box[2] / width, box[3] / height])
        across = round(200 * _CELL)
        small = frame.reformat(across, round(across * clip.height / clip.width), "rgb24")
        # In px of the video, so that boxes are drawn as they are.
        axes.imshow(small.to_ndarray(), extent=(0, clip.width, clip.height, 0), aspect="auto")
        axes.set_axis_off()
        look = looks.get(int(number))
        found = look is not None and look.detected
        colour = _DETECTED if found else _BORROWED
        if look is not None:
            face, style = look.face, "-" if found else (0, (4, 2))
            axes.add_patch(
                Rectangle(face[:2], face.width, face.height, fill=False, ec=colour, lw=2, ls=style)
            )
        label = f"{number / clip.fps:.2f} s" + ("" if found else "   no face")
        axes.text(
            0.5,
            -0.13 / (tall - 0.04),
            label,
            transform=axes.transAxes,
            ha="center",
            va="center",
            size=10,
            color="black" if found else colour,
        )
    with storage.replacing(out) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None, "Description": told})


def _measured(times: np.ndarray, looks: Sequence[Look | None]) -> str:
    """The sheet's header, from the searched frames' times in s and what became of them."""
    detected = sum(look is not None and look.detected for look in looks)
    parts = [
        f"{len(looks)} frames searched",
        f"a face in {detected} of them ({100 * detected / len(looks):.0f} %)",
    ]
    if (trembles := jitter(looks)) is not None:
        parts.append(
            f"box jitter {100 * trembles[0]:.1f} % of its width in place and "
            f"{100 * trembles[1]:.1f} % in size, {np.median(np.diff(times)):.2f} s apart"
        )
    if any(look is not None and not look.detected for look in looks):
        parts.append("dashed: borrowed from the nearest frame with a face")
    return "  ·  ".join(parts)
