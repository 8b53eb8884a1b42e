"""The device that a stage computes on, and which precision is fast there."""

import torch

from milmer.errors import MilmerError


def choose_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises :class:`MilmerError` for any other name and for a GPU that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MilmerError(
            f"{name!r} is not a device", where="device", remedy="use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MilmerError(f"this machine has no {name}", where="device", remedy="use auto or cpu")
    return device


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
