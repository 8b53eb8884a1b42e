"""The NVIDIA GPUs of this machine, and leases that give each job one of its own.

This module does not import torch: the Snakefile counts GPUs, and a lease is taken before torch
looks for them.
"""

import functools
import logging
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from milmer.errors import MilmerError

if TYPE_CHECKING:
    from filelock import FileLock

_log = logging.getLogger(__name__)
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 0.5  # between two looks for a free GPU
_ANSWER_SECONDS = 30.0  # for nvidia-smi, which hangs where a driver is broken


def visible_gpus() -> list[str]:
    """The GPUs that CUDA may use: the entries of CUDA_VISIBLE_DEVICES, else the UUIDs of all."""
    entries = os.environ.get(_VISIBLE)
    if entries is None:
        return list(_installed_gpus())
    return [entry.strip() for entry in entries.split(",") if entry.strip() not in ("", "-1")]


def unused_driver() -> str | None:
    """The version of the driver of GPUs that are here and not hidden; None where there is none."""
    if not visible_gpus() or not _installed_gpus():
        return None
    return _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]


def require_gpu(device: str) -> None:
    """Refuse a ``device`` cuda:N that this machine is known not to have."""
    kind, _, number = device.partition(":")
    gpus = visible_gpus()
    known = bool(gpus) or _VISIBLE in os.environ
    if kind == "cuda" and known and int(number if number.isdecimal() else 0) >= len(gpus):
        raise MilmerError(f"this machine has no {device}", where="device", remedy="use auto or cpu")


@contextmanager
def gpu_lease(device: str, jobs_per_gpu: int = 1) -> Iterator[None]:
    """Within the context, CUDA sees a single GPU, shared by at most ``jobs_per_gpu`` leases.

    Waits until a GPU is free. ``device`` is the stage's option: with `cpu` or `cuda:N` the device
    is chosen already and nothing is leased; nor is it on a machine without a GPU, or where
    CUDA_VISIBLE_DEVICES names just one, as in a SLURM job. A lease is a file lock, so it ends with
    the process, however that ends.
    """
    gpus = visible_gpus() if device in ("auto", "cuda") else []
    if not gpus or (len(gpus) == 1 and _VISIBLE in os.environ):
        yield
        return
    previous = os.environ.get(_VISIBLE)
    gpu, lock = _lock_free_gpu(gpus, jobs_per_gpu)
    os.environ[_VISIBLE] = gpu
    _log.info("leases GPU %s, %d of %d", gpu, gpus.index(gpu) + 1, len(gpus))
    try:
        yield
    finally:
        lock.release()
        if previous is None:
            del os.environ[_VISIBLE]
        else:
            os.environ[_VISIBLE] = previous


def _lock_free_gpu(gpus: list[str], jobs_per_gpu: int) -> "tuple[str, FileLock]":
    from filelock import FileLock, Timeout

    folder = _lease_folder()
    waited = False
    while True:
        for slot in range(jobs_per_gpu):  # outer loop: jobs spread over GPUs before sharing one
            for gpu in gpus:
                lock = FileLock(folder / f"{_lease_name(gpu)}.{slot}.lock")
                try:
                    lock.acquire(blocking=False)
                except Timeout:
                    continue
                return gpu, lock
        if not waited:
            _log.info("waits for one of %d GPUs", len(gpus))
            waited = True
        time.sleep(_POLL_SECONDS)


def _lease_name(gpu: str) -> str:
    """A name of a GPU that no other one on this machine has.

    Two SLURM jobs on one node may both see their own GPUs as 0 and 1: the UUID tells them apart, or
    else the job's number.
    """
    if not gpu.isdecimal():
        return gpu
    installed = _installed_gpus()
    if int(gpu) < len(installed):
        return installed[int(gpu)]
    return f"{gpu}-{os.environ.get('SLURM_JOB_ID', '')}"


def _lease_folder() -> Path:
    """This user's folder of leases.

    Below ``XDG_RUNTIME_DIR``, which is the user's alone, where that is set and so; else below the
    folder for temporary files, where anyone may have made something of that name before.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime) and _is_ours(Path(runtime)):
        folder = Path(runtime) / "milmer-gpus"
    else:
        folder = Path(tempfile.gettempdir()) / f"milmer-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:  # also where it is a link or a file
        reason = error.strerror
    else:
        reason = "" if _is_ours(folder) else "a link, another user's, or open to others"
    if reason:
        raise MilmerError(
            f"cannot hold leases of GPUs ({reason})",
            where=folder,
            remedy="remove it, or set TMPDIR to a folder of your own",
        )
    return folder


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder, no link to one, that is open to this user alone."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    mode = status.st_mode
    return stat.S_ISDIR(mode) and status.st_uid == os.geteuid() and not mode & 0o077


@functools.cache
def _installed_gpus() -> tuple[str, ...]:
    """UUIDs of this machine's GPUs; for a partitioned GPU (MIG), the UUIDs of its instances."""
    listing = _nvidia_smi("-L")
    gpus: list[list[str]] = []
    for kind, uuid in re.findall(r"^\s*(GPU|MIG)\b.*\(UUID:\s*([^)\s]+)\)", listing, re.MULTILINE):
        if kind == "GPU":
            gpus.append([uuid])
        elif gpus:
            gpus[-1].append(uuid)
    return tuple(uuid for gpu in gpus for uuid in (gpu[1:] or gpu))


def _nvidia_smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing where it is missing, fails or hangs."""
    try:
        return subprocess.run(
            ["nvidia-smi", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        ).stdout
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("nvidia-smi does not answer (%s): no GPU is counted", error)
        return ""
