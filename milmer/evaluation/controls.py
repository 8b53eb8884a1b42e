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
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.contracts.trials import TRIALS
from milmer.errors import MilmerError
from milmer.evaluation.band_power import log_band_power
from milmer.evaluation.baseline_options import BandPowerOptions
from milmer.evaluation.control_options import ControlsOptions
from milmer.evaluation.labellings import labellings, within
from milmer.metrics.relabelled_lda import RelabelledLDA
from milmer.splits.protocols import PROTOCOLS, TRIAL
from milmer.splits.rows import joined, read_split, require_fit, sampling_rate

PRIORS = ("stimulus", "subject", "position")
"""What priors go by."""

_AT_ONCE = 4096  # frames whose tokens are in memory at a time
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

    ``trials``, ``segments`` and ``tokens`` are the files of all subjects; without tokens there are
    none of faces. One row per ``features`` and ``control``: balanced accuracy with the true labels
    (``observed``), mean and 5 % and 95 % quantiles of it with permuted ones (``drawn``,
    ``drawn_low``, ``drawn_high``), the number of ``draws``, whether they are ``all``, the one-sided
    ``p`` and the smallest that there could be, and ``chance``. Raises :class:`MilmerError` if the
    files do not fit together or a split leaks.
    """
    paths = [splits / f"{fold}.parquet" for fold in options.folds]
    read = [read_split(path) for path in paths]
    for path, (table, provenance) in zip(paths, read, strict=True):
        for contract, files in ((SEGMENTS, segments), (TOKENS, tokens)):
            for file in files:
                if file.stem in set(table["subject"]):
                    require_fit(path, provenance, file, contract)
    facts = read[0][1]["facts"]
    rows = pd.concat([t.assign(fold=i) for i, (t, _) in enumerate(read)], ignore_index=True)
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
            entry
            for name, (features, row) in _features(rows, segments, tokens, paths[0]).items()
            for entry in study.judge(name, schemes, study.by_signal(features, row))
        ]
        for name in PRIORS:
            judged += study.judge(name, ["any_trial"], study.by_prior(name))
    inputs = {f"split_{path.stem}": path for path in paths}
    for stage, files in (("trials", trials), ("segments", segments), ("tokens", tokens)):
        inputs |= {f"{stage}_{path.stem}": path for path in files}
    provenance = storage.provenance("controls", __name__, options.result(), inputs)
    about = {name: facts[name] for name in ("protocol", "leaky", "labels")}
    about |= {"trials": len(units), "stimuli": int(units["stimulus"].nunique())}
    about |= {"stimuli_on_both_sides": shared}
    storage.write_table(out, pd.DataFrame(judged), provenance | {"facts": about})


def _units(rows: pd.DataFrame, trials: Sequence[Path]) -> tuple[pd.DataFrame, np.ndarray]:
    """The trials of all splits (``subject, order, stimulus, label``), and each row's trial."""
    key = list(TRIAL)
    units = rows.drop_duplicates(key)[[*key, "label"]].reset_index(drop=True)
    tables = pd.concat([storage.read_table(path, TRIALS) for path in trials])
    about = tables.assign(order=tables["trial"], stimulus=tables["experiment_id"])
    about = about.set_index(key)[["order", "stimulus"]]
    place = pd.MultiIndex.from_frame(units[key])
    if not place.isin(about.index).all():
        raise MilmerError("lacks trials of a split", where=trials[0].parent, remedy=AGAIN)
    units[["order", "stimulus"]] = about.loc[place].to_numpy()
    units["order"] = units["order"].astype(int)
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


def _features(
    rows: pd.DataFrame, segments: Sequence[Path], tokens: Sequence[Path], split: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features (segment, feature) by name, and the segment of each row; −1 where there is none."""
    eeg, row, files = joined(rows, segments, SEGMENTS, "eeg", split)
    sfreq, bands = sampling_rate(segments), BandPowerOptions().bands
    usable = np.concatenate([file["rejected"] == b"" for file in files])
    features = np.concatenate([log_band_power(array, sfreq, bands) for array in eeg])
    signals = {"band_power": (features, np.where((row >= 0) & usable[row], row, -1))}
    if tokens:
        arrays, row, files = joined(rows, tokens, TOKENS, "tokens", split)
        means = [mean_tokens(x, f["bag"], f["valid"]) for x, f in zip(arrays, files, strict=True)]
        usable = np.concatenate([file["valid"].any(axis=1) for file in files])
        signals["mean_token"] = (np.concatenate(means), np.where((row >= 0) & usable[row], row, -1))
    return signals


def mean_tokens(tokens: np.ndarray, bag: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The mean token (segment, dim) of the valid instances of each segment; zeros without one.

    ``tokens`` (frame, token, dim), ``bag`` and ``valid`` (segment, instance).
    """
    blocks = range(0, len(tokens), _AT_ONCE)
    parts = [tokens[i : i + _AT_ONCE].astype(np.float32).mean(axis=1) for i in blocks]
    frames = np.concatenate(parts) if parts else np.zeros((1, tokens.shape[-1]), np.float32)
    summed = np.where(valid[..., None], frames[np.where(valid, bag, 0)], 0).sum(axis=1)
    return summed / np.maximum(valid.sum(axis=1), 1)[:, None]


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

    def by_signal(self, features: np.ndarray, row: np.ndarray) -> Any:
        """What LDA on ``features`` reaches; ``row`` (row,) is −1 where a row has none."""

        def guesses(fold: pd.DataFrame, sources: np.ndarray) -> Iterator[tuple]:
            place = row[fold.index]
            fold, place = fold[place >= 0], place[place >= 0]
            train, test = ((fold["part"] == part).to_numpy() for part in ("train", "test"))
            if not train.any() or not test.any():
                return
            labels, unit = self._labels(fold, sources)
            names, group = np.unique(unit[train], return_inverse=True)
            lda = RelabelledLDA(features[place[train]], group)
            subject = self._subject[fold["unit"]][test]
            for guess in lda.guesses(features[place[test]], labels[:, names], self._classes):
                truth, labels = labels[: len(guess), unit[test]], labels[len(guess) :]
                yield subject, truth, guess, np.ones(int(test.sum()))

        return lambda sources: self._score(guesses, sources)

    def by_prior(self, name: str) -> Any:
        """What the prior ``name`` reaches: a mean of the labels of training trials that are alike.

        Trials are alike by stimulus or subject; by position, the nearer in presentation order the
        more, of the same subject where it trains.
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
        order = units["order"].to_numpy()
        near = np.exp(-np.square(order[test][:, None] - order[train]) / 2)
        return np.where(same.any(axis=1, keepdims=True), near * same, near)

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
