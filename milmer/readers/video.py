"""Face video of a constant rate, as DEAP's: what a clip holds, and chosen frames, decoded once.

A frame's time follows from its number in display order. The timestamps of H.264 in AVI are of no
use: the container stores decoding times only, and with B-frames the times guessed from them jump.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from milmer.errors import MilmerError
from milmer.limits import require_file

_SIDES = 16, 8192  # px; other sizes mean a damaged header, and frames that do not fit into memory
_PIXELS = 8192 * 4320  # of a frame
_RATES = 1.0, 1000.0  # frames/s
BARE_STREAMS = ("h264", "hevc", "m4v", "mjpeg", "mpegvideo")  # formats without times
_FORMATS = (
    *("avi", "mov", "matroska", "mpegts", "mpeg", "ogg", "flv", "asf", "mxf", "gxf", "dv", "ivf"),
    *("nut", "nsv", "rm", "wtv", "ty", "yuv4mpegpipe", "av1", "obu", "vc1", "cavsvideo", "dirac"),
    *("evc", "vvc", "h261", "h263", "gif", *BARE_STREAMS),
)
"""FFmpeg's formats that are opened: those that hold their pictures themselves, unlike lists of
other files (HLS, ffconcat, DASH, SDP), and that are films, unlike pictures."""
# PyAV's errors for damaged headers: FFmpeg's own, and those of arithmetic.
DECODING_ERRORS = (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError, TypeError)


@dataclass(frozen=True)
class Clip:
    """What a clip really holds, counted over its packets because headers are not reliable."""

    fps: float
    frames: int
    width: int
    height: int

    @property
    def seconds(self) -> float:
        """Length in s."""
        return self.frames / self.fps

    def at(self, times: np.ndarray) -> np.ndarray:
        """Numbers of the frames that are displayed at ``times`` in s."""
        numbers = (times * self.fps + 1e-6).astype(int)  # 2.9999999 is frame 3 by rounding
        return np.minimum(numbers, self.frames - 1)

    def time(self, number: int) -> float:
        """When a frame begins, in s."""
        return number / self.fps

    def number(self, time: float) -> int:
        """The frame that begins nearest to ``time`` in s."""
        return int(np.rint(time * self.fps))


def probe_constant_rate(path: Path) -> Clip:
    """Count the frames of a clip without decoding them.

    The rate comes from the times of the packets. A bare stream (a ``.264`` file) has none: its
    rate is the one in the stream, or the decoder's default. Raises :class:`MilmerError` where the
    clip is missing, cut off or damaged, or holds no video.
    """
    _require_whole(path)
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        stream = video_of(container, path)
        packets = [packet.dts for packet in container.demux(stream) if packet.size]
        times = [dts for dts in packets if dts is not None]
        width, height = stream.codec_context.width, stream.codec_context.height
        bare = container.format.name in BARE_STREAMS and not times
        if bare:
            named = stream.codec_context.framerate or stream.average_rate or stream.guessed_rate
            frames, rate = len(packets), float(named or 0)
        else:
            frames = len(times)
            span = float((times[-1] - times[0]) * stream.time_base) if times else 0.0
            rate = (frames - 1) / span if span > 0 else 0.0
    if frames < 2 or not width:
        raise unusable(path, "holds no video")
    if not rate:
        raise unusable(path, "its frames have no times")
    require_plausible(path, rate, width, height)
    return Clip(rate, frames, width, height)


def require_plausible(path: Path, rate: float, width: int, height: int) -> None:
    """Refuse a ``rate`` in frames/s and a size in px that no camera has."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise unusable(path, f"claims to have {rate:.3g} frames/s")
    sides = all(_SIDES[0] <= side <= _SIDES[1] for side in (width, height))
    if not sides or width * height > _PIXELS:
        raise unusable(path, f"claims to be {width} x {height} px")


def decode_frames(
    path: Path, wanted: np.ndarray, threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield ``(number, frame)`` of the ``wanted`` frame numbers, rising, in display order.

    Frames in between are decoded, because later ones are predicted from them, but never converted.
    Raises :class:`MilmerError` where the clip is damaged before the last wanted frame, or changes
    its size.
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
                    f"changes from {size[0]} x {size[1]} to {frame.width} x {frame.height} px at "
                    f"frame {number}",
                    where=path,
                    remedy="convert it to one size, or remove it to go on without this clip",
                )
            if number == target:
                yield number, frame
                target = next(left, None)
    if target is not None:
        raise unusable(path, f"damaged after frame {number}")


def unusable(path: Path, problem: str) -> MilmerError:
    """The error for a video that is damaged."""
    return MilmerError(
        problem,
        where=path,
        remedy="copy it again, or remove it to go on without this clip",
    )


@contextmanager
def reading(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn these ``errors`` of decoding ``path`` into a :class:`MilmerError`."""
    try:
        yield
    except errors as error:
        reason = getattr(error, "strerror", None) or error
        raise unusable(path, f"cannot be decoded ({reason})") from error


def open_container(path: Path) -> av.container.InputContainer:
    """The opened file; raises one of :data:`DECODING_ERRORS`, or :class:`MilmerError` for a list.

    FFmpeg opens this file and no other, whatever it holds.
    """
    require_file(path)
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
    try:
        # Titles come in any encoding; without file: a name with a colon would be a protocol's.
        return av.open(f"file:{path}", options=options, metadata_errors="replace")
    except av.ArgumentError as error:
        raise MilmerError(
            "holds no video in a container that is read, such as MP4, MKV, WebM, AVI or MPEG",
            where=path,
            remedy="convert it; where it is a list of other files, name the video itself",
        ) from error


def video_of(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The first video stream; raises :class:`MilmerError` where there is none."""
    if not container.streams.video:
        raise unusable(path, "holds no video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise unusable(path, "unknown codec in its header")
    stream.codec_context.options = {"max_pixels": str(_PIXELS)}
    return stream


def _require_whole(path: Path) -> None:
    """Refuse an AVI whose first RIFF chunk is longer than the file; decoders would not notice."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(12)
    except FileNotFoundError as error:
        raise MilmerError(
            "no such file", where=path, remedy="run the stage trials again"
        ) from error
    except OSError as error:
        raise MilmerError(f"cannot be read ({error.strerror})", where=path) from error
    if head[:4] == b"RIFF" and (expected := 8 + int.from_bytes(head[4:8], "little")) > size:
        raise unusable(path, f"cut off ({size} of {expected} bytes)")
