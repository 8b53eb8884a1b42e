"""Units of voltage as recorders write them."""

import re

_FACTORS = {"": 1e6, "m": 1e3, "u": 1.0, "n": 1e-3}
_WORDS = {"milli": "m", "micro": "u", "nano": "n"}
# A µ that was written in another encoding than it is read in, or that an encoding did not have.
_MICRO = re.compile(r"^(?:Â?[µμ]|Î¼|\?)")
_VOLT = re.compile(r"(milli|micro|nano|[mun]?)[ -]?v(?:olts?)?")


def microvolts(unit: str) -> float | None:
    """What one ``unit`` is in µV, in whatever case it is written; None where that is unclear."""
    match = _VOLT.fullmatch(_MICRO.sub("u", unit.strip()).lower())
    return _FACTORS[_WORDS.get(match[1], match[1])] if match else None
