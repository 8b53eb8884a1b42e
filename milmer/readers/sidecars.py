"""The other files of a recording that has several. Imports nothing heavy: the Snakefile uses it."""

import configparser
import os
import re
from pathlib import Path

from milmer.errors import MilmerError
from milmer.limits import require_file, require_size, shortened
from milmer.readers.bids import bids_sidecars
from milmer.readers.eeglab import data_file

COUNTS = {
    "NumberOfChannels": "channels",
    "SkipLines": "lines before the samples",
    "SkipColumns": "columns before the samples",
}
"""Numbers in BrainVision's header that take memory or time: of what."""

_MOST_FILES = 10_000
_NAMES = ("DataFile", "MarkerFile")
_LINE = re.compile(r"^\s*(\w+)\s*[=:]\s*(.+?)\s*$", re.MULTILINE)


def companions(path: Path) -> list[Path]:
    """The existing files beside the recording ``path`` that hold part of it.

    BrainVision's header names its data and markers; EEGLAB's data are beside the ``.set``; a
    ``.fif`` of more than 2 GB continues in ``-1.fif``; a JSON file beside an array describes it,
    and sidecars a recording of BIDS. Of a folder, such as EGI's ``.mff``, they are all its files.
    Raises :class:`MilmerError` where one lies elsewhere.
    """
    suffix = path.suffix.lower()
    files: list[Path] = []
    if path.is_dir():
        return _within(path)
    if suffix in (".vhdr", ".ahdr"):
        header = brainvision_header(path)
        names = (header[name].replace("$b", path.stem) for name in _NAMES if header.get(name))
        files = [require_named(path, name) for name in names]
        if header.get("MarkerFile"):  # MNE reads it whole
            require_size(files[-1])
    elif suffix == ".set":
        files = [path.with_suffix(".fdt")]
        if not files[0].exists() and any(path.parent.glob("*.fdt")):  # renamed, and its data not
            name = data_file(path)
            files = [require_named(path, name)] if name else []
    elif suffix in (".npy", ".mat", ".xdf"):
        files = [path.with_suffix(".json")]
    elif suffix == ".fif":
        files = sorted(path.parent.glob(f"{path.stem}-[0-9]*.fif"))
    files = [file for file in dict.fromkeys([*files, *bids_sidecars(path)]) if file.exists()]
    for file in files:
        require_beside(path, file)
        _require_part(file)
    return files


def _within(folder: Path) -> list[Path]:
    """All files of a recording that is a folder, sorted."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    if len(files) > _MOST_FILES:
        raise MilmerError(f"a folder of {len(files):,} files", where=folder)
    for file in files:
        if folder.resolve() not in file.resolve().parents:
            raise _elsewhere(folder, os.path.relpath(file, folder))
        _require_part(file)
    return files


def _require_part(file: Path) -> None:
    require_file(file)
    if not file.is_file():
        raise MilmerError("is not a file", where=file)


def brainvision_header(path: Path) -> dict[str, str]:
    """The common facts of BrainVision's header; none where it cannot be read."""
    require_size(path)
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    # Decoded and parsed as MNE does, so that both see the same names; the title comes first.
    page = re.search("Codepage=(.+)", content.decode("ascii", "ignore"))
    page = page[1].strip() if page else "utf-8"
    try:
        text = content.decode("cp1252" if page == "ANSI" else page)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    except LookupError:
        return {}
    text = text.partition("[Comment]")[0]
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text.partition("\n")[2])
        section = next(name for name in ("Common Infos", "Common infos") if name in parser)
        facts = dict(parser[section])
        for ascii_section in ("ASCII Infos", "ASCII infos"):
            facts |= parser[ascii_section] if parser.has_section(ascii_section) else {}
    except (configparser.Error, StopIteration):  # MNE refuses it too
        facts = {key.lower(): value for key, value in _LINE.findall(text)}
    return {name: facts.get(name.lower(), "") for name in (*_NAMES, *COUNTS)}


def require_named(path: Path, name: str) -> Path:
    """The file of that ``name`` beside ``path``; one in another folder is refused."""
    if not name or re.search(r"[/\\\n\0]", name) or name in (".", ".."):
        raise _elsewhere(path, name)
    return path.with_name(name)


def require_beside(path: Path, companion: Path) -> None:
    """Refuse a ``companion`` that does not lie beside the recording ``path``, by a link either.

    Links into the annex of a git repository, as datasets of OpenNeuro have them, stay in it.
    """
    target, folder = companion.resolve(), path.parent.resolve()
    annexes = [(above / ".git").resolve() / "annex/objects" for above in (folder, *folder.parents)]
    within = {folder, path.resolve().parent} & {target.parent} or any(
        annex in target.parents for annex in annexes
    )
    if companion.parent.resolve() != folder or not within:
        raise _elsewhere(path, os.path.relpath(companion, path.parent))


def _elsewhere(path: Path, name: str) -> MilmerError:
    return MilmerError(
        f"names {shortened(name)} as a part of it, which is not beside it",
        where=path,
        remedy="put all its files into one folder, and name them without one",
    )
