"""The section ``dataset``: where the recordings are and which of them are used."""

from typing import Literal

from pydantic import Field, field_validator

from milmer.deap.layout import subject_name
from milmer.options import Options


class DatasetOptions(Options):
    """Where the recordings are and which of them are used."""

    root: str = Field(
        "data/deap",
        description="Folder of the dataset, relative to the working directory.",
    )
    subjects: list[str] | Literal["all"] = Field(
        "all",
        description="`all`, or a list such as [s01, s02] or [1, 2].",
    )
    source: Literal["auto", "dat", "mat", "bdf"] = Field(
        "auto",
        description="Kind of EEG file; `auto` takes the kind that most subjects have.",
    )

    @field_validator("subjects", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, (list, tuple)):
            names = [subject_name(v) for v in value]
            if not names or len(set(names)) < len(names):
                raise ValueError("list each subject once, and at least one")
            return sorted(names)
        return value
