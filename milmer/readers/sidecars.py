"""The other files of a recording that has several. Imports nothing heavy: the Snakefile uses it."""

import re
from pathlib import Path

_NAMED = re.compile(r"^(?:DataFile|MarkerFile)\s*=\s*(.+?)\s*$", re.MULTILINE)
_HEADER = 1 << 16  # characters of a header that are read


def companions(path: Path) -> list[Path]:
    """The existing files beside the recording ``path`` that hold part of it.

    BrainVision's header names its data and markers; EEGLAB's data are beside the ``.set``; a
    ``.fif`` of more than 2 GB continues in ``-1.fif``.
    """
    suffix = path.suffix.lower()
    files: list[Path] = []
    if suffix in (".vhdr", ".ahdr"):
        try:
            with open(path, encoding="latin-1") as file:
                header = file.read(_HEADER)
        except OSError:
            return []
        names = (name.replace("$b", path.stem) for name in _NAMED.findall(header))
        files = [path.with_name(name) for name in names]
    elif suffix == ".set":
        files = [path.with_suffix(".fdt")]
    elif suffix == ".fif":
        files = sorted(path.parent.glob(f"{path.stem}-[0-9]*.fif"))
    return [file for file in dict.fromkeys(files) if file.is_file()]
