"""Being asked to stop: SIGTERM, which SLURM sends some time before it kills."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within, SIGTERM ends nothing; the function that this yields tells whether it came.

    A stage that can save its state looks between two steps, saves, and raises
    :class:`milmer.errors.Stopped`. Signals reach the main thread alone: elsewhere the answer is
    always no.
    """
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGTERM, before)
