"""Lets a command of a test be a fork of a process that has the libraries in memory.

Python imports this file as it starts, where this folder is on PYTHONPATH. A process that is to be
`snakemake` or `milmer` hands its arguments, environment, working directory and open files to the
server of `tests/forks/server.py`, waits, and ends as the fork did.
"""

import os
import sys


def _command() -> list[str] | None:
    """The name and the arguments of a command that a fork can be; None of any other process."""
    words = [word for word in sys.orig_argv[1:3] if word not in ("-P", "-m")]
    if not words or os.path.basename(words[0]) not in ("milmer", "snakemake"):
        return None
    place = sys.orig_argv.index(words[0])
    return [os.path.basename(words[0]), *sys.orig_argv[place + 1 :]]


def _hand_over(command: list[str], server: str) -> None:
    import json
    import signal
    import socket

    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(server)
        request = json.dumps([command, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(channel, [len(request).to_bytes(8, "big")], [0, 1, 2])
        channel.sendall(request)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: channel.sendall(bytes([number])))
        status = int(channel.recv(8) or 1)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if (_server := os.environ.get("MILMER_TEST_FORKS")) and (_asked := _command()):
    _hand_over(_asked, _server)
