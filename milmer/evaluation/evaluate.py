"""Stage ``evaluate``: metrics and model cards of an experiment's runs under a protocol.

They are computed after training, from its predictions, so that a change of a score or of a sentence
in the card retrains nothing. One job evaluates all folds and seeds.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.facts import AGAIN
from milmer.contracts.run import RUN
from milmer.errors import MilmerError
from milmer.evaluation.caveats import caveat
from milmer.evaluation.evaluate_options import EvaluateOptions
from milmer.evaluation.model_card import FILE, FORMAT, PROTOCOLS, SELECTIONS, model_card
from milmer.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    reliability,
    validated_temperature,
)
from milmer.metrics.scores import baselines, measure, probabilities, scores
from milmer.training.recipe import shared_facts

RUN_FACTS = (
    *("protocol", "fold", "seed", "labels", "select", "epoch", "leaky", "permuted"),
    *("segments", "without_valid_face", "rejected", "parameters", "warnings"),
)
"""Facts of a run that its metrics repeat."""


def evaluate_runs(runs: Path, options: EvaluateOptions, out: Path) -> None:
    """Evaluate the runs of an experiment and protocol, which are in the folder ``runs``.

    Writes ``metrics.json``, ``model/README.md`` (the model card) and ``model/evaluation.json`` (its
    numbers, for those who predict with the model) into the folder of each run, and finally ``out``,
    a table with one row per run: ``fold``, ``seed``, the SHA-256 of its ``metrics`` and ``card``,
    and what is doubtful about them (``caveat``). Raises :class:`~milmer.errors.MilmerError` if a
    run is missing or damaged.
    """
    rows, inputs = [], {}
    for fold in options.folds:
        for seed in options.seeds:
            run = runs / fold / f"seed{seed}"
            doubtful = evaluate_run(run)
            files = {"metrics": run / "metrics.json", "card": run / "model/README.md"}
            digests = {name: storage.digest(path) for name, path in files.items()}
            rows.append({"fold": fold, "seed": seed} | digests | {"caveat": doubtful})
            inputs[f"{fold}/seed{seed}"] = storage.digest(run / "predictions.parquet")
    provenance = storage.provenance("evaluate", __name__, options.result(), inputs)
    storage.write_table(out, pd.DataFrame(rows), provenance)


def evaluate_run(run: Path) -> str:
    """Write the metrics and the model card of the run in the folder ``run``, if it was trained.

    Returns what is doubtful about them.
    """
    tables = {
        table.stage: storage.read_table(run / f"{table.stage}.parquet", table) for table in RUN
    }
    path = run / "predictions.parquet"
    provenance = storage.read_provenance(path)
    facts = provenance["facts"]
    del provenance["facts"]
    if facts["protocol"] not in PROTOCOLS or facts["select"] not in SELECTIONS:
        problem = f"of the protocol {facts['protocol']}, its epoch by {facts['select']}"
        raise MilmerError(problem, where=path, remedy=AGAIN)
    if "skipped" in facts:
        storage.write_text(run / "model" / "README.md", f"Not trained: {facts['skipped']}.\n")
        about = {"provenance": provenance | {"stage": "train"}}
        storage.write_json(run / "metrics.json", facts | about)
        return ""
    metrics = run_metrics(facts, **tables) | {"provenance": provenance | {"stage": "train"}}
    card = model_card(shared_facts(facts, provenance), metrics)
    storage.write_text(run / "model" / "README.md", card)
    names = ("segment", "trial", "majority", "calibration", "caveat")
    evaluation = {name: metrics[name] for name in names}
    storage.write_json(run / "model" / FILE, {"format": FORMAT} | evaluation)
    storage.write_json(run / "metrics.json", metrics)
    return metrics["caveat"]


def run_metrics(
    facts: Mapping[str, Any],
    predictions: pd.DataFrame,
    validation: pd.DataFrame,
    history: pd.DataFrame,
) -> dict[str, Any]:
    """The content of a run's ``metrics.json``, except for its provenance.

    ``facts`` and the tables are those of :class:`~milmer.training.results.RunResults`.
    """
    labels, on_test = facts["labels"], facts["select"] == "best_on_test"
    measured, best_epochs = measure(predictions, labels), {}
    if on_test:
        epochs = history["test_probabilities"]
        measured, best_epochs = _best_of_each(epochs, predictions, labels)
    shares = np.array(facts["classes"]) / sum(facts["classes"])
    return {
        **measured,
        **baselines(shares, predictions, labels),
        **{name: facts[name] for name in RUN_FACTS},
        "shares": shares.tolist(),
        "selected_on_test": on_test,
        "best_epochs": best_epochs,
        "caveat": caveat(**{name: facts[name] for name in ("leaky", "select", "permuted")}),
        "calibration": _calibration(predictions, validation, labels),
    }


def _calibration(
    test: pd.DataFrame, validation: pd.DataFrame, labels: list[str]
) -> dict[str, float | None]:
    """The ``temperature`` fitted on the validation part, and its effect on the test part.

    ``ece`` and ``loss`` are those of the test part at temperature 1, ``tempered_…`` those at the
    fitted one. All other metrics and the tables stay at temperature 1. Without a temperature
    that holds on left-out trials, it and the values at it are null.
    """
    temperature = validated_temperature(
        validation["label"].to_numpy(),
        probabilities(validation, labels),
        validation.groupby(["subject", "trial"]).ngroup().to_numpy(),
    )
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
) -> tuple[dict[str, dict[str, float | None]], dict[str, dict[str, int]]]:
    """The best value of each metric over all epochs on the test part, like the published numbers.

    ``epochs`` holds, for each epoch, the probabilities of the test part (row * class,). Also which
    of them it is: the first where several are as good, or where none has the metric.
    """
    columns = [f"p_{name}" for name in labels]
    measured = []
    for flat in epochs:
        table = predictions.copy()
        table[columns] = np.reshape(flat, (len(table), len(labels)))
        measured.append(measure(table, labels))
    best: dict[str, dict[str, float | None]] = {"segment": {}, "trial": {}}
    places: dict[str, dict[str, int]] = {"segment": {}, "trial": {}}
    for level, name in itertools.product(best, measured[0]["segment"]):
        values = [epoch[level][name] for epoch in measured]
        worst = np.inf if name == "loss" else -np.inf
        comparable = [worst if value is None else value for value in values]
        places[level][name] = int(
            np.argmin(comparable) if name == "loss" else np.argmax(comparable)
        )
        best[level][name] = values[places[level][name]]
    return best, places
