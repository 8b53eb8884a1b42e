"""The file of the stage ``explain``."""

from milmer.contracts.arrays import Array, Arrays
from milmer.contracts.facts import Facts


class _Attributes(Facts):
    channels: list[str]
    parts: list[str]


EXPLANATION = Arrays(
    "explain",
    {
        "part": Array("float32", ("repeat", "part")),
        "channel": Array("float32", ("repeat", "channel")),
        "instance": Array("float32", ("repeat", "instance")),
        "attention": Array("float32", ("height", "width")),
    },
    _Attributes,
)
