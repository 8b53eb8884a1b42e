"""Stage ``controls``: what reaches the class by another way, on the folds of the experiments.

Shrinkage LDA learns permuted labels that keep a suspected link (:mod:`.labellings`), from log band
power and from the mean token of a segment's faces. Priors look at no signal at all: they guess from
the trials with the same stimulus, of the same subject, or near in the session. All learn from the
training part and are measured as experiments are: balanced accuracy by segment, of each subject
over all folds together, then the mean over subjects.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from milmer import storage
from milmer.contracts.facts import AGAIN
from milmer.contracts.trials import TRIALS
from milmer.errors import MilmerError
from milmer.evaluation.control_options import ControlsOptions
from milmer.evaluation.features import (
    Features,
    eeg_features,
    face_features,
    read_splits,
    variants,
)
from milmer.evaluation.labellings import labellings, within
from milmer.metrics.relabelled_lda import RelabelledLDA
from milmer.splits.protocols import PROTOCOLS, TRIAL

PRIORS = ("stimulus", "subject", "position")
"""What priors go by."""

_LIMITS = 0.05, 0.95  # of the drawn values
_ALMOST_NOTHING = 1e-6  # of the class shares of training, where nothing is alike


def make_controls(
    splits: Path,
    trials: Sequence[Path],
    segments: Sequence[Path],
    tokens: Sequence[Path],
    options: ControlsOptions,
    out: Path,
) -> None:
    """Write the controls of a protocol, whose splits are in the folder ``splits``.

    ``trials``, ``segments`` and ``tokens`` are the files of all subjects, of each variant in its
    own folder; without tokens there are none of faces. One row per ``features``, ``variant`` of
    what they are of (empty for priors) and ``control``: balanced accuracy with the true labels
    (``observed``), mean and 5 % and 95 % quantiles of it with permuted ones (``drawn``,
    ``drawn_low``, ``drawn_high``), the number of ``draws``, whether they are ``all``, the one-sided
    ``p`` and the smallest that there could be, and ``chance``. Raises :class:`MilmerError` if the
    files do not fit together or a split leaks.
    """
    rows, facts, paths = read_splits(splits, options.folds, segments, tokens)
    units, rows["unit"] = _units(rows, trials)
    study = _Study(rows, units, len(facts["labels"]), options)
    protocol = PROTOCOLS[facts["protocol"]]
    schemes = ["by_trial", "shifted"]
    if not protocol.within_subject:
        schemes.insert(0, "any_trial")
    shared = _stimuli_on_both_sides(rows, units)
    if shared:
        schemes.append("by_stimulus")
    with threadpool_limits(1):
        judged = [
            {"variant": variant, **entry}
            for variant, name, features in _signals(rows, segments, tokens, splits)
            for entry in study.judge(name, schemes, study.by_signal(features))
        ]
        for name in PRIORS:
            prior = study.judge(name, ["any_trial"], study.by_prior(name))
            judged += [{"variant": "", **entry} for entry in prior]
    inputs = {f"split_{fold}": path for fold, path in paths.items()}
    inputs |= {f"trials_{path.stem}": path for path in trials}
    for stage, files in (("segments", segments), ("tokens", tokens)):
        inputs |= {"_".join([stage, *p.parts[-3:-1], p.stem]): p for p in files}
    provenance = storage.provenance("controls", __name__, options.result(), inputs)
    about = {name: facts[name] for name in ("protocol", "leaky", "labels")}
    about |= {"trials": len(units), "stimuli": int(units["stimulus"].nunique())}
    about |= {"stimuli_on_both_sides": shared}
    storage.write_table(out, pd.DataFrame(judged), provenance | {"facts": about})


def _units(rows: pd.DataFrame, trials: Sequence[Path]) -> tuple[pd.DataFrame, np.ndarray]:
    """The trials of all splits, and the number of each row's.

    ``subject, stimulus, label``, the number of its session (``visit``), and its place in that.
    """
    key = list(TRIAL)
    units = rows.drop_duplicates(key)[[*key, "label"]].reset_index(drop=True)
    tables = pd.concat([storage.read_table(path, TRIALS) for path in trials])
    visits = tables.groupby(["subject", "session"], dropna=False)
    order = tables["trial"] - visits["trial"].transform("min")
    about = tables.assign(order=order, stimulus=tables["experiment_id"], visit=visits.ngroup())
    about = about.set_index(key)[["order", "stimulus", "visit"]]
    place = pd.MultiIndex.from_frame(units[key])
    if not place.isin(about.index).all():
        raise MilmerError("lacks trials of a split", where=trials[0].parent, remedy=AGAIN)
    units[["order", "stimulus", "visit"]] = about.loc[place].to_numpy()
    units = units.astype({"order": int, "visit": int})
    return units, place.get_indexer(pd.MultiIndex.from_frame(rows[key]))


def _stimuli_on_both_sides(rows: pd.DataFrame, units: pd.DataFrame) -> int:
    """How many stimuli are tested in a fold that another trial with them trains."""
    shared: set = set()
    for _, fold in rows.groupby("fold"):
        train, test = (fold.loc[fold["part"] == p, "unit"].unique() for p in ("train", "test"))
        pairs = (
            units.loc[test, "stimulus"].to_numpy()[:, None]
            == units.loc[train, "stimulus"].to_numpy()
        )
        pairs &= test[:, None] != train
        shared |= set(units.loc[test, "stimulus"].to_numpy()[pairs.any(axis=1)])
    return len(shared)


def _signals(
    rows: pd.DataFrame, segments: Sequence[Path], tokens: Sequence[Path], splits: Path
) -> Iterator[tuple[str, str, Features]]:
    """The features of each variant, with its name and theirs."""
    for variant, paths in variants(segments, 1).items():
        for name, features in eeg_features(rows, paths, splits, ["band_power"]).items():
            yield variant, name, features
    for variant, paths in variants(tokens, 2).items():
        for name, features in face_features(rows, paths, splits).items():
            yield variant, name, features


class _Study:
    """All folds of a protocol: ``rows`` by fold and part, and their trials, ``units``."""

    def __init__(
        self, rows: pd.DataFrame, units: pd.DataFrame, classes: int, options: ControlsOptions
    ):
        self._rows, self._units, self._classes, self._options = rows, units, classes, options
        names, self._subject = np.unique(units["subject"], return_inverse=True)
        self._subjects = len(names)

    def judge(self, features: str, schemes: Sequence[str], measure: Any) -> Iterator[dict]:
        """A row of the table for each of ``schemes``; ``measure`` gives scores of labellings."""
        true = np.arange(len(self._units))[None]
        sets = {
            scheme: labellings(scheme, self._units, self._options.control_draws, self._options.seed)
            for scheme in schemes
        }
        sources = np.concatenate([true, *(drawn for drawn, _ in sets.values())])
        values, chance = measure(sources)
        observed, first = values[0], 1
        for scheme, (drawn, complete) in sets.items():
            of_scheme = values[first : first + len(drawn)]
            first += len(drawn)
            as_good = (of_scheme >= observed - 1e-9).sum()
            low, high = np.quantile(of_scheme, _LIMITS)
            yield {
                "features": features,
                "control": scheme,
                "observed": observed,
                "drawn": of_scheme.mean(),
                "drawn_low": low,
                "drawn_high": high,
                "draws": len(drawn),
                "all": complete,
                "p": as_good / len(drawn) if complete else (as_good + 1) / (len(drawn) + 1),
                "smallest_p": 1 / len(drawn) if complete else 1 / (len(drawn) + 1),
                "chance": chance,
            }

    def by_signal(self, features: Features) -> Any:
        """What LDA on ``features`` reaches."""
        values, row = features.values, features.row

        def guesses(fold: pd.DataFrame, sources: np.ndarray) -> Iterator[tuple]:
            place = row[fold.index]
            fold, place = fold[place >= 0], place[place >= 0]
            train, test = ((fold["part"] == part).to_numpy() for part in ("train", "test"))
            if not train.any() or not test.any():
                return
            labels, unit = self._labels(fold, sources)
            names, group = np.unique(unit[train], return_inverse=True)
            lda = RelabelledLDA(values[place[train]], group)
            subject = self._subject[fold["unit"]][test]
            for guess in lda.guesses(values[place[test]], labels[:, names], self._classes):
                truth, labels = labels[: len(guess), unit[test]], labels[len(guess) :]
                yield subject, truth, guess, np.ones(int(test.sum()))

        return lambda sources: self._score(guesses, sources)

    def by_prior(self, name: str) -> Any:
        """What the prior ``name`` reaches: a mean of the labels of training trials that are alike.

        Trials are alike by stimulus or subject; by position, the nearer in presentation order the
        more: of the same session where it trains, or else by their places in other sessions, of the
        same subject where that trains.
        """

        def guesses(fold: pd.DataFrame, sources: np.ndarray) -> Iterator[tuple]:
            labels, unit = self._labels(fold, sources)
            test, tested = np.unique(unit[fold["part"] == "test"], return_counts=True)
            train, learned = np.unique(unit[fold["part"] == "train"], return_counts=True)
            names = np.unique(fold["unit"])
            alike = self._alike(name, names[test], names[train]) + _ALMOST_NOTHING
            members = labels[:, train, None] == np.arange(self._classes)
            guess = ((alike * learned) @ members.astype(float)).argmax(axis=2)
            yield self._subject[names[test]], labels[:, test], guess, tested

        return lambda sources: self._score(guesses, sources)

    def _alike(self, name: str, test: np.ndarray, train: np.ndarray) -> np.ndarray:
        units = self._units
        same = self._subject[test][:, None] == self._subject[train]
        if name == "subject":
            return same.astype(float)
        if name == "stimulus":
            stimulus = units["stimulus"].to_numpy()
            return (stimulus[test][:, None] == stimulus[train]).astype(float)
        order, visit = units["order"].to_numpy(), units["visit"].to_numpy()
        near = np.exp(-np.square(order[test][:, None] - order[train]) / 2)
        for closer in (same, visit[test][:, None] == visit[train]):
            near = np.where(closer.any(axis=1, keepdims=True), near * closer, near)
        return near

    def _labels(self, fold: pd.DataFrame, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The labels (labelling, trial) of a fold's trials, and the number (row,) of each row's."""
        names, first, unit = np.unique(fold["unit"], return_index=True, return_inverse=True)
        return fold["label"].to_numpy()[first][within(sources, names)], unit

    def _score(self, guesses: Any, sources: np.ndarray) -> tuple[np.ndarray, float]:
        """Mean balanced accuracy (labelling,) over subjects, and what guessing would give."""
        shape = (len(sources), self._subjects, self._classes)
        right, total = np.zeros(shape), np.zeros(shape)
        for _, fold in self._rows.groupby("fold", sort=True):
            done = 0
            for subject, truth, guess, weight in guesses(fold, sources):
                block = slice(done, done := done + len(truth))
                names, mine = np.unique(subject, return_inverse=True)
                place = np.arange(len(truth))[:, None] * len(names) + mine
                place = (place * self._classes + truth).ravel()
                size = len(truth) * len(names) * self._classes
                for counts, w in ((total, weight), (right, weight * (guess == truth))):
                    w = np.broadcast_to(w, truth.shape).ravel()
                    added = np.bincount(place, w, size).reshape(len(truth), len(names), -1)
                    counts[block, names] += added
        occurring = total > 0
        tested = occurring[0].any(axis=1)
        recall = np.where(occurring, right / np.maximum(total, 1), 0)[:, tested].sum(axis=2)
        balanced = recall / np.maximum(occurring[:, tested].sum(axis=2), 1)
        chance = 1 / max(occurring[0].any(axis=0).sum(), 1)
        return balanced.mean(axis=1), float(chance)
