"""The time of a recording: its parts, the gaps between them, and what was marked."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple


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
