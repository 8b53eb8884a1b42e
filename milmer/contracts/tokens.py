"""The file of the stage ``tokens``."""

from milmer.contracts.arrays import GRID, Array, Arrays

TOKENS = Arrays(
    "tokens",
    {
        "tokens": Array("float16", ("frame", "token", "dim")),
        "bag": Array("int32", ("segment", "instance"), indexes="frame"),
        "valid": Array("bool", ("segment", "instance")),
        **GRID,
    },
)
