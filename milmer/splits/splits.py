"""Stage ``split``: who trains, who validates and who tests, one table a fold.

``segment`` (published) draws segments and so puts those of one trial on both sides: it leaks.
``trial`` keeps a trial together, ``session`` a session, ``loso`` a subject, ``stimulus`` what was
shown, and all of them a group of the manifest. Parts are
stratified by dealing: items are put in order of their class, shuffled within it, and dealt round,
so that classes are even to one item also where there are fewer of a class than folds.
"""

import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.split import SOURCES
from milmer.contracts.trials import TRIALS
from milmer.data.labels import DROPPED, label, label_names, thresholds
from milmer.data.options import LabelsOptions
from milmer.data.segmentation import segment_grid
from milmer.errors import MilmerError
from milmer.splits.groups import group_numbers, tested_together
from milmer.splits.guard import require_sound
from milmer.splits.options import SplitOptions
from milmer.splits.protocols import PROTOCOLS, TRIAL

_TEST_PART = 0.2  # of protocol segment, as published
_FEWEST_SUBJECTS = 3  # left for training, so that one of them can be spared for validation
_log = logging.getLogger(__name__)


def make_split(
    trials: list[Path], protocol: str, fold: str, options: SplitOptions, out: Path
) -> None:
    """Write the split ``fold`` of ``protocol`` over the subjects whose tables are ``trials``.

    Columns ``subject, trial, position, experiment_id, label, part``; ``part`` is train, val or
    test. The provenance holds what the split decided: thresholds, how validation was grouped,
    warnings.
    """
    if protocol not in PROTOCOLS:
        raise MilmerError(
            f"there is no protocol {protocol!r}", remedy=f"use one of {', '.join(PROTOCOLS)}"
        )
    labelled = dict.fromkeys(options.labels.scales, "measure?") or {"label": "text?"}
    tables = [storage.read_table(path, TRIALS, labelled) for path in trials]
    rated = pd.concat(tables, ignore_index=True)
    if options.labels.permuted:
        rated = _permuted(rated, options)
    if PROTOCOLS[protocol].by_session and rated["session"].isna().all():
        raise MilmerError("no trial has a session", where=trials[0], remedy="take another protocol")
    segments = _segments(rated, options)
    if segments.empty:
        raise MilmerError("no trial with EEG has a label: nothing to split", where=trials[0])
    part = np.full(len(segments), "train", dtype=object)
    _require_divisible(segments, protocol, f"{protocol} {fold}", options)
    part[_test_rows(segments, protocol, fold, options)] = "test"
    leaky, group = PROTOCOLS[protocol].leaky, PROTOCOLS[protocol].group
    facts: dict = {"protocol": protocol, "fold": fold, "leaky": leaky, "warnings": []}
    facts |= {"labels": label_names(options.labels), "scheme": options.labels.scheme}
    facts["permuted"] = options.labels.permuted
    if options.validation:
        candidates = segments[part == "train"]
        if group == ("subject",):
            # A subject without video could validate no experiment with faces.
            seen = rated.loc[rated["video_file"].notna(), "subject"].unique()
            filmed = candidates[candidates["subject"].isin(seen)]
            if filmed["subject"].nunique() >= _FEWEST_SUBJECTS:
                candidates = filmed
            elif candidates["subject"].nunique() < _FEWEST_SUBJECTS or len(seen):
                group = TRIAL
        elif PROTOCOLS[protocol].by_session and candidates["session"].nunique() < 2:
            group = TRIAL  # one session trains
        facts["validation_groups"] = list(group)
        rng = _rng(options.seed, protocol, fold, "validation")
        held_out = _hold_out(candidates, protocol, group, options.validation, rng)
        part[candidates.index[held_out]] = "val"
    segments["part"] = part
    _relabel(segments, rated, options.labels, facts)
    columns = [*segments.columns.drop(["stratum", "label", "part"]), "label", "part"]
    table = segments.loc[segments["label"] != DROPPED, columns].reset_index(drop=True)
    require_sound(table, facts, options.segmentation, f"{protocol} {fold}")
    facts["warnings"] += _warnings(table, facts["labels"])
    for warning in facts["warnings"]:
        _log.warning("%s %s: %s", protocol, fold, warning)
    provenance = storage.provenance(
        "split", __name__, options.result(), {f"trials{i}": p for i, p in enumerate(trials)}
    )
    storage.write_table(out, table, provenance | {"facts": facts})


def _permuted(rated: pd.DataFrame, options: SplitOptions) -> pd.DataFrame:
    """The trials with EEG of each subject under each other's ratings.

    All that goes with a trial but its ratings stays, and so does how often a class occurs: a
    control in which there is nothing to learn (Ojala and Garriga 2010).
    """
    rated, columns = rated.copy(), options.labels.scales or ["label"]
    with_eeg = rated[rated["eeg_seconds"].notna()]
    for subject, trials in with_eeg.groupby("subject", sort=True):
        order = _rng(options.seed, subject, "permuted").permutation(len(trials))
        rated.loc[trials.index, columns] = trials[columns].to_numpy()[order]
    return rated


def _segments(rated: pd.DataFrame, options: SplitOptions) -> pd.DataFrame:
    """All segments, with the label by which parts are stratified (threshold as a number)."""
    fixed = options.labels
    if fixed.threshold == "median":  # a rating of 5 ties with nothing then, so none is dropped here
        fixed = fixed.updated({"threshold": 5.0, "ties": "high"})
    rated = rated.assign(stratum=label(rated, thresholds(rated, fixed), fixed))
    rows = []
    for subject, table in rated[rated["stratum"] != DROPPED].groupby("subject", sort=True):
        lengths = zip(table["trial"], table["eeg_seconds"], strict=True)
        rows += [
            (subject, s.trial, s.position) for s in segment_grid(lengths, options.segmentation)
        ]
    segments = pd.DataFrame(rows, columns=["subject", "trial", "position"])
    optional = (name for name in ("session", "group", *SOURCES) if name in rated)
    kept = [name for name in optional if rated[name].notna().any()]
    kept = ["experiment_id", *kept, "stratum"]
    return segments.merge(rated[[*TRIAL, *kept]], on=list(TRIAL))


def _test_rows(
    segments: pd.DataFrame, protocol: str, fold: str, options: SplitOptions
) -> np.ndarray:
    """Indices of the segments that test; the same partition underlies all folds."""
    row = PROTOCOLS[protocol]
    if row.leaves_subject_out:
        return np.flatnonzero(tested_together(segments, protocol, fold))
    drawn_for, _, number = fold.rpartition("k") if row.numbered else (fold, "", "")
    rng = _rng(options.seed, protocol, drawn_for, "test")
    if not row.numbered:
        return _hold_out(segments, protocol, row.group, _TEST_PART, rng)
    groups = _grouped(segments, protocol, row.group)
    if row.by_session:
        deal = np.arange(len(groups))
    else:
        deal = _dealt(groups["stratum"].to_numpy(), rng) % options.folds
    return np.concatenate(groups["rows"][deal == int(number)].to_list())


def _require_divisible(
    segments: pd.DataFrame, protocol: str, where: str, options: SplitOptions
) -> None:
    """Refuse trials whose groups make too few folds, or one of which holds all of a class."""
    row = PROTOCOLS[protocol]
    trials = segments.drop_duplicates(list(TRIAL))
    trials = trials.assign(unit=group_numbers(trials, protocol))
    named = "group" in trials and not row.leaky and trials["group"].notna().any()
    units = trials["unit"].value_counts()
    needed = options.folds
    if row.by_session:
        needed = trials["session"].nunique()
    if row.numbered and len(units) < needed:
        raise MilmerError(
            f"{len(units)} groups cannot make {needed} folds"
            + _share(trials, units.index[0], named),
            where=where,
            remedy="set protocols.folds to less, or add trials that share no samples with these"
            if named
            else "set protocols.folds to less",
        )
    for stratum, of_class in trials.groupby("stratum") if named else ():
        if (
            of_class["unit"].nunique() == 1
            and len(of_class) > 1
            and of_class["group"].notna().any()
        ):
            raise MilmerError(
                f"all trials of class {label_names(options.labels)[stratum]} are in one group"
                + _share(trials, of_class["unit"].iloc[0], named),
                where=where,
                remedy="add trials of the class that share no samples with these",
            )


def _share(trials: pd.DataFrame, unit: int, named: bool) -> str:
    """What a group is called, and its share of the trials."""
    of_unit = trials[trials["unit"] == unit]
    if not named or of_unit["group"].isna().all():
        return ""
    name = of_unit["group"].value_counts().index[0]
    return f": {name!r} holds {len(of_unit) / len(trials):.0%} of the trials"


def _hold_out(
    segments: pd.DataFrame,
    protocol: str,
    group: Sequence[str],
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Positions (not index labels) in ``segments`` of a stratified part of its groups."""
    groups = _grouped(segments.reset_index(drop=True), protocol, group)
    if len(groups) < 2:
        raise MilmerError(
            "one group alone cannot be divided",
            where=segments["subject"].iloc[0],
            remedy="set protocols.validation to 0, or add trials",
        )
    order = _dealt(groups["stratum"].to_numpy(), rng)
    # Every 1/fraction-th of the dealt order, at least one group and never all.
    taken = np.floor((order + 1) * fraction + 0.5) > np.floor(order * fraction + 0.5)
    if taken.all() or not taken.any():
        taken = (order == 0) ^ taken
    return np.concatenate(groups["rows"][taken].to_list())


def _grouped(segments: pd.DataFrame, protocol: str, group: Sequence[str]) -> pd.DataFrame:
    """One row a group: its most common stratum and the positions of its segments."""
    positions = segments.assign(row=np.arange(len(segments)))
    return (
        positions.groupby(group_numbers(segments, protocol, group))
        .agg(stratum=("stratum", lambda s: s.mode().iloc[0]), rows=("row", np.array))
        .reset_index()
    )


def _dealt(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each item's place when items are ordered by stratum, and at random within it."""
    order = np.lexsort((rng.random(len(strata)), strata))
    place = np.empty(len(strata), int)
    place[order] = np.arange(len(strata))
    return place


def _rng(seed: int, *words: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(w.encode()) for w in words)])


def _relabel(
    segments: pd.DataFrame, rated: pd.DataFrame, options: LabelsOptions, facts: dict
) -> None:
    """Set ``label``; a median is that of the trials that train, and of no other."""
    training = segments.loc[segments["part"] == "train", list(TRIAL)]
    trials = rated.merge(training.drop_duplicates(), on=list(TRIAL))
    border = thresholds(trials, options)
    facts["thresholds"] = border
    labelled = rated.assign(label=label(rated, border, options)).set_index(list(TRIAL))["label"]
    keys = pd.MultiIndex.from_frame(segments[list(TRIAL)])
    segments["label"] = labelled.reindex(keys).to_numpy().astype(np.int64)


def _warnings(table: pd.DataFrame, names: list[str]) -> list[str]:
    """What else a reader should know of a split."""
    training = set(table.loc[table["part"] == "train", "label"])
    missing = sorted(set(table["label"]) - training)
    if not missing:
        return []
    return [f"no training segment of class {', '.join(names[i] for i in missing)}"]
