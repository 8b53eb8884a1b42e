"""From a clip to face crops: decode, search, choose, smooth, crop.

Whose face is cropped is known only when the whole clip was searched (:mod:`milmer.faces.people`).
So that it is decoded once all the same, the face that will most likely be chosen is cropped on the
way, and crops wait in a file, compressed. Frames of which another face, or another box, is chosen
in the end are decoded again: none in a clip of one person.

Searching and cropping run in threads beside the decoder; linking and smoothing, which go from one
frame to the next, run in between, in display order. Waiting frames are kept as the decoder yields
them, at half the size of an RGB picture, and their number is bounded.
"""

import itertools
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import av
import cv2
import numpy as np

from milmer.faces.detection import Face, FaceFinder, Search
from milmer.faces.options import FacesOptions
from milmer.faces.people import Track, Tracks
from milmer.faces.tracking import Boxed, borrow, follow, smooth
from milmer.readers.seekable_video import frames_of
from milmer.readers.video import Clip, reading

_WAITING = 16  # frames that may wait for a thread at once, so that memory stays bounded
_IN_MEMORY = 2**25  # bytes of crops that wait in memory and not in a file
_USUALLY = 8  # frames by which one size is ahead of the other before it is the clip's
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Crop(NamedTuple):
    """One frame's face crop."""

    image: np.ndarray  # bytes of a JPEG, uint8
    box: tuple[float, float, float, float]  # left, top, width, height of the face in px
    score: float  # 0 where the box is borrowed
    detected: bool
    number: int  # of the frame within the clip
    faces_seen: int  # in the whole frame
    track: int  # that of the face, from 1; 0 where the box is borrowed


class Found(NamedTuple):
    """What was found in a clip, in numbers.

    Frames ``searched``, ``detected`` (they show the chosen face) and with ``several`` faces; all
    ``tracks``, and ``switches`` from one that is taken to another; ``second_searches`` of a frame,
    at the other size; ``gaps``, frames between the first and the last that did not decode.
    """

    searched: int
    detected: int
    several: int
    tracks: int
    switches: int
    second_searches: int
    gaps: int

    def __str__(self) -> str:
        percent = 100 * self.detected / max(self.searched, 1)
        parts = [
            f"{self.searched} frames searched",
            f"a face in {self.detected} of them ({percent:.0f} %)",
            f"several faces in {self.several}" if self.several else "",
            _count(self.tracks, "track"),
            _count(self.switches, "switch", "switches"),
            _count(self.second_searches, "second search", "second searches"),
            _count(self.gaps, "frame") + " in gaps" if self.gaps else "no gap",
        ]
        return "  ·  ".join(filter(None, parts))


class Cropper:
    """Crops the faces of clips; a context manager that owns the threads.

    Raises :class:`MilmerError` if the detector cannot be loaded.
    """

    def __init__(self, options: FacesOptions):
        self._options = options
        self._local = threading.local()
        # One now, so that a missing model file is reported here, not in a thread.
        self._finders = [FaceFinder(options)]

    def __enter__(self) -> "Cropper":
        # One thread per detector: OpenCV's own threads would make Haar's boxes depend on timing.
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(self._options.threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for finder in self._finders:
            finder.close()

    def crops(
        self, path: Path, clip: Clip, wanted: np.ndarray, place: str | None = None
    ) -> tuple[Found, Iterator[Crop]]:
        """Search the frames ``wanted``, in rising order, of the ``clip`` at ``path``, and crop.

        ``place`` is where the face to be cropped is, as in the manifest's column ``face``. Returns
        what was found, and crops in rising order. A frame without the chosen face borrows a box,
        see :func:`borrow`; if no frame has one, there are no crops. Raises :class:`MilmerError` if
        the clip cannot be decoded.
        """
        options, reach = self._options, self._options.smoothing * clip.fps
        tracks, sizes = Tracks(options.hold * clip.fps), _Sizes()
        kept = _Kept()
        with reading(path, av.FFmpegError):
            frames = frames_of(path, clip, wanted, options.threads)
            searched = self._ahead(
                self._search, ((number, frame, sizes.order) for number, frame in frames)
            )
            guessed = self._guess(searched, tracks, sizes, place)
            for boxed, image in self._ahead(self._crop, borrow(smooth(follow(guessed), reach))):
                kept.add(boxed, image)
        chosen = tracks.chosen(options.choice, place, clip.width)
        faces = ((number, None, chosen.get(number, (None,))[0]) for number in tracks.seen)
        boxes = list(borrow(smooth(follow(faces), reach)))
        taken = [chosen[boxed.number][1] for boxed in boxes if boxed.detected]
        found = Found(
            len(tracks.seen),
            len(chosen),
            tracks.several,
            len(tracks.tracks),
            sum(a is not b for a, b in itertools.pairwise(taken)),
            sizes.second_searches,
            sum(wanted[0] <= number <= wanted[-1] for number in clip.lost) if wanted.size else 0,
        )
        return found, self._chosen(path, clip, boxes, kept, tracks, chosen)

    def _guess(
        self,
        searched: Iterable[tuple[int, av.VideoFrame, Search]],
        tracks: Tracks,
        sizes: "_Sizes",
        place: str | None,
    ) -> Iterator[tuple[int, av.VideoFrame, Face | None]]:
        for number, frame, search in searched:
            sizes.count(search)
            tracks.add(number, search.faces, search.looks)
            yield number, frame, tracks.guess(number, self._options.choice, place)

    def _chosen(
        self,
        path: Path,
        clip: Clip,
        boxes: list[Boxed],
        kept: "_Kept",
        tracks: Tracks,
        chosen: Mapping[int, tuple[Face, Track]],
    ) -> Iterator[Crop]:
        """The crops of these ``boxes``: those that were ``kept``, and the others made now."""
        again = {boxed.number: boxed for boxed in boxes if boxed not in kept}
        with reading(path, av.FFmpegError):
            wanted = np.array(sorted(again), int)
            frames = frames_of(path, clip, wanted, self._options.threads) if again else ()
            boxed_frames = (again[number]._replace(frame=frame) for number, frame in frames)
            made = self._ahead(self._crop, boxed_frames)
            remade = next(made, None)
            for boxed in boxes:
                if boxed.number not in again:
                    image = kept[boxed.number]
                elif remade is not None and remade[0].number == boxed.number:
                    image, remade = remade[1], next(made, None)
                else:  # damaged, and not decoded from where decoding began this time
                    continue
                yield Crop(
                    image,
                    boxed.face[:4],
                    boxed.face.score,
                    boxed.detected,
                    boxed.number,
                    len(tracks.seen[boxed.number]),
                    tracks.number(chosen[boxed.number][1]) if boxed.detected else 0,
                )

    def _ahead(self, work: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
        """Yield ``work(item)`` of each item, done in threads, in the items' order.

        An item is taken when the result that is ``_WAITING`` before it has been used, however many
        threads there are.
        """
        queue: deque[Future[_Out]] = deque()
        for item in items:
            queue.append(self._pool.submit(work, item))
            if len(queue) >= _WAITING:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def _search(
        self, numbered: tuple[int, av.VideoFrame, tuple[int, ...]]
    ) -> tuple[int, av.VideoFrame, Search]:
        if not hasattr(self._local, "finder"):
            self._local.finder = FaceFinder(self._options)
            self._finders.append(self._local.finder)
        number, frame, order = numbered
        return number, frame, self._local.finder.find(frame, order)

    def _crop(self, boxed: Boxed) -> tuple[Boxed, np.ndarray]:
        picture = boxed.frame.to_ndarray(format="rgb24")  # (height, width, 3)
        return boxed._replace(frame=None), crop(picture, boxed.face, self._options)


class _Sizes:
    """At which sizes the next frame is searched: first at that at which the clip's face is found.

    Where this is the first size, a frame without a face is most likely just that, and is not
    searched again, until there are some of them.
    """

    def __init__(self) -> None:
        self._lead = 0  # of the second size over the first, in frames
        self.second_searches = 0

    @property
    def order(self) -> tuple[int, ...]:
        """Indices of the sizes."""
        if self._lead <= -_USUALLY:
            return (0,)
        return (1, 0) if self._lead >= _USUALLY else (0, 1)

    def count(self, search: Search) -> None:
        """Take note of what was found in a frame, and at which size."""
        self.second_searches += search.searches - 1
        if search.faces:
            step = 1 if search.larger else -1
            self._lead = int(np.clip(self._lead + step, -2 * _USUALLY, 2 * _USUALLY))
        elif self._lead < 0:
            self._lead += 1


class _Kept:
    """Crops that wait for the end of their clip, in a file where there are many."""

    def __init__(self) -> None:
        # Closed with this object.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._at: dict[int, tuple[Face, int, int]] = {}

    def add(self, boxed: Boxed, image: np.ndarray) -> None:
        self._at[boxed.number] = boxed.face, self._file.seek(0, 2), image.nbytes
        self._file.write(image.tobytes())

    def __contains__(self, boxed: Boxed) -> bool:
        """Whether the crop of this very box is kept."""
        return boxed.number in self._at and self._at[boxed.number][0][:4] == boxed.face[:4]

    def __getitem__(self, number: int) -> np.ndarray:
        _, start, size = self._at[number]
        self._file.seek(start)
        return np.frombuffer(self._file.read(size), np.uint8)


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


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
