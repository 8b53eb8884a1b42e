"""The base of every configuration section.

A section is a pydantic model in the ``options.py`` of its package: the only place for the default,
the bounds and the description of each option. Importing it loads no heavy library.
"""

import difflib
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.plain_text import first_unseen

_LONGEST = 400  # characters of a key, or of what a section says about its values


def execution(default: Any, **kwargs: Any) -> Any:
    """A field that changes how a stage runs but not its result.

    Such options are not in :meth:`Options.result_json`, so changing one reruns nothing.
    """
    return Field(default, json_schema_extra={"execution": True}, **kwargs)


FilePath = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path of a file or folder, in which ``~`` is the user's home."""

Base = TypeVar("Base", bound="Options")


def is_section(kind: Any) -> bool:
    """Whether a field of type ``kind`` is a section."""
    return isinstance(kind, type) and issubclass(kind, Options)


class Options(BaseModel):
    """A configuration section: unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        defer_build=True,  # a stage reads few of the sections that it imports
    )

    @model_validator(mode="before")
    @classmethod
    def _null(cls, data: Any) -> Any:
        # `snakemake --config` passes every nested value as text, even null.
        if not isinstance(data, dict):
            return data
        plain = {k: None if v in ("null", "~") else v for k, v in data.items()}
        sections = {k for k, f in cls.model_fields.items() if is_section(f.annotation)}
        # An empty section in YAML is null and changes nothing.
        return {k: v for k, v in plain.items() if v is not None or k not in sections}

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, data: Any) -> Any:
        if problem := first_unseen(data):
            raise ValueError(problem)
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

    @classmethod
    def section_at(cls, path: str) -> "type[Options] | None":
        """The model of the keys right below ``path``, such as ``backbone.pretrain``, if any."""
        model: type[Options] = cls
        for part in path.split(".") if path else []:
            field = model.model_fields.get(part)
            if field is None or not is_section(field.annotation):
                return None
            model = field.annotation
        return model

    @classmethod
    def section_paths(cls) -> list[str]:
        """Paths of all sections below this one, the deepest first."""
        direct = {k: f.annotation for k, f in cls.model_fields.items() if is_section(f.annotation)}
        below = [f"{key}.{path}" for key, model in direct.items() for path in model.section_paths()]
        return [*below, *direct]

    def updated(self, changes: Mapping[str, Any] | None) -> Self:
        """A validated copy with some options changed, those of a nested section one by one."""
        return type(self).model_validate(_changed(self, changes or {}))

    def narrowed_to(self, base: type[Base]) -> Base:
        """The options of ``base``, which this class extends."""
        return base.model_validate({name: getattr(self, name) for name in base.model_fields})


def _changed(options: Options, changes: Mapping[str, Any]) -> dict[str, Any]:
    plain = options.model_dump()
    for key, value in changes.items():
        section = getattr(options, key, None)
        nested = isinstance(section, Options) and isinstance(value, Mapping)
        plain[key] = _changed(section, value) if nested else value
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


# ------------------------------------------------------------ errors of options, for people


def read_options(model: type[Base], options: Any, source: str = "options") -> Base:
    """A stage's options from JSON, or from the plain values that ``source`` records.

    Raises :class:`MilmerError` where they are wrong.
    """
    try:
        if isinstance(options, str):
            return model.from_json(options)
        return model.model_validate(options)
    except ValidationError as error:
        raise options_error(model, error, source) from error


def options_error(
    model: type[Options], error: ValidationError, source: str = "options", path: str = ""
) -> MilmerError:
    """The first of pydantic's errors: the key, its value, what is allowed, the nearest valid key.

    ``source`` is where the options come from, ``path`` the section of ``model`` that was validated.
    """
    errors = error.errors()
    first = errors[0]
    parts = ([path] if path else []) + [str(p) for p in first["loc"] if not _is_type(p)]
    key = ".".join(parts)
    where = f"{source}: {key[:_LONGEST]}" if key else source
    # Each branch of a union gives an error: count the places, not the errors.
    places = {_place(e) for e in errors}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    if first["type"] == "extra_forbidden":
        remedy = _of_unknown_key(model, key, first) or "config.yaml lists them all"
        return MilmerError("unknown key", where=where, remedy=remedy + more)
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return MilmerError(message[:_LONGEST] + more, where=where)
    place = [e for e in errors if _place(e) == _place(first)]
    allowed = " or ".join(dict.fromkeys(_allowed(e) for e in place))
    if first["type"] == "missing":
        return MilmerError("a value is missing", where=where, remedy=f"give it{more}")
    remedy = f"use {allowed}{_description(model, key)}{more}"
    return MilmerError(f"{shortened(first['input'])} is not allowed", where=where, remedy=remedy)


_ALLOWED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text, in quotes",
    "list": "a list, such as [a, b]",
    "tuple": "a list, such as [a, b]",
    "dict": "keys with values, such as {{key: value}}",
    "model": "keys with values, such as {{key: value}}",
    "none": "null",
    "invalid": "text as a key, in quotes",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or less",
    "string_too_short": "{min_length} or more characters",
    "literal_error": "{expected}",
}
"""What is allowed instead, by the type of pydantic's error or the first word of it."""


def _allowed(error: Mapping[str, Any]) -> str:
    text = _ALLOWED.get(error["type"]) or _ALLOWED.get(error["type"].partition("_")[0])
    return text.format(**error.get("ctx", {})) if text else error["msg"]


def _place(error: Mapping[str, Any]) -> tuple[str | int, ...]:
    return tuple(part for part in error["loc"] if not _is_type(part))


def _of_unknown_key(model: type[Options], key: str, error: Mapping[str, Any]) -> str | None:
    """What to write instead of an unknown key: the nearest one, or a flat key as a section."""
    last = str(error["loc"][-1])
    section, _, name = key.rpartition(".")
    valid = model.section_at(section)
    if "." in last and valid and name in valid.model_fields:
        nested = f"{last.replace('.', ': {')}: {shortened(error['input'])}"
        return f"write {nested}{'}' * last.count('.')}"
    nearest = _nearest(model, key)
    return f"did you mean {nearest}?" if nearest else None


def _is_type(part: str | int) -> bool:
    # pydantic adds the branch of a union to the path: list[str], literal['all'], float …
    return isinstance(part, str) and (
        "[" in part or part in ("float", "int", "str", "tuple", "bool")
    )


def _nearest(model: type[Options], path: str) -> str | None:
    """The valid key most like ``path``: beside it, or of that name in another section."""
    parent, _, name = path.rpartition(".")
    section = model.section_at(parent)
    beside = difflib.get_close_matches(name, section.model_fields if section else (), 1, 0.6)
    if beside:
        return f"{parent}.{beside[0]}" if parent else beside[0]
    elsewhere = {
        key: f"{other}.{key}"
        for other in model.section_paths()
        for key in model.section_at(other).model_fields
    }
    nearest = difflib.get_close_matches(name, elsewhere, 1, 0.8)
    return elsewhere[nearest[0]] if nearest else None


def _description(model: type[Options], path: str) -> str:
    """The description of an option, in brackets."""
    parent, _, key = path.rpartition(".")
    section = model.section_at(parent)
    option = section.model_fields.get(key) if section else None
    return f" ({option.description})" if option and option.description else ""
