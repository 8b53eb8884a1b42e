"""Files in the European Data Format (Kemp & Olivan 2003), or BioSemi's BDF.

Each signal is read at its own rate and in its own unit, and nothing but the signals asked for.
Files of EDF+D and BDF+D pause: the first annotation of each data record says when it was recorded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from milmer.errors import MilmerError
from milmer.readers.parts import Mark, Part

RATES = 10.0, 1_000_000.0
"""Sampling rates of EEG in Hz that a header may claim."""

BIOSEMI = b"\xffBIOSEMI"
_EDF = b"0"
_WIDTH = {BIOSEMI: 3, _EDF: 2}  # bytes of a sample
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_PADDING = b" \0"  # some recorders fill fields with zeros
_CLOCK = re.compile(rb"([+-]\d+(?:\.\d*)?)\x14\x14")
_ANNOTATION = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\0]*)\x14")
_AT_ONCE = 1 << 22  # bytes


def is_edf(head: bytes) -> bool:
    """Whether a file that starts with the bytes ``head`` is EDF or BDF."""
    return head[:8].rstrip(_PADDING) in _WIDTH


@dataclass(frozen=True)
class Signal:
    """A signal of the header: ``samples`` a data record from sample ``offset`` of the record on.

    Its numbers are ``gain`` times the stored ones plus ``shift``, in ``unit``.
    """

    label: str
    unit: str
    samples: int
    offset: int
    gain: float
    shift: float


class EDFFile:
    """An open file: ``signals`` without the annotations, and how its time runs.

    Raises :class:`MilmerError` where the file is missing, damaged, cut off or without a signal, or
    where records last no time in which EEG is sampled. A recording that was never closed has -1
    records in its header and counts as complete.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                head = file.read(256)
                count = int(_text(head[252:256]))
                fields = file.read(256 * max(count, 0))
            self._width = _WIDTH[head[:8].rstrip(_PADDING)]
            self._begin, records = int(_text(head[184:192])), int(_text(head[236:244]))
            self._duration = float(_text(head[244:252]))
            signals = _signals(fields, count)
        except FileNotFoundError as error:
            raise MilmerError("no such file", where=path) from error
        except (OSError, ValueError, KeyError) as error:
            raise damaged(path, error) from error
        self._record = sum(signal.samples for signal in signals)  # samples
        expected = self._begin + max(records, 0) * self._record * self._width
        whole = count >= 1 and min(signal.samples for signal in signals) >= 1
        if not whole or records < -1 or self._begin < 256 * (count + 1) or expected > size:
            raise MilmerError(
                f"cut off or damaged ({size} of {expected} bytes)",
                where=path,
                remedy="copy it again",
            )
        self._records = (
            (size - self._begin) // (self._record * self._width) if records < 0 else records
        )
        self.signals = [signal for signal in signals if signal.label not in _ANNOTATIONS]
        self._annotations = [signal for signal in signals if signal.label in _ANNOTATIONS]
        self._discontinuous = _text(head[192:236])[3:5] == "+D"
        if not self.signals:
            raise MilmerError(
                "holds annotations and no signals", where=path, remedy="name the file with the EEG"
            )
        most = max(signal.samples for signal in self.signals)
        if not (self._duration > 0 and RATES[0] <= most / self._duration <= RATES[1]):
            raise MilmerError(
                f"its header's field 'duration of a data record' is {self._duration:g} s, for up "
                f"to {most} samples of a signal",
                where=path,
                remedy=f"EEG has {RATES[0]:g} to {RATES[1]:,.0f} samples/s",
            )

    def rate(self, signal: Signal) -> float:
        """Sampling rate of a signal in Hz."""
        return signal.samples / self._duration

    def samples(self, signal: Signal) -> int:
        """How many samples of a signal there are."""
        return self._records * signal.samples

    def time(self, stored: np.ndarray) -> np.ndarray:
        """The recording's clock in s at times in s of what is ``stored``, pauses left out."""
        parts = np.searchsorted([part.offset for part in self.parts], stored, side="right") - 1
        ahead = np.array([part.start - part.offset for part in self.parts])
        return stored + ahead[parts]

    @property
    def seconds(self) -> float:
        """Length of what is recorded in s, pauses left out."""
        return self._records * self._duration

    @cached_property
    def parts(self) -> list[Part]:
        """The stretches without a pause. Raises :class:`MilmerError` where the clock goes back."""
        if not self._discontinuous:
            return [Part(0.0, 0.0, self.seconds)]
        starts = self._clock - self._clock[0]  # (record,) in s
        tolerance = max(1e-3, self._duration / max(signal.samples for signal in self.signals))
        steps = np.diff(starts) - self._duration
        if (steps < -tolerance).any():
            at = starts[int(np.argmin(steps))]
            raise MilmerError(
                f"its clock goes back after {at:g} s", where=self.path, remedy="copy it again"
            )
        firsts = np.concatenate([[0], np.flatnonzero(steps > tolerance) + 1, [len(starts)]])
        return [
            Part(float(starts[first]), first * self._duration, (stop - first) * self._duration)
            for first, stop in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True)
        ]

    @cached_property
    def annotations(self) -> list[Mark]:
        """What is written beside the signals, in the file's own time."""
        marks = []
        begin = self._clock[0] if self._annotations and self._records else 0.0
        for signal in self._annotations:
            for content in self._contents(signal, self._records):
                for onset, seconds, texts in _ANNOTATION.findall(content):
                    start = float(onset) - begin
                    for text in filter(None, texts.split(b"\x14")):
                        description = text.decode("utf-8", "replace")
                        marks.append(Mark(start, start + float(seconds or 0), description))
        return marks

    def read(self, signals: list[Signal], first: int, stop: int) -> np.ndarray:
        """Samples ``first`` to ``stop`` of ``signals`` of one rate: (signal, sample)."""
        x = self.stored(signals, first, stop).astype(np.float64)
        x *= np.array([[s.gain] for s in signals])
        x += np.array([[s.shift] for s in signals])
        return x

    def stored(self, signals: list[Signal], first: int, stop: int) -> np.ndarray:
        """The same as they are stored: int32 (signal, sample)."""
        samples = signals[0].samples
        begin, end = first // samples, -(-stop // samples)  # records
        rows = np.empty((len(signals), (end - begin) * samples), np.int32)
        for number, block in self._blocks(begin, end):
            at = slice((number - begin) * samples, (number - begin + len(block)) * samples)
            for row, signal in zip(rows, signals, strict=True):
                part = block[:, signal.offset : signal.offset + signal.samples]
                row[at] = (part if self._width == 2 else part >> 8).reshape(-1)
        return rows[:, first - begin * samples : stop - begin * samples]

    def _contents(self, signal: Signal, records: int) -> Iterator[bytes]:
        """The bytes of annotations in each of the first ``records``; nothing else is read."""
        at, size = self._begin + signal.offset * self._width, self._record * self._width
        try:
            with open(self.path, "rb") as file:
                for number in range(records):
                    file.seek(at + number * size)
                    yield file.read(signal.samples * self._width)
        except OSError as error:
            raise damaged(self.path, error) from error

    def _blocks(self, first: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Records ``first`` to ``stop`` as (record, sample), some at once, each with its number.

        Samples of 24 bits are the upper three bytes of 32.
        """
        size = self._record * self._width
        step = max(1, _AT_ONCE // size)
        spare = self._width == 3  # a byte before the first sample, which is not of it
        kind = "<i4" if spare else "<i2"
        try:
            with open(self.path, "rb") as file:
                file.seek(self._begin + first * size)
                for number in range(first, stop, step):
                    count = min(step, stop - number)
                    block = np.zeros(spare + count * size, np.uint8)
                    if file.readinto(block[spare:]) < count * size:
                        raise ValueError("it ends too early")
                    strides = (size, self._width)
                    yield number, np.ndarray((count, self._record), kind, block, 0, strides)
        except (OSError, ValueError) as error:
            raise damaged(self.path, error) from error

    @cached_property
    def _clock(self) -> np.ndarray:
        """When each record begins, in s after the time in the header: (record,)."""
        if not self._annotations:
            raise MilmerError("pauses, and does not say when", where=self.path)
        starts = []
        # Only the first record says where a file without pauses begins.
        records = self._records if self._discontinuous else 1
        for content in self._contents(self._annotations[0], records):
            match = _CLOCK.match(content)
            if match is None and self._discontinuous:
                raise MilmerError(
                    f"data record {len(starts) + 1} does not say when it begins",
                    where=self.path,
                    remedy="copy it again",
                )
            starts.append(float(match[1]) if match else 0.0)
        return np.array(starts)


def _signals(fields: bytes, count: int) -> list[Signal]:
    """The signals of a header's second part."""
    widths = [16, 80, 8, 8, 8, 8, 8, 80, 8]
    at, columns = 0, []
    for width in widths:
        columns.append([_text(fields[at + width * i : at + width * (i + 1)]) for i in range(count)])
        at += width * count
    labels, _, units, low, high, stored_low, stored_high, _, samples = columns
    signals, offset = [], 0
    for i, label in enumerate(labels):
        if label in _ANNOTATIONS:
            ranges = [0.0, 1.0, 0.0, 1.0]
        else:
            texts = (column[i] for column in (low, high, stored_low, stored_high))
            ranges = [float(text.replace(",", ".")) for text in texts]
        spans = ranges[1] - ranges[0], ranges[3] - ranges[2]
        defined = bool(spans[0] and spans[1])  # else the numbers have no unit
        gain = spans[0] / spans[1] if defined else 1.0
        shift = ranges[0] - gain * ranges[2] if defined else 0.0
        unit = units[i] if defined else ""
        signals.append(Signal(label, unit, int(samples[i]), offset, gain, shift))
        offset += signals[-1].samples
    return signals


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].strip(_PADDING).decode("latin-1")


def damaged(path: Path, error: Exception) -> MilmerError:
    """The error for a file that a reader fails on with ``error``."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:80]
    return MilmerError(
        f"is damaged and cannot be read ({reason})", where=path, remedy="copy it again"
    )
