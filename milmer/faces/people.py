"""Who is in a clip: faces linked into tracks, tracks into people, and one of these chosen.

A track follows one face from frame to frame by where its box is, and keeps its place for some
seconds where it is lost. Tracks that never show in one frame and look alike, or take up the same
place, are one person. All of it goes by boxes and by patches of 12 px that are summed up a track:
no picture is kept.

The participant is the person who is seen longest and largest. A picture on a wall, which neither
moves nor changes, is passed over where somebody else does. Where frames show one face at a time,
each is taken that is not certainly somebody else's.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from milmer.data.place import parse_place
from milmer.faces.detection import Face

# The faces of two people hardly overlap; those of a lively head, 0.3 s apart, do by 0.17 or more.
_SAME = 0.1
_SAME_PLACE = 0.3  # overlap of a face with the place of a track that was lost
# Correlation of looks: a face with its own average has 0.33 at least, three successive ones 0.44,
# halves of one track 0.55 to 0.65; those of others 0 to 0.4, seldom more (docs/data.md).
_UNLIKE, _UNLIKE_FOR_LONG, _ALIKE = 0.3, 0.4, 0.55
_LONG = 3  # successive faces
_STILL = 0.05, 0.02  # range of the centre in widths, and change of looks, of a picture on a wall
_LIVELY = 0.25  # share of a still person's frames in which another has to be seen
_SEVERAL = 2  # frames that show several faces before it matters who is who
_MAIN = 0.25  # share of the greatest weight, from which somebody is one of the people filmed


@dataclass(eq=False)
class Track:
    """One face from frame to frame: numbers of frames, and its box in each."""

    numbers: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    looks: np.ndarray | float = 0.0  # their sum
    recent: list[np.ndarray] = field(default_factory=list)  # the last ones
    changes: list[float] = field(default_factory=list)  # of looks, between successive frames
    weight: float = 0.0  # for how long and how large it is seen

    def add(self, number: int, face: Face, look: np.ndarray, follows: bool) -> None:
        """Append a frame; ``follows``: the track has the searched frame before it too."""
        if follows:
            self.changes.append(1 - float(self.recent[-1] @ look))
        self.numbers.append(number)
        self.faces.append(face)
        self.looks = self.looks + look
        self.recent = [*self.recent, look][-_LONG:]
        self.weight += face.area**0.5

    def split(self) -> "Track | None":
        """Take the last faces off as a track of their own, where they are somebody else's."""
        if len(self.numbers) < 2 * _LONG:
            return None
        end, before = Track(), Track(looks=self.looks - sum(self.recent))
        if before.likeness(sum(self.recent)) >= _UNLIKE_FOR_LONG:
            return None
        for i, look in enumerate(self.recent, -_LONG):
            end.add(self.numbers[i], self.faces[i], look, follows=False)
        self.looks, self.weight = before.looks, self.weight - end.weight
        self.recent, self.changes = [], self.changes[:-_LONG]
        del self.numbers[-_LONG:], self.faces[-_LONG:]
        return end

    def likeness(self, look: np.ndarray) -> float:
        """Correlation of a sum of looks with that of the track, −1..1."""
        norm = np.linalg.norm(self.looks) * np.linalg.norm(look)
        return float(np.dot(self.looks, look) / norm) if norm else 0.0

    def ahead(self, number: int) -> Face:
        """Its last box, moved on as it moved last."""
        if len(self.numbers) < 2:
            return self.faces[-1]
        (before, after), (first, last) = self.faces[-2:], self.numbers[-2:]
        share = (number - last) / (last - first)
        left, top = (b + share * (b - a) for a, b in zip(before[:2], after[:2], strict=True))
        return after._replace(left=left, top=top)


@dataclass(eq=False)
class Person:
    """Tracks of one person, none of which shows in the same frame as another."""

    tracks: list[Track] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)

    @property
    def weight(self) -> float:
        """For how long and how large this person is seen."""
        return sum(track.weight for track in self.tracks)

    @property
    def looks(self) -> np.ndarray:
        """The sum of looks."""
        return sum(track.looks for track in self.tracks)

    @property
    def centre(self) -> np.ndarray:
        """The median centre of the face in px: x, y."""
        return np.median(self._centres(), axis=0)

    @property
    def still(self) -> bool:
        """Whether it neither moves nor changes, like a picture on a wall."""
        changes = [change for track in self.tracks for change in track.changes]
        widths = [face.width for track in self.tracks for face in track.faces]
        low, high = np.percentile(self._centres(), (5, 95), axis=0)
        moves, changing = np.max(high - low) / np.median(widths), np.median(changes or [1.0])
        return bool(moves < _STILL[0] and changing < _STILL[1])

    def fit(self, track: Track) -> float:
        """How well a track goes with this person's; below 0 where it is not of this person."""
        if not self.numbers.isdisjoint(track.numbers):
            return -1.0
        likeness = track.likeness(self.looks)
        here = likeness >= _UNLIKE_FOR_LONG and self._is_in_place(track)
        return likeness if likeness >= _ALIKE or here else -1.0

    def differs_from(self, other: "Person") -> bool:
        """Whether this is certainly somebody else, by looks alone."""
        likeness = Track(looks=self.looks).likeness(other.looks)
        return len(self.numbers) >= _LONG and likeness < _UNLIKE

    def join(self, track: Track) -> None:
        """Add a track."""
        self.tracks.append(track)
        self.numbers.update(track.numbers)

    def _is_in_place(self, track: Track) -> bool:
        """Whether a track begins, or ends, where this person is just before, or after, it."""
        for own in self.tracks:
            after = bisect.bisect(own.numbers, track.numbers[0])
            before, after = own.faces[max(after - 1, 0) : after], own.faces[after : after + 1]
            if any(overlap(face, track.faces[0]) >= _SAME_PLACE for face in before):
                return True
            if any(overlap(face, track.faces[-1]) >= _SAME_PLACE for face in after):
                return True
        return False

    def _centres(self) -> np.ndarray:
        boxes = np.array([face[:4] for track in self.tracks for face in track.faces])
        return boxes[:, :2] + boxes[:, 2:] / 2


class Tracks:
    """All faces of a clip, frame by frame in display order, linked into tracks.

    A track that is lost keeps its place for ``hold`` frames.
    """

    def __init__(self, hold: float):
        self._hold = hold
        self._live: list[Track] = []
        self._before: int | None = None
        self.tracks: list[Track] = []
        self.seen: dict[int, list[tuple[Face, Track]]] = {}
        self.several = 0  # frames that show more than one face

    def add(self, number: int, faces: Sequence[Face], looks: np.ndarray) -> None:
        """Link the faces of the next frame."""
        self._live = [t for t in self._live if number - t.numbers[-1] <= self._hold]
        links = sorted(self._links(number, faces, looks), key=lambda link: link[:2], reverse=True)
        track_of: dict[int, Track] = {}
        for _, _, i, j in links:
            if i not in track_of and self._live[j] not in track_of.values():
                track_of[i] = self._live[j]
        frame = []
        for i, face in enumerate(faces):
            if (track := track_of.get(i)) is None:
                track = Track()
                self._live.append(track)
                self.tracks.append(track)
            follows = bool(track.numbers) and track.numbers[-1] == self._before
            track.add(number, face, looks[i], follows)
            frame.append((face, track))
        self.seen[number] = frame
        for _, track in frame:
            self._split(track)
        self.several += len(frame) > 1
        self._before = number

    def _split(self, track: Track) -> None:
        end = track.split()
        if end is not None:
            self._live.append(end)
            self.tracks.append(end)
            for number in end.numbers:
                faces = self.seen[number]
                self.seen[number] = [(face, end if t is track else t) for face, t in faces]

    def _links(
        self, number: int, faces: Sequence[Face], looks: np.ndarray
    ) -> Iterator[tuple[bool, float, int, int]]:
        """Whether a track was not lost, how well a face continues it, and the indices of both."""
        for j, track in enumerate(self._live):
            lost = track.numbers[-1] != self._before
            for i, face in enumerate(faces):
                share = overlap(track.faces[-1], face)
                likeness = track.likeness(looks[i])
                if not lost:
                    share = max(share, overlap(track.ahead(number), face))
                if likeness < _UNLIKE and (lost or len(track.numbers) >= _LONG):
                    continue
                if share >= (_SAME_PLACE if lost else _SAME):
                    yield not lost, share + likeness / 2, i, j

    def number(self, track: Track) -> int:
        """The number of a track, from 1, in the order in which they begin."""
        return self.tracks.index(track) + 1

    def guess(self, number: int, rule: str, place: str | None) -> Face | None:
        """The face of the frame added last that :meth:`chosen` will most likely choose."""
        faces = self.seen[number]
        if place is None and rule == "participant" and self.several >= _SEVERAL:
            heaviest = max(self.tracks, key=lambda track: track.weight)
            if heaviest.numbers[-1] != number and heaviest in self._live:
                return None
        if place in ("left", "right"):
            key = _left if place == "left" else _right
        else:
            key = _WITHIN_FRAME.get(rule, _weight)
        return max(faces, key=key)[0] if faces else None

    def chosen(self, rule: str, place: str | None, width: int) -> dict[int, tuple[Face, Track]]:
        """The face of each frame that shows the one who was asked for, and its track.

        ``rule`` is that of ``faces.choice``, ``place`` that of the manifest's column ``face``, and
        ``width`` that of the picture in px.
        """
        own = set(self.tracks)
        if place is not None or rule == "participant":
            people = self.people()
            person = participant(people if place is None else at_place(people, place, width))
            alone = place is None and self.several < _SEVERAL
            own = {
                track
                for other in people
                for track in other.tracks
                if other is person or (alone and not other.differs_from(person))
            }
        shown = ((n, [face for face in faces if face[1] in own]) for n, faces in self.seen.items())
        key = _WITHIN_FRAME.get(rule, _area)
        return {number: max(faces, key=key) for number, faces in shown if faces}

    def people(self) -> list[Person]:
        """The people in the clip, the one who is seen longest and largest first."""
        people: list[Person] = []
        for track in sorted(self.tracks, key=lambda track: -track.weight):
            person = max(people, key=lambda person: person.fit(track), default=None)
            if person is None or person.fit(track) < 0:
                person = Person()
                people.append(person)
            person.join(track)
        return sorted(people, key=lambda person: -person.weight)


def overlap(first: Face, second: Face) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first.left + first.width, second.left + second.width)
    height = min(first.top + first.height, second.top + second.height)
    width -= max(first.left, second.left)
    height -= max(first.top, second.top)
    both = max(width, 0.0) * max(height, 0.0)
    return both / (first.area + second.area - both) if both else 0.0


def same(first: Face, second: Face) -> bool:
    """Whether the boxes of two successive frames are taken to be of one face."""
    return overlap(first, second) >= _SAME


def participant(people: Sequence[Person]) -> Person | None:
    """The first of ``people`` who is not a picture on a wall beside somebody who moves."""
    for person in people:
        least = _LIVELY * len(person.numbers)
        others = [p for p in people if p is not person and len(p.numbers) >= least]
        if not (person.still and any(not other.still for other in others)):
            return person
    return None


def at_place(people: Sequence[Person], place: str, width: int) -> list[Person]:
    """Those of ``people`` who are at the ``place`` in a picture of ``width`` px.

    ``left`` and ``right`` are the outermost of the people filmed; a single one has to be in that
    half. Else it is a box, which holds the centre of the face.
    """
    where = parse_place(place)
    if isinstance(where, str):
        main = [p for p in people if p.weight >= _MAIN * people[0].weight]
        main.sort(key=lambda person: person.centre[0], reverse=where == "right")
        half = [p for p in main if (p.centre[0] < width / 2) == (where == "left")]
        return (main if len(main) > 1 else half)[:1]
    left, top, across, down = where
    return [
        person
        for person in people
        if left <= person.centre[0] < left + across and top <= person.centre[1] < top + down
    ]


def _area(shown: tuple[Face, Track]) -> float:
    return shown[0].area


def _equal(shown: tuple[Face, Track]) -> float:
    return 0.0  # of equals, the first is the greatest


_WITHIN_FRAME = {"largest": _area, "first": _equal}
"""Rules that choose in each frame by itself."""


def _weight(shown: tuple[Face, Track]) -> float:
    return shown[1].weight


def _left(shown: tuple[Face, Track]) -> float:
    return -shown[0].left


def _right(shown: tuple[Face, Track]) -> float:
    return shown[0].left
