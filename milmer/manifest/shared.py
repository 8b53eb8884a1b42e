"""Which trials share samples: what no split may divide, whatever a manifest calls it.

Spans of the same recording that overlap, and trials of the same stretch of video, are one group.
Which recordings are the same is told by the content of the files that hold their samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from milmer.manifest.table import Manifest, Row

VIDEO_STEP = 0.04
"""Seconds of video that trials may share: a frame, about as exact as clocks are."""


class Span(NamedTuple):
    """What a trial takes of a recording: ``trial`` is its place among the subject's rows.

    ``start`` and ``stop`` are in s; ``step`` is the length in s that two trials may share.
    """

    trial: int
    digest: str
    start: float
    stop: float
    step: float


def shared_groups(
    manifest: Manifest, rows: Sequence[Row], spans: Iterable[Span]
) -> list[str | None]:
    """The group of each of a subject's ``rows``: that of the manifest, and what shares samples.

    A group without a name gets that of its first trial. Raises :class:`MilmerError` where trials
    that share samples are of two groups by name.
    """
    first = list(range(len(rows)))  # of the group that a row is in
    names = {}
    for i, row in enumerate(rows):
        if row.group is not None:
            first[i] = names.setdefault(row.group, i)
    for a, b in _overlapping(spans):
        low, high = sorted((first[a], first[b]))
        groups = {rows[i].group for i in range(len(rows)) if first[i] in (low, high)} - {None}
        if len(groups) > 1:
            raise manifest.error(
                rows[b],
                f"shares samples with trial {rows[a].name}, and they are of the groups "
                f"{' and '.join(sorted(groups))}",
                remedy="give trials that share samples one group",
            )
        first = [low if place == high else place for place in first]
    return [_group(rows, first, place) for place in first]


def _group(rows: Sequence[Row], first: Sequence[int], place: int) -> str | None:
    members = [row for row, own in zip(rows, first, strict=True) if own == place]
    names = [row.group for row in members if row.group is not None]
    if names or len(members) == 1:
        return names[0] if names else None
    return f"{rows[place].subject} trial {rows[place].trial} and {len(members) - 1} more"


def _overlapping(spans: Iterable[Span]) -> Iterator[tuple[int, int]]:
    """Pairs of trials that link all those that overlap, directly or by others."""
    last: Span | None = None  # that ends last of those of its recording
    for span in sorted(spans, key=lambda span: (span.digest, span.start)):
        if last is not None and last.digest == span.digest:
            if min(last.stop, span.stop) - span.start > 1.001 * span.step:
                yield last.trial, span.trial
            if span.stop <= last.stop:
                continue
        last = span
