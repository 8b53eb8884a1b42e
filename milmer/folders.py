"""Folders that commands write: what is not a command's own is neither deleted nor overwritten.

A command leaves a mark in its folder: a small file that names the command and the files that it
wrote. A folder is replaced only by that command, and only if it holds nothing else. The new folder
is written beside its name, then the old one steps aside, the new one takes its place and the old
one is deleted. A kill at any moment leaves one of them whole; where it is the old one that stepped
aside, the command's next run puts it back.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from milmer import storage
from milmer.errors import MilmerError
from milmer.planned import require_planned

_NEW = "give a new folder"
_MOST_BYTES = 1 << 20  # of a mark, which may be anyone's


def require_replaceable(
    out: Path, command: str, inputs: Sequence[Path] = (), added: Collection[str] = ()
) -> None:
    """Refuse a folder ``out`` that ``command`` must not replace.

    It may be missing or empty, or hold files that ``command`` wrote, besides those ``added`` to
    them by other commands. It must not be, hold or lie in one of the ``inputs``. What a killed run
    left behind is put in order.
    """
    require_apart(out, inputs)
    if os.path.islink(out):
        raise MilmerError("is a link", where=out, remedy="give the folder itself, or a new one")
    if os.path.exists(out) and not out.is_dir():
        raise MilmerError("exists and is not a folder", where=out, remedy=_NEW)
    require_place(out)
    _recover(out, command, added)
    if not out.is_dir():
        return
    names, files = {entry.name for entry in os.scandir(out)}, _own_files(out, command)
    if names and not files:
        raise MilmerError("exists and is not empty", where=out, remedy=_NEW)
    others = names - files - set(added) | {name for name in names if _is_folder(out / name)}
    if others:
        raise MilmerError(
            f"holds {min(others)}, which milmer {command} did not write", where=out, remedy=_NEW
        )


def require_apart(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder ``out`` that is, holds or lies in an input.

    Nor may it be or hold the working directory.
    """
    for path in (Path.cwd(), *inputs):
        if _lies_in(path, out):
            what = "the working directory" if path == Path.cwd() else f"the input {path}"
            raise MilmerError(f"is or holds {what}", where=out, remedy=_NEW)
    for path in inputs:
        if _lies_in(out, path):
            raise MilmerError(f"lies in the input {path}", where=out, remedy=_NEW)


def require_place(out: Path) -> None:
    """Refuse a name at which no folder can be made, before hours of work are done for it."""
    if out.name == ".." or os.path.ismount(out):
        raise MilmerError(
            "cannot be replaced as a folder", where=out, remedy="give a new folder in it"
        )
    partial, _ = _beside(out)
    try:
        os.stat(partial)
    except FileNotFoundError:
        above = next(folder for folder in partial.parents if folder.exists())
        if not os.access(above, os.W_OK):  # also where the disk is read-only
            raise storage.writing_failed(out, PermissionError(errno.EACCES, "")) from None
    except OSError as error:  # too long, or below a file
        raise storage.writing_failed(out, error) from error


@contextmanager
def replacing_folder(out: Path, command: str, added: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder to fill with files, which then takes the place of ``out``.

    On failure ``out`` stays as it was, and an OSError becomes a :class:`MilmerError`. Files get
    the mode that the umask gives, whatever they were written with.
    """
    require_replaceable(out, command, added=added)
    partial, old = _beside(out)
    if os.path.lexists(partial):
        _require_leftover(partial, command)
        _clear(partial, command)
    try:
        partial.mkdir(parents=True)
        _write_mark(partial, command, ())
        yield partial
        _write_mark(partial, command, {entry.name for entry in os.scandir(partial)})
        use_umask(partial)
        for file in partial.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        require_replaceable(out, command, added=added)
        require_planned()
        if out.exists() and any(os.scandir(out)):
            os.rename(out, old)
        os.rename(partial, out)
        _remove(old, command, added)
    except SafetensorError as error:  # has the number of the system's error in its text
        number = re.search(r"os error (\d+)", str(error))
        reason = OSError(int(number[1]) if number else errno.EIO, str(error))
        raise storage.writing_failed(out, reason) from error
    except OSError as error:
        raise storage.writing_failed(out, error) from error
    finally:
        if old.exists() and not out.exists():
            os.rename(old, out)
        _clear(partial, command)


def require_unused(
    out: Path, command: str, files: Collection[str], inputs: Sequence[Path] = ()
) -> None:
    """Refuse a folder ``out`` in which one of ``files`` exists and ``command`` did not write it.

    For commands that write file by file, beside whatever else the folder holds.
    """
    require_apart(out, inputs)
    taken = sorted(name for name in files if os.path.lexists(out / name))
    if others := [name for name in taken if name not in _own_files(out, command)]:
        raise MilmerError(
            f"exists, and milmer {command} did not write it",
            where=out / others[0],
            remedy="move it away, or give another folder",
        )


def claim(out: Path, command: str, files: Collection[str], inputs: Sequence[Path] = ()) -> None:
    """Mark ``files`` in ``out`` as those of ``command``, before it writes them one by one."""
    require_unused(out, command, files, inputs)
    _write_mark(out, command, {*files, *_own_files(out, command)})


def use_umask(folder: Path) -> None:
    """Give all files in a folder that was just made the mode that the umask gives."""
    mode = folder.stat().st_mode & 0o666
    for path in folder.iterdir():
        path.chmod(mode)


# -------------------------------------------------------------------- details


def _mark(folder: Path, command: str) -> Path:
    return folder / f".milmer-{command}.json"


def _write_mark(folder: Path, command: str, files: Collection[str]) -> None:
    names = sorted({*files, _mark(folder, command).name})
    storage.write_json(_mark(folder, command), {"command": command, "files": names})


def _own_files(folder: Path, command: str) -> set[str]:
    """Names of the files in ``folder`` that ``command`` wrote, by its mark; none without one."""
    path = _mark(folder, command)
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:  # a pipe would never end
            return set()
        mark = json.loads(path.read_text(encoding="utf-8"))
        return {str(name) for name in mark["files"]} if mark["command"] == command else set()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _beside(out: Path) -> tuple[Path, Path]:
    """Where the new folder is written, and where the old one steps aside."""
    path = out.absolute()
    return path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")


def _recover(out: Path, command: str, added: Collection[str]) -> None:
    """Put in order what a run left that was killed while folders changed places."""
    _, old = _beside(out)
    if not os.path.lexists(old):
        return
    _require_leftover(old, command)
    if out.exists() and any(os.scandir(out)):
        _remove(old, command, added)
    else:
        os.rename(old, out)


def _require_leftover(path: Path, command: str) -> None:
    """Refuse what stands in the way and was not left by ``command``."""
    unmarked = {f".{_mark(path, command).name}.partial"}  # what a mark is first written as
    ours = _is_folder(path) and (_own_files(path, command) or {*os.listdir(path)} <= unmarked)
    if not ours or any(map(_is_folder, path.iterdir())):
        raise MilmerError(
            f"is in the way, and milmer {command} did not write it",
            where=path,
            remedy="move it away",
        )


def _remove(old: Path, command: str, added: Collection[str]) -> None:
    """Delete a folder's own files, the mark last, and then the folder if nothing else is in it."""
    _clear(old, command, {*_own_files(old, command), *added})


def _clear(folder: Path, command: str, names: Collection[str] | None = None) -> None:
    """Delete a folder that was being written, or of another no more than the files ``names``."""
    mark = _mark(folder, command)
    with suppress(OSError):
        for path in folder.iterdir():
            if path == mark or (names is not None and path.name not in names):
                continue
            if _is_folder(path) and names is None:
                shutil.rmtree(path)
            else:
                path.unlink()
        mark.unlink(missing_ok=True)
        folder.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether ``path`` is or lies in ``folder``, by whatever names and links both are given."""
    real = Path(os.path.realpath(path))
    places = [real, *real.parents]
    if not os.path.exists(folder):
        return Path(os.path.realpath(folder)) in places
    return any(os.path.samefile(folder, place) for place in places if os.path.exists(place))
