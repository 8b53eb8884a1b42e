"""The file of the stage ``segments``."""

from pydantic import Field, PositiveFloat

from milmer.contracts.arrays import GRID, Array, Arrays
from milmer.contracts.facts import Facts


class _BadChannel(Facts):
    channel: str
    why: str
    trials: list[int]
    done: str


class _Component(Facts):
    index: int
    r: dict[str, float]
    variance: float
    map: dict[str, float]


class _Cleaned(Facts):
    artefacts: str = "none"
    bad_channels: list[_BadChannel] = Field([])
    removed_variance: dict[str, float] = Field({})
    coefficients: dict[str, dict[str, float]] = Field({})
    removed: list[_Component] = Field([])


class _Attributes(Facts):
    channels: list[str]
    sfreq: PositiveFloat
    cleaned: _Cleaned


SEGMENTS = Arrays(
    "segments",
    {
        "eeg": Array("float32", ("segment", "channel", "sample")),
        **GRID,
        "experiment_id": Array("int32", ("segment",)),
        "start": Array("float32", ("segment",)),
        "rejected": Array("S16", ("segment",)),  # why it cannot be used, empty where it can
    },
    _Attributes,
)
