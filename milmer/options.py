"""The base of every configuration section.

A section is a pydantic model in the ``options.py`` beside its stage: the default, the bounds and
the reason of each option stand there and nowhere else. Reading one loads no heavy library.
"""

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


def execution(default: Any, **kwargs: Any) -> Any:
    """A field that says how a stage runs but cannot change its result.

    Such options never reach :meth:`Options.result_json`, so changing one reruns nothing.
    """
    return Field(default, json_schema_extra={"execution": True}, **kwargs)


class Options(BaseModel):
    """A configuration section: unknown keys are errors, and a value is immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _null(cls, data: Any) -> Any:
        # `snakemake --config` hands every nested value over as text, null included.
        if isinstance(data, dict):
            return {k: None if v in ("null", "~") else v for k, v in data.items()}
        return data

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`result_json` wrote; missing keys take their defaults."""
        return cls.model_validate_json(text)

    def result(self) -> dict[str, Any]:
        """Everything that can change the stage's result, as plain JSON values."""
        return _without_execution(self)

    def result_json(self) -> str:
        """:meth:`result` as one JSON string with sorted keys: the trigger and the argument."""
        return json.dumps(self.result(), sort_keys=True, separators=(",", ":"))

    def but(self, changes: dict[str, Any] | None) -> Self:
        """A validated copy with some options changed."""
        return type(self).model_validate(self.model_dump() | (changes or {}))


def _without_execution(options: Options) -> dict[str, Any]:
    plain = options.model_dump(mode="json")
    result = {}
    for name, field in type(options).model_fields.items():
        if (field.json_schema_extra or {}).get("execution"):
            continue
        value = getattr(options, name)
        result[name] = value.result() if isinstance(value, Options) else plain[name]
    return result
