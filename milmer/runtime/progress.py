"""Progress of a long stage: a bar on a terminal, one line a minute in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
_SECONDS = 60.0  # between two lines of a log


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and report on stderr how many of them are done.

    ``what`` names the work; ``total`` is needed only if ``items`` has no length.
    """
    total = len(items) if total is None and isinstance(items, Sized) else total
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total, file=sys.stderr, leave=False)
        return
    last_report = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last_report >= _SECONDS:
            last_report = time.monotonic()
            _log.info("%s: %d of %s", what, done, total if total is not None else "?")
        yield item
