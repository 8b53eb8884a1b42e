"""The configuration as text: ``config.yaml`` and the reference ``docs/options.md``.

Both are generated from the option models, which hold the default and description of each option.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import yaml

from milmer.config import PRESETS, Config
from milmer.options import Options, is_section


def documented(user: Mapping[str, Any], heading: str = "") -> str:
    """``config.yaml``'s text: what ``user`` sets, and every other option commented out."""
    lines = [heading.rstrip(), ""] if heading else []
    for section, field in Config.model_fields.items():
        if is_section(field.annotation):
            lines += _comment((field.annotation.__doc__ or "").splitlines()[0])
            lines += _section(section, field.annotation, user.get(section))
        else:
            lines += _comment(field.description)
            chosen = section in user
            lines += _entry(section, user[section] if chosen else field.get_default(), chosen)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def reference() -> str:
    """``docs/options.md``: a heading for each option, which other pages link to."""
    lines = [_REFERENCE.rstrip()]
    for path, option in _options(Config, ()):
        section = option.annotation if is_section(option.annotation) else None
        lines.append(f"{'##' if len(path) == 1 else '###'} {'.'.join(path)}")
        lines.append(((section.__doc__ or "").splitlines()[0]) if section else _reason(option))
        if section is None:
            default = option.get_default(call_default_factory=True)
            facts = [f"Default: `{_flow(_plain(default))}`."]
            preset = PRESETS["published"].get(path[0], {})
            if len(path) == 2 and path[1] in preset:
                facts.append(f"`preset: published`: `{_flow(preset[path[1]])}`.")
            lines.append(" ".join(facts))
    return "\n\n".join(lines) + "\n"


_REFERENCE = """# Options

Each option of the configuration, with its default. Set them in `config.yaml`, in a file given by `--configfile`, or by `--config`; `milmer config FILE` checks a file. This page is made by `milmer config --reference`.
"""  # noqa: E501


def _options(model: type[Options], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All options below ``model`` with their paths, a section before what it holds."""
    for key, option in model.model_fields.items():
        yield (*path, key), option
        if is_section(option.annotation):
            yield from _options(option.annotation, (*path, key))


def _section(name: str, model: type[Options], user: Mapping[str, Any] | None) -> list[str]:
    """A section's lines. Its name is never commented out, so uncommenting an option is enough."""
    lines = []
    for key, option in model.model_fields.items():
        chosen = bool(user) and key in user
        lines += _comment(_reason(option))
        if is_section(option.annotation):
            lines += _section(key, option.annotation, user[key] if chosen else None)
        else:
            value = user[key] if chosen else option.get_default(call_default_factory=True)
            lines += _entry(key, value, chosen)
    return [f"{name}:", *(f"  {line}" for line in lines)]


def _reason(option: Any) -> str:
    text = option.description or ""
    choices = [a for a in get_args(option.annotation) if isinstance(a, str)]
    if choices and not all(f"`{c}`" in text or c in text for c in choices):
        text += f" One of: {', '.join(choices)}."
    if (option.json_schema_extra or {}).get("execution"):
        text += " Changes no result."
    return text


def _comment(text: str | None) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text or "", 96)]


def _entry(key: str, value: Any, chosen: bool) -> list[str]:
    value = _plain(value)
    nested = isinstance(value, dict) and bool(value)
    text = yaml.safe_dump(
        {key: value},
        default_flow_style=None if not nested else False,
        sort_keys=False,
        allow_unicode=True,
    ).rstrip()
    if nested:
        body = [f"  {k}: {_flow(v)}" for k, v in value.items()]
        text = "\n".join([f"{key}:", *body])
    else:
        text = f"{key}: {_flow(value)}"
    return [line if chosen else f"#{line}" for line in text.splitlines()]


def _flow(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.removesuffix("\n").removesuffix("...").rstrip()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: v.model_dump(exclude_unset=True) if isinstance(v, Options) else v
            for k, v in value.items()
        }
    return list(value) if isinstance(value, tuple) else value
