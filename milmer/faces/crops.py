"""Stage ``faces``: from a subject's face videos to bags of face crops.

Each clip is decoded once. Of every segment, N frames evenly spaced over the part that the clip
covers are searched for a face, in threads beside the decoder; the largest face is cropped. A frame
without a face takes the box of the nearest frame with one and is marked as not detected.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import h5py
import numpy as np

from milmer import storage
from milmer.errors import MilmerError
from milmer.faces.detection import Face, FaceFinder
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.faces.video import Clip, decode, probe
from milmer.progress import track
from milmer.segmentation import Segment, segment_grid

SCHEMA = {
    "image": storage.Array("jpeg", ("frame",)),
    "box": storage.Array("float32", ("frame", "side")),
    "score": storage.Array("float32", ("frame",)),
    "detected": storage.Array("bool", ("frame",)),
    "time": storage.Array("float32", ("frame",)),
    "bag": storage.Array("int32", ("segment", "instance")),
    "experiment_id": storage.Array("int32", ("segment",)),
    "position": storage.Array("int32", ("segment",)),
}
_WAITING = 16  # pictures that may wait for a detector at once, so that memory stays flat
_log = logging.getLogger(__name__)


class Crop(NamedTuple):
    """One frame's face crop."""

    image: np.ndarray  # bytes of a JPEG, uint8
    box: tuple[float, float, float, float]  # left, top, width, height of the face in px
    score: float  # 0 where the box is borrowed
    detected: bool
    number: int  # of the frame within the clip


def make_faces(trials: Path, root: Path, options: FaceStageOptions, out: Path) -> None:
    """Write the face crops of one subject.

    ``trials`` is the subject's table; the clips that it names lie below ``root``. Writes the
    datasets of :data:`SCHEMA`: ``box`` is left, top, width and height of the face in px of the
    video, ``time`` counts in s from the start of the music video, ``bag`` (segment, instance)
    points to frames and is −1 where there is none. Rows of ``bag`` are the segment grid, that is
    the rows of the subject's EEG segments.
    """
    table = storage.read_table(trials, "trials")
    grid = segment_grid(
        zip(table["experiment_id"], table["eeg_seconds"], strict=True), options.segmentation
    )
    clips = table.dropna(subset=["video_file"]).sort_values("experiment_id")
    if not grid or clips.empty:
        raise MilmerError(f"{trials}: no trial has both EEG and face video; nothing to crop")
    inputs: dict[str, Path] = {"trials": trials}
    for clip in clips.itertuples():
        inputs[f"video{clip.trial:02d}"] = Path(root) / clip.video_file
    made = storage.provenance("faces", __name__, options.result(), inputs)
    bag = np.full((len(grid), options.faces.instances), -1, np.int32)
    facts = {"trial": [], "fps": [], "width": [], "height": [], "frames": []}
    faceless = []
    with storage.new_h5(out, SCHEMA, made) as file, _Cropper(options.faces) as cropper:
        frames = _Frames(file)
        for row in track(clips.itertuples(), table["subject"].iloc[0], len(clips)):
            clip = probe(Path(root) / row.video_file)
            segments = {i: s for i, s in enumerate(grid) if s.experiment_id == row.experiment_id}
            numbers = {
                i: frame_numbers(s, clip, options.segmentation.seconds, options.faces.instances)
                for i, s in segments.items()
            }
            wanted = np.unique(np.concatenate(list(numbers.values())))
            crops = cropper.crops(Path(root) / row.video_file, wanted)
            place = {c.number: frames.add(c, c.number / clip.fps) for c in crops}
            if wanted.size and not place:
                faceless.append(int(row.trial))
            for i, chosen in numbers.items():
                filled = [place[n] for n in chosen if n in place]
                bag[i, : len(filled)] = filled
            for name, value in zip(
                facts, (row.trial, clip.fps, clip.width, clip.height, clip.frames), strict=True
            ):
                facts[name].append(value)
            frames.flush()
        file["bag"] = bag
        file["experiment_id"] = np.array([s.experiment_id for s in grid], np.int32)
        file["position"] = np.array([s.position for s in grid], np.int32)
        for name, values in facts.items():
            file.attrs[f"clip_{name}"] = values
        file.attrs["trials_without_face"] = np.array(faceless, np.int32)
        detected = int(file["detected"][()].sum())
        _log.info("%d of %d frames show a face", detected, len(frames))
    if faceless:
        _log.warning("%s: no face in the videos of trials %s", out.stem, faceless)


def frame_numbers(segment: Segment, clip: Clip, seconds: float, instances: int) -> np.ndarray:
    """Numbers of up to ``instances`` frames, evenly spaced over what the clip covers of a segment.

    They are the middles of equal parts, each once; empty where the clip ends before the segment.
    """
    covered = min(clip.seconds - segment.start, seconds)
    if covered <= 0:
        return np.array([], int)
    times = segment.start + (np.arange(instances) + 0.5) / instances * covered  # (instance,)
    numbers = (times * clip.fps + 1e-6).astype(int)  # 2.9999999 is frame 3 by a rounding error
    return np.unique(np.minimum(numbers, clip.frames - 1))


def crop(picture: np.ndarray, face: Face, options: FacesOptions) -> np.ndarray:
    """Cut the widened box of ``face`` out of ``picture`` and make a JPEG of it, as uint8 bytes."""
    height, width = picture.shape[:2]
    aside, above = face.width * options.margin, face.height * options.margin
    left = int(np.clip(round(face.left - aside), 0, width - 1))
    top = int(np.clip(round(face.top - above), 0, height - 1))
    right = int(np.clip(round(face.left + face.width + aside), left + 1, width))
    bottom = int(np.clip(round(face.top + face.height + above), top + 1, height))
    part = picture[top:bottom, left:right]
    shrinks = max(part.shape[:2]) > options.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    part = cv2.resize(part, (options.size, options.size), interpolation=method)
    bgr = cv2.cvtColor(part, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, options.quality])[1]


@dataclass(frozen=True)
class _Seen:
    """A searched frame: its crop, or the picture itself while it waits for a box to borrow."""

    number: int
    face: Face | None
    image: np.ndarray


class _Cropper:
    """Decodes clips and crops their frames, searching in threads beside the decoder."""

    def __init__(self, options: FacesOptions):
        self._options = options
        self._own = threading.local()
        FaceFinder(options)  # a missing model file is told of here, not in a thread

    def __enter__(self) -> "_Cropper":
        # One thread a detector: OpenCV's own threads would make Haar's boxes depend on timing.
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(self._options.threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def crops(self, path: Path, wanted: np.ndarray) -> Iterator[Crop]:
        """Crops of the ``wanted`` frame numbers; none where no frame of the clip has a face."""
        last: _Seen | None = None
        waiting: deque[_Seen] = deque()  # frames without a face whose nearest box is not known yet
        for seen in self._searched(path, wanted):
            if seen.face is None:
                waiting.append(seen)
                # Once the present is farther off than the last face, no later box is nearer.
                while last and 2 * waiting[0].number <= last.number + seen.number:
                    yield self._borrowed(waiting.popleft(), last)
                    if not waiting:
                        break
                continue
            while waiting:
                frame = waiting.popleft()
                before = last is not None and (
                    frame.number - last.number <= seen.number - frame.number
                )
                yield self._borrowed(frame, last if before else seen)
            yield Crop(seen.image, seen.face[:4], seen.face.score, True, seen.number)
            last = seen
        if last is not None:
            for frame in waiting:
                yield self._borrowed(frame, last)

    def _borrowed(self, frame: _Seen, lender: _Seen) -> Crop:
        image = crop(frame.image, lender.face, self._options)
        return Crop(image, lender.face[:4], 0.0, False, frame.number)

    def _searched(self, path: Path, wanted: np.ndarray) -> Iterator[_Seen]:
        queue: deque[Future[_Seen]] = deque()
        for number, frame in decode(path, wanted, self._options.threads):
            queue.append(self._pool.submit(self._search, number, frame))
            if len(queue) >= _WAITING:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def _search(self, number: int, frame: av.VideoFrame) -> _Seen:
        if not hasattr(self._own, "finder"):
            self._own.finder = FaceFinder(self._options)
        face = self._own.finder.find_in(frame)
        picture = frame.to_ndarray(format="rgb24")  # (height, width, 3)
        return _Seen(number, face, picture if face is None else crop(picture, face, self._options))


class _Frames:
    """The per-frame datasets of the file, filled trial by trial."""

    def __init__(self, file: h5py.File):
        jpeg = h5py.vlen_dtype(np.uint8)
        self._data = {
            "image": file.create_dataset("image", (0,), jpeg, maxshape=(None,)),
            "box": file.create_dataset("box", (0, 4), "float32", maxshape=(None, 4)),
        } | {
            name: file.create_dataset(name, (0,), SCHEMA[name].dtype, maxshape=(None,))
            for name in ("score", "detected", "time")
        }
        self._held: list[tuple] = []

    def __len__(self) -> int:
        return len(self._data["score"]) + len(self._held)

    def add(self, crop: Crop, time: float) -> int:
        """Take a frame; returns its index."""
        self._held.append((crop.image, crop.box, crop.score, crop.detected, time))
        return len(self) - 1

    def flush(self) -> None:
        """Write what was taken."""
        if not self._held:
            return
        columns = dict(
            zip(
                ("image", "box", "score", "detected", "time"),
                zip(*self._held, strict=True),
                strict=True,
            )
        )
        for name, data in self._data.items():
            first = len(data)
            data.resize(first + len(self._held), axis=0)
            if name == "image":
                for i, image in enumerate(columns["image"]):
                    data[first + i] = image
            else:
                data[first:] = np.array(columns[name], data.dtype)
        self._held.clear()
