"""Configuration files: how they are read, and how one goes on top of another."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from milmer.errors import MilmerError
from milmer.limits import VALUES, read_errors, require_size, require_written_out, shortened


def _workflow() -> Path:
    package = Path(__file__).parent
    checkout = package.parent
    return checkout if (checkout / "rules/common.smk").is_file() else package / "_workflow"


WORKFLOW = _workflow()
"""The folder of the Snakefile: that of the checkout, else the one that the wheel brings."""

WORKFLOW_CONFIG = WORKFLOW / "config.yaml"
"""The configuration beside the Snakefile."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a configuration file as they are written, not yet validated."""
    require_size(path)
    try:
        with read_errors(path):
            text = path.read_text(encoding="utf-8")
        if "<<" in text:  # PyYAML writes out merge keys itself, before the values can be counted
            require_written_out(_outline(yaml.compose(text, _Strict), {}), str(path))
        user = yaml.load(text, _Strict) or {}
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise MilmerError(str(error), where=path) from error
    if not isinstance(user, dict):
        raise MilmerError("contains no sections", where=path, remedy="write it like config.yaml")
    return user


def workflow_config(
    config: Mapping[str, Any], files: Iterable[Path] = (), alone: bool = False
) -> dict[str, Any]:
    """What the workflow runs with: ``config`` on top of ``files`` and of its own config.yaml.

    ``config`` is a configuration file's content, or what Snakemake merged of ``files`` and the
    command line. Snakemake lets an empty section replace a full one; here it changes nothing.
    ``alone`` leaves the config.yaml beside the Snakefile out. Raises :class:`MilmerError` where a
    file is wrong.
    """
    require_written_out(config, "config")
    result: dict[str, Any] = {}
    for file in [*([] if alone or not WORKFLOW_CONFIG.is_file() else [WORKFLOW_CONFIG]), *files]:
        result = merged(result, read_yaml(file))
    return merged(result, config)


def merged(
    base: Mapping[str, Any], over: Mapping[str, Any], path: tuple[str, ...] = ()
) -> dict[str, Any]:
    """``over`` on top of ``base``, both at ``path`` of a configuration.

    An empty section, which is null in YAML, changes nothing; an experiment or variant that is null
    stays so, and is dropped.
    """
    result = dict(base)
    named = path == ("experiments",) or (len(path) == 2 and path[0] == "variants")
    for key, value in over.items():
        below = result.get(key)
        new_section = key not in base and path[:1] in ((), ("experiments",))
        empty = value is None and (isinstance(below, Mapping) or new_section) and not named
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value, (*path, key))
        elif not empty:
            result[key] = value
    return result


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
