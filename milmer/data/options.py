"""The sections ``dataset`` and ``labels``: which recordings are used, and how they are labelled."""

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from milmer.options import FilePath, Options

FEWEST_CHANNELS = 4


class RecordingOptions(Options):
    """Which channels of a lab's own recordings are read, and at which rate."""

    channels: list[str] | None = Field(
        None,
        description="`kind: manifest`: names of at least 4 EEG channels, in the model's order; "
        "null takes all EEG channels, which must be the same in all files.",
    )
    missing_channels: Literal["refuse", "interpolate"] = Field(
        "refuse",
        description="`kind: manifest`: what to do where a file lacks one of `channels`; "
        "`interpolate` computes up to a quarter of them from the others (spherical splines).",
    )
    heog: list[str] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="`kind: manifest`: the horizontal EOG as [left, right], or [name] of a bipolar "
        "channel; null if there is none, then `eeg.artefacts: auto` is `none`.",
    )
    veog: list[str] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="`kind: manifest`: the vertical EOG as [upper, lower], or [name]; set it "
        "together with `heog`.",
    )
    sfreq: float | None = Field(
        128.0,
        gt=0,
        le=5000,
        description="`kind: manifest`: rate in Hz to which EEG is resampled; null keeps the rate "
        "of the files, which must then be the same in all.",
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
            raise ValueError("heog and veog go together; set both or neither")
        return self


class _Place(Options):
    kind: Literal["deap", "manifest"] = Field(
        "deap",
        description="`deap` is a copy of DEAP below `root`; `manifest` is your own recordings, "
        "described by a table of trials.",
    )
    root: FilePath = Field(
        "data/deap",
        description="Folder with the copy of DEAP, relative to the working directory.",
    )
    manifest: FilePath | None = Field(
        None,
        description="`kind: manifest`: the table of trials, .csv, .tsv or .parquet, relative to "
        "the working directory; the files that it names are relative to its folder.",
    )
    subjects: list[str] | Literal["all"] = Field(
        "all",
        description="`all`, or a list such as [s01, s02] or [1, 2].",
    )
    source: Literal["auto", "dat", "mat", "bdf"] = Field(
        "auto",
        description="Kind of DEAP's EEG files; `auto` takes the kind that most subjects have.",
    )

    @field_validator("subjects", mode="before")
    @classmethod
    def _names(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, (list, tuple)):
            in_deap = info.data.get("kind") != "manifest"
            names = [subject_name(v) if in_deap else str(v).strip() for v in value]
            if not names or len(set(names)) < len(names):
                raise ValueError("list at least one subject, and each only once")
            return sorted(names)
        return value

    @model_validator(mode="after")
    def _described(self) -> "_Place":
        if self.kind == "manifest" and not self.manifest:
            raise ValueError("manifest: name the table of trials, or set kind to deap")
        return self


class DatasetOptions(RecordingOptions, _Place):
    """Where the recordings are, and which of them are used."""

    @property
    def recording(self) -> RecordingOptions | None:
        """How to read recordings of a manifest; None for DEAP, whose files need no options."""
        return self.narrowed_to(RecordingOptions) if self.kind == "manifest" else None


class LabelsOptions(Options):
    """What the model learns to recognise."""

    scheme: Literal["quadrant", "valence", "arousal", "dominance", "liking", "label"] = Field(
        "quadrant",
        description="Four quadrants of valence and arousal, or one rating, low or high; `label` "
        "uses the names in a manifest's column label.",
    )
    classes: list[str] | None = Field(
        None,
        min_length=2,
        description="`scheme: label`: the names to classify, trials with others are left out; null "
        "takes all names of the manifest, sorted.",
    )
    threshold: float | Literal["median"] = Field(
        5.0, description="Border between low and high; `median` is that of the training trials."
    )
    ties: Literal["high", "low", "drop", "as_published"] = Field(
        "high",
        description="How a rating on the border counts; `as_published` is the authors' rule for "
        "quadrants.",
    )
    permuted: bool = Field(
        False,
        description="Permute the ratings among the trials of a subject: a control in which there "
        "is nothing to learn.",
    )

    @property
    def scales(self) -> list[str]:
        """The ratings that the scheme uses."""
        return {"quadrant": ["valence", "arousal"], "label": []}.get(self.scheme, [self.scheme])

    def with_classes(self, classes: list[str] | None) -> "LabelsOptions":
        """With the names of a dataset's ``classes`` if the scheme needs names and has none."""
        if self.scheme != "label" or self.classes or not classes:
            return self
        return self.model_copy(update={"classes": classes})

    def result(self) -> dict[str, Any]:
        """Everything that can change the result; ``classes`` only if there are any."""
        options = super().result()
        return {k: v for k, v in options.items() if k != "classes" or v is not None}

    @model_validator(mode="after")
    def _names(self) -> "LabelsOptions":
        if self.classes is not None and self.scheme != "label":
            raise ValueError("classes: requires scheme label")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: names a class twice")
        return self

    @model_validator(mode="after")
    def _published_rule(self) -> "LabelsOptions":
        if self.ties == "as_published" and (self.scheme != "quadrant" or self.threshold != 5):
            raise ValueError("ties: as_published requires scheme quadrant and threshold 5")
        return self


def subject_name(value: str | int) -> str:
    """``s01`` for ``1``, ``"1"`` or ``"s01"``; raises ValueError for anything else."""
    match = re.fullmatch(r"[sS]?0*([1-9]\d?)", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a subject; write s01 or 1")
    return f"s{int(match[1]):02d}"
