"""What the header of a recording claims, compared with its files before MNE reads it.

MNE believes headers: it asks for the memory that they name, and opens the files that they name.
"""

import gzip
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from milmer.claims import require_self_contained
from milmer.errors import MilmerError
from milmer.readers.edf import RATES, damaged
from milmer.readers.kinds import unsupported
from milmer.readers.matlab import require_sound
from milmer.readers.sidecars import (
    COUNTS,
    brainvision_header,
    companions,
    require_beside,
    require_named,
)

if TYPE_CHECKING:
    import mne

CHANNELS = 10_000
"""Most channels of a recording."""

EXPANSION = 20
"""Most bytes in memory of a byte on the disk, compressed."""

_SPARE = 1 << 26  # bytes; small recordings need not be compared

_BEYOND = ValueError("a part of it goes beyond its end, or back")

_REFERENCE_NAME = 118  # the tag of a FIF file that names the next one
_BLOCK = 104  # the tag that begins a block of one of these kinds
_CONTINUOUS = {102, 112, 119}
_OTHER = {373: "epochs", 104: "an average"}


def require_plausible_header(path: Path) -> None:
    """Refuse a header that names other folders or claims more than there is.

    Raises :class:`MilmerError`. EDF and BDF have a check of their own, in
    :mod:`milmer.readers.edf`.
    """
    companions(path)
    suffix = path.suffix.lower()
    if suffix in (".vhdr", ".ahdr"):
        header = brainvision_header(path)
        for name, what in COUNTS.items():
            with suppress(ValueError):  # MNE says so
                if (count := int(header.get(name, ""))) > CHANNELS:
                    raise MilmerError(f"claims {count:,} {what}", where=path)
    elif suffix == ".fif" or path.name.lower().endswith(".fif.gz"):
        _require_sound_tags(path)
    elif suffix == ".set":
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                require_self_contained(file, path, EXPANSION)
        else:
            require_sound(path, most_bytes(path))


def require_plausible(raw: "mne.io.BaseRaw", path: Path) -> None:
    """Refuse what MNE made of a header, before any samples are read: files, rate, length."""
    files = {path, *(Path(name) for name in raw.filenames if name)}
    for file in files - {path}:
        # Of a folder companions are all files; MNE names them from the root.
        if path.resolve() not in file.resolve().parents:
            require_beside(path, file)
    files = {part for file in files for part in (companions(file) if file.is_dir() else [file])}
    rate, channels = float(raw.info["sfreq"]), len(raw.ch_names)
    if not RATES[0] <= rate <= RATES[1]:
        raise MilmerError(f"claims a sampling rate of {rate:g} Hz", where=path)
    size = sum(file.stat().st_size for file in files)
    if channels > CHANNELS or raw.n_times * channels > EXPANSION * size + _SPARE:
        raise MilmerError(
            f"claims {raw.n_times:,} samples of {channels:,} channels, in {size:,} bytes",
            where=path,
        )


def _require_sound_tags(path: Path) -> None:
    """Refuse a FIF file with a tag that goes beyond its end, or back, or names another folder.

    One that holds epochs or an average is refused as what it is.
    """
    size = path.stat().st_size
    at, blocks = 0, set()
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(path, "rb"))
        if path.suffix.lower() == ".gz":
            most = most_bytes(path)
            file = stack.enter_context(gzip.open(file))
            size = 0
            while block := file.read(1 << 20):
                size += len(block)
                _require_measure(path, size, most)
        while at + 16 <= size:
            file.seek(at)
            kind, _, length, following = struct.unpack(">iIii", file.read(16))
            if length < 0 or at + 16 + length > size:
                raise damaged(path, _BEYOND)
            if kind == _BLOCK and length == 4:
                blocks.add(struct.unpack(">i", file.read(4))[0])
            if kind == _REFERENCE_NAME:
                require_named(path, file.read(length).rstrip(b"\0").decode("latin-1"))
            if following < 0:
                break
            if following and not at + 16 <= following <= size:
                raise damaged(path, _BEYOND)
            at = following or at + 16 + length
    if blocks and not blocks & _CONTINUOUS:
        what = next((text for block, text in _OTHER.items() if block in blocks), "no EEG")
        raise unsupported(path, f"holds {what}")


def most_bytes(path: Path) -> int:
    """To how many bytes a compressed file may grow."""
    return EXPANSION * path.stat().st_size + _SPARE


def _require_measure(path: Path, total: int, most: int) -> None:
    if total > most:
        raise MilmerError(f"grows beyond {most:,} bytes when it is decompressed", where=path)
