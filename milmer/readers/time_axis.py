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
_OUTLASTS = 1.0  # s by which sound may outlast pictures that carry no times
_TOLD = 3  # pauses, the longest
_IMPOSSIBLE = 0.05  # share of packets out of order beyond which they are not damage
_LEAST_TIMED = 0.3  # share of packets with times; of interlaced video, every second one has


class UntrustedError(ValueError):
    """The times of a video cannot be trusted to two frames; says why."""


@dataclass
class Packets:
    """What the packets of a video say, in the order of the file; :data:`NONE` where nothing."""

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
    def complete(self) -> bool:
        """Whether each packet names its time itself."""
        return NONE not in self.place

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
    unsure = np.zeros(len(pts), bool)
    if container == "ogg":  # a page names the time of its end
        unsure = _beside_jumps(pts, np.unique(place, return_inverse=True)[1], 0)
    elif (place == NONE).any():  # a packet of MPEG names the time of the first picture in it
        unsure = _beside_jumps(pts, np.cumsum(place != NONE), 1)
    stamps = np.unique(pts)
    return Axis(stamps, np.isin(stamps, pts[unsure]), notes)


def _beside_jumps(pts: np.ndarray, group: np.ndarray, certain: int) -> np.ndarray:
    """Bool (packet,): the packet is in a group before which, or after which, time jumps.

    The first ``certain`` packets of a group name their time themselves.
    """
    first = np.flatnonzero(np.diff(group, prepend=group[0] - 1))  # (group,)
    lowest = np.minimum.reduceat(pts, first)
    count = np.diff(first, append=len(pts))
    step = np.median(np.diff(np.unique(pts)))
    jumps = np.abs(np.diff(lowest) - count[:-1] * step) > (_TRUST + DELAY * (count[:-1] > 1)) * step
    unsure = np.zeros(len(pts), bool)
    for i in np.flatnonzero(jumps):
        unsure[first[i] + certain : first[i] + count[i]] = True
    return unsure


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
