"""The time of a recording: its parts, the gaps between them, what was marked, and its trials."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Mark(NamedTuple):
    """An annotation from ``start`` to ``stop`` in s."""

    start: float
    stop: float
    description: str


class Part(NamedTuple):
    """A stretch without a pause from ``start`` s on by the recording's clock, ``seconds`` long.

    ``offset`` is the same in s of what is stored. Nothing may be read across the end of a part.
    """

    start: float
    offset: float
    seconds: float

    @property
    def stop(self) -> float:
        """Where it ends in s by the clock."""
        return self.start + self.seconds


def part_at(parts: Sequence[Part], time: float) -> Part:
    """The part that holds ``time`` in s; before the first or in a gap, the one before it."""
    return max((part for part in parts if part.start <= time + 1e-6), default=parts[0])


def gaps_of(parts: Sequence[Part]) -> list[tuple[float, float]]:
    """Where parts end and the next begin, in s; alike where pieces lie side by side."""
    return [(one.stop, other.start) for one, other in itertools.pairwise(parts)]


class Signal(Protocol):
    """A continuous recording: of a file, or in memory."""

    sfreq: float
    seconds: float
    bads: Sequence[str]

    @property
    def positions(self) -> Mapping[str, Sequence[float]] | None:
        """Where its channels are, by name; None where the 10–05 system says it."""

    def part(self, start: float) -> Part:
        """The stretch without a gap that holds ``start`` in s."""

    def gaps_in(self, start: float, stop: float) -> list[tuple[float, float]]:
        """The gaps between ``start`` and ``stop`` s, in s from ``start`` on."""

    def marks_in(self, start: float, stop: float) -> list[Mark]:
        """The marks that overlap ``start`` to ``stop`` s, in s from ``start`` on."""

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """EEG (channel, sample) in µV, less means."""

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """A channel of EOG (sample,) in µV."""


def read_with_margins(
    signal: Signal,
    start: float,
    seconds: float,
    sfreq: float,
    margin: int,
    eog: Sequence[Sequence[str]] | None,
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """A trial from ``start`` s on with what the recording holds around it, for filters.

    Up to ``margin`` s before and after its ``seconds``, in whole samples at ``sfreq`` Hz, and never
    across a gap; none where the margins hold values that are not finite. ``eog`` names the channels
    of hEOG and vEOG. Returns EEG (channel, sample) and EOG (2, sample) or None, both in µV, and the
    s before the trial.
    """
    part = signal.part(start)
    for widest in (margin, 0):
        room = (start - part.start, part.stop - start - seconds)
        before, after = (min(widest, int(max(s, 0.0) * sfreq + 1e-6) / sfreq) for s in room)
        span = (start - before, before + seconds + after, sfreq)
        x = signal.trial(*span)  # (channel, sample)
        if np.isfinite(x).all():
            break
    bipolar = None if eog is None else np.stack([signal.bipolar(pair, *span) for pair in eog])
    return x, bipolar, before
