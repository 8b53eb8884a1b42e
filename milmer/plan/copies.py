"""A recording or video that two subjects have, under any name."""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from milmer.data.dataset import Dataset, Use
from milmer.errors import MilmerError
from milmer.readers.digests import sample_sizes, samples_digest, samples_glimpse


def copies(dataset: Dataset) -> Iterator[tuple[tuple[str, str], MilmerError]]:
    """Pairs of subjects that share samples, and the error of the first that they share.

    A group that both name ties them: they are then held out together. Two people in one video
    have a ``face`` each. Files are looked into only where their sizes agree, and read to the end
    where so do a few of their blocks.
    """
    glimpse = functools.cache(samples_glimpse)
    sized: dict[tuple[int, ...], list[Use]] = {}
    for use in dataset.uses():
        try:
            sizes = sample_sizes(use.path)
        except (OSError, MilmerError):  # their data are missing, which is told elsewhere
            continue
        if any(sizes):
            sized.setdefault(sizes, []).append(use)
    told: set[tuple[str, str]] = set()
    for uses in sized.values():
        for a, b in itertools.combinations(uses, 2):
            pair = a.subject, b.subject
            tied = a.subject == b.subject or pair in told or a.groups & b.groups
            if not (tied or _two_people(a, b)) and _same(a.path, b.path, glimpse):
                told.add(pair)
                names = " and ".join(dict.fromkeys(use.path.name for use in (a, b)))
                by_group = "" if a.line is None else ", or the trials of both one group"
                yield (
                    pair,
                    MilmerError(
                        f"{a.subject} and {b.subject} have the same samples ({names})",
                        where=f"{dataset.place}: lines {a.line} and {b.line}"
                        if a.line
                        else dataset.place,
                        remedy=f"give each subject its own recording{by_group}",
                    ),
                )


def _two_people(a: Use, b: Use) -> bool:
    """Whether all rows of both take a face of the video, and never the same."""
    return None not in a.faces | b.faces and not a.faces & b.faces


def _same(a: Path, b: Path, glimpse: Callable[[Path], str]) -> bool:
    return a.resolve() == b.resolve() or all(
        digest(a) == digest(b) for digest in (glimpse, samples_digest)
    )
