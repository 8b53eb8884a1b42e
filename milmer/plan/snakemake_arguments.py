"""Which options a command line of Snakemake holds, in any spelling that Snakemake takes."""

import argparse
from collections.abc import Collection, Sequence

_CALLS_ONLY = {"dryrun", "report", "lint", "list_rules", "list_target_rules", "dag"}
_CALLS_ONLY |= {"rulegraph", "filegraph", "d3dag", "summary", "detailed_summary", "list_changes"}
_CALLS_ONLY |= {"list_input_changes", "list_params_changes", "list_untracked", "print_compilation"}


def options(arguments: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Each option by its name in Snakemake (None: a target), with all the words that it takes.

    An abbreviation and an alias count as the option they stand for. What follows ``--`` is one
    target.
    """
    from snakemake.cli import get_argument_parser

    known = get_argument_parser()._option_string_actions
    found: list[tuple[str | None, list[str]]] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == "--":
            return [*found, (None, [word, *words])]
        action, more = _action(word, known)
        if action is None:
            found.append((None, [word]))
        elif action.nargs == 0:
            found.append((action.dest, [word if word.startswith("--") else word[:2]]))
            if more:  # -nF is -n -F
                words.insert(0, f"-{more}")
        else:
            count = 0 if more or "=" in word else _count(action, words)
            found.append((action.dest, [word, *words[:count]]))
            del words[:count]
    return found


def without(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """The arguments less the options of these names."""
    return [word for name, words in options(arguments) if name not in names for word in words]


def values(arguments: Sequence[str], name: str) -> list[str]:
    """The values of an option that are words of their own, all of them where it stands twice."""
    found: list[str] = []
    for option, words in options(arguments):
        if option == name:
            first = words[0].partition("=")[2] if words[0].startswith("--") else words[0][2:]
            found += [*filter(None, [first]), *words[1:]]
    return found


def runs_jobs(arguments: Sequence[str]) -> bool:
    """Whether Snakemake, called so, is to run jobs, and not to show or plan something."""
    return not any(name in _CALLS_ONLY for name, _ in options(arguments))


def _action(word: str, known: dict[str, argparse.Action]) -> tuple[argparse.Action | None, str]:
    """The option that a word names, and what follows a letter's name in the same word."""
    if not word.startswith("-") or word == "-":
        return None, ""
    if not word.startswith("--"):
        return known.get(word[:2]), word[2:]
    name = word.partition("=")[0]
    meant = {id(a): a for spelling, a in known.items() if spelling.startswith(name)}
    action = known.get(name) or (next(iter(meant.values())) if len(meant) == 1 else None)
    return action, ""


def _count(action: argparse.Action, words: Sequence[str]) -> int:
    """How many of the next words belong to an option."""
    own = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    limits = {None: 1, "?": 1, "*": own, "+": own}
    return min(own, limits.get(action.nargs, action.nargs))  # type: ignore[arg-type,type-var]
