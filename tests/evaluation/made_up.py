"""Runs and baselines with made-up predictions, in the files that the stages write."""

import numpy as np
import pandas as pd

from milmer import storage
from milmer.evaluation.runs import LEVELS
from milmer.metrics.scores import NAMES as METRICS
from milmer.metrics.scores import baselines, class_shares, measure

LABELS = ["HAHV", "LAHV", "LALV", "HALV"]
TRAINED = np.array([0, 1, 2, 3, 3])  # labels of every training part


def predictions(experiment, fold, strength, subjects=None):
    """Random predictions that are right the more often the greater ``strength``."""
    subjects = subjects or [fold.partition("-")[0]]
    parts = []
    for subject in subjects:
        truth = np.random.default_rng([*subject.encode(), *fold.encode()])
        rng = np.random.default_rng([*experiment.encode(), *subject.encode(), *fold.encode()])
        trials, segments = 8, 4
        label = np.repeat(truth.permutation(np.arange(trials) % 4), segments)
        logits = rng.normal(size=(trials * segments, 4)) + strength * np.eye(4)[label]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        parts.append(
            pd.DataFrame(
                {
                    "subject": subject,
                    "trial": np.repeat(np.arange(trials), segments)
                    + (100 * int(fold[-1]) if "-k" in fold else 0),
                    "position": np.tile(np.arange(segments), trials),
                    "label": label,
                }
                | {f"p_{name}": p[:, i] for i, name in enumerate(LABELS)}
            )
        )
    return pd.concat(parts, ignore_index=True)


def best_epoch(table, classes=4):
    """Probabilities of an epoch in which all but the first three segments of a trial are right."""
    right = 0.6 * np.eye(classes)[table["label"]] + 0.4 / classes
    wrong = (table["position"] < 3) & (table["trial"] % 100 == 2)
    return np.where(wrong.to_numpy()[:, None], np.roll(right, 1, axis=1), right)


def write_run(runs, experiment, protocol, fold, strength, seed=0, **how):
    """A run's files; ``how``: on_test, permuted, dropped (rows without a face)."""
    table = predictions(f"{experiment}{seed or ''}", fold, strength, how.get("subjects"))
    table = table.iloc[how.get("dropped", 0) :].reset_index(drop=True)
    return write_predictions(runs, experiment, protocol, fold, table, seed, **how)


def write_predictions(runs, experiment, protocol, fold, table, seed=0, **how):
    """The files of a run that predicted ``table``."""
    on_test, labels = how.get("on_test", False), how.get("labels", LABELS)
    shares = class_shares(how.get("trained", TRAINED), len(labels))
    folder = runs / experiment / protocol / fold / f"seed{seed}"
    made = storage.provenance("predictions", "milmer.errors", {}, {})
    storage.write_table(folder / "predictions.parquet", table, made)
    metrics = measure(table, labels) | baselines(shares, table, labels)
    metrics |= {"labels": labels, "epoch": 3, "leaky": protocol == "segment", "warnings": []}
    metrics |= {"select": "best_on_test" if on_test else "validation", "selected_on_test": on_test}
    metrics |= {"shares": shares.tolist(), "provenance": made}
    metrics |= {"without_valid_face": {}, "rejected": {}}
    metrics["permuted"] = how.get("permuted", False)
    if on_test:  # of two epochs the second is the best by each metric
        metrics["best_epochs"] = {level: dict.fromkeys(METRICS, 1) for level in LEVELS}
        first = table.filter(like="p_").to_numpy()
        epochs = [first.ravel(), best_epoch(table, len(labels)).ravel()]
        history = pd.DataFrame({"epoch": [0, 1], "train_loss": 1.0, "test_probabilities": epochs})
        made = storage.provenance("history", "milmer.errors", {}, {})
        storage.write_table(folder / "history.parquet", history, made)
    storage.write_json(folder / "metrics.json", metrics)
    return table


LOOKS_AT = {"eeg": "default", "tokens": ""}
"""The inputs of the experiments here, and of their baselines."""


def write_baselines(folder, labels, protocol, folds, strength, **how):
    """The files of all baselines of EEG; predictions of `band_power`, which is the best, by fold.

    ``how``: permuted, subjects, dropped (the first rows), left_out (the count that the file tells).
    """
    tables = {}
    for name, validated in (("band_power", 0.5), ("band_power_lda", 0.4), ("tangent_space_lda", 0)):
        about, parts = [], []
        for fold in folds:
            table = predictions(
                name, fold, strength if validated == 0.5 else 0, how.get("subjects")
            )
            table = table.iloc[how.get("dropped", 0) :].reset_index(drop=True)
            tables[name, fold] = table
            parts.append(table.assign(fold=fold, **LOOKS_AT))
            entry = {"fold": fold, **LOOKS_AT, "shares": class_shares(TRAINED, 4).tolist()}
            entry |= {"validated": float(validated), "skipped": None}
            about.append(entry | {"left_out": how.get("left_out", {})})
        facts = {"protocol": protocol, "leaky": protocol == "segment", "labels": LABELS}
        facts |= {"permuted": how.get("permuted", False), "folds": about}
        made = storage.provenance("baseline", "milmer.errors", {}, {}) | {"facts": facts}
        storage.write_table(folder / name / labels / f"{protocol}.parquet", pd.concat(parts), made)
    return {fold: tables["band_power", fold] for fold in folds}
