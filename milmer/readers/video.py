"""Reading DEAP's face video: what a clip holds, and chosen frames of it, decoded once.

Time goes by the number of a frame in display order. The timestamps of H.264 in AVI cannot serve:
the container stores decoding times only, and with B-frames what is guessed from them jumps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from milmer.errors import MilmerError

_SIDES = 16, 8192  # px; beyond them a header is damaged, and a frame would not fit into memory
_RATES = 1.0, 1000.0  # frames/s
# What PyAV raises where a damaged header makes no sense: an error of FFmpeg's or of arithmetic.
DECODING_ERRORS = (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError, TypeError)


@dataclass(frozen=True)
class Clip:
    """What a clip really holds, counted over its packets: its header is not trusted."""

    fps: float
    frames: int
    width: int
    height: int

    @property
    def seconds(self) -> float:
        """Length in s."""
        return self.frames / self.fps

    def at(self, times: np.ndarray) -> np.ndarray:
        """Numbers of the frames that are seen at ``times`` in s."""
        numbers = (times * self.fps + 1e-6).astype(int)  # 2.9999999 is frame 3 by rounding
        return np.minimum(numbers, self.frames - 1)

    def time(self, number: int) -> float:
        """When a frame begins, in s."""
        return number / self.fps

    def number(self, time: float) -> int:
        """The frame that begins nearest to ``time`` in s."""
        return int(np.rint(time * self.fps))


def probe_constant_rate(path: Path) -> Clip:
    """Count the frames of a clip without decoding them; refuse one that is cut off.

    The rate comes from the times of the packets. A bare stream (a ``.264`` file) has none: its
    rate is the one that the stream names, or the reader's usual one.
    """
    _require_whole(path)
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        stream = video_of(container, path)
        packets = [packet.dts for packet in container.demux(stream) if packet.size]
        times = [dts for dts in packets if dts is not None]
        width, height = stream.codec_context.width, stream.codec_context.height
        bare = container.format.name in _BARE and not times
        if bare:
            named = stream.codec_context.framerate or stream.average_rate or stream.guessed_rate
            frames, rate = len(packets), float(named or 0)
        else:
            frames = len(times)
            span = float((times[-1] - times[0]) * stream.time_base) if times else 0.0
            rate = (frames - 1) / span if span > 0 else 0.0
    if frames < 2 or not width:
        raise MilmerError(f"{path}: holds no video; {REMEDY}")
    if not rate:
        raise MilmerError(f"{path}: its frames carry no times; {REMEDY}")
    require_plausible(path, rate, width, height)
    return Clip(rate, frames, width, height)


def require_plausible(path: Path, rate: float, width: int, height: int) -> None:
    """Refuse a rate in frames/s and a size in px that no camera has."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MilmerError(f"{path}: says that it has {rate:.3g} frames/s; {REMEDY}")
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in (width, height)):
        raise MilmerError(f"{path}: says that it is {width} x {height} px large; {REMEDY}")


def decode(path: Path, wanted: np.ndarray, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield ``(number, frame)`` of the ``wanted`` frame numbers, which rise, in display order.

    Frames in between are decoded, because later ones are predicted from them, but never converted.
    """
    left = iter(wanted)
    target = next(left, None)
    number = -1
    size = None
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        stream = video_of(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        for number, frame in enumerate(container.decode(stream)):
            if target is None:
                return
            size = size or (frame.width, frame.height)
            if size != (frame.width, frame.height):
                raise MilmerError(
                    f"{path}: changes from {size[0]} x {size[1]} to {frame.width} x "
                    f"{frame.height} px at frame {number}; convert it to one size, or remove it "
                    "to go on without this clip"
                )
            if number == target:
                yield number, frame
                target = next(left, None)
    if target is not None:
        raise MilmerError(f"{path}: damaged after frame {number}; {REMEDY}")


@contextmanager
def reading(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn these ``errors`` of reading ``path`` into one line for people."""
    try:
        yield
    except errors as error:
        reason = getattr(error, "strerror", None) or error
        raise MilmerError(f"{path}: cannot be decoded ({reason}); {REMEDY}") from error


REMEDY = "copy it again, or remove it to go on without this clip"
_BARE = ("h264", "hevc", "m4v", "mjpeg", "mpegvideo")  # formats without times


def open_container(path: Path) -> av.container.InputContainer:
    """The opened file."""
    return av.open(str(path), metadata_errors="replace")  # titles come in any encoding


def video_of(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The first video stream; raises :class:`MilmerError` where there is none."""
    if not container.streams.video:
        raise MilmerError(f"{path}: holds no video; {REMEDY}")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise MilmerError(f"{path}: its header names a codec that there is not; {REMEDY}")
    return stream


def _require_whole(path: Path) -> None:
    """Refuse an AVI whose first RIFF chunk is longer than the file: a decoder would not tell."""
    try:
        held = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(12)
    except FileNotFoundError as error:
        raise MilmerError(f"{path}: no such file; run the stage trials again") from error
    except OSError as error:
        raise MilmerError(f"{path}: cannot be read ({error.strerror})") from error
    if head[:4] == b"RIFF" and (said := 8 + int.from_bytes(head[4:8], "little")) > held:
        raise MilmerError(f"{path}: cut off ({held} of {said} bytes); {REMEDY}")
