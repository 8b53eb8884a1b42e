"""Files between stages: HDF5 for arrays, Parquet for tables, JSON for small facts.

A file is written beside its name, closed, read back and validated, flushed to disk and only then
renamed, so a file that has its name is complete. It carries its provenance: the options of its
stage, the content digest of each input, and for information the code and library versions. The
digest covers content alone, so that the same numbers give the same digest whoever made them.
Neither clock nor host name nor absolute path goes into a file: the same inputs give the same bytes.
"""

import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from milmer.errors import MilmerError
from milmer.fingerprints import closure

_LIBRARIES = ("numpy", "scipy", "mne", "av", "opencv-python-headless", "torch", "transformers")
_CHUNK = 1 << 24  # bytes looked at at once while a file is validated
_KEY = b"milmer"


@dataclass(frozen=True)
class Array:
    """The contract of one HDF5 dataset: its dtype and the names of its dimensions.

    Dimensions of the same name have the same length throughout a file. ``jpeg`` is a variable
    number of bytes an element.
    """

    dtype: str
    dims: tuple[str, ...]


Schema = Mapping[str, Array]


# ------------------------------------------------------------------ provenance


def provenance(
    stage: str,
    modules: str | Sequence[str],
    options: Mapping[str, Any],
    inputs: Mapping[str, Path | str],
    device: str | None = None,
) -> dict[str, Any]:
    """What a file of ``stage`` is made of.

    ``modules`` is the stage's ``__name__``, with those of parts that it is handed; ``inputs`` are
    files, or digests that were taken already. An input that is one of this package's own files
    brings its own provenance along.
    """
    made: dict[str, Any] = {"stage": stage, "options": dict(options), "inputs": {}, "upstream": {}}
    for name, source in sorted(inputs.items()):
        if isinstance(source, str):
            made["inputs"][name] = source
            continue
        made["inputs"][name] = digest(source)
        if source.suffix in (".h5", ".parquet"):
            known = read_provenance(source)
            made["upstream"][name] = {k: known[k] for k in ("options", "inputs", "upstream")}
    made["code"] = closure(*([modules] if isinstance(modules, str) else modules))
    made["versions"] = {name: version(name) for name in _LIBRARIES}
    if device is not None:
        made["device"] = device
    return made


def key(made: Mapping[str, Any]) -> str:
    """A hash of the options, inputs and code that go into a result.

    The state of an interrupted run carries it: one of another key is of no use.
    """
    what = {name: made[name] for name in ("options", "inputs", "code")}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """The content digest of a file: the recorded one of ours, SHA-256 of the bytes of another's."""
    if path.suffix == ".h5":
        with open_h5(path) as file:
            return str(file.attrs["digest"])
    if path.suffix == ".parquet":
        return _table_metadata(path)["digest"]
    with read_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance that a file of ours carries."""
    if path.suffix == ".h5":
        with open_h5(path) as file:
            return json.loads(file.attrs["provenance"])
    return _table_metadata(path)["provenance"]


def require_same(what: str, first: tuple[Path, Any], second: tuple[Path, Any]) -> None:
    """Refuse two files that were made from different ``what`` (options or an input's digest)."""
    if first[1] != second[1]:
        raise MilmerError(
            f"{second[0]}: made from other {what} than {first[0]}; "
            "run snakemake again, or delete the older of the two"
        )


# --------------------------------------------------------------- atomic writing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path``; what was written there takes its place if all went well.

    An OSError becomes one line for people. In any case of failure nothing is left behind.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise _writing_failed(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder of files: yield an empty one that then takes the place of ``path``."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for file in partial.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    except SafetensorError as error:  # which hides what the system said in its text
        number = re.search(r"os error (\d+)", str(error))
        told = OSError(int(number[1]) if number else errno.EIO, str(error))
        raise _writing_failed(path, told) from error
    except OSError as error:
        raise _writing_failed(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def require_replaceable(folder: Path, marker: str | None = None) -> None:
    """Refuse a folder that holds something, unless a file ``marker`` says that it is a result."""
    ours = marker is not None and (folder / marker).is_file()
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not (ours or empty):
        raise MilmerError(f"{folder}: is there and not empty; give a new folder")


@contextmanager
def new_h5(path: Path, schema: Schema, made: Mapping[str, Any]) -> Iterator[h5py.File]:
    """Yield an HDF5 file to fill; it gets ``path`` once it is closed and fits ``schema``."""
    with replacing(path) as partial:
        with _h5(partial, "w") as file:
            yield file
            file.attrs["stage"] = made["stage"]
            file.attrs["provenance"] = json.dumps(made, sort_keys=True)
        with _h5(partial, "r+") as file:
            file.attrs["digest"] = _validate(file, schema, path)


def write_table(path: Path, frame: pd.DataFrame, made: Mapping[str, Any]) -> None:
    """Write a table as Parquet, with its provenance and digest."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    known = {
        "stage": made["stage"],
        "provenance": dict(made),
        "digest": hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest(),
    }
    table = table.replace_schema_metadata(
        (table.schema.metadata or {}) | {_KEY: json.dumps(known, sort_keys=True).encode()}
    )
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
        if not pq.read_table(partial).equals(table):
            raise MilmerError(f"{path}: what was read back is not what was written")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON; a number that is not finite is written as null."""
    write_text(path, json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False) + "\n")


# -------------------------------------------------------------------- reading


@contextmanager
def open_h5(path: Path, stage: str | None = None) -> Iterator[h5py.File]:
    """Open one of our HDF5 files; a missing, damaged or foreign one is refused in one line."""
    with read_errors(path):
        file = h5py.File(path, "r")
    with file:
        if "digest" not in file.attrs or (stage and file.attrs["stage"] != stage):
            raise MilmerError(f"{path}: not a file of milmer's stage {stage or 'anything'}")
        yield file


def require_intact(path: Path) -> None:
    """Refuse one of our HDF5 files whose content is no longer what was written: a damaged disk."""
    with open_h5(path) as file, read_errors(path):
        if content_digest(file) != file.attrs["digest"]:
            raise MilmerError(
                f"{path}: damaged: its content does not have the digest that was recorded with it; "
                "delete it and run again"
            )


def read_table(path: Path, stage: str | None = None) -> pd.DataFrame:
    """Read one of our tables."""
    known = _table_metadata(path)
    if stage and known["stage"] != stage:
        raise MilmerError(f"{path}: holds {known['stage']}, not {stage}")
    with read_errors(path):
        return pq.read_table(path).to_pandas()


def mapped(dataset: h5py.Dataset) -> np.ndarray:
    """A contiguous dataset as a read-only array mapped from its file, valid after it is closed."""
    offset = dataset.id.get_offset()
    if offset is None:  # empty, or not contiguous
        return dataset[()]
    return np.memmap(dataset.file.filename, dataset.dtype, "r", offset, dataset.shape)


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that ``path`` will be on."""
    folder = next(p for p in Path(path).absolute().parents if p.exists())
    return shutil.disk_usage(folder).free


# -------------------------------------------------------------------- details


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is opened or read into one line for people."""
    try:
        yield
    except FileNotFoundError as error:
        raise MilmerError(f"{path}: no such file") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise MilmerError(
            f"{path}: cannot be read ({_first_line(error)}); delete it and run again"
        ) from error


def _table_metadata(path: Path) -> dict[str, Any]:
    with read_errors(path):
        metadata = pq.read_schema(path).metadata or {}
    if _KEY not in metadata:
        raise MilmerError(f"{path}: not one of milmer's tables")
    return json.loads(metadata[_KEY])


@contextmanager
def _h5(path: Path, mode: str) -> Iterator[h5py.File]:
    """An HDF5 file to write to, which is closed in peace also where the disk is full."""
    with _Disk(path, {"w": "w+b", "r+": "r+b"}[mode]) as disk:
        file = h5py.File(disk, mode, track_order=False)
        try:
            yield file
        except Exception as error:
            raise disk.failed or error from error
        finally:
            disk.closing = True
            file.close()
        if disk.failed:
            raise disk.failed


class _Disk(io.FileIO):
    """A file that raises its first failure only, and none once ``closing`` is set.

    HDF5 does not survive a file that it cannot close: where the disk is full, it ends the process
    with a segmentation fault, later, when its objects are collected. So what cannot be written is
    dropped, ``failed`` tells why, and the file as a whole is given up.
    """

    failed: OSError | None = None
    closing = False

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        while len(left):
            try:
                left = left[super().write(left) :]
            except OSError as error:
                first = self.failed is None
                self.failed = self.failed or error
                if first and not self.closing:
                    raise
                break
        return memoryview(data).nbytes


def _writing_failed(path: Path, error: OSError) -> MilmerError:
    if error.errno == errno.ENOSPC:
        return MilmerError(f"{path}: no space left on the disk; nothing was kept of this file")
    reason = os.strerror(error.errno) if error.errno else _first_line(error)
    return MilmerError(f"{path}: cannot be written ({reason})")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _validate(file: h5py.File, schema: Schema, path: Path) -> str:
    """Check all datasets against ``schema``; return the digest of their content."""
    if set(file) != set(schema):
        raise MilmerError(f"{path}: datasets {sorted(file)}, expected {sorted(schema)}")
    sizes: dict[str, int] = {}
    for name in sorted(schema):
        data, array = file[name], schema[name]
        if data.ndim != len(array.dims):
            raise MilmerError(f"{path}: {name} has shape {data.shape}, expected {array.dims}")
        for dim, size in zip(array.dims, data.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise MilmerError(f"{path}: {name} has {size} along {dim}, others {sizes[dim]}")
        if array.dtype != _kind(data):
            raise MilmerError(f"{path}: {name} is {_kind(data)}, expected {array.dtype}")
    return content_digest(file, finite=path)


def content_digest(file: h5py.File, finite: Path | None = None) -> str:
    """SHA-256 of all datasets: their names, kinds, shapes and values.

    Values that are not finite are refused where a path is given to name in the error.
    """
    total = hashlib.sha256()
    for name in sorted(file):
        data = file[name]
        kind = _kind(data)
        total.update(f"{name} {kind} {data.shape}".encode())
        for block in _blocks(data):
            if kind == "jpeg":
                for item in block:
                    total.update(len(item).to_bytes(8, "little") + item.tobytes())
                continue
            if finite and block.dtype.kind == "f" and not np.isfinite(block).all():
                raise MilmerError(f"{finite}: {name} holds values that are not finite")
            total.update(np.ascontiguousarray(block).data)
    return total.hexdigest()


def _kind(data: h5py.Dataset) -> str:
    """The dtype's name as in :class:`Array`."""
    return "jpeg" if h5py.check_vlen_dtype(data.dtype) is not None else data.dtype.name


def _blocks(data: h5py.Dataset) -> Iterator[np.ndarray]:
    if data.ndim == 0 or data.size == 0:
        yield data[()]
        return
    row = max(1, data.dtype.itemsize * math.prod(data.shape[1:]))
    step = max(1, _CHUNK // row)
    for start in range(0, len(data), step):
        yield data[start : start + step]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
