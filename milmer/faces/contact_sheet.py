"""Contact sheets: one picture of how face detection went on a clip.

Evenly chosen frames in a grid, each with the box that was cropped, and above them what was
measured. A sheet shows a person's face, so nothing draws one unless the user asks for it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from milmer import storage
from milmer.data.segmentation import Segment, segment_grid
from milmer.errors import MilmerError
from milmer.faces.cropper import Cropper
from milmer.faces.crops import numbers_of, probe_of, starts_of, union
from milmer.faces.detection import Face
from milmer.faces.options import FaceStageOptions
from milmer.faces.tracking import same
from milmer.readers.seekable_video import frames_of, probe
from milmer.readers.video import Clip
from milmer.runtime.progress import track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _ROWS = 6, 4
_CELL = 2.4  # inches; the sheet has 100 px to the inch
_LABEL, _HEAD, _GAP = 0.32, 0.8, 0.08  # inches below each frame, above all, between frames
_DETECTED, _BORROWED = "#1a9850", "#e66101"


class Look(NamedTuple):
    """What became of a searched frame: its box, and whether a face was detected in it."""

    face: Face
    detected: bool


def draw_video_sheet(video: Path, options: FaceStageOptions, out: Path) -> None:
    """Search one video as the stage ``faces`` would and draw its sheet as PNG."""
    if out.suffix.lower() != ".png":
        raise MilmerError(f"{out}: a contact sheet is a PNG; give a name that ends in .png")
    options = options.updated({"faces": {"min_coverage": 0.0}})  # to the very end
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
    probe, starts = probe_of(clips), starts_of(clips)
    for row in track(clips.itertuples(), "sheets", len(clips)):
        video = Path(root) / row.video_file
        if made["inputs"].get(f"video{row.trial:02d}") != storage.digest(video):
            raise MilmerError(f"{faces}: made from another file than {video}; crop it again")
        clip, start = probe(video), starts[row.experiment_id]
        searched = union(numbers_of(grid, row.experiment_id, clip, options, start))
        bag = held["bag"][experiment_id == row.experiment_id]
        looks = {
            clip.number(float(held["time"][i]) + start): Look(
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
    from matplotlib.figure import Figure

    shown = searched[np.unique(np.linspace(0, len(searched) - 1, _COLUMNS * _ROWS).astype(int))]
    rows = math.ceil(len(shown) / _COLUMNS)
    # A picture of an extreme shape is drawn out of proportion rather than too small or too large.
    tall = float(np.clip(_CELL * clip.height / clip.width, 0.2 * _CELL, 2 * _CELL))
    width, height = _COLUMNS * _CELL, _HEAD + rows * (tall + _LABEL)
    figure = Figure((width, height), dpi=100)

    def write(text: str, below: float, **how: object) -> None:
        where = (_GAP / width, 1 - below / height)
        figure.text(*where, text, va="center", parse_math=False, **how)

    times = np.array([clip.time(int(number)) for number in searched])
    told = _measured(times, [looks.get(int(number)) for number in searched])
    write(video.name, 0.25, weight="bold", size=13)
    write(told, 0.55, size=11)
    for place, (number, frame) in enumerate(frames_of(video, clip, shown, threads)):
        row, column = divmod(place, _COLUMNS)
        left = column * _CELL + _GAP / 2
        bottom = height - _HEAD - row * (tall + _LABEL) - tall
        sides = ((_CELL - _GAP) / width, (tall - _GAP) / height)
        axes = figure.add_axes((left / width, bottom / height, *sides))
        _show(axes, frame, f"{clip.time(int(number)):.2f} s", looks.get(int(number)))
    with storage.replacing(out) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None, "Description": told})


def _show(axes: "Axes", frame: av.VideoFrame, time: str, look: Look | None) -> None:
    """One frame, reduced, with its box and below it its time."""
    from matplotlib.patches import Rectangle

    across = round(200 * _CELL)
    down = max(1, round(across * frame.height / frame.width))
    small = frame.reformat(across, min(down, 2 * across), "rgb24").to_ndarray()
    # In px of the video, so that boxes are drawn as they are.
    axes.imshow(small, extent=(0, frame.width, frame.height, 0), aspect="auto")
    axes.set_axis_off()
    detected = look is not None and look.detected
    if look is not None:
        colour, style = (_DETECTED, "-") if detected else (_BORROWED, (0, (4, 2)))
        left, top, width, height, _ = look.face
        axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=colour, lw=2, ls=style))
    axes.annotate(
        time if detected else f"{time}   no face",
        (0.5, 0),
        (0, -10),  # points below the frame
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="center",
        color="black" if detected else _BORROWED,
    )


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
