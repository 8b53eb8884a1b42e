"""The true times of a video's frames, from what its packets say.

Presentation times are used where a container has any. AVI and ASF hold decoding times only: sorted,
they are the times at which frames are shown, but beside a pause of the camera it is not known which
frames of a codec with reordering come before it. MPEG program streams and Ogg name the time of some
frames only; the others follow at the nominal rate, which a pause makes wrong. Frames whose time is
not known to two frames are left out; a file with many of them is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

DECODING_TIMES = ("avi", "asf", "mxf")
"""FFmpeg's formats whose packets carry decoding times."""
NONE = np.iinfo(np.int64).min
"""Stands for a time or a place that a packet does not name."""
DELAY = 2  # frames by which decoders reorder, at most, as encoders use them
_TRUST = 2.0  # frames by which a time may be wrong
_REORDERED = 32  # places by which packets may be out of order; FFmpeg's codecs allow 16
_DOUBTFUL = 0.1  # share of frames without a certain time from which on a file is refused
_UNLIKE = 0.02  # share by which the rate may be another than the one that a stream names
_VARYING = 0.1  # share of uneven stretches from which on the others are even by chance
_OUTLASTS = 1.0  # s by which sound may outlast pictures that carry no times
_TOLD = 3  # pauses, the longest
_IMPOSSIBLE = 0.05  # share of packets out of order beyond which they are not damage
_LEAST_TIMED = 0.3  # share of packets with times; of interlaced video, every second one has


class UntrustedError(ValueError):
    """The times of a video cannot be trusted to two frames; says why."""


@dataclass
class Packets:
    """What the packets of a video say, in the order of the file; :data:`NONE` where nothing."""

    program: bool = False  # of a program stream of MPEG
    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)  # in bytes of what named the time

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def presented(self) -> bool:
        """Whether any packet says when its picture is shown."""
        return any(pts != NONE for pts in self.pts)

    @property
    def filled_in(self) -> bool:
        """Whether FFmpeg guessed times of pictures that a stream of MPEG does not name."""
        pairs = zip(self.pts, self.place, strict=True)
        return any(place == NONE and (self.program or pts != NONE) for pts, place in pairs)

    def number_untimed(self) -> bool:
        """Whether any packet has a decoding time; where none has, they get their numbers."""
        if any(dts != NONE for dts in self.dts):
            return True
        self.dts = list(range(len(self.dts)))
        return False

    def add(self, pts: int | None, dts: int | None, place: int | None) -> None:
        """Add a packet."""
        for values, value in ((self.pts, pts), (self.dts, dts), (self.place, place)):
            values.append(NONE if value is None else value)


@dataclass(frozen=True, eq=False)
class Axis:
    """Stamps int64 (frame,) that rise, which of them are doubtful, and remarks."""

    stamps: np.ndarray
    doubtful: np.ndarray  # bool (frame,)
    notes: tuple[str, ...] = ()


def presentation_axis(packets: Packets, container: str) -> Axis:
    """The axis of presentation times; raises :class:`UntrustedError`."""
    pts, place = np.array(packets.pts), np.array(packets.place)
    timed = pts != NONE
    if timed.mean() < _LEAST_TIMED:
        raise UntrustedError(f"only {timed.sum()} of its {len(pts)} pictures carry a time")
    pts, place = pts[timed], place[timed]
    order = np.argsort(pts, kind="stable")
    moved = np.abs(np.argsort(order) - np.arange(len(pts))) > _REORDERED
    notes = ()
    if moved.mean() > _IMPOSSIBLE:
        raise UntrustedError("its clock goes back, as in recordings that were joined")
    if moved.any():
        notes = (f"frames left out, whose times are impossible: {moved.sum()}",)
    pts, place = pts[~moved], place[~moved]
    stamps = np.unique(pts)
    doubtful = np.zeros(len(stamps), bool)
    if container == "ogg":
        doubtful = np.isin(stamps, pts[_before_jumps(pts, place)])
    return Axis(stamps, doubtful, notes)


def _before_jumps(pts: np.ndarray, page: np.ndarray) -> np.ndarray:
    """Bool (packet,): of Ogg, whose pages name the time of their end, those before a jump."""
    _, first, group, count = np.unique(
        page, return_index=True, return_inverse=True, return_counts=True
    )
    missing = np.diff(pts[first]) - count[:-1] * np.median(np.diff(pts))
    jumps = np.abs(missing) > _TRUST * np.median(np.diff(pts))
    return np.append(jumps, False)[group]


def program_axis(packets: Packets, interval: float) -> Axis:
    """The axis of decoding times of which some are named; raises :class:`UntrustedError`.

    A packet of MPEG names the time of the first picture in it. Those in between are spread evenly,
    if the rate that the stream names, one frame an ``interval``, is the camera's there.
    """
    dts, place = np.array(packets.dts), np.array(packets.place)
    named = np.unique(place, return_index=True)[1]
    named = np.sort(named[(place[named] != NONE) & (dts[named] != NONE)])
    if not len(named) or (np.diff(dts[named]) <= 0).any():
        raise UntrustedError("none is named, or the clock goes back")
    count, time = np.diff(named), np.diff(dts[named])
    step = np.median(time / count) if len(count) else interval
    number = np.arange(len(dts))
    stamps = np.interp(number, named, dts[named])
    stamps += step * (np.minimum(number - named[0], 0) + np.maximum(number - named[-1], 0))
    doubtful = np.zeros(len(dts), bool)
    jumps = np.abs(time - count * step) > _TRUST * step
    unlike = max(_UNLIKE, _TRUST / max(1, count.sum()))
    if jumps.sum() > _VARYING * len(jumps) or abs(step / interval - 1) > unlike:
        raise UntrustedError(f"the rate varies, and {len(named)} of {len(dts)} are named")
    for i in np.flatnonzero(jumps):
        doubtful[max(0, named[i] + 1 - DELAY) : named[i + 1] + DELAY] = True
    return Axis(np.rint(stamps).astype(np.int64), doubtful)


def decoding_axis(packets: Packets, reordered: bool) -> Axis:
    """The axis of sorted decoding times; ``reordered`` where frames are decoded ahead."""
    stamps = np.unique([dts for dts in packets.dts if dts != NONE])
    doubtful = np.zeros(len(stamps), bool)
    if reordered and len(stamps) > DELAY:
        step = np.median(np.diff(stamps))
        after = stamps[-1] + step * np.arange(1, DELAY + 1)
        late = np.concatenate([stamps[DELAY:], after]) - stamps[DELAY]
        doubtful = np.abs(late - (stamps - stamps[0])) > _TRUST * step
    return Axis(stamps, doubtful)


def require_trust(axis: Axis, unit: float, sound: float, lengths: Sequence[int]) -> None:
    """Raise :class:`UntrustedError` where the times of many frames are not known to two frames.

    ``unit`` is that of the stamps in s, ``sound`` when the sound of an AVI ends, in s: where it
    outlasts the pictures, the camera left some out. ``lengths`` are the numbers of frames that its
    index and header name: where both are others, damage hides some.
    """
    if (doubtful := axis.doubtful.sum()) > _DOUBTFUL * len(axis.stamps):
        raise UntrustedError(
            f"they are uneven, and those of {doubtful} of {len(axis.stamps)} are not known"
        )
    if not len(axis.stamps):
        return
    count = int(axis.stamps[-1]) + 1
    if lengths and all(abs(length - count) > _TRUST for length in lengths):
        raise UntrustedError(f"they are counted, and of {max(lengths)} frames {count} were found")
    end = float(axis.stamps[-1]) * unit
    if sound - end > _OUTLASTS:
        raise UntrustedError(
            f"they are counted, and end at {end:.1f} s where the sound ends at {sound:.1f} s"
        )


def pauses(times: np.ndarray, limit: float) -> list[str]:
    """Remarks on pauses longer than ``limit`` in s between ``times``."""
    after = np.flatnonzero(np.diff(times) > limit)
    longest = sorted(after, key=lambda i: times[i] - times[i + 1])[:_TOLD]
    notes = [f"no picture from {times[i]:.2f} to {times[i + 1]:.2f} s" for i in sorted(longest)]
    return notes + ([f"{len(after) - _TOLD} shorter pauses"] if len(after) > _TOLD else [])
