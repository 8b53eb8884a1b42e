"""What HDF5 and Parquet files claim, compared with what they hold before any of it is read.

HDF5 can keep a file's data in other files, and can claim far more than the file holds: what was
never written reads as zeros, and what is compressed may be a thousand times larger. So may a table.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq

from milmer.errors import MilmerError
from milmer.limits import require_file

MOST_ROWS = 10_000_000
"""Rows of a table that a stage wrote."""

_MOST_TEXT = 1_000_000_000  # bytes of a table in memory
_MOST_VALUES = 50_000_000  # of a table, in all columns

_SPARE = 1 << 20  # bytes; small datasets need not be compared
_PLUGINS = 256  # from here on, numbers of filters stand for programs that HDF5 would load


def open_h5(path: Path) -> h5py.File:
    """An HDF5 file of ours, open to read and checked; raises h5py's errors too."""
    require_file(path)
    file = h5py.File(path, "r")
    try:
        require_self_contained(file, path)
    except BaseException:
        file.close()
        raise
    return file


def require_self_contained(file: h5py.File, path: Path, expansion: float = 1.0) -> None:
    """Refuse a file that reaches into others, or whose datasets claim more than it holds.

    ``expansion`` is how many times larger than the file its numbers may be together: 1 for files
    of ours, which are not compressed.
    """
    most = expansion * path.stat().st_size + _SPARE
    claimed = 0
    for name, data in _datasets(file, path):
        if data.external or data.is_virtual:
            raise MilmerError(f"{name} keeps its data in another file", where=path)
        filters = data.id.get_create_plist()
        numbers = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
        if any(number >= _PLUGINS for number in numbers):
            raise MilmerError(f"{name} needs a filter that is not HDF5's own", where=path)
        try:
            dtype = data.dtype
        except (TypeError, ValueError) as error:  # a kind that NumPy does not have
            raise MilmerError(f"{name} cannot be read ({error})", where=path) from error
        chunk = math.prod(data.chunks or (0,)) * dtype.itemsize
        claimed += max(data.size or 0, 0) * dtype.itemsize
        if dtype.hasobject and h5py.check_ref_dtype(dtype) is None:
            claimed += _items_bytes(name, data, numbers, path)
        if max(chunk, claimed) > most:
            raise MilmerError(
                f"{name} claims {max(chunk, claimed) / 1e6:,.1f} MB, in a file of "
                f"{path.stat().st_size / 1e6:,.1f} MB",
                where=path,
            )


def _items_bytes(name: str, data: h5py.Dataset, filters: list[int], path: Path) -> int:
    """Bytes of all items of any length, by what refers to them; several may refer to one item.

    Raises :class:`MilmerError` unless they are bytes in plain chunks, as files of ours have them.
    """
    kind, chunks = data.id.get_type(), data.chunks
    plain = kind.get_class() == h5py.h5t.VLEN and kind.get_super().get_size() == 1
    if not plain or filters or chunks is None or data.ndim != 1:
        raise MilmerError(f"{name} holds items of any length", where=path)
    # A length of 4 bytes, then where the item lies: an address, and a number of 4 bytes.
    addresses = data.file.id.get_create_plist().get_sizes()[0]
    total = 0
    for i in range(data.id.get_num_chunks()):
        content = data.id.read_direct_chunk(data.id.get_chunk_info(i).chunk_offset)[1]
        references = np.frombuffer(content, [("length", "<u4"), ("", f"V{addresses + 4}")])
        total += int(references["length"].sum(dtype=np.uint64))
    return total


def read_metadata(path: Path, most: int = MOST_ROWS) -> pq.FileMetaData:
    """What a Parquet file says of itself; one of more than ``most`` rows is refused."""
    require_file(path)
    metadata = pq.read_metadata(path)
    if metadata.num_rows > most:
        raise MilmerError(f"{metadata.num_rows:,} rows; at most {most:,} are read", where=path)
    chunks = _chunks(metadata)
    if (count := sum(chunk.num_values for chunk in chunks)) > _MOST_VALUES:
        raise MilmerError(f"{count:,} values; at most {_MOST_VALUES:,} are read", where=path)
    # A text may stand once in the file and in every row of it.
    texts = [chunk for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"]
    if sum(c.num_values * max(c.total_uncompressed_size, 0) for c in texts) > _MOST_TEXT:
        _require_short_texts(path, metadata)
    return metadata


def largest_chunk(metadata: pq.FileMetaData) -> int:
    """Bytes of the largest column of a group of rows: no cell is longer."""
    return max((chunk.total_uncompressed_size for chunk in _chunks(metadata)), default=0)


def _chunks(metadata: pq.FileMetaData) -> list[pq.ColumnChunkMetaData]:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return [group.column(j) for group in groups for j in range(group.num_columns)]


def _require_short_texts(path: Path, metadata: pq.FileMetaData) -> None:
    total = 0
    rows = max(1, min(10_000, _MOST_TEXT // 10 // max(1, largest_chunk(metadata))))
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            total += batch.nbytes
            if total > _MOST_TEXT:
                raise MilmerError(f"grows beyond {_MOST_TEXT:,} bytes when it is read", where=path)


def _datasets(group: h5py.Group, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    pending: list[h5py.Group] = [group]
    visited: set[int] = set()
    while pending:
        below = pending.pop()
        for name in below:
            whole_name = f"{below.name}/{name}".strip("/")
            if not isinstance(below.get(name, getlink=True), h5py.HardLink):
                raise MilmerError(f"{whole_name} is a link to elsewhere", where=path)
            item = below[name]
            if isinstance(item, h5py.Dataset):
                yield whole_name, item
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in visited:  # a group may hold itself
                    pending.append(item)
                visited.add(address)
