"""The device that a stage computes on, and which precision is fast there."""

import os

import torch

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
