"""The true times of a video's frames, from what its packets say.

Presentation times are used where a container has any. AVI and ASF hold decoding times only: sorted,
they are the times at which frames are shown, but beside a pause of the camera it is not known which
frames of a codec with reordering come before it. MPEG program streams and Ogg name the time of some
frames only: at a high bit rate of nearly all. The others lie in between, no nearer to each other
than at the nominal rate, so that it is known how far their times can be off. Frames whose time is
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

    def reordered(self, interval: float) -> bool:
        """Whether a picture is named that waits for more than the next one to be decoded."""
        packets = zip(self.pts, self.dts, self.place, strict=True)
        waits = [pts - dts for pts, dts, place in packets if NONE not in (pts, dts, place)]
        return max(waits, default=0) > 1.5 * interval

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


def decoding_axis(packets: Packets, interval: float, delays: tuple[int, int]) -> Axis:
    """The axis of decoding times; raises :class:`UntrustedError`.

    ``interval`` is that of the frame rate that the stream names. ``delays`` are the least and the
    greatest number of frames by which decoding is ahead of showing.
    """
    if packets.filled_in:
        stamps, spare = _between_named(packets, interval)
    else:
        stamps = np.unique([dts for dts in packets.dts if dts != NONE]).astype(float)
        spare = np.zeros(len(stamps))
    if len(stamps) <= 1 + max(delays):
        return Axis(np.rint(stamps).astype(np.int64), spare > 0)
    step = interval if packets.filled_in else float(np.median(np.diff(stamps)))
    least, most = (_shown_later(stamps, delay, step) for delay in delays)
    wrong = np.abs(most - least) + np.append(spare[delays[0] :], spare[-1:].repeat(delays[0]))
    return Axis(np.rint(stamps[0] + least).astype(np.int64), wrong > _TRUST * step)


def _shown_later(stamps: np.ndarray, delay: int, step: float) -> np.ndarray:
    """When frames are shown after the first one, if decoding is ahead by ``delay`` frames."""
    after = stamps[-1] + step * np.arange(1, delay + 1)
    return np.concatenate([stamps, after])[delay:] - stamps[delay]


def _between_named(packets: Packets, interval: float) -> tuple[np.ndarray, np.ndarray]:
    """Decoding times of all packets where some are named, and by how much each may be wrong.

    A packet of MPEG names the time of the first picture in it. Those in between are spread evenly.
    None is shown for less than an ``interval``, so what a stretch has beyond that is to spare.
    """
    dts, place = np.array(packets.dts), np.array(packets.place)
    named = np.unique(place, return_index=True)[1]
    named = np.sort(named[(place[named] != NONE) & (dts[named] != NONE)])
    if len(named) < 2 or (np.diff(dts[named]) <= 0).any():
        raise UntrustedError("fewer than two are named, or the clock goes back")
    count, time = np.diff(named), np.diff(dts[named])
    number = np.arange(len(dts))
    stamps = np.interp(number, named, dts[named])
    stamps += interval * (np.minimum(number - named[0], 0) + np.maximum(number - named[-1], 0))
    spare = np.where(time < (count - 1) * interval, time, np.abs(time - count * interval))
    spare = spare * (count - 1) / count
    # Before the first name and after the last one, pictures are as uneven as anywhere.
    spare = np.concatenate([[spare.max()], spare, [spare.max()]])[np.searchsorted(named, number)]
    spare[named] = 0
    return stamps, spare


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
