"""Face video of any rate, constant or variable, by the times of its frames.

A trial may begin anywhere in a long recording, so decoding starts at the key frame before it. An
AVI holds decoding times only: they are used where no frame is predicted from a later one, else its
frames are counted from the beginning, like those of a bare stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from milmer.errors import MilmerError
from milmer.readers.video import (
    BARE_STREAMS,
    DECODING_ERRORS,
    Clip,
    decode_frames,
    open_container,
    probe_constant_rate,
    reading,
    require_plausible,
    unusable,
    video_of,
)

_AVI = "avi"
_BACK = (0.0, 10.0, 60.0, np.inf)  # s before a frame from which a key frame is sought


@dataclass(frozen=True, eq=False)
class SeekableClip(Clip):
    """A clip that can be decoded from any key frame on.

    ``stamps`` int64 (frame,) are the frames' times in the container's units, ``kind`` says whether
    they are presentation times (pts) or decoding times (dts).
    """

    stamps: np.ndarray = field(repr=False)
    kind: str


@dataclass(frozen=True, eq=False)
class TimedClip(SeekableClip):
    """A clip of a variable rate: ``times`` (frame,) in s from the first, rising.

    ``fps`` is the mean rate.
    """

    times: np.ndarray = field(repr=False)

    @property
    def seconds(self) -> float:
        """Length in s; the last frame counts with the median duration."""
        return float(self.times[-1] + np.median(np.diff(self.times)))

    def at(self, times: np.ndarray) -> np.ndarray:
        """Numbers of the frames that are displayed at ``times`` in s."""
        numbers = np.searchsorted(self.times, times + 1e-6, side="right") - 1
        return np.clip(numbers, 0, self.frames - 1)

    def time(self, number: int) -> float:
        """When a frame begins, in s."""
        return float(self.times[number])

    def number(self, time: float) -> int:
        """The frame that begins nearest to ``time`` in s."""
        return int(np.abs(self.times - time).argmin())


def probe(path: Path) -> Clip:
    """What a video of any container holds.

    Raises :class:`MilmerError` as :func:`milmer.readers.video.probe_constant_rate` does.
    """
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        if container.format.name in BARE_STREAMS:
            return probe_constant_rate(path)
        stream = video_of(container, path)
        kind = "dts" if container.format.name == _AVI else "pts"
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        times = [getattr(packet, kind) for packet in packets]
        width, height = stream.codec_context.width, stream.codec_context.height
        reordered, unit = stream.codec_context.has_b_frames, float(stream.time_base or 0)
    if None in times or (kind == "dts" and reordered):
        return probe_constant_rate(path)
    stamps = np.unique(np.array(times, np.int64))
    even = len(stamps) > 1 and np.ptp(np.diff(stamps)) == 0
    if kind == "dts" and even:
        clip = probe_constant_rate(path)
        return SeekableClip(clip.fps, clip.frames, clip.width, clip.height, stamps, kind)
    if len(stamps) < 2 or not width:
        raise unusable(path, "holds no video")
    times = (stamps - stamps[0]) * unit
    rate = (len(stamps) - 1) / times[-1]
    require_plausible(path, rate, width, height)
    return TimedClip(rate, len(stamps), width, height, stamps, kind, times)


def frames_of(
    path: Path, clip: Clip, wanted: np.ndarray, threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield ``(number, frame)`` of the ``wanted`` frame numbers, rising, of the ``clip``.

    Raises :class:`MilmerError` as :func:`milmer.readers.video.decode_frames` does.
    """
    if not isinstance(clip, SeekableClip):
        yield from decode_frames(path, wanted, threads)
        return
    left = iter(wanted)
    target = next(left, None)
    if target is None:
        return
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        stream = video_of(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for number, frame in _numbered(container, stream, clip, int(target)):
            if number > target:
                break
            if (frame.width, frame.height) != (clip.width, clip.height):
                raise MilmerError(
                    f"changes from {clip.width} x {clip.height} to {frame.width} x "
                    f"{frame.height} px at {clip.time(number):.1f} s",
                    where=path,
                    remedy="convert it to one size",
                )
            if number == target:
                yield number, _upright(frame)
                target = next(left, None)
                if target is None:
                    return
    raise unusable(path, f"damaged at {clip.time(int(target)):.2f} s")


def _numbered(
    container: av.container.InputContainer, stream: av.VideoStream, clip: SeekableClip, first: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames with their numbers, from a key frame before ``first`` on."""
    unit = float(stream.time_base or 1)
    for back in _BACK:
        start = max(clip.stamps[first] - back / unit, clip.stamps[0])
        container.seek(int(start), stream=stream)
        frames = _stamped(container, stream, clip)
        head = next(frames, None)
        if head is not None and head[0] <= first:
            yield head
            yield from frames
            return


def _stamped(
    container: av.container.InputContainer, stream: av.VideoStream, clip: SeekableClip
) -> Iterator[tuple[int, av.VideoFrame]]:
    for frame in container.decode(stream):
        stamp = getattr(frame, clip.kind)
        if stamp is None:
            continue
        number = int(np.searchsorted(clip.stamps, stamp))
        if number < clip.frames and clip.stamps[number] == stamp:
            yield number, frame


def _upright(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as displayed: phones store pictures lying on their side."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    if not turns:
        return frame
    picture = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
