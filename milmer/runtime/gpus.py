"""NVIDIA GPUs of this machine: which there are, and a lease so that each job has one to itself.

Nothing here imports torch: the Snakefile counts GPUs, and a lease is taken before torch looks for
them.
"""

import functools
import getpass
import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS = 0.5  # between two looks for a free GPU


def visible_gpus() -> list[str]:
    """What CUDA can be told to use: the entries of CUDA_VISIBLE_DEVICES, or else all UUIDs."""
    given = os.environ.get(_VISIBLE)
    if given is None:
        return list(_installed_gpus())
    return [entry.strip() for entry in given.split(",") if entry.strip() not in ("", "-1")]


@contextmanager
def gpu_lease(device: str, jobs_per_gpu: int = 1) -> Iterator[None]:
    """Within, CUDA sees one GPU that at most ``jobs_per_gpu`` leases share.

    Waits until one is free. ``device`` is a stage's: `cpu` and `cuda:N` are a choice already and
    lease nothing. Neither is anything leased where there is no GPU, or where CUDA_VISIBLE_DEVICES
    names just one, as in a SLURM job. A lease is a lock on a file: it ends with the process,
    however that ends.
    """
    gpus = visible_gpus() if device in ("auto", "cuda") else []
    if not gpus or (len(gpus) == 1 and _VISIBLE in os.environ):
        yield
        return
    before = os.environ.get(_VISIBLE)
    gpu, lock = _free_gpu(gpus, jobs_per_gpu)
    os.environ[_VISIBLE] = gpu
    _log.info("computes on GPU %s, %d of %d", gpu, gpus.index(gpu) + 1, len(gpus))
    try:
        yield
    finally:
        lock.release()
        if before is None:
            del os.environ[_VISIBLE]
        else:
            os.environ[_VISIBLE] = before


def _free_gpu(gpus: list[str], jobs_per_gpu: int) -> "tuple[str, FileLock]":
    from filelock import FileLock, Timeout

    folder = Path(tempfile.gettempdir()) / f"milmer-gpus-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    waited = False
    while True:
        for place in range(jobs_per_gpu):  # so that jobs spread over GPUs before they share one
            for gpu in gpus:
                lock = FileLock(folder / f"{gpu}.{place}.lock")
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    continue
                return gpu, lock
        if not waited:
            _log.info("waits for one of %d GPUs", len(gpus))
            waited = True
        time.sleep(_SECONDS)


@functools.cache
def _installed_gpus() -> tuple[str, ...]:
    """UUIDs of the GPUs of this machine; of a GPU that is divided (MIG), those of its parts."""
    if shutil.which("nvidia-smi") is None:
        return ()
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    gpus: list[list[str]] = []
    for kind, uuid in re.findall(r"^\s*(GPU|MIG)\b.*\(UUID:\s*([^)\s]+)\)", told, re.MULTILINE):
        if kind == "GPU":
            gpus.append([uuid])
        elif gpus:
            gpus[-1].append(uuid)
    return tuple(uuid for gpu in gpus for uuid in (gpu[1:] or gpu))
