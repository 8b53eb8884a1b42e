"""Requests to stop: SIGTERM, which SLURM sends some time before it kills a job."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the context, SIGTERM does not end the process; yields a function: has it arrived?

    A stage that can save its state calls that function between two steps, saves, and raises
    :class:`milmer.errors.Stopped`. Only the main thread receives signals: in any other thread the
    function always returns False.
    """
    stop_requested = False

    def request_stop(*_: object) -> None:
        nonlocal stop_requested
        stop_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGTERM, request_stop)
    try:
        yield lambda: stop_requested
    finally:
        signal.signal(signal.SIGTERM, previous)
