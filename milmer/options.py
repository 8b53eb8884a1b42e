"""The base of every configuration section.

A section is a pydantic model in the ``options.py`` beside its stage: the default, the bounds and
the reason of each option stand there and nowhere else. Reading one loads no heavy library.
"""

import json
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


def execution(default: Any, **kwargs: Any) -> Any:
    """A field that says how a stage runs but cannot change its result.

    Such options never reach :meth:`Options.result_json`, so changing one reruns nothing.
    """
    return Field(default, json_schema_extra={"execution": True}, **kwargs)


Base = TypeVar("Base", bound="Options")


def is_section(kind: Any) -> bool:
    """Whether a field of this type is a section of its own."""
    return isinstance(kind, type) and issubclass(kind, Options)


class Options(BaseModel):
    """A configuration section: unknown keys are errors, and a value is immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _null(cls, data: Any) -> Any:
        # `snakemake --config` hands every nested value over as text, null included.
        if not isinstance(data, dict):
            return data
        plain = {k: None if v in ("null", "~") else v for k, v in data.items()}
        sections = {k for k, f in cls.model_fields.items() if is_section(f.annotation)}
        # An empty section in YAML is null and changes nothing.
        return {k: v for k, v in plain.items() if v is not None or k not in sections}

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

    def but(self, changes: Mapping[str, Any] | None) -> Self:
        """A validated copy with some options changed, those of a nested section one by one."""
        return type(self).model_validate(_changed(self, changes or {}))

    def only(self, base: type[Base]) -> Base:
        """The options that ``base``, a class that this one extends, knows."""
        return base.model_validate({name: getattr(self, name) for name in base.model_fields})


def _changed(options: Options, changes: Mapping[str, Any]) -> dict[str, Any]:
    plain = options.model_dump()
    for key, value in changes.items():
        held = getattr(options, key, None)
        nested = isinstance(held, Options) and isinstance(value, Mapping)
        plain[key] = _changed(held, value) if nested else value
    return plain


def _without_execution(options: Options) -> dict[str, Any]:
    plain = options.model_dump(mode="json")
    result = {}
    for name, field in type(options).model_fields.items():
        if (field.json_schema_extra or {}).get("execution"):
            continue
        value = getattr(options, name)
        result[name] = value.result() if isinstance(value, Options) else plain[name]
    return result
