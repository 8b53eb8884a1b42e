"""Boxes over time: which of several faces is followed, boxes smoothed, and boxes borrowed.

Each step takes searched frames in display order and passes them on in that order. It looks ahead
by no more than a bound, so that the memory taken does not grow with the video, and it sees one
frame after the other, so that the result does not depend on who searched them.

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

# Two people's faces hardly overlap, while those of a lively head, 0.3 s apart, do by 0.17 or more.
_SAME = 0.1
_PATIENCE = 64  # frames without a face that wait for a later one to borrow from


class Searched(NamedTuple):
    """A searched frame and all faces in it."""

    number: int
    frame: av.VideoFrame
    faces: list[Face]


class Followed(NamedTuple):
    """A searched frame and the face that was chosen, if any.

    ``continues`` says that it is the one chosen in the searched frame just before.
    """

    number: int
    frame: av.VideoFrame
    face: Face | None
    continues: bool


class Boxed(NamedTuple):
    """A frame and the box to cut out of it: that of its own face, or a borrowed one."""

    number: int
    frame: av.VideoFrame
    face: Face
    detected: bool


def overlap(first: Face, second: Face) -> float:
    """Intersection over union of two boxes, 0..1."""
    across = min(first.left + first.width, second.left + second.width)
    down = min(first.top + first.height, second.top + second.height)
    across -= max(first.left, second.left)
    down -= max(first.top, second.top)
    both = max(across, 0.0) * max(down, 0.0)
    return both / (first.area + second.area - both) if both else 0.0


def same(first: Face, second: Face) -> bool:
    """Whether two boxes, of frames that follow one another, are taken for one face."""
    return overlap(first, second) >= _SAME


def follow(searched: Iterable[Searched], rule: str) -> Iterator[Followed]:
    """Choose a face of each frame by the ``rule`` of ``faces.choice``.

    ``continuity`` takes the face that overlaps most with the one chosen last, however long ago,
    and the largest where none does; ``largest`` always takes the largest.
    """
    last: Face | None = None
    unbroken = False
    for number, frame, faces in searched:
        face, before = None, last
        if faces:
            face = max(faces, key=lambda one: one.area)
            if rule == "continuity" and before is not None:
                nearest = max(faces, key=lambda one: overlap(one, before))
                face = nearest if same(nearest, before) else face
            last = face
        continues = unbroken and face is not None and same(face, before)
        unbroken = face is not None
        yield Followed(number, frame, face, continues)


def smooth(followed: Iterable[Followed], reach: float) -> Iterator[Followed]:
    """Smooth the boxes of each unbroken run of one face over time.

    Neighbours up to ``reach`` frames away on either side count, the less the farther; 0 leaves all
    boxes as they were found. Each side of a box stays within those that it was made of.
    """
    run: deque[tuple[int, Face]] = deque()  # the part of it that still counts
    waiting: deque[Followed] = deque()  # frames of it whose later neighbours are not known yet
    for one in followed:
        if not one.continues:
            yield from (_fitted(earlier, run, reach) for earlier in waiting)
            waiting.clear()
            run.clear()
        if one.face is None:
            yield one
            continue
        run.append((one.number, one.face))
        waiting.append(one)
        while waiting and one.number - waiting[0].number >= reach:
            yield _fitted(waiting.popleft(), run, reach)
        while run and one.number - run[0][0] >= 2 * reach:
            run.popleft()
    yield from (_fitted(earlier, run, reach) for earlier in waiting)


def borrow(followed: Iterable[Followed]) -> Iterator[Boxed]:
    """Give each frame without a face the box of the nearest frame with one.

    A frame waits for a later face while no more than 64 wait. Then it takes the last one before;
    where there is none before, as at the beginning of a clip, it is left out.
    """
    last: tuple[int, Face] | None = None
    waiting: deque[Followed] = deque()
    for one in followed:
        if one.face is None:
            waiting.append(one)
            while waiting and (_too_far(waiting[0], last, one) or len(waiting) > _PATIENCE):
                yield from _lent(waiting.popleft(), last)
            continue
        here = one.number, one.face
        while waiting:
            frame = waiting.popleft()
            before = last is not None and frame.number - last[0] <= one.number - frame.number
            yield from _lent(frame, last if before else here)
        yield Boxed(one.number, one.frame, one.face, True)
        last = here
    for frame in waiting:
        yield from _lent(frame, last)


def _too_far(frame: Followed, last: tuple[int, Face] | None, now: Followed) -> bool:
    """Whether the present is farther off than the last face, so that no later one is nearer."""
    return last is not None and frame.number - last[0] <= now.number - frame.number


def _lent(frame: Followed, lender: tuple[int, Face] | None) -> Iterator[Boxed]:
    if lender is not None:
        yield Boxed(frame.number, frame.frame, lender[1]._replace(score=0.0), False)


def _fitted(one: Followed, run: Iterable[tuple[int, Face]], reach: float) -> Followed:
    """The frame with the box that a straight line through its neighbours' has at its place."""
    near = [(n - one.number, face[:4]) for n, face in run if abs(n - one.number) < reach]
    if len(near) < 2:
        return one
    away = np.array([distance for distance, _ in near], float)  # (neighbour,)
    boxes = np.array([box for _, box in near])  # (neighbour, side)
    w = 1 - np.abs(away) / reach
    w0, w1, w2 = w.sum(), (w * away).sum(), (w * away**2).sum()
    weight = w * (w2 - w1 * away) / (w0 * w2 - w1**2)  # of least squares at 0; sums to 1
    box = np.clip(weight @ boxes, boxes.min(axis=0), boxes.max(axis=0))
    return one._replace(face=Face(*map(float, box), one.face.score))
