"""Stage ``evaluate``: metrics and model cards of an experiment's runs under a protocol.

They are made after training from the predictions that it wrote, so that neither a score nor a
sentence of the card trains anything again; one job makes them for all folds and seeds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer import storage
from milmer.evaluation.evaluate_options import EvaluateOptions
from milmer.evaluation.model_card import FILE, FORMAT, model_card
from milmer.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from milmer.metrics.scores import baselines, measure, probabilities, scores
from milmer.training.recipe import shared_facts

RUN_FACTS = (
    *("protocol", "fold", "seed", "labels", "select", "epoch", "leaky", "permuted"),
    *("segments", "without_valid_face", "parameters", "warnings"),
)
"""Facts of a run that its metrics name too."""


def evaluate_runs(runs: Path, options: EvaluateOptions, out: Path) -> None:
    """Evaluate the runs in the folder ``runs`` of an experiment and protocol.

    Writes into the folder of each run ``metrics.json``, ``model/README.md`` (the model card) and
    ``model/evaluation.json`` (its numbers, for whoever predicts with the model), and last ``out``,
    a table with a row a run: ``fold``, ``seed`` and the SHA-256 of its ``metrics`` and ``card``.
    Raises :class:`~milmer.errors.MilmerError` where a run is missing or damaged.
    """
    rows, inputs = [], {}
    for fold in options.folds:
        for seed in options.seeds:
            run = runs / fold / f"seed{seed}"
            evaluate_run(run)
            files = {"metrics": run / "metrics.json", "card": run / "model/README.md"}
            digests = {name: storage.digest(path) for name, path in files.items()}
            rows.append({"fold": fold, "seed": seed} | digests)
            inputs[f"{fold}/seed{seed}"] = storage.digest(run / "predictions.parquet")
    provenance = storage.provenance("evaluate", __name__, options.result(), inputs)
    storage.write_table(out, pd.DataFrame(rows), provenance)


def evaluate_run(run: Path) -> None:
    """Write the metrics and the card of the run in the folder ``run``."""
    tables = {
        name: storage.read_table(run / f"{name}.parquet", name)
        for name in ("predictions", "validation", "history")
    }
    provenance = storage.read_provenance(run / "predictions.parquet")
    facts = provenance.pop("facts")
    metrics = run_metrics(facts, **tables) | {"provenance": provenance | {"stage": "train"}}
    card = model_card(shared_facts(facts, provenance), metrics)
    storage.write_text(run / "model" / "README.md", card)
    evaluation = {name: metrics[name] for name in ("segment", "trial", "majority", "calibration")}
    storage.write_json(run / "model" / FILE, {"format": FORMAT} | evaluation)
    storage.write_json(run / "metrics.json", metrics)


def run_metrics(
    facts: Mapping[str, Any],
    predictions: pd.DataFrame,
    validation: pd.DataFrame,
    history: pd.DataFrame,
) -> dict[str, Any]:
    """The content of a run's ``metrics.json`` but for its provenance.

    ``facts`` are those of :class:`~milmer.training.results.RunResults`, as are the tables.
    """
    labels, on_test = facts["labels"], facts["select"] == "best_on_test"
    measured = measure(predictions, labels)
    if on_test:
        measured = _best_of_each(history["test_probabilities"], predictions, labels)
    shares = np.array(facts["classes"]) / sum(facts["classes"])
    return {
        **measured,
        **baselines(shares, predictions, labels),
        **{name: facts[name] for name in RUN_FACTS},
        "shares": shares.tolist(),
        "selected_on_test": on_test,
        "calibration": _calibration(predictions, validation, labels),
    }


def _calibration(
    test: pd.DataFrame, validation: pd.DataFrame, labels: list[str]
) -> dict[str, float | None]:
    """The ``temperature`` that the validation part asks for, and what it does for the test part.

    ``ece`` and ``loss`` are those of the test part as it is, ``tempered_…`` at that temperature.
    What the run and the tables report stays at temperature 1. All of the temperature is null
    without a validation part.
    """
    temperature = fit_temperature(validation["label"].to_numpy(), probabilities(validation, labels))
    truth, plain = test["label"].to_numpy(), probabilities(test, labels)
    calibration: dict[str, float | None] = {"temperature": temperature}
    scaled = None if temperature is None else apply_temperature(plain, temperature)
    for name, probability in (("", plain), ("tempered_", scaled)):
        if probability is None:
            calibration |= {f"{name}ece": None, f"{name}loss": None}
            continue
        table = reliability(truth, probability)
        calibration[f"{name}ece"] = expected_calibration_error(table)
        calibration[f"{name}loss"] = scores(truth, probability)["loss"]
    return calibration


def _best_of_each(
    epochs: pd.Series, predictions: pd.DataFrame, labels: list[str]
) -> dict[str, dict[str, float | None]]:
    """Each metric's best epoch on the test part by itself, as the published numbers are.

    ``epochs`` holds the probabilities of the test part, (row * class,), of each epoch.
    """
    columns = [f"p_{name}" for name in labels]
    measured = []
    for flat in epochs:
        table = predictions.copy()
        table[columns] = np.reshape(flat, (len(table), len(labels)))
        measured.append(measure(table, labels))
    better = {"loss": min}
    best: dict[str, dict[str, float | None]] = {}
    for level in ("segment", "trial"):
        best[level] = {}
        for name in measured[0][level]:
            values = [epoch[level][name] for epoch in measured if epoch[level][name] is not None]
            best[level][name] = better.get(name, max)(values) if values else None
    return best
