"""The section ``dataset``: where the recordings are and which of them are used."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from milmer.deap.layout import subject_name
from milmer.manifest.options import RecordingOptions
from milmer.options import Options


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
        return self.only(RecordingOptions) if self.kind == "manifest" else None
