"""Face video of any container and rate: what it holds, and chosen frames of it.

Time 0 is the first picture (:mod:`milmer.readers.time_axis`). A trial may begin anywhere in a long
recording, so decoding starts at the key frame before it, and at the beginning where frames are
counted. What FFmpeg decodes, concealing damage, is used at its time; what it does not is a gap.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from milmer.errors import MilmerError
from milmer.readers.time_axis import (
    DECODING_TIMES,
    DELAY,
    Packets,
    UntrustedError,
    decoding_axis,
    pauses,
    presentation_axis,
    require_trust,
)
from milmer.readers.video import (
    BARE_STREAMS,
    DECODING_ERRORS,
    PIXELS,
    Clip,
    decoded,
    held,
    open_container,
    packets_of,
    reading,
    require_plausible,
    unusable,
    upright,
    video_of,
)

_BACK = (0.0, 10.0, 60.0)  # s before a frame from which a key frame is sought
_SOUGHT = 250  # packets among which the first key frame is sought
_CHUNK = 8  # bytes of a chunk's head in an AVI
_LATE = 0.1  # s by which pictures may begin after the file without a note


class _Demuxed(NamedTuple):
    """What reading a file to its end gave."""

    packets: Packets
    head: av.VideoFrame | None  # the first that is predicted from nothing that is missing
    sound: float  # end of the sound in s, of AVI
    lengths: list[int]  # in frames, as an AVI's index and header name them
    notes: list[str]  # why the file was not read to its end


def probe(path: Path, stream: int | None = None, times: np.ndarray | None = None) -> Clip:
    """What a video holds, by its packets; of its pictures only the first is decoded.

    ``stream`` is the number of the video among those of the file; None takes the default one.
    ``times`` (frame,) in s, rising, stand for those of the file, whatever these are worth. Raises
    :class:`MilmerError` where nothing can be decoded, where the times of the frames cannot be
    trusted to two frames, and where ``times`` are not as many as the frames.
    """
    with reading(path, *DECODING_ERRORS), open_container(path) as container:
        (video, another), name = video_of(container, path, stream), container.format.name
        kind = "pts"
        if name in DECODING_TIMES:
            kind = "count" if video.codec_context.has_b_frames else "dts"
        packets, head, sound, lengths, notes = _demuxed(container, video, kind)
        if head is None:
            raise unusable(path, "; ".join(notes) or "holds no picture that can be decoded")
        if kind == "pts" and (packets.filled_in or not packets.presented):
            kind = "count"
        unit = float(video.time_base or 0)
        interval = 1 / float(video.codec_context.framerate or video.guessed_rate or 1)
        if kind == "count" and not packets.number_untimed():  # a bare stream, at the rate it names
            unit = interval
        begin, index = container.start_time, video.index
        delays = (0, DELAY if video.codec_context.has_b_frames else 0)
        if packets.filled_in and video.codec_context.name in ("mpeg1video", "mpeg2video"):
            # By the standard, decoding is ahead by one frame, or by none.
            delays = (int(packets.reordered(interval / unit)),) * 2
    picture, cut_off = upright(head), _cut_off(path)
    try:
        if kind == "pts":
            axis = presentation_axis(packets, name)
        else:
            axis = decoding_axis(packets, interval / unit, delays)
        if times is None:
            require_trust(axis, unit, sound, () if cut_off else lengths)
    except UntrustedError as error:
        raise MilmerError(
            f"the times of its pictures cannot be trusted: {error}",
            where=path,
            remedy="convert the camera's own file to MP4 or MKV, or leave it out",
        ) from error
    if len(axis.stamps) < 2:
        if stream is None and another is not None:  # a cover that is not marked as one
            return probe(path, another, times)
        raise unusable(path, "holds fewer than two pictures")
    notes += axis.notes
    seconds = (axis.stamps - axis.stamps[0]) * unit  # (frame,)
    lost = set(np.flatnonzero(axis.doubtful).tolist())
    if times is not None:
        if len(times) != len(seconds):
            raise MilmerError(
                f"holds {len(seconds)} frames, not {len(times)}",
                where=path,
                remedy="give the time of each of them in video_times",
            )
        seconds, lost = np.asarray(times, float), set()
    elif lost:
        notes.append(f"frames left out beside a pause, where their time is not known: {len(lost)}")
    steps = np.diff(seconds)
    steps = steps[steps <= held(float(np.median(steps)))]
    rate = float(len(steps) / steps.sum())
    require_plausible(path, rate, picture.width, picture.height)
    first = 0 if kind == "count" else int(np.searchsorted(axis.stamps, head.pts or 0))
    if 0 < first < len(seconds):
        lost.update(range(first))
        notes.append(f"its first {seconds[first] - seconds[0]:.2f} s cannot be decoded")
    late = axis.stamps[0] * unit - (begin or 0) / av.time_base
    if begin is not None and late > _LATE:
        notes.append(f"its first picture, which is time 0, comes {late:.2f} s after its start")
    notes += pauses(seconds, held(1 / rate))
    return Clip(
        fps=rate,
        frames=len(seconds),
        width=picture.width,
        height=picture.height,
        times=seconds,
        stamps=axis.stamps,
        kind=kind,
        seekable=kind != "count" and name not in BARE_STREAMS,
        stream=index,
        notes=(*cut_off, *notes),
        lost=lost,
    )


def _demuxed(container: av.container.InputContainer, video: av.VideoStream, kind: str) -> _Demuxed:
    packets, head, sound, errors = Packets(container.format.name == "mpeg"), None, 0.0, []
    clock, count = _Clock(container, video), 0
    whole = False  # begins with a key frame, whether that is shown or not
    streams = [video]
    if container.format.name == "avi":
        streams += container.streams.audio[:1]
    for packet in packets_of(container, streams, errors):
        if packet.stream is not video:
            if packet.pts is not None:
                sound = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            continue
        dts = clock.dts(packet)
        if _shown(packet):
            packets.add(packet.pts, dts, packet.pos)
        whole = whole or (bool(packet.size) and packet.is_keyframe and not count)
        count += 1
        if head is None or not (whole or head.key_frame or count > _SOUGHT):
            _mark(packet, kind, dts, len(packets) - 1)
            frames = decoded(packet)
            key = next((frame for frame in frames if frame.key_frame), None)
            head = key or head or next(iter(frames), None)
    notes = [f"cannot be read in part ({reason})" for reason in dict.fromkeys(errors)]
    return _Demuxed(packets, head, sound, clock.lengths, notes)


def _shown(packet: av.Packet) -> bool:
    """Whether a packet holds a picture to show, unlike what an edit list or VP8 hides."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


class _Clock:
    """Decoding times of packets read in turn: those of an AVI's index, for damage hides packets.

    ``lengths`` are the numbers of frames, with those left out, that an AVI's index and header name.
    """

    def __init__(self, container: av.container.InputContainer, video: av.VideoStream):
        entries = video.index_entries if container.format.name == "avi" else ()
        self._indexed = {entry.pos + _CHUNK: entry.timestamp for entry in entries}
        lengths = [max(self._indexed.values()) + 1] if len(self._indexed) > 1 else []
        self.lengths = [*lengths, *([video.frames] if entries and video.frames else [])]
        if len(set(self.lengths)) != 1:  # the index itself is damaged, or there is none
            self._indexed = {}
        self._behind = 0

    def dts(self, packet: av.Packet) -> int | None:
        """The packet's time; None where it has none."""
        if packet.dts is None:
            return None
        if (indexed := self._indexed.get(packet.pos)) is not None:
            self._behind = indexed - packet.dts
        return packet.dts + self._behind


def _mark(packet: av.Packet, kind: str, dts: int | None, number: int) -> None:
    """Let frames say by their pts which packet they come from: its ``dts``, or its ``number``."""
    if packet.size and kind != "pts":
        packet.pts = dts if kind == "dts" else number


def _cut_off(path: Path) -> list[str]:
    """A remark on an AVI whose first RIFF chunk is longer than the file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and (expected := 8 + int.from_bytes(head[4:8], "little")) > size:
        return [f"cut off ({size} of {expected} bytes)"]
    return []


def frames_of(
    path: Path, clip: Clip, wanted: np.ndarray, threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield ``(number, frame)`` of the ``wanted`` frame numbers, rising, of the ``clip``.

    Frames are upright and of the clip's size. Frames in between are decoded, because later ones are
    predicted from them, but never converted. Those that do not decode, wanted or in between, are
    added to ``clip.lost``. Raises :class:`MilmerError` where the file cannot be opened.
    """
    targets = [int(number) for number in wanted if int(number) not in clip.lost][::-1]
    # Threads that decode ahead lose what follows damage at the end of a file: once more with one.
    for count in dict.fromkeys((threads, 1)):
        if not targets:
            return
        with reading(path, *DECODING_ERRORS):
            reached = targets[-1]  # frames before it are not looked at
            for number, frame in _numbered(path, clip, targets[-1], count):
                clip.lost.update(range(reached, number))
                reached = max(reached, number + 1)
                while targets and targets[-1] < number:
                    targets.pop()
                if not targets:
                    return
                if number == targets[-1]:
                    targets.pop()
                    yield number, _sized(upright(frame), clip)
    clip.lost.update(targets)


def _sized(frame: av.VideoFrame, clip: Clip) -> av.VideoFrame:
    """The frame in the clip's size, which cameras of calls change as they go."""
    if (frame.width, frame.height) == (clip.width, clip.height):
        return frame
    return frame.reformat(clip.width, clip.height)


def _numbered(
    path: Path, clip: Clip, first: int, threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoded frames with their numbers, from a key frame before ``first`` on."""
    for back in (*_BACK, np.inf):
        with open_container(path) as container:
            video = container.streams[clip.stream]
            start = clip.stamps[first] - back / float(video.time_base or 1)
            if not clip.seekable or start <= clip.stamps[0]:
                yield from _decoded(container, video, clip, threads)
                return
            try:
                container.seek(int(start), stream=video)
            except av.FFmpegError:
                continue
            frames = _decoded(container, video, clip, threads)
            # Without a key frame, frames are predicted from what was not decoded.
            frames = itertools.dropwhile(lambda pair: not pair[1].key_frame, frames)
            head = next(frames, None)
            if head is not None and head[0] <= first:
                yield head
                yield from frames
                return


def _decoded(
    container: av.container.InputContainer, video: av.VideoStream, clip: Clip, threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their numbers as the decoder yields them; damaged ones are missing."""
    video.codec_context.options = PIXELS
    video.thread_type = "AUTO"
    video.codec_context.thread_count = threads
    clock = _Clock(container, video)
    count, last, number = 0, 0, -1  # packets, the last of them that a frame came from
    for packet in packets_of(container, [video], []):
        _mark(packet, clip.kind, clock.dts(packet), count)
        count += bool(packet.size)
        for frame in decoded(packet):
            if clip.kind == "count":
                # Where frames are missing, the place of their packets says how many.
                place = number if frame.pts is None else frame.pts
                last = max(last, place)
                number = max(number + 1, last - DELAY, place if frame.key_frame else 0)
            elif frame.pts is not None:
                number = int(np.searchsorted(clip.stamps, frame.pts))
                if number < clip.frames and clip.stamps[number] != frame.pts:
                    continue
            if 0 <= number < clip.frames:
                yield number, frame
