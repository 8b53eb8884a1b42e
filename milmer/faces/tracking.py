"""Boxes over time: smoothing those of one face, and borrowing boxes.

Each step takes frames in display order, with their pictures or without, and yields them in that
order. Its look-ahead is bounded, so that few pictures wait; and it sees one frame after the other,
so the result does not depend on which thread searched them.

Smoothing is a local linear fit with weights that fall with the distance in time (Cleveland 1979,
without the robust iterations). Unlike a running mean it does not lag behind a face that moves
steadily, not even where a face has just appeared.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
import numpy as np

from milmer.faces.detection import Face
from milmer.faces.people import same

_PATIENCE = 64  # frames without a face that may wait for a later one to borrow from


class Followed(NamedTuple):
    """A searched frame and its chosen face, if any; ``frame`` is None where only boxes count.

    ``continues`` says that this face was also chosen in the previous searched frame.
    """

    number: int
    frame: av.VideoFrame | None
    face: Face | None
    continues: bool


class Boxed(NamedTuple):
    """A frame and the box to crop: that of a face ``detected`` in it, or a borrowed one."""

    number: int
    frame: av.VideoFrame | None
    face: Face
    detected: bool


def follow(chosen: Iterable[tuple[int, av.VideoFrame | None, Face | None]]) -> Iterator[Followed]:
    """Say of each frame's number, picture and chosen face whether the face continues an earlier."""
    last: Face | None = None
    for number, frame, face in chosen:
        continues = face is not None and last is not None and same(face, last)
        yield Followed(number, frame, face, continues)
        last = face


def smooth(followed: Iterable[Followed], reach: float) -> Iterator[Followed]:
    """Smooth the boxes of each unbroken run of one face over time.

    Neighbours less than ``reach`` frames away on either side count, with weights that fall with
    the distance; 0 leaves all boxes as they were detected. Each side of a smoothed box stays within
    the range of the sides that it is fitted to.
    """
    run: deque[tuple[int, Face]] = deque()  # the part of the run that still counts
    waiting: deque[Followed] = deque()  # frames of the run whose later neighbours are to come
    for current in followed:
        if not current.continues:
            yield from (_smoothed(earlier, run, reach) for earlier in waiting)
            waiting.clear()
            run.clear()
        if current.face is None:
            yield current
            continue
        run.append((current.number, current.face))
        waiting.append(current)
        while waiting and current.number - waiting[0].number >= reach:
            yield _smoothed(waiting.popleft(), run, reach)
        while run and current.number - run[0][0] >= 2 * reach:
            run.popleft()
    yield from (_smoothed(earlier, run, reach) for earlier in waiting)


def borrow(followed: Iterable[Followed]) -> Iterator[Boxed]:
    """Give each frame without a face the box of the nearest frame with one.

    At most 64 frames wait for a later face. Beyond that, the frame that has waited longest takes
    the last box before it; if there is none, as at the beginning of a clip, it is left out.
    """
    last: tuple[int, Face] | None = None
    waiting: deque[Followed] = deque()
    for current in followed:
        if current.face is None:
            waiting.append(current)
            while waiting and (_nearer(last, waiting[0], current) or len(waiting) > _PATIENCE):
                yield from _borrowed(waiting.popleft(), last)
            continue
        here = current.number, current.face
        while waiting:
            frame = waiting.popleft()
            yield from _borrowed(frame, last if _nearer(last, frame, current) else here)
        yield Boxed(current.number, current.frame, current.face, True)
        last = here
    for frame in waiting:
        yield from _borrowed(frame, last)


def _nearer(last: tuple[int, Face] | None, frame: Followed, current: Followed) -> bool:
    """Whether the ``last`` face is no farther from ``frame`` than the ``current`` frame is."""
    return last is not None and frame.number - last[0] <= current.number - frame.number


def _borrowed(frame: Followed, lender: tuple[int, Face] | None) -> Iterator[Boxed]:
    if lender is not None:
        yield Boxed(frame.number, frame.frame, lender[1]._replace(score=0.0), False)


def _smoothed(frame: Followed, run: Iterable[tuple[int, Face]], reach: float) -> Followed:
    """The frame with its box on the line fitted through its neighbours' boxes over time."""
    near = [(n - frame.number, face[:4]) for n, face in run if abs(n - frame.number) < reach]
    if len(near) < 2:
        return frame
    distance = np.array([d for d, _ in near], float)  # (neighbour,) in frames
    boxes = np.array([box for _, box in near])  # (neighbour, side)
    w = 1 - np.abs(distance) / reach
    w0, w1, w2 = w.sum(), (w * distance).sum(), (w * distance**2).sum()
    weight = w * (w2 - w1 * distance) / (w0 * w2 - w1**2)  # of least squares at 0; sums to 1
    box = np.clip(weight @ boxes, boxes.min(axis=0), boxes.max(axis=0))
    return frame._replace(face=Face(*map(float, box), frame.face.score))
