"""The device that a stage computes on, and which precision is fast there."""

import os

import torch
from torch import Tensor

from milmer.errors import MilmerError
from milmer.runtime.gpus import unused_driver


def choose_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    ``auto`` is the GPU where there is one. Raises :class:`MilmerError` for any other name, for a
    GPU that this machine does not have, and for one that torch cannot use, unless the environment
    variable MILMER_CPU_INSTEAD says that ``auto`` may then be the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and not os.environ.get("MILMER_CPU_INSTEAD"):
            _require_no_gpu()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MilmerError(
            f"{name!r} is not a device", where="device", remedy="use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MilmerError(f"this machine has no {name}", where="device", remedy="use auto or cpu")
    return device


def _require_no_gpu() -> None:
    if (driver := unused_driver()) is not None:
        cuda = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise MilmerError(
            f"nvidia-smi lists a GPU that torch cannot use (driver {driver or 'unknown'}, torch "
            f"{torch.__version__} built {cuda})",
            where="device",
            remedy="install a driver and a torch that fit, or set device: cpu",
        )


def compute_reproducibly() -> None:
    """Let equal inputs give equal bytes on a device, and float32 be float32.

    An operation that cannot be deterministic raises RuntimeError. Matrix products of float32 are
    not shortened to TF32.
    """
    # cuBLAS reads it when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on ``device``; a GPU gets it from the host in its turn, and nobody waits for it."""
    if device.type == "cuda" and tensor.is_cpu:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware, faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def describe(device: torch.device) -> str:
    """A device's name for provenance: its model, never the host's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
