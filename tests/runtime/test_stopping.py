"""A request to stop is heard within the context, by the main thread, and nowhere else."""

import logging
import os
import signal
import threading

import pytest

from milmer.runtime import progress
from milmer.runtime.progress import track
from milmer.runtime.stopping import stop_requests


@pytest.fixture
def earlier():
    """Signals that reached the handler that was there before."""
    heard = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, previous)


def test_a_request_is_heard_from_its_arrival_on_and_ends_nothing(earlier):
    with stop_requests() as stop_requested:
        assert not stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested()
        assert stop_requested()
    assert earlier == []
    signal.raise_signal(signal.SIGTERM)
    assert earlier == [signal.SIGTERM]


def test_whoever_listened_before_does_so_again_whatever_happens(earlier):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), stop_requests() as stop_requested:
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is before
    with stop_requests() as again:
        assert not again()
    assert not stop_requested()


def test_in_another_thread_nothing_is_heard_and_nothing_is_changed(earlier):
    before, heard = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_requests() as stop_requested:
            heard.append((stop_requested(), signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [(False, True)]


@pytest.mark.parametrize(("total", "told"), [(None, "5"), (8, "8")])
def test_a_log_tells_how_many_are_done_once_a_minute(monkeypatch, caplog, total, told):
    times = iter([0.0, 1.0, 60.0, 60.0, 100.0, 119.0, 121.0, 121.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO, "milmer"):
        assert list(track("abcde", "frames", total)) == list("abcde")
    assert [r.message for r in caplog.records] == [f"frames: 1 of {told}", f"frames: 4 of {told}"]
