"""Files between stages: HDF5 for arrays, Parquet for tables, JSON for small facts.

A file is written under a temporary name, closed, read back and validated, flushed to disk and only
then renamed, so a file under its final name is complete. It carries its provenance: the options of
its stage, the content digest of each input, and for information the code and library versions. The
digest covers the content only, so the same numbers always give the same digest. Files contain no
clock, host name or absolute path: the same inputs give the same bytes.
"""

import errno
import functools
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from milmer import claims, limits
from milmer.contracts.arrays import Arrays, attribute, kind, require_arrays, scalar
from milmer.contracts.facts import AGAIN, Origin, TableMetadata, require
from milmer.contracts.tables import Table, require_kinds
from milmer.errors import MilmerError
from milmer.fingerprints import closure
from milmer.planned import raw_digest, require_planned

_LIBRARIES = ("numpy", "scipy", "mne", "av", "opencv-python-headless", "torch", "transformers")
_CHUNK = 1 << 24  # bytes that are validated at once
_KEY = b"milmer"


# ------------------------------------------------------------------ provenance


def provenance(
    stage: str,
    modules: str | Sequence[str],
    options: Mapping[str, Any],
    inputs: Mapping[str, Path | str],
    device: str | None = None,
) -> dict[str, Any]:
    """What a file of ``stage`` is made from, as plain JSON values.

    ``modules`` is the stage's ``__name__``, with those of the parts that it is handed; ``inputs``
    are files, or their digests. An input written by this package adds its own provenance.
    """
    sources = sorted(inputs.items())
    files = {name: source for name, source in sources if not isinstance(source, str)}
    ours = {n: read_provenance(f) for n, f in files.items() if f.suffix in (".h5", ".parquet")}
    return {
        "stage": stage,
        "options": dict(options),
        "inputs": dict(sources) | {name: digest(file) for name, file in files.items()},
        "upstream": {
            name: {k: origin[k] for k in ("options", "inputs", "upstream")}
            for name, origin in ours.items()
        },
        "code": closure(*([modules] if isinstance(modules, str) else modules)),
        "versions": {name: version(name) for name in _LIBRARIES},
        **({} if device is None else {"device": device}),
    }


def key(provenance: Mapping[str, Any]) -> str:
    """A hash of the options, inputs and code of a result.

    The state of an interrupted run carries it and is of use only to a run with the same key.
    """
    content = {name: provenance[name] for name in ("options", "inputs", "code")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """The content digest of a file: recorded in files of ours, else SHA-256 of the bytes."""
    if path.suffix == ".h5":
        with open_h5(path) as file:
            return str(file.attrs["digest"])
    if path.suffix == ".parquet":
        return _table_metadata(path)["digest"]
    limits.require_file(path)
    with limits.read_errors(path):
        return raw_digest(path)


def read_provenance(path: Path, table: Table | None = None) -> dict[str, Any]:
    """The provenance of a file that this package wrote, with the facts that ``table`` asks for."""
    if path.suffix != ".h5":
        return _table_metadata(path, table)["provenance"]
    with open_h5(path) as file:
        value = attribute(file, "provenance", path, functools.partial(_Facts, path))
    require(Origin, value, path)
    return value


def require_same(what: str, first: tuple[Path, Any], second: tuple[Path, Any]) -> None:
    """Refuse two files, each with its ``what`` (options or an input's digest), if these differ."""
    if first[1] != second[1]:
        raise MilmerError(
            f"made from other {what} than {first[0]}",
            where=second[0],
            remedy="run snakemake again, or delete the older of the two",
        )


# --------------------------------------------------------------- atomic writing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, which is renamed to ``path`` if all went well.

    On failure nothing is left behind, and an OSError becomes a :class:`MilmerError`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        require_planned()
        os.replace(partial, path)
    except OSError as error:
        raise writing_failed(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def new_h5(path: Path, contract: Arrays, provenance: Mapping[str, Any]) -> Iterator[h5py.File]:
    """Yield an HDF5 file to fill; it is renamed to ``path`` if its datasets are the contract's."""
    with replacing(path) as partial:
        with _h5(partial, "w") as file:
            yield file
            file.attrs["stage"] = provenance["stage"]
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        with _h5(partial, "r+") as file:
            require_arrays(file, contract.schema, path)
            file.attrs["digest"] = content_digest(file, finite=path)


def write_table(path: Path, frame: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write a table as Parquet, with its provenance and digest."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {
        "stage": provenance["stage"],
        "provenance": dict(provenance),
        "digest": hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest(),
    }
    table = table.replace_schema_metadata(
        (table.schema.metadata or {}) | {_KEY: json.dumps(metadata, sort_keys=True).encode()}
    )
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
        if not pq.read_table(partial).equals(table):
            raise MilmerError(
                "reads back differently from what was written",
                where=path,
                remedy="check the disk and run again",
            )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON; numbers that are not finite become null."""
    write_text(path, json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False) + "\n")


# -------------------------------------------------------------------- reading


@contextmanager
def open_h5(path: Path, contract: Arrays | str | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file that this package wrote, and that keeps the ``contract`` of its stage.

    A stage's name alone compares no content. Raises :class:`MilmerError` where the file is missing,
    damaged or of another stage or program.
    """
    stage = contract.stage if isinstance(contract, Arrays) else contract
    with read_errors(path):
        file = claims.open_h5(path)
    with file:
        marks = [scalar(file, name) for name in ("stage", "digest")]
        if not all(isinstance(mark, str) for mark in marks) or (stage and marks[0] != stage):
            origin = f"milmer's stage {stage}" if stage else "milmer"
            raise MilmerError(f"not a file of {origin}", where=path)
        if isinstance(contract, Arrays):
            with read_errors(path):
                contract.require(file, path)
        yield file


def require_intact(path: Path) -> None:
    """Refuse an HDF5 file of ours whose content changed since it was written: a damaged disk."""
    with open_h5(path) as file, read_errors(path):
        if content_digest(file) != file.attrs["digest"]:
            raise MilmerError(
                "damaged: its content does not match its digest",
                where=path,
                remedy=AGAIN,
            )


def read_table(
    path: Path, contract: Table | str | None = None, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read a table that this package wrote; refused like :func:`open_h5` does.

    ``columns`` has to be there besides those of the contract, with their kinds.
    """
    return read_digested(path, contract, columns)[0]


def read_digested(
    path: Path,
    contract: Table | str | None = None,
    columns: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> tuple[pd.DataFrame, str]:
    """The same with the table's content digest, and less the columns ``without``."""
    whole = contract if isinstance(contract, Table) else None
    stage = whole.stage if whole else contract
    metadata = _table_metadata(path, whole)
    if stage and metadata["stage"] != stage:
        raise MilmerError(f"holds {metadata['stage']}, not {stage}", where=path)
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name not in without]
            table = file.read(names, use_threads=False)
        if whole:
            whole.require(table, metadata["provenance"].get("facts", {}), path)
        require_kinds(table, columns or {}, path)
        return table.to_pandas(), metadata["digest"]
    except MilmerError:
        raise
    except Exception as error:  # metadata of pandas that were tampered with can raise anything
        raise limits.unreadable(path, error, AGAIN) from error


def mapped(dataset: h5py.Dataset) -> np.ndarray:
    """A contiguous dataset as a read-only memory-mapped array, valid after its file is closed."""
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
    """Turn errors of opening or reading a file of ours into a :class:`MilmerError`."""
    with limits.read_errors(path, AGAIN):
        try:
            yield
        except pa.ArrowInvalid as error:
            raise limits.unreadable(path, error, AGAIN) from error


class _Facts(dict):
    """What a file of ours says of itself: a key that it lacks is an error for people."""

    def __init__(self, path: Path, facts: Mapping[str, Any]):
        super().__init__(facts)
        self.path = path

    def __missing__(self, key: str) -> Any:
        problem = f"does not say its {key}: damaged"
        raise MilmerError(problem, where=self.path, remedy=AGAIN)


def _table_metadata(path: Path, table: Table | None = None) -> dict[str, Any]:
    with read_errors(path):
        metadata = claims.read_metadata(path).metadata or {}
    if _KEY not in metadata:
        raise MilmerError("not one of milmer's tables", where=path)
    value = limits.parse_json(metadata[_KEY], path, AGAIN, functools.partial(_Facts, path))
    require(TableMetadata, value, path)
    require(Origin, value["provenance"], path)
    facts = value["provenance"].get("facts")
    if table is not None and table.facts and facts is not None and value["stage"] == table.stage:
        require(table.facts, facts, path)
    return value


@contextmanager
def _h5(path: Path, mode: str) -> Iterator[h5py.File]:
    """An HDF5 file to write to, which can be closed even when the disk is full."""
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

    HDF5 does not survive a file that it cannot close: when the disk is full, the process ends with
    a segmentation fault later, when its objects are collected. So what cannot be written is
    dropped, ``failed`` keeps the reason, and the whole file is discarded.
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


def writing_failed(path: Path, error: OSError) -> MilmerError:
    """The error for people that ``path`` cannot be written."""
    if error.errno == errno.ENOSPC:
        return MilmerError(
            "no space left on the disk, nothing of this file was kept",
            where=path,
            remedy="make room and run again",
        )
    reason = os.strerror(error.errno) if error.errno else _first_line(error)
    return MilmerError(f"cannot be written ({reason})", where=path)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def content_digest(file: h5py.File, finite: Path | None = None) -> str:
    """SHA-256 of all datasets: their names, kinds, shapes and values.

    Values that are not finite are refused if ``finite`` names the file for the error.
    """
    total = hashlib.sha256()
    for name in sorted(file):
        data = file[name]
        dtype = kind(data)
        total.update(f"{name} {dtype} {data.shape}".encode())
        for block in _blocks(data):
            if dtype == "jpeg":
                for item in block:
                    total.update(len(item).to_bytes(8, "little") + item.tobytes())
                continue
            if finite and block.dtype.kind == "f" and not np.isfinite(block).all():
                raise MilmerError(f"{name} holds values that are not finite", where=finite)
            total.update(np.ascontiguousarray(block).data)
    return total.hexdigest()


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
