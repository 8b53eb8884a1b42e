"""Text that stays text in whatever shows it: a terminal, a page, a spreadsheet.

Names come from files of others. A control character in one recolours a terminal or makes an SVG
that no browser reads, a bidirectional one shows it in another order than it is stored (Boucher &
Anderson 2021), and a spreadsheet computes a cell that begins like a formula (OWASP, CSV injection).
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Control, bidirectional and line separators; surrogates and U+FFFE, U+FFFF, which no file may hold.
_UNSEEN = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufffe\uffff]"
)
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # the last are full-width ones


def unseen_character(text: str) -> str | None:
    """The first control or bidirectional character of a text but for tabs, such as ``U+001B``."""
    match = _UNSEEN.search(text)
    return match and f"U+{ord(match[0]):04X}"


def first_unseen(value: Any, key: str = "") -> str | None:
    """What is wrong with the first text in plain JSON values that holds such a character, if any.

    Begins with its key below ``key``. What stands in several places, as YAML's aliases do, is
    looked at once.
    """
    visited: set[int] = set()
    waiting = [(key, value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            if character := unseen_character(value):
                return f"{key}: {value[:80]!r} holds the character {character}"
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in visited:
            visited.add(id(value))
            items = value.items() if isinstance(value, Mapping) else [("", v) for v in value]
            names = (".".join(filter(None, (key, str(name)))) for name, _ in items)
            waiting += list(zip(names, (v for _, v in items), strict=True))[::-1]
    return None


def escaped(text: str) -> str:
    """The text with such characters as Python spells them: ``\\x1b``."""
    return _UNSEEN.sub(lambda match: repr(match[0])[1:-1], text)


def as_cell(text: str) -> str:
    """A text that no spreadsheet computes: an apostrophe before what begins like a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text of a cell that :func:`as_cell` wrote."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def as_cells(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table to be written as CSV: its texts as by :func:`as_cell`, its numbers as they are."""
    import pandas as pd

    cells = frame.copy()
    for name in frame.select_dtypes(["object", "string"]):
        values = [as_cell(value) if isinstance(value, str) else value for value in frame[name]]
        cells[name] = pd.Series(values, frame.index, dtype=object)
    return cells.rename(columns=lambda name: as_cell(str(name)))
