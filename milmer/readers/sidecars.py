"""Which other files belong to a recording; nothing heavy, for the Snakefile."""

import re
from pathlib import Path

_NAMED = re.compile(r"^(?:DataFile|MarkerFile)\s*=\s*(.+?)\s*$", re.MULTILINE)
_HEADER = 1 << 16  # characters of a header that are looked at


def companions(path: Path) -> list[Path]:
    """The files beside a recording that hold part of it, as far as they are there.

    BrainVision's header names its data and markers; EEGLAB's data lies beside the ``.set``; a
    ``.fif`` of more than 2 GB goes on in ``-1.fif``.
    """
    suffix = path.suffix.lower()
    found: list[Path] = []
    if suffix in (".vhdr", ".ahdr"):
        try:
            with open(path, encoding="latin-1") as file:
                header = file.read(_HEADER)
        except OSError:
            return []
        names = (name.replace("$b", path.stem) for name in _NAMED.findall(header))
        found = [path.with_name(name) for name in names]
    elif suffix == ".set":
        found = [path.with_suffix(".fdt")]
    elif suffix == ".fif":
        found = sorted(path.parent.glob(f"{path.stem}-[0-9]*.fif"))
    return [file for file in dict.fromkeys(found) if file.is_file()]
