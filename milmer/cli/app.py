"""What all commands share: logs, options as JSON, and errors in one line."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated

import typer

from milmer.errors import MilmerError, Stopped
from milmer.limits import read_errors, require_size
from milmer.planned import hold_to_plan


def _content(options: str) -> str:
    """The options themselves, where they are the name of a file."""
    if not options.endswith(".json"):
        return options
    path = Path(options)
    require_size(path)
    with read_errors(path):
        return path.read_text(encoding="utf-8", errors="replace")


OptionsJSON = Annotated[
    str,
    typer.Option(
        "--options",
        metavar="JSON",
        callback=_content,
        help="Options of the stage, or the file that holds them.",
    ),
]
START, RESULTS, STAGES, TOOLS = "Start", "Results", "Stages, which the workflow runs", "Tools"
_STOPPED = 128 + signal.SIGTERM

app = typer.Typer(
    help="Emotion recognition from EEG and face video with the Milmer model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the exit status is 1 after an error and 143 after SIGTERM."""
    # A terminated job ends as after an error: it cleans up and exits with a non-zero status.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_STOPPED))
    try:
        app()
    except MilmerError as error:
        _print_error(f"milmer: {error}")
        sys.exit(_STOPPED if isinstance(error, Stopped) else 1)
    except Exception as error:
        _print_bug(error)
        sys.exit(1)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"milmer {version('milmer')}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    log: Annotated[
        Path | None, typer.Option("--log", help="Write messages to this file instead of stderr.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if log is not None:
        _send_stderr_to(log)
    if not sys.stderr.isatty():  # of Hugging Face's libraries, which are imported later
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "transformers", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    hold_to_plan(context.invoked_subcommand or "")


_console: int | None = None  # the real stderr, while descriptor 2 goes to a log
_log_file: Path | None = None


def _send_stderr_to(log: Path) -> None:
    """Redirect stderr to ``log``, also for libraries in C."""
    global _console, _log_file
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as file:
            _console, _log_file = os.dup(2), log
            os.dup2(file.fileno(), 2)
    except OSError as error:
        raise MilmerError(f"the log cannot be written ({error.strerror})", where=log) from error


def _print_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    if _console is not None and os.environ.get("MILMER_ERRORS") != "log":
        with contextlib.suppress(OSError):
            os.write(_console, f"{line}\n".encode())


def _print_bug(error: Exception) -> None:
    """Print one line that this is a bug in Milmer, and where its traceback is."""
    text = traceback.format_exc()
    if _log_file is not None:
        path: str | Path = _log_file
        print(text, file=sys.stderr, flush=True)
    else:
        with tempfile.NamedTemporaryFile(
            "w", prefix="milmer-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        path = file.name
    reason = " ".join(f"{type(error).__name__}: {error}".splitlines())
    _print_error(
        f"milmer: unexpected error ({reason}); please report it with the traceback in {path}"
    )
