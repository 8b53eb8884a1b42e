"""The screen of a run: a moving line of what is done and running, and a line for what fails.

    PYTHONPATH=workflow/logger snakemake --logger milmer --cores all …

Where stderr is no terminal, a line is printed every ten seconds. Snakemake's own log is in
``.snakemake/log/`` as ever.
"""

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

_SECONDS = 10.0  # between two lines where stderr is no terminal
_COLUMNS = 100
_ERASE = "\r\033[K"
_SAID_BY_JOBS = ("CalledProcessError", "Exiting because a job", "At least one job did not complete")


class LogHandler(LogHandlerBase):
    """Shows how far a run is."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._moving = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._names: dict[int, str] = {}
        self._running: dict[int, None] = {}  # in the order of their start
        self._done = self._total = self._failed = 0
        self._begin = self._last = time.monotonic()
        self._messages: set[str] = set()
        os.environ["MILMER_ERRORS"] = "log"  # errors of jobs are printed here, with their log

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a record, and print what it changes."""
        event, fields, message = getattr(record, "event", None), vars(record), record.getMessage()
        if self.common_settings.dryrun:
            if event == LogEvent.RUN_INFO or record.levelno >= logging.WARNING:
                self._print(message)  # how many jobs of which rules
        elif event == LogEvent.RUN_INFO:
            self._total = fields["stats"]["total"]
        elif event == LogEvent.JOB_INFO:
            wildcards = "/".join((fields["wildcards"] or {}).values())
            self._names[fields["jobid"]] = f"{fields['rule_name']} {wildcards}".rstrip()
            self._show()
        elif event == LogEvent.JOB_STARTED:
            self._running |= dict.fromkeys(fields["jobs"])
        elif event == LogEvent.JOB_FINISHED:
            self._running.pop(fields["job_id"], None)
        elif event == LogEvent.PROGRESS:
            self._done, self._total = fields["done"], fields["total"]
            if self._moving:  # otherwise when the next job has begun
                self._show()
        elif event == LogEvent.JOB_ERROR:
            name = self._names.get(fields["jobid"], fields["rule_name"])
            self._failed += self._running.pop(fields["jobid"], self) is None
            self._print(f"failed: {name}{''.join(map(_ending, fields['log']))}")
        elif message.startswith("Nothing to be done") or (
            record.levelno >= logging.WARNING and not any(t in message for t in _SAID_BY_JOBS)
        ):
            self._print(message)

    def close(self) -> None:
        """End the line of progress."""
        if self._total:
            self._show(now=True)
            print(end="\n" if self._moving else "", file=sys.stderr, flush=True)
            self._total = 0  # it is called twice
        super().close()

    def _print(self, message: str) -> None:
        """Print a message above the line of progress; Snakemake repeats errors when it ends."""
        if message not in self._messages:
            self._messages.add(message)
            print(f"{_ERASE if self._moving else ''}{message}", file=sys.stderr, flush=True)
            if self._moving and self._total:
                self._show()

    def _show(self, now: bool = False) -> None:
        """The line of progress: at once if it moves, otherwise every now and then."""
        time_passed = time.monotonic()
        if not (self._moving or now or time_passed - self._last >= _SECONDS):
            return
        self._last = time_passed
        minutes, seconds = divmod(round(time_passed - self._begin), 60)
        left = self._total - self._done - len(self._running) - self._failed
        line = f"{minutes}:{seconds:02d}  {self._done} of {self._total} jobs done, "
        line += f"{len(self._running)} running, {left} left"
        line += f", {self._failed} failed" if self._failed else ""
        line += "  " * bool(self._running) + ", ".join(
            self._names.get(i, "") for i in self._running
        )
        width = min(_COLUMNS, shutil.get_terminal_size((_COLUMNS, 24)).columns - 1)
        line = line if len(line) <= width else line[: width - 1] + "…"
        print(
            f"{_ERASE}{line}" if self._moving else line,
            end="" if self._moving else "\n",
            file=sys.stderr,
            flush=True,
        )


def _ending(log: str) -> str:
    """A log's path and last line."""
    try:
        lines = Path(log).read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    last = next((line for line in reversed(lines) if line.strip()), "is empty")
    return f"\n  {log}: {last.strip()}"
