"""Checkpoint files of others, saved with ``torch.save``: no code in them is run."""

import io
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from milmer.errors import MilmerError
from milmer.limits import TEXT_BYTES, require_file

_ALLOWED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage"
)
_SAVE_STATE_DICT = "save the model's state_dict() with torch.save"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name, on the CPU.

    Raises :class:`MilmerError` where the file holds anything else, or less than it claims.
    """
    require_file(path)
    try:
        _require_tensors_only(path)
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise MilmerError(f"cannot be read ({error.strerror})", where=path) from error
    except Exception as error:  # of any type: what the file asks for reaches far into torch
        reason = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
        raise MilmerError(
            f"holds more than tensors, or is no checkpoint ({reason[:200]})",
            where=path,
            remedy=_SAVE_STATE_DICT,
        ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise MilmerError(
            "is not a state_dict, a tensor by name", where=path, remedy=_SAVE_STATE_DICT
        )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 2 * path.stat().st_size:  # twice: tensors may share their values
        raise MilmerError(
            f"its tensors claim {claimed:,} bytes, more than the file holds",
            where=path,
            remedy=_SAVE_STATE_DICT,
        )
    return dict(state)


def _require_tensors_only(path: Path) -> None:
    """Refuse a checkpoint that asks for anything but tensors, or is larger inside than outside.

    PyTorch's allow-list keeps code out; some of what it allows takes memory without limit.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
                sum(entry.file_size for entry in entries) > path.stat().st_size
            ):
                raise pickle.UnpicklingError("it is compressed")
            pickles = [e for e in entries if os.path.basename(e.filename) == "data.pkl"]
            if any(entry.file_size > TEXT_BYTES for entry in pickles):
                raise pickle.UnpicklingError("its list of tensors is too large")
            for entry in pickles:
                _require_names(io.BytesIO(archive.read(entry)))
    else:
        with open(path, "rb") as file:
            head = io.BytesIO(file.read(TEXT_BYTES))
        for _ in range(5):  # PyTorch's number, version, machine, content, and storages
            _require_names(head)


def _require_names(file: BinaryIO) -> None:
    for opcode, name, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and not _ALLOWED.fullmatch(str(name)):
            raise pickle.UnpicklingError(f"it names {name}")
