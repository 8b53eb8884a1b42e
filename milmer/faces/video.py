"""Reading face video: what a clip holds, and chosen frames of it, decoded once.

Time goes by the number of a frame in display order. The timestamps of H.264 in AVI cannot serve:
the container stores decoding times only, and with B-frames what is guessed from them jumps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from milmer.errors import MilmerError


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


def probe(path: Path) -> Clip:
    """Count the frames of a clip without decoding them; refuse one that is cut off."""
    _require_whole(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = [p.dts for p in container.demux(stream) if p.size and p.dts is not None]
            width, height = stream.codec_context.width, stream.codec_context.height
            if len(times) < 2 or not width:
                raise MilmerError(f"{path}: holds no video; {_REMEDY}")
            step = float((times[-1] - times[0]) * stream.time_base) / (len(times) - 1)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise _unreadable(path, error) from error
    if step <= 0:
        raise MilmerError(f"{path}: its frames carry no times; {_REMEDY}")
    return Clip(1 / step, len(times), width, height)


def decode(path: Path, wanted: np.ndarray, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield ``(number, frame)`` of the ``wanted`` frame numbers, which rise, in display order.

    Frames in between are decoded, because later ones are predicted from them, but never converted.
    """
    left = iter(wanted)
    target = next(left, None)
    number = -1
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = threads
            for number, frame in enumerate(container.decode(stream)):
                if target is None:
                    return
                if number == target:
                    yield number, frame
                    target = next(left, None)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path, error) from error
    if target is not None:
        raise MilmerError(f"{path}: damaged after frame {number}; {_REMEDY}")


_REMEDY = "copy it again, or remove it to go on without this clip"


def _unreadable(path: Path, error: Exception) -> MilmerError:
    return MilmerError(f"{path}: cannot be decoded ({error}); {_REMEDY}".replace("\n", " "))


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
        raise MilmerError(f"{path}: cut off ({held} of {said} bytes); {_REMEDY}")
