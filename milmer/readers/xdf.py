"""Recordings of the Lab Streaming Layer (``.xdf``), read with pyxdf.

A file holds several streams; EEG is the one of type EEG, or the one that a JSON file beside it
names. Clocks of the computers that took part are aligned and jitter is removed.
"""

import itertools
import re
import struct
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from milmer.errors import MilmerError
from milmer.limits import TEXT_BYTES
from milmer.readers.claims import CHANNELS
from milmer.readers.descriptions import Description, read_description
from milmer.readers.edf import damaged
from milmer.readers.parts import Part

_STREAM, _SAMPLES = 2, 3  # tags of chunks
_WIDTHS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "double64": 8}
_BREAK = 1.0  # s without a sample that are a gap; less is taken for jitter
_CAMERA = re.compile("camera|webcam|video|frame", re.IGNORECASE)
_LARGEST = 1 << 32  # bytes: pyxdf holds all of it in memory


@dataclass(frozen=True)
class XDFStream:
    """A stream: ``data`` (sample, channel) at ``sfreq`` Hz in ``units``, stored in ``parts``."""

    data: np.ndarray
    labels: list[str]
    kinds: list[str]
    units: list[str]
    sfreq: float
    parts: list[Part]
    first: float  # when its first sample was taken, by the clock of the file


def read_xdf(path: Path) -> XDFStream:
    """Read the stream of EEG of a file; time 0 is its first sample.

    Raises :class:`MilmerError` where the file is damaged or claims more than it holds, or where it
    is not clear which stream is EEG or which channels it has.
    """
    description = read_description(path) or Description()
    streams = _streams(path)
    number = _chosen(path, streams, description.stream)
    header, stream = streams[number], _load(path, [number])[0]
    times, segments = np.asarray(stream["time_stamps"]), stream["info"]["segments"]
    data = stream["time_series"]
    if not isinstance(data, np.ndarray) or len(data) < 2 or not np.isfinite(times).all():
        raise MilmerError("its stream of EEG holds no samples", where=path)
    sfreq = float(stream["info"]["effective_srate"] or 0)
    labels, kinds, units = _channels(path, header, description, data.shape[1])
    parts = [
        Part(float(times[a] - times[0]), a / sfreq, (b + 1 - a) / sfreq)
        for a, b in segments
        if sfreq > 0
    ]
    if not parts or any(a.stop > b.start + 1 for a, b in itertools.pairwise(parts)):
        raise MilmerError("its stream of EEG has no regular times", where=path)
    return XDFStream(data, labels, kinds, units, sfreq, parts, float(times[0]))


@dataclass(frozen=True)
class XDFEvents:
    """What lies beside the EEG, which lasts ``seconds``; times are in s after its first sample.

    By the name of their stream: ``markers`` are times and texts in the order of time, ``frames``
    are when a camera took each frame, float64 (frame,).
    """

    seconds: float
    markers: dict[str, list[tuple[float, str]]]
    frames: dict[str, np.ndarray]


def read_xdf_events(path: Path) -> XDFEvents:
    """Read the markers of a file, and the times of its camera's frames.

    A stream of the type Markers, or of texts, has markers; one whose name or type says camera,
    video or frame has a sample a frame. Raises :class:`MilmerError` as :func:`read_xdf` does.
    """
    eeg = read_xdf(path)
    first, streams = eeg.first, _streams(path)
    texts, cameras = [], []
    for number, header in streams.items():
        name, kind = _text(header, "name"), _text(header, "type").lower()
        camera = _CAMERA.search(f"{name} {kind}")
        if kind.startswith("marker") or (
            _text(header, "channel_format") == "string" and not camera
        ):
            texts.append(number)
        elif camera and kind != "eeg":
            cameras.append(number)
    markers: dict[str, list[tuple[float, str]]] = {}
    frames: dict[str, np.ndarray] = {}
    loaded = _load(path, [*texts, *cameras], regular=False) if texts or cameras else []
    for stream in loaded:
        number, name = stream["info"]["stream_id"], stream["info"]["name"][0]
        times = np.asarray(stream["time_stamps"], float) - first
        if number in cameras:
            frames[name] = times
        else:
            words = [str(np.ravel(value)[0]).strip() for value in stream["time_series"]]
            markers[name] = sorted(zip(times.tolist(), words, strict=True))
    return XDFEvents(eeg.parts[-1].stop, markers, frames)


def _load(path: Path, numbers: list[int], regular: bool = True) -> list[dict[str, Any]]:
    """These streams with aligned clocks; times of ``regular`` ones are without jitter."""
    import pyxdf

    try:
        return pyxdf.load_xdf(
            str(path),
            select_streams=numbers,
            dejitter_timestamps=regular,
            jitter_break_threshold_seconds=_BREAK,
            jitter_break_threshold_samples=1,
            verbose=False,
        )[0]
    except Exception as error:  # damaged chunks can raise anything
        raise damaged(path, error) from error


def _chosen(path: Path, streams: dict[int, ET.Element], wanted: str | None) -> int:
    """The number of the stream that is called ``wanted``, or that is of that type."""
    described = {n: (_text(s, "name"), _text(s, "type")) for n, s in streams.items()}
    word = (wanted or "EEG").lower()
    for column in (0, 1) if wanted else (1,):
        numbers = [n for n, texts in described.items() if texts[column].lower() == word]
        if len(numbers) == 1:
            return numbers[0]
    listed = ", ".join(f"{name} ({kind})" for name, kind in described.values())
    raise MilmerError(
        f"no single stream is {wanted or 'of type EEG'}; it holds {listed or 'none'}",
        where=path,
        remedy=f'name it in {path.with_suffix(".json").name}: {{"stream": "…"}}',
    )


def _channels(
    path: Path, header: ET.Element, description: Description, count: int
) -> tuple[list[str], list[str], list[str]]:
    """Label, kind and unit of each channel."""
    channels = header.findall("desc/channels/channel")
    labels = description.channels or [_text(c, "label") for c in channels]
    if len(labels) != count or not all(labels):
        raise MilmerError(
            f"its stream has {count} channels and names {sum(map(bool, labels))}",
            where=path,
            remedy=f'name them in {path.with_suffix(".json").name}: {{"channels": ["Fz", …]}}',
        )
    described = len(channels) == count
    kinds = [(_text(c, "type") or "EEG").lower() for c in channels] if described else []
    units = [_text(c, "unit") for c in channels] if described else []
    return (
        labels,
        kinds or ["eeg"] * count,
        [unit or description.unit or "" for unit in units or [""] * count],
    )


def _streams(path: Path) -> dict[int, ET.Element]:
    """The header of each stream by its number, once all chunks were found to be sound."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise MilmerError(f"{size:,} bytes; at most {_LARGEST:,} are read", where=path)
    streams: dict[int, ET.Element] = {}
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"XDF:":
                raise ValueError("it does not begin as an XDF file does")
            while (at := file.tell()) < size:
                length = _count(file)
                end = file.tell() + length
                if length < 2 or end > size:
                    raise ValueError(f"the chunk at byte {at} goes beyond its end")
                (tag,) = struct.unpack("<H", file.read(2))
                if tag == _STREAM:
                    (number,) = struct.unpack("<I", file.read(4))
                    if length > TEXT_BYTES:
                        raise ValueError("the header of a stream is too long")
                    streams[number] = ET.fromstring(file.read(length - 6).decode("utf-8"))
                    if not 1 <= int(_text(streams[number], "channel_count")) <= CHANNELS:
                        raise ValueError("the number of channels is out of range")
                elif tag == _SAMPLES:
                    (number,) = struct.unpack("<I", file.read(4))
                    _require_room(streams[number], _count(file), end - file.tell())
                file.seek(end)
    except OSError as error:
        raise MilmerError(f"cannot be read ({error.strerror})", where=path) from error
    except (ValueError, KeyError, struct.error, ET.ParseError) as error:
        raise damaged(path, error) from error
    return streams


def _require_room(stream: ET.Element, samples: int, room: int) -> None:
    """Refuse a chunk that claims more ``samples`` than its bytes have ``room`` for."""
    width = _WIDTHS.get(_text(stream, "channel_format"), 1)
    if samples * (1 + int(_text(stream, "channel_count")) * width) > room:
        raise ValueError(f"a chunk claims {samples:,} samples")


def _count(file: BinaryIO) -> int:
    """A whole number that is preceded by how many bytes it has."""
    size = file.read(1)
    if size not in (b"\1", b"\4", b"\10"):
        raise ValueError("a length is damaged")
    return int.from_bytes(file.read(size[0]), "little")


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()
