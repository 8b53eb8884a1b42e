"""The sections ``dataset`` and ``labels``: which recordings are used, and what is recognised."""

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

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


class _Place(Options):
    kind: Literal["deap", "manifest"] = Field(
        "deap",
        description="`deap` is a copy of DEAP below `root`; `manifest` are own recordings, which a "
        "table of trials describes.",
    )
    root: str = Field(
        "data/deap",
        description="Folder of the copy of DEAP, relative to the working directory.",
    )
    manifest: str | None = Field(
        None,
        description="`kind: manifest`: the table of trials, .csv, .tsv or .parquet, relative to "
        "the working directory; files that it names are relative to its own folder.",
    )
    subjects: list[str] | Literal["all"] = Field(
        "all",
        description="`all`, or a list such as [s01, s02] or [1, 2].",
    )
    source: Literal["auto", "dat", "mat", "bdf"] = Field(
        "auto",
        description="Kind of DEAP's EEG file; `auto` takes the kind that most subjects have.",
    )

    @field_validator("subjects", mode="before")
    @classmethod
    def _names(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, (list, tuple)):
            own = info.data.get("kind") == "manifest"
            names = [str(v).strip() if own else subject_name(v) for v in value]
            if not names or len(set(names)) < len(names):
                raise ValueError("list each subject once, and at least one")
            return sorted(names)
        return value

    @model_validator(mode="after")
    def _described(self) -> "_Place":
        if self.kind == "manifest" and not self.manifest:
            raise ValueError("manifest: name the table of trials, or set kind to deap")
        return self


class DatasetOptions(RecordingOptions, _Place):
    """Where the recordings are and which of them are used."""

    @property
    def recording(self) -> RecordingOptions | None:
        """How a manifest's recordings are read; None of DEAP, whose files say it themselves."""
        return self.narrowed_to(RecordingOptions) if self.kind == "manifest" else None


class LabelsOptions(Options):
    """What is to be recognised."""

    scheme: Literal["quadrant", "valence", "arousal", "dominance", "liking", "label"] = Field(
        "quadrant",
        description="Four quadrants of valence and arousal, or one rating, low or high; `label` "
        "takes the names in a manifest's column label.",
    )
    classes: list[str] | None = Field(
        None,
        min_length=2,
        description="`scheme: label`: the names that are told apart, trials of others are left "
        "out; null takes all of the manifest, sorted.",
    )
    threshold: float | Literal["median"] = Field(
        5.0, description="Border of low and high; `median` is that of the training trials."
    )
    ties: Literal["high", "low", "drop", "as_published"] = Field(
        "high",
        description="A rating on the border; `as_published` is the authors' rule for quadrants.",
    )
    permuted: bool = Field(
        False,
        description="Trials of a subject exchange their ratings: a control in which there is "
        "nothing to learn.",
    )

    @property
    def scales(self) -> list[str]:
        """The ratings that the scheme looks at."""
        return {"quadrant": ["valence", "arousal"], "label": []}.get(self.scheme, [self.scheme])

    def with_classes(self, known: list[str] | None) -> "LabelsOptions":
        """With a dataset's names of classes, where they are asked for and none are given."""
        if self.scheme != "label" or self.classes or not known:
            return self
        return self.model_copy(update={"classes": known})

    def result(self) -> dict[str, Any]:
        """All that can change the result; ``classes`` only where there are some."""
        known = super().result()
        return {k: v for k, v in known.items() if k != "classes" or v is not None}

    @model_validator(mode="after")
    def _names(self) -> "LabelsOptions":
        if self.classes is not None and self.scheme != "label":
            raise ValueError("classes: goes with scheme label only")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: names one class twice")
        return self

    @model_validator(mode="after")
    def _published_rule(self) -> "LabelsOptions":
        if self.ties == "as_published" and (self.scheme != "quadrant" or self.threshold != 5):
            raise ValueError("ties: as_published goes with scheme quadrant and threshold 5 only")
        return self


def subject_name(value: str | int) -> str:
    """``s01`` for ``1``, ``"1"`` or ``"s01"``; raises ValueError for anything else."""
    match = re.fullmatch(r"[sS]?0*([1-9]\d?)", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a subject; write s01 or 1")
    return f"s{int(match[1]):02d}"
