"""The guard against leaks: what every split has to keep, checked when it is written and when read.

A split is sound where no group of its protocol stands on two sides (Kaufman et al. 2012 on leakage
in data mining; Saeb et al. 2017 on splits by record that should be by subject). Which group that
is follows from the protocol's name alone, so that a leaky protocol leaks by name or not at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.splits.groups import tested_together
from milmer.splits.protocols import PROTOCOLS, TRIAL, fold_subject

PARTS = ("train", "val", "test")
_TRIAL = list(TRIAL)
_SEGMENT = [*TRIAL, "position"]
_AGAIN = "delete the split and run snakemake again"


def require_sound(
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    segmentation: SegmentationOptions,
    where: str,
) -> None:
    """Refuse a split that leaks or cannot be used; the message names the first offender.

    ``table`` has ``subject, trial, position, experiment_id, label, part``, a row a segment, and
    ``session`` and ``group`` where trials have them;
    ``facts`` are those of its provenance: ``protocol``, ``fold``, ``leaky``, ``labels`` (names of
    the classes) and, where there is a validation part, ``validation_groups``. ``where`` begins the
    message.
    Raises :class:`MilmerError`.
    """
    protocol = facts["protocol"]
    if protocol not in PROTOCOLS:
        raise MilmerError(
            f"there is no protocol {protocol!r}",
            where=where,
            remedy=f"use one of {_all(PROTOCOLS)}",
        )
    row = PROTOCOLS[protocol]
    if bool(facts["leaky"]) != row.leaky:
        raise MilmerError(f"{protocol} is not marked as it leaks", where=where, remedy=_AGAIN)
    if absent := [name for name in row.group if name not in table]:
        raise MilmerError(f"has no column {absent[0]}", where=where, remedy=_AGAIN)
    _require_rows(table, facts, where)
    _require_parts(table, protocol, facts["fold"], where)
    rest = table[table["part"] != "test"]
    sides: list[tuple[pd.DataFrame, str, Sequence[str]]] = [(table, "test", row.group)]
    if (rest["part"] == "val").any():
        sides.append((rest, "val", _validation_groups(facts, where)))
    for rows, part, group in sides:
        _require_apart(rows, part, group, where)
        if "group" in table and not row.leaky:
            _require_apart(rows.dropna(subset=["group"]), part, ["group"], where)
    _require_no_overlap(table, segmentation, where)


def _require_rows(table: pd.DataFrame, facts: Mapping[str, Any], where: str) -> None:
    """Each segment once, in a known part, of a known class that is its trial's."""
    twice = table.duplicated(_SEGMENT)
    if twice.any():
        raise MilmerError(
            f"{_name(table[twice], _SEGMENT)} stands twice", where=where, remedy=_AGAIN
        )
    unknown = ~table["part"].isin(PARTS)
    if unknown.any():
        raise MilmerError(
            f"{_name(table[unknown], _SEGMENT)} is in the part "
            f"{table.loc[unknown, 'part'].iloc[0]!r} and not in one of {_all(PARTS)}",
            where=where,
            remedy=_AGAIN,
        )
    wrong = ~table["label"].isin(range(len(facts["labels"])))
    if wrong.any():
        raise MilmerError(
            f"{_name(table[wrong], _SEGMENT)} has the label {table.loc[wrong, 'label'].iloc[0]} "
            f"and there are {len(facts['labels'])} classes",
            where=where,
            remedy=_AGAIN,
        )
    mixed = _first_of_several(table, _TRIAL, "label")
    if mixed is not None:
        raise MilmerError(f"{mixed} has two labels", where=where, remedy=_AGAIN)


def _require_parts(table: pd.DataFrame, protocol: str, fold: str, where: str) -> None:
    """Something to train on and to test on, of the subjects that the fold names."""
    row, subjects = PROTOCOLS[protocol], set(table["subject"])
    if not row.within_subject and len(subjects) < 2:
        raise MilmerError("needs two subjects or more to train and to test", where=where)
    for part in ("train", "test"):
        if not (table["part"] == part).any():
            raise MilmerError(
                f"no segment is left to {part}", where=where, remedy="add trials or subjects"
            )
    own = {fold_subject(protocol, fold)}
    if row.leaves_subject_out:
        subjects = set(table.loc[table["part"] == "test", "subject"])
        own = set(table.loc[tested_together(table, protocol, fold), "subject"])
    if row.by_subject and subjects != own:
        raise MilmerError(
            f"fold {fold} is of other subjects: {_all(subjects)}", where=where, remedy=_AGAIN
        )


def _require_apart(table: pd.DataFrame, part: str, groups: Sequence[str], where: str) -> None:
    """No group on both sides of ``part``."""
    group = _first_of_several(table.assign(side=table["part"] == part), groups, "side")
    if group is not None:
        raise MilmerError(
            f"leaks: {group} stands in {part} and outside of it", where=where, remedy=_AGAIN
        )


def _validation_groups(facts: Mapping[str, Any], where: str) -> list[str]:
    """How validation was grouped; no finer than the protocol allows."""
    protocol, groups = facts["protocol"], facts.get("validation_groups")
    row = PROTOCOLS[protocol]
    allowed = [list(row.group)]
    if (
        row.leaves_subject_out or row.by_session
    ):  # too few may be left to spare one: trials validate
        allowed.append(_TRIAL)
    if groups not in allowed:
        raise MilmerError(
            f"validation is grouped by {groups}, under {protocol} it is by {allowed[0]}",
            where=where,
            remedy=_AGAIN,
        )
    return groups


def _require_no_overlap(table: pd.DataFrame, segmentation: SegmentationOptions, where: str) -> None:
    """No two windows of a trial that share time and stand in different parts.

    In the order of time two such windows have a neighbouring pair between them that does so too.
    """
    step = segmentation.seconds - segmentation.overlap
    rows = table.sort_values([*_TRIAL, "position"], kind="stable")
    before = rows.groupby(_TRIAL, sort=False)[["position", "part"]].shift()
    apart = (rows["position"] - before["position"]) * step  # s; NaN at a trial's first
    shared = (apart < segmentation.seconds - 1e-9) & (rows["part"] != before["part"])
    if shared.any():
        first = rows[shared].iloc[[0]]
        raise MilmerError(
            f"{_name(first, _SEGMENT)} shares time with the one before, which is in another part",
            where=where,
            remedy="set segmentation.overlap to 0, or take another protocol",
        )


def _first_of_several(table: pd.DataFrame, groups: Sequence[str], column: str) -> str | None:
    """The first group with several values of ``column``, in words; none if there is none."""
    groups = list(groups)
    several = table.groupby(groups, sort=True)[column].nunique() > 1
    if not several.any():
        return None
    first = several.index[int(np.argmax(several.to_numpy()))]
    return _words(groups, first if isinstance(first, tuple) else (first,))


def _name(rows: pd.DataFrame, groups: Sequence[str]) -> str:
    return _words(groups, tuple(rows.iloc[0][list(groups)]))


def _words(groups: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(
        str(value) if group == "subject" else f"{group} {value}"
        for group, value in zip(groups, values, strict=True)
    )


def _all(names: Any) -> str:
    return ", ".join(sorted(map(str, names)))
