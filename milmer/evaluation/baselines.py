"""Stage ``baseline``: simple methods on the folds of the experiments.

A model is worth what it adds to the best of those that look at nothing else. They learn from the
training part alone, even if an experiment also learns from the validation part, and are measured on
the same rows. Which is the best is chosen by the validation parts, see
:func:`milmer.evaluation.runs.read_runs`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from milmer import storage
from milmer.contracts.tables import LABELLED
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import (
    BASELINES,
    MODALITY,
    Baseline,
    BaselinesOptions,
    Inputs,
    baselines_of,
)
from milmer.evaluation.features import (
    Features,
    eeg_features,
    face_features,
    read_splits,
    variants,
)
from milmer.metrics.scores import METRICS, class_shares
from milmer.metrics.shrinkage_lda import deal, fit_classifier
from milmer.splits.groups import group_numbers
from milmer.splits.rows import count_parts, nothing_left

Arrays = Mapping[str, np.ndarray]
Classifier = Callable[[Arrays, np.ndarray, np.ndarray, Arrays, int], np.ndarray]
"""Probabilities (row, class) of new rows by what it learned from features (row, feature) by name,
their labels and groups (row,)."""


def make_baselines(
    splits: Path,
    segments: Sequence[Path],
    tokens: Sequence[Path],
    options: BaselinesOptions,
    out: Path,
) -> None:
    """Write the baselines of a protocol, whose splits are in the folder ``splits``.

    ``segments`` and ``tokens`` are the files of all subjects, of each variant in its own folder.
    Each baseline is a file ``out``/NAME/LABELS/PROTOCOL.parquet, the latter two named as the folder
    of the splits; a row per segment of a test part: ``fold, eeg, tokens`` (what it looks at),
    ``subject, trial, position, label`` and a probability ``p_<class>`` for each class. The facts
    of each fold are the ``shares`` of the classes in the training part, the rows ``left_out`` by
    part, the balanced accuracy on the validation part (``validated``; without one, on left-out
    groups of the training part), and why it was ``skipped``, if it was. Raises
    :class:`MilmerError` if the files do not fit together or a split leaks.
    """
    for name in set(options.names) - set(BASELINES):
        raise MilmerError(f"no baseline {name!r}", remedy=f"use one of {', '.join(BASELINES)}")
    rows, facts, paths = read_splits(splits, options.folds, segments, tokens)
    with threadpool_limits(1):
        features = _read_features(rows, segments, tokens, splits, options.inputs)
        for name in options.names:
            tables, folds = [pd.DataFrame(columns=[*LABELLED, "fold", "eeg", "tokens"])], []
            for own in [own for each, own in baselines_of(options.inputs) if each == name]:
                mine = {f: features[f, own] for f in BASELINES[name].features}
                for fold, of_fold in zip(paths, rows.groupby("fold"), strict=True):
                    about = {"fold": fold, "eeg": own.eeg, "tokens": own.tokens}
                    table, measured = _one_fold(BASELINES[name], mine, of_fold[1], facts)
                    tables.append(table.assign(**about))
                    folds.append(about | measured)
            path = out / name / splits.parent.name / f"{splits.name}.parquet"
            about = {key: facts[key] for key in ("protocol", "leaky", "labels")}
            about |= {"permuted": facts.get("permuted", False), "folds": folds}
            inputs = {f"split_{fold}": split for fold, split in paths.items()}
            for stage, files in (("segments", segments), ("tokens", tokens)):
                inputs |= {"_".join([stage, *p.parts[-3:-1], p.stem]): p for p in files}
            provenance = storage.provenance("baseline", __name__, options.result(), inputs)
            table = pd.concat(tables[1:] or tables, ignore_index=True)
            storage.write_table(path, table, provenance | {"facts": about})


def _read_features(
    rows: pd.DataFrame,
    segments: Sequence[Path],
    tokens: Sequence[Path],
    splits: Path,
    inputs: Sequence[Inputs],
) -> dict[tuple[str, Inputs], Features]:
    """The features of all baselines, by name and by what these look at."""
    eeg, faces = variants(segments, 1), variants(tokens, 2)
    for variant in {i.eeg for i in inputs} - {"", *eeg} | {i.tokens for i in inputs} - {"", *faces}:
        remedy = "give the files of each variant, in folders of its name"
        raise MilmerError(f"no file of {variant} was given", where=splits, remedy=remedy)
    names = [name for name, modality in MODALITY.items() if modality == "eeg"]
    of_eeg = {v: eeg_features(rows, eeg[v], splits, names) for v in {i.eeg for i in inputs} - {""}}
    of_faces = {v: face_features(rows, faces[v], splits) for v in {i.tokens for i in inputs} - {""}}
    return {
        (name, own): of_eeg[own.eeg][name]
        if MODALITY[name] == "eeg"
        else of_faces[own.tokens][name]
        for baseline, own in baselines_of(inputs)
        for name in BASELINES[baseline].features
    }


def _one_fold(
    baseline: Baseline, features: Mapping[str, Features], fold: pd.DataFrame, facts: Mapping
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The predictions of the test part of ``fold``, and what there is to say about it."""
    kept = np.all([of.row[fold.index] >= 0 for of in features.values()], axis=0)
    left_out, classes = count_parts(fold, ~kept), len(facts["labels"])
    fold = fold[kept]
    x = {name: of.values[of.row[fold.index]] for name, of in features.items()}
    train, test, val = (np.array(fold["part"] == part) for part in ("train", "test", "val"))
    label = fold["label"].to_numpy()
    rows = {"train": train.sum(), "test": test.sum()}
    if reason := nothing_left(rows, {"left out": left_out}):
        test[:], probability = False, np.empty((0, classes))
        about = {"shares": [0.0] * classes, "validated": None, "skipped": reason}
    else:
        groups = group_numbers(fold[train], facts["protocol"])
        classify = _CLASSIFIERS[baseline.classifier]
        learned = (_only(x, train), label[train], groups)
        probability = classify(*learned, _only(x, val | test), classes)
        truth = label[val | test]
        is_val = val[val | test]
        validated = (truth[is_val], probability[is_val])
        probability = probability[~is_val]
        if not val.any():
            validated = _left_out(classify, *learned, classes)
        about = {"shares": class_shares(label[train], classes).tolist(), "skipped": None}
        about["validated"] = _balanced_accuracy(*validated)
    table = fold[test].drop(columns=["part", "fold"]).reset_index(drop=True)
    for i, name in enumerate(facts["labels"]):
        table[f"p_{name}"] = probability[:, i]
    return table, about | {"left_out": left_out}


def _left_out(
    classify: Classifier, x: Arrays, label: np.ndarray, groups: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of training rows, each by the rows of other groups."""
    parts = deal(label, groups)
    if parts is None:
        return label[:0], np.empty((0, classes))
    probability = np.zeros((len(label), classes))
    for part in np.unique(parts):
        left_out, rest = parts == part, parts != part
        learned = (_only(x, rest), label[rest], groups[rest])
        probability[left_out] = classify(*learned, _only(x, left_out), classes)
    return label, probability


def _balanced_accuracy(truth: np.ndarray, probability: np.ndarray) -> float | None:
    if not len(truth):
        return None
    return float(METRICS["balanced_accuracy"](truth, probability.argmax(axis=1), probability))


def _only(x: Arrays, rows: np.ndarray) -> Arrays:
    return {name: values[rows] for name, values in x.items()}


# ------------------------------------------------------------------ classifiers


def _lda(x: Arrays, label: np.ndarray, groups: np.ndarray, new: Arrays, classes: int) -> np.ndarray:
    """Shrinkage LDA; several features are stacked by what left-out ``groups`` tell."""
    logits = fit_classifier(x, label, groups, classes).logits(new)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def logistic_regression(
    x: Arrays, label: np.ndarray, groups: np.ndarray, new: Arrays, classes: int
) -> np.ndarray:
    """Logistic regression on standardised features; a class that is not trained has 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    learned, tested = (np.hstack(list(of.values())) for of in (x, new))
    present = np.unique(label)
    probability = np.zeros((len(tested), classes))
    if len(present) == 1:
        probability[:, present] = 1.0
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000))
        probability[:, present] = model.fit(learned, label).predict_proba(tested)
    return probability


_CLASSIFIERS: dict[str, Classifier] = {"lda": _lda, "logistic_regression": logistic_regression}
