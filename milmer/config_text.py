"""The configuration as text: ``config.yaml`` and the reference ``docs/options.md``.

Both are generated from the option models, which hold the default and description of each option.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from milmer.config import PRESETS, Config, merged
from milmer.errors import MilmerError
from milmer.limits import VALUES, require_size, require_written_out, shortened
from milmer.options import Options, is_section

WORKFLOW_CONFIG = Path(__file__).parents[1] / "config.yaml"
"""The configuration beside the Snakefile."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a configuration file as they are written, not yet validated."""
    require_size(path)
    try:
        text = path.read_text(encoding="utf-8")
        if "<<" in text:  # PyYAML writes out merge keys itself, before the values can be counted
            require_written_out(_outline(yaml.compose(text, _Strict), {}), str(path))
        user = yaml.load(text, _Strict) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise MilmerError(str(error), where=path) from error
    if not isinstance(user, dict):
        raise MilmerError("contains no sections", where=path, remedy="write it like config.yaml")
    return user


def workflow_config(
    config: Mapping[str, Any], files: Iterable[Path] = (), alone: bool = False
) -> dict[str, Any]:
    """What the workflow runs with: ``config`` on top of the config.yaml beside the Snakefile.

    ``config`` is a configuration file's content, or what Snakemake merged, which lets an empty
    section replace a full one; here it changes nothing. ``files``, which Snakemake read, are read
    once more, for what it lets pass; ``alone`` leaves config.yaml out. Raises
    :class:`MilmerError` where a file is wrong.
    """
    for file in files:
        read_yaml(file)
    require_written_out(config, "config")
    base = read_yaml(WORKFLOW_CONFIG) if WORKFLOW_CONFIG.is_file() and not alone else {}
    return merged(base, config)


class _Strict(yaml.SafeLoader):
    """Refuses what a reader of the file would not take for what YAML makes of it.

    A key that stands twice, of which YAML keeps the last; 010 and 12:30, which are the numbers 8
    and 750. And a text of too many values while it is read: each takes a thousand bytes.
    """

    nodes = 0

    def compose_node(self, *place: Any) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > 2 * VALUES:  # keys too
            raise ValueError(f"more than {VALUES:,} values")
        node = super().compose_node(*place)
        if isinstance(node, yaml.MappingNode):
            lines: dict[Any, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                    continue
                if key.value in lines:
                    raise ValueError(
                        f"the key {shortened(key.value)} stands twice, in lines "
                        f"{lines[key.value]} and {line}; keep one of them"
                    )
                lines[key.value] = line
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if _DISGUISED.fullmatch(node.value):
            raise ValueError(
                f"line {node.start_mark.line + 1}: YAML reads {node.value} as the number {value}; "
                f"write {value}, or '{node.value}' in quotes"
            )
        return value


_Strict.add_constructor("tag:yaml.org,2002:int", _Strict.construct_yaml_int)
_DISGUISED = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-5]?[0-9])+)")  # octal, base 60


def _outline(node: yaml.Node | None, lists: dict[int, list[Any]]) -> Any:
    """A node of YAML as nested lists; what an alias repeats is the same list."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in lists:
        return lists.get(id(node))
    lists[id(node)] = outline = []
    for part in node.value:
        outline += [_outline(n, lists) for n in (part if isinstance(part, tuple) else [part])]
    return outline


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
