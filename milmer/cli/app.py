"""What all commands share: messages and logs, options as JSON, and errors in one line."""

import contextlib
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from milmer.errors import MilmerError, Stopped
from milmer.options import Options

OptionsJSON = Annotated[
    str, typer.Option("--options", metavar="JSON", help="The stage's options; missing: defaults.")
]
Section = TypeVar("Section", bound=Options)
_STOPPED = 128 + signal.SIGTERM

app = typer.Typer(
    help="Emotion recognition from EEG and face video with the Milmer model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the exit status is 1 after an error, 143 after being asked to stop."""
    # A job that is told to end should leave as after an error: clean up, exit non-zero.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_STOPPED))
    try:
        app()
    except MilmerError as error:
        _say(f"milmer: {error}")
        sys.exit(_STOPPED if isinstance(error, Stopped) else 1)
    except Exception:  # a bug, whose traceback is worth more than a line
        _say(f"milmer: failed in a way that was not foreseen:\n{traceback.format_exc().rstrip()}")
        sys.exit(1)


@app.callback()
def _common(
    log: Annotated[
        Path | None, typer.Option("--log", help="Write messages to this file, not to stderr.")
    ] = None,
) -> None:
    if log is not None:
        _send_stderr_to(log)
    if not sys.stderr.isatty():  # bars of Hugging Face's libraries, once they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "transformers", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def read_options(model: type[Section], text: str) -> Section:
    """A stage's options from JSON; what is wrong with them is told in one line."""
    try:
        return model.from_json(text)
    except ValidationError as error:
        raise options_error(error) from error


def options_error(error: ValidationError) -> MilmerError:
    """The first error as one line: path, reason, value."""
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    return MilmerError(f"options: {path}: {first['msg']} (given {first['input']!r})")


_console: int | None = None  # the real stderr, while descriptor 2 goes to a log


def _send_stderr_to(log: Path) -> None:
    """Send all that is written to stderr to ``log``, also by libraries in C."""
    global _console
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as file:
            _console = os.dup(2)
            os.dup2(file.fileno(), 2)
    except OSError as error:
        raise MilmerError(f"{log}: the log cannot be written ({error.strerror})") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    if _console is not None:
        with contextlib.suppress(OSError):
            os.write(_console, f"{line}\n".encode())
