"""How subjects and trials are named in a line: s01–s22 (22), trials 38–40."""

import re
from collections.abc import Iterable, Mapping

_MOST = 8  # names without numbers that are listed
_RUN = 3  # as many in a row are written with a dash


def numbers(values: Iterable[int], write: str = "{}") -> str:
    """``1–5, 7`` for 1, 2, 3, 4, 5 and 7; each is written by the format ``write``."""
    rising = sorted(set(values))
    runs: list[list[int]] = []
    for value in rising:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = []
    for run in runs:
        ends = [run[0], run[-1]] if len(run) >= _RUN else run
        parts.append(("–" if len(run) >= _RUN else ", ").join(map(write.format, ends)))
    return ", ".join(parts)


def names(subjects: Iterable[str]) -> str:
    """``s01–s22 (22)`` for as many subjects; those of a manifest one by one."""
    listed = sorted(set(subjects))
    if not all(re.fullmatch(r"s\d\d", name) for name in listed):
        more = f" and {len(listed) - _MOST} more" if len(listed) > _MOST else ""
        return ", ".join(listed[:_MOST]) + more
    text = numbers((int(name[1:]) for name in listed), "s{:02d}")
    return f"{text} ({len(listed)})" if len(listed) >= _RUN else text


def places(trials: Mapping[str, Iterable[int]]) -> str:
    """``s11 trials 38–40; s03, s05 trial 40``: trials by subject, the same ones together."""
    same: dict[tuple[int, ...], list[str]] = {}
    for subject, listed in sorted(trials.items()):
        same.setdefault(tuple(sorted(listed)), []).append(subject)
    return "; ".join(
        f"{names(subjects)} trial{'s' * (len(listed) > 1)} {numbers(listed)}"
        for listed, subjects in same.items()
        if listed
    )


def span(values: Iterable[float], write: str = "{:g}") -> str:
    """``58–60`` for the least and the greatest of ``values``, or the one that they all are."""
    values = list(values)
    return "–".join(dict.fromkeys(write.format(end) for end in (min(values), max(values))))
