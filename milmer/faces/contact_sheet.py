"""Contact sheets: how face detection went on a clip, in one picture.

A sheet is a grid of evenly spaced frames, each with the box that was cropped, below a line of
measurements. It shows a person's face, so none is drawn unless the user asks for it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from milmer import folders, storage
from milmer.contracts.faces import FACES, FOUND
from milmer.contracts.trials import TRIALS
from milmer.data.segmentation import Segment, segment_grid
from milmer.errors import MilmerError
from milmer.faces.clocks import on_trial, times_of
from milmer.faces.cropper import Cropper, Found
from milmer.faces.crops import numbers_of, probe_of, union
from milmer.faces.detection import Face
from milmer.faces.options import FaceStageOptions
from milmer.faces.people import same
from milmer.options import read_options
from milmer.readers.seekable_video import frames_of
from milmer.readers.video import Clip
from milmer.runtime.progress import track

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _ROWS = 6, 4
_CELL = 2.4  # inches; a sheet has 100 px per inch
_LABEL, _HEAD, _GAP = 0.32, 1.05, 0.08  # inches below each frame, above all, between frames
_DETECTED, _BORROWED = "#1a9850", "#e66101"


class Look(NamedTuple):
    """A searched frame's box, whether a face was detected in it, how many were, and its track."""

    face: Face
    detected: bool
    faces_seen: int = 1
    track: int = 1


def draw_video_sheet(
    video: Path, options: FaceStageOptions, out: Path, place: str | None = None
) -> None:
    """Search one video as the stage ``faces`` would, and draw its sheet as the PNG ``out``.

    ``place`` is where the face is, as in the manifest's column ``face``. Raises
    :class:`MilmerError` if ``out`` is not named .png or the video cannot be read.
    """
    if out.suffix.lower() != ".png":
        raise MilmerError(
            "a contact sheet is a PNG", where=out, remedy="give a name that ends in .png"
        )
    options = options.updated({"faces": {"min_coverage": 0.0}})  # search to the very end
    clip = probe_of(options.faces)(video)
    length = options.segmentation.seconds
    grid = [Segment(0, i, i * length) for i in range(math.ceil(clip.seconds / length))]
    searched = union(numbers_of(grid, 0, clip, options))
    with Cropper(options.faces) as cropper:
        found, crops = cropper.crops(video, clip, searched, place)
        looks = {
            crop.number: Look(
                Face(*crop.box, crop.score), crop.detected, crop.faces_seen, crop.track
            )
            for crop in crops
        }
    _draw(video, clip, searched, looks, found, options.faces.threads, out)


def draw_subject_sheets(trials: Path, root: Path, faces: Path, folder: Path) -> list[Path]:
    """Draw a sheet of each clip in ``faces``, a file of the stage; returns the new files.

    ``trials`` and ``root`` are those that it was made from; others are refused. Faces are not
    detected again: the boxes are the stored ones, and only the frames come from the videos.
    """
    table = storage.read_table(trials, TRIALS)
    provenance = storage.read_provenance(faces)
    with storage.open_h5(faces, FACES) as file:
        names = ("box", "score", "detected", "faces_seen", "track", "time", "bag")
        crops = {name: file[name][()] for name in names}
        trial = file["trial"][()]
        found = [
            Found(*map(int, clip))
            for clip in zip(*(file[f"clip_{n}"][()] for n in FOUND), strict=True)
        ]
    if provenance["inputs"]["trials"] != storage.digest(trials):
        raise MilmerError(
            f"made from other trials than {trials}", where=faces, remedy="crop it again"
        )
    options = read_options(FaceStageOptions, provenance["options"], str(faces))
    grid = segment_grid(
        zip(table["trial"], table["eeg_seconds"], strict=True), options.segmentation
    )
    written = []
    clips = table.dropna(subset=["video_file"])
    found_in = dict(zip(clips["trial"], found, strict=True))
    clips = clips.sort_values("trial")
    names = {number: f"{faces.stem}_trial{number:02d}.png" for number in clips["trial"]}
    folders.claim(folder, "faces", names.values(), [root, trials, faces])
    probe_clip = probe_of(options.faces)
    for row in track(clips.itertuples(), "sheets", len(clips)):
        video = Path(root) / row.video_file
        if provenance["inputs"].get(f"video{row.trial:02d}") != storage.digest(video):
            raise MilmerError(
                f"made from another file than {video}", where=faces, remedy="crop it again"
            )
        clip = probe_clip(video, times_of(row, root))
        timed = on_trial(row, clip, video)
        searched = union(numbers_of(grid, row.trial, timed, options))
        bag = crops["bag"][trial == row.trial]
        looks = {
            timed.number(float(crops["time"][i])): Look(
                Face(*map(float, crops["box"][i]), float(crops["score"][i])),
                *(crops[name][i].item() for name in ("detected", "faces_seen", "track")),
            )
            for i in np.unique(bag[bag >= 0])
        }
        if searched.size:
            written.append(folder / names[row.trial])
            threads = options.faces.threads
            _draw(video, clip, searched, looks, found_in[row.trial], threads, written[-1])
    return written


def jitter(looks: Sequence[Look | None]) -> tuple[float, float] | None:
    """How much boxes tremble, in position and in size, as a share of a box's width.

    For every three successive searched frames that show one face: the distance of the middle box's
    centre from the midpoint of its neighbours' centres, and the difference of its width from their
    mean width. Returns the medians of both. Steady movement has no jitter. None if no three such
    frames follow one another.
    """
    position, size = [], []
    for three in zip(looks, looks[1:], looks[2:], strict=False):
        if not all(look is not None and look.detected for look in three):
            continue
        before, middle, after = (look.face for look in three)
        if same(before, middle) and same(middle, after):
            boxes = np.array([before[:4], middle[:4], after[:4]])
            centre = boxes[:, :2] + boxes[:, 2:] / 2  # (3, axis)
            distance = np.hypot(*(centre[1] - (centre[0] + centre[2]) / 2))
            position.append(distance / middle.width)
            size.append(abs(middle.width - (before.width + after.width) / 2) / middle.width)
    return (float(np.median(position)), float(np.median(size))) if position else None


def _draw(
    video: Path,
    clip: Clip,
    searched: np.ndarray,
    looks: Mapping[int, Look],
    found: Found,
    threads: int,
    out: Path,
) -> None:
    from matplotlib.figure import Figure

    numbers = searched[np.unique(np.linspace(0, len(searched) - 1, _COLUMNS * _ROWS).astype(int))]
    rows = math.ceil(len(numbers) / _COLUMNS)
    # A picture of an extreme shape is drawn out of proportion rather than too small or too large.
    tall = float(np.clip(_CELL * clip.height / clip.width, 0.2 * _CELL, 2 * _CELL))
    width, height = _COLUMNS * _CELL, _HEAD + rows * (tall + _LABEL)
    figure = Figure((width, height), dpi=100)

    def write(text: str, inches_from_top: float, **style: object) -> None:
        position = (_GAP / width, 1 - inches_from_top / height)
        figure.text(*position, text, va="center", parse_math=False, **style)

    times = np.array([clip.time(int(number)) for number in searched])
    boxes = _boxes(times, [looks.get(int(number)) for number in searched])
    write(video.name, 0.25, weight="bold", size=13)
    write(str(found), 0.55, size=11)
    write(boxes, 0.8, size=11)
    for cell, (number, frame) in enumerate(frames_of(video, clip, numbers, threads)):
        row, column = divmod(cell, _COLUMNS)
        left = column * _CELL + _GAP / 2
        bottom = height - _HEAD - row * (tall + _LABEL) - tall
        sides = ((_CELL - _GAP) / width, (tall - _GAP) / height)
        axes = figure.add_axes((left / width, bottom / height, *sides))
        _draw_frame(axes, frame, f"{clip.time(int(number)):.2f} s", looks.get(int(number)))
    with storage.replacing(out) as partial:
        figure.savefig(
            partial,
            format="png",
            metadata={"Software": None, "Description": f"{found}  ·  {boxes}"},
        )


def _draw_frame(axes: "Axes", frame: av.VideoFrame, time: str, look: Look | None) -> None:
    """One frame, reduced, with its box, and its time below it."""
    from matplotlib.patches import Rectangle

    across = round(200 * _CELL)
    down = max(1, round(across * frame.height / frame.width))
    small = frame.reformat(across, min(down, 2 * across), "rgb24").to_ndarray()
    # Axes in px of the video, so that boxes need no conversion.
    axes.imshow(small, extent=(0, frame.width, frame.height, 0), aspect="auto")
    axes.set_axis_off()
    detected = look is not None and look.detected
    if look is not None:
        colour, style = (_DETECTED, "-") if detected else (_BORROWED, (0, (4, 2)))
        left, top, width, height, _ = look.face
        axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=colour, lw=2, ls=style))
    words = [time]
    if not detected:
        words.append("another's face" if look is not None and look.faces_seen else "no face")
    elif look.faces_seen > 1:
        words.append(f"track {look.track}, {look.faces_seen} faces")
    axes.annotate(
        "   ".join(words),
        (0.5, 0),
        (0, -10),  # points below the frame
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="center",
        color="black" if detected else _BORROWED,
    )


def _boxes(times: np.ndarray, looks: Sequence[Look | None]) -> str:
    """The second line of a sheet's header, on the boxes of the searched frames, ``times`` in s."""
    parts = []
    if (shares := jitter(looks)) is not None:
        parts.append(
            f"box jitter {100 * shares[0]:.1f} % of its width in position and "
            f"{100 * shares[1]:.1f} % in size, frames {np.median(np.diff(times)):.2f} s apart"
        )
    if any(look is not None and not look.detected for look in looks):
        parts.append("dashed: borrowed from the nearest frame with the face")
    return "  ·  ".join(parts)
