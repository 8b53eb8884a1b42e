"""Commands at the price of a fork: a process that has the libraries in memory, and its clients.

Reading PyTorch, pandas and Snakemake takes most of the time of a small pipeline's jobs. The server
imports them once and nothing of this package, so that each fork reads the project as it is then.
Whatever is about processes themselves (kills, limits, what is imported) runs without it.
"""

import atexit
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = """
av cv2 filelock h5py huggingface_hub mne mne.io mne.preprocessing numpy pandas PIL.Image psutil
pyarrow.parquet pydantic safetensors.torch scipy.ndimage scipy.signal scipy.stats sklearn
sklearn.discriminant_analysis sklearn.linear_model sklearn.pipeline tabulate threadpoolctl torch
torch.utils.checkpoint transformers transformers.models.auto.modeling_auto
transformers.models.swin.modeling_swin transformers.models.vit.image_processing_pil_vit typer yaml
snakemake.cli snakemake.profiles snakemake.report.html_reporter jinja2 requests smart_open
"""


def environment(path: str | None = None) -> dict[str, str]:
    """What to add to the environment of a process whose commands are to be forks.

    ``path`` is its PYTHONPATH, by default that of this process.
    """
    others = os.environ.get("PYTHONPATH") if path is None else path
    paths = os.pathsep.join(filter(None, [str(HERE), others]))
    return {"MILMER_TEST_FORKS": _started(), "PYTHONPATH": paths}


@cache
def _started() -> str:
    """The socket of the server, which is started once in a process."""
    folder = tempfile.mkdtemp(prefix="forks")
    path = f"{folder}/server"
    ours, theirs = os.pipe()  # the server ends where nobody holds the other end
    process = subprocess.Popen(
        [sys.executable, "-P", str(HERE / "server.py"), path],
        stdin=ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    os.close(ours)
    assert process.stdout.readline() == b"ready\n"
    atexit.register(os.close, theirs)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return path


def serve(path: str) -> int:
    """Fork for each client; in a fork, run what it asked for and return its exit status."""
    for name in LIBRARIES.split():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a fork is short-lived, and what it never collects it need not copy either
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:  # who started it is gone
                return 0
            channel, _ = listener.accept()
            if not os.fork():
                break
            channel.close()
    return _supervise(channel)


def _supervise(channel: socket.socket) -> int:
    """Let a fork run the command of ``channel``, and tell the client how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(channel, 8, 3)
    size, request = int.from_bytes(head, "big"), b""
    while len(request) < size:
        request += channel.recv(1 << 16)
    worker = os.fork()
    if not worker:
        channel.close()
        return _run(*json.loads(request), files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(worker)
    while True:
        ready, _, _ = select.select([channel, ended], [], [])
        if ended in ready:
            _, status = os.waitpid(worker, 0)
            channel.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        if word := channel.recv(1):
            os.kill(worker, word[0])
        else:  # the client was killed: so is whatever would have been in its group
            os.killpg(worker, signal.SIGKILL)


def _run(command: list[str], directory: str, variables: dict[str, str], files: list[int]) -> int:
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    ours = {str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    paths = [place for place in variables.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [*paths, *(place for place in sys.path if place not in ours)]
    assert not any(name.partition(".")[0] == "milmer" for name in sys.modules)
    name, *arguments = command
    sys.argv = [str(Path(sys.executable).with_name(name)), *arguments]
    try:
        status = importlib.import_module(
            {"snakemake": "snakemake.cli"}.get(name, "milmer.cli")
        ).main()
    except SystemExit as end:
        status = end.code
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1]))
