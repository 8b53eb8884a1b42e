"""The file of the stage ``explain``."""

from milmer.contracts.arrays import Array, Arrays
from milmer.contracts.facts import Facts


class _Attributes(Facts):
    channels: list[str]


EXPLANATION = Arrays(
    "explain",
    {
        "channel": Array("float32", ("channel",)),
        "attention": Array("float32", ("height", "width")),
    },
    _Attributes,
)
