"""How recordings that a manifest names are read: part of the section ``dataset``."""

from typing import Literal

from pydantic import Field, model_validator

from milmer.options import Options

FEWEST_CHANNELS = 4


class RecordingOptions(Options):
    """Which channels are taken from a lab's own recordings, and at which rate."""

    channels: list[str] | None = Field(
        None,
        description="`kind: manifest`: names of at least 4 EEG channels, in the model's order; "
        "null takes the EEG channels of the files, which have to be the same in all.",
    )
    missing_channels: Literal["refuse", "interpolate"] = Field(
        "refuse",
        description="`kind: manifest`: what is done where a file lacks one of `channels`; "
        "`interpolate` makes it from the others (spherical splines), up to a quarter of them.",
    )
    heog: list[str] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="`kind: manifest`: the horizontal EOG as [left, right], or [name] where it is "
        "bipolar already; null where there is none, then `eeg.artefacts: auto` is `none`.",
    )
    veog: list[str] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="`kind: manifest`: the vertical EOG as [upper, lower], or [name]; goes with "
        "`heog`.",
    )
    sfreq: float | None = Field(
        128.0,
        gt=0,
        le=5000,
        description="`kind: manifest`: rate in Hz that EEG of any rate is brought to; null keeps "
        "the files' own, which then has to be the same in all.",
    )

    @model_validator(mode="after")
    def _montage(self) -> "RecordingOptions":
        names = [name.strip().lower() for name in self.channels or ()]
        if self.channels is not None and len(names) < FEWEST_CHANNELS:
            raise ValueError(f"channels: name at least {FEWEST_CHANNELS} EEG channels, or null")
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"channels: names {twice!r} twice")
        if (self.heog is None) != (self.veog is None):
            raise ValueError("heog and veog go together; give both or neither")
        return self
