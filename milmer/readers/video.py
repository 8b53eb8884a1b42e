"""A video file: what it holds, how it is opened, and its pictures as a player shows them.

FFmpeg opens the file itself and no other, whatever it holds, and never as a list of files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from milmer.errors import MilmerError
from milmer.limits import require_file

_SIDES = 16, 8192  # px; other sizes mean a damaged header, and frames that do not fit into memory
_PIXELS = 8192 * 4320  # of a frame
_RATES = 1.0, 1000.0  # frames/s
PIXELS = {"max_pixels": str(_PIXELS)}
"""Options of a decoder: larger frames do not decode."""
_ERRORS = 10  # of reading a file, after which no more of it is read
BARE_STREAMS = (  # formats without an index, and most without times
    *("h261", "h263", "h264", "hevc", "vvc", "evc", "m4v", "mjpeg", "mpegvideo"),
    *("vc1", "cavsvideo", "dirac", "av1", "obu"),
)
_FORMATS = (
    *("avi", "mov", "matroska", "mpegts", "mpeg", "ogg", "flv", "asf", "mxf", "gxf", "dv", "ivf"),
    *("nut", "nsv", "rm", "wtv", "ty", "yuv4mpegpipe", "gif", *BARE_STREAMS),
)
"""FFmpeg's formats that are opened: those that hold their pictures themselves, unlike lists of
other files (HLS, ffconcat, DASH, SDP), and that are films, unlike pictures."""
# PyAV's errors for damaged headers: FFmpeg's own, and those of arithmetic.
DECODING_ERRORS = (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError, TypeError)
_HELD = 0.5, 5.0  # a frame is shown for at most so many s, or times the usual interval


@dataclass(frozen=True, eq=False)
class Clip:
    """What a video holds.

    ``times`` (frame,) are in s from the first picture and rise; without them frames are even.
    ``fps`` is the rate while the camera runs, ``width`` and ``height`` are those of the upright
    picture. ``stream`` is the video's index in the file, ``notes`` are for people. ``kind`` says
    how frames are told: by presentation times (``pts``), decoding times (``dts``), which are
    ``stamps`` int64 (frame,) in the container's unit, or by counting (``count``); ``seekable``
    whether decoding may begin in the middle. ``lost`` are the numbers of frames that cannot be
    used: their time is not known, or they did not decode so far.
    """

    fps: float
    frames: int
    width: int
    height: int
    times: np.ndarray = field(default=None, repr=False)  # type: ignore[assignment]
    stamps: np.ndarray | None = field(default=None, repr=False)
    kind: str = "count"
    seekable: bool = False
    stream: int = 0
    notes: tuple[str, ...] = ()
    lost: set[int] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if self.times is None:
            object.__setattr__(self, "times", np.arange(self.frames) / self.fps)

    @property
    def seconds(self) -> float:
        """Length in s; the last frame counts with the usual duration."""
        return float(self.times[-1]) + 1 / self.fps

    def at(self, times: np.ndarray) -> np.ndarray:
        """Numbers of the frames that are displayed at ``times`` in s; −1 where none is.

        None is before the first frame, after the end, and where the camera stalled.
        """
        numbers = np.searchsorted(self.times, times + 1e-6, side="right") - 1
        since = times - self.times[np.maximum(numbers, 0)]
        shown = (numbers >= 0) & (since <= held(1 / self.fps)) & (times < self.seconds)
        return np.where(shown, numbers, -1)

    def time(self, number: int) -> float:
        """When a frame begins, in s."""
        return float(self.times[number])

    def number(self, time: float) -> int:
        """The frame that begins nearest to ``time`` in s."""
        return int(np.abs(self.times - time).argmin())


def held(interval: float) -> float:
    """How long a frame is shown at most, in s, where frames come every ``interval`` s."""
    return max(_HELD[0], _HELD[1] * interval)


def require_plausible(path: Path, rate: float, width: int, height: int) -> None:
    """Refuse a ``rate`` in frames/s and a size in px that no camera has."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise unusable(path, f"claims to have {rate:.3g} frames/s")
    sides = all(_SIDES[0] <= side <= _SIDES[1] for side in (width, height))
    if not sides or width * height > _PIXELS:
        raise unusable(path, f"claims to be {width} x {height} px")


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
    except av.FileNotFoundError as error:
        raise MilmerError(
            "no such file", where=path, remedy="run the stage trials again"
        ) from error
    except av.ArgumentError as error:
        raise MilmerError(
            "holds no video in a container that is read, such as MP4, MKV, WebM, AVI or MPEG",
            where=path,
            remedy="convert it; where it is a list of other files, name the video itself",
        ) from error


def video_of(
    container: av.container.InputContainer, path: Path, number: int | None = None
) -> tuple[av.VideoStream, int | None]:
    """The default video stream, or the ``number``-th video, from 0; never a cover picture.

    Returns the number of another video too, if there is one. Raises :class:`MilmerError` where
    there is none.
    """
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        raise unusable(path, "holds no video")
    if number is not None and number >= len(films):
        raise MilmerError(
            f"holds {len(films)} videos, and number {number} (from 0) is asked for",
            where=path,
            remedy="correct faces.video_stream",
        )
    default = [s for s in films if s.disposition & Disposition.default]
    stream = films[number] if number is not None else [*default, *films][0]
    if stream.codec_context is None:
        raise unusable(path, "unknown codec in its header")
    stream.codec_context.options = PIXELS
    return stream, next((i for i, film in enumerate(films) if film is not stream), None)


def packets_of(
    container: av.container.InputContainer, streams: list[av.stream.Stream], errors: list[str]
) -> Iterator[av.Packet]:
    """The packets of ``streams``; damage is passed over, and told in ``errors``."""
    for _ in range(_ERRORS):
        try:
            yield from container.demux(streams)
            return
        except av.FFmpegError as error:
            errors.append(error.strerror or str(error))


def decoded(packet: av.Packet) -> list[av.VideoFrame]:
    """The frames that a packet completes; none where it is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return []


def upright(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as a player shows it: turned and mirrored by its display matrix, if it has one."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return frame
    # A pixel at (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    across, down = a, d
    if turned := abs(b) + abs(c) > abs(a) + abs(d):
        across, down = c, b
    if not turned and across >= 0 and down >= 0:
        return frame
    picture = frame.to_ndarray(format="rgb24")
    picture = picture.swapaxes(0, 1) if turned else picture
    picture = picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
