"""What `--logger milmer` shows of a run: a moving line of progress, and a line for what fails."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from tests.conftest import REPOSITORY

RULES = """
rule all:
    input: expand("done/{i}-of-a-name-that-is-so-long-that-no-terminal-can-show-it-in-full", i=range(3)), "no"
rule good:
    output: "done/{i}"
    shell: "touch {output}"
rule bad:
    output: "no"
    log: "logs/bad.log"
    shell: "printf 'begins\\\\nmilmer: trials: no such file; do this\\\\n\\\\n' > {log}; exit 3"
"""  # noqa: E501


@pytest.fixture
def command(tmp_path):
    (tmp_path / "Snakefile").write_text(RULES)
    arguments = ["--logger", "milmer", "--cores", "1", "--keep-going", "--directory", tmp_path]
    return [sys.executable, "-m", "snakemake", "--snakefile", tmp_path / "Snakefile", *arguments]


@pytest.fixture
def environment():
    others = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return others | {"PYTHONPATH": str(REPOSITORY / "workflow/logger")}


FAILED = "failed: bad\n  logs/bad.log: milmer: trials: no such file; do this\n"


def test_without_a_terminal_each_line_stands_by_itself(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count(FAILED) == 1
    rest = done.stderr.replace(FAILED, "").splitlines()
    assert re.fullmatch(r"\d+:\d\d  3 of 5 jobs done, 0 running, 1 left, 1 failed", rest[-1])
    assert all(re.match(r"\d+:\d\d  \d of 5 jobs done, ", line) for line in rest)
    subprocess.run([*command, "done/1"], env=environment, check=True)
    again = subprocess.run([*command, "done/1"], env=environment, capture_output=True, text=True)
    assert again.stderr.startswith("Nothing to be done")


def test_on_a_terminal_one_line_moves(command, environment):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment["TERM"] = "xterm"
    process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait() == 1
    lines = text.decode().replace("\r\n", "\n")
    assert lines.count(FAILED) == 1
    assert lines.endswith("3 of 5 jobs done, 0 running, 1 left, 1 failed\n")
    states = lines.replace(FAILED, "").split("\r\033[K")
    moving = [state for state in states if "jobs done" in state]
    assert max(map(len, moving)) == 59  # cut before the last column
    assert any("1 running" in state and state.endswith("…") for state in moving)
    # Nothing of one state is left when the next one is written, and none ends the line before that.
    assert all("\n" not in state for state in moving[:-1])
