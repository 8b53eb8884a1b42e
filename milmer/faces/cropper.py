"""From a clip to face crops: decode, search, follow, smooth, crop.

Searching and cropping run in threads beside the decoder; tracking (:mod:`milmer.faces.tracking`),
which goes from one frame to the next, runs in between, in display order. Waiting frames are kept as
the decoder yields them, at half the size of an RGB picture, and their number is bounded.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import av
import cv2
import numpy as np

from milmer.faces.detection import Face, FaceFinder
from milmer.faces.options import FacesOptions
from milmer.faces.tracking import Boxed, Searched, borrow, follow, smooth
from milmer.readers.seekable_video import frames_of
from milmer.readers.video import Clip, reading

_WAITING = 16  # frames that may wait for a thread at once, so that memory stays bounded
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Crop(NamedTuple):
    """One frame's face crop."""

    image: np.ndarray  # bytes of a JPEG, uint8
    box: tuple[float, float, float, float]  # left, top, width, height of the face in px
    score: float  # 0 where the box is borrowed
    detected: bool
    number: int  # of the frame within the clip


class Cropper:
    """Crops the faces of clips; a context manager that owns the threads.

    Raises :class:`MilmerError` if the detector cannot be loaded.
    """

    def __init__(self, options: FacesOptions):
        self._options = options
        self._local = threading.local()
        FaceFinder(options)  # so that a missing model file is reported here, not in a thread

    def __enter__(self) -> "Cropper":
        # One thread per detector: OpenCV's own threads would make Haar's boxes depend on timing.
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(self._options.threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def crops(self, path: Path, clip: Clip, wanted: np.ndarray) -> Iterator[Crop]:
        """Yield crops of the frames ``wanted``, in rising order, of the ``clip`` at ``path``.

        A frame without a face borrows a box, see :func:`borrow`; if no frame has one, there are no
        crops. Raises :class:`MilmerError` if the clip cannot be decoded.
        """
        with reading(path, av.FFmpegError):
            searched = self._ahead(
                self._search, frames_of(path, clip, wanted, self._options.threads)
            )
            followed = follow(searched, self._options.choice)
            boxed = borrow(smooth(followed, self._options.smoothing * clip.fps))
            yield from self._ahead(self._crop, boxed)

    def _ahead(self, work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
        """Yield ``work(item)`` of each item, done in threads, in the items' order."""
        queue: deque[Future[_Out]] = deque()
        for item in items:
            queue.append(self._pool.submit(work, item))
            if len(queue) >= _WAITING:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def _search(self, numbered: tuple[int, av.VideoFrame]) -> Searched:
        if not hasattr(self._local, "finder"):
            self._local.finder = FaceFinder(self._options)
        number, frame = numbered
        return Searched(number, frame, self._local.finder.find_in(frame))

    def _crop(self, boxed: Boxed) -> Crop:
        picture = boxed.frame.to_ndarray(format="rgb24")  # (height, width, 3)
        image = crop(picture, boxed.face, self._options)
        return Crop(image, boxed.face[:4], boxed.face.score, boxed.detected, boxed.number)


def crop(picture: np.ndarray, face: Face, options: FacesOptions) -> np.ndarray:
    """Crop ``picture`` uint8 (height, width, 3) to the widened box of ``face``, resized.

    Returns the bytes of a JPEG of ``options.size`` px, uint8 (byte,).
    """
    height, width = picture.shape[:2]
    margin_x, margin_y = face.width * options.margin, face.height * options.margin
    left = int(np.clip(round(face.left - margin_x), 0, width - 1))
    top = int(np.clip(round(face.top - margin_y), 0, height - 1))
    right = int(np.clip(round(face.left + face.width + margin_x), left + 1, width))
    bottom = int(np.clip(round(face.top + face.height + margin_y), top + 1, height))
    part = picture[top:bottom, left:right]
    shrinks = max(part.shape[:2]) > options.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    part = cv2.resize(part, (options.size, options.size), interpolation=method)
    bgr = cv2.cvtColor(part, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, options.quality])[1]
