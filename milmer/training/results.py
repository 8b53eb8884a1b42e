"""What a finished run leaves: the model with its card and its preprocessing, predictions, history
and metrics.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from milmer import storage
from milmer.evaluation.model_card import model_card, statement
from milmer.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from milmer.metrics.scores import baselines, class_shares, probabilities, scores
from milmer.training.recipe import FILE

if TYPE_CHECKING:
    from milmer.training.loop import Training


def write_run(
    run: "Training", preprocessed: dict[str, Any], made: dict[str, Any], out: Path
) -> None:
    """Write the folder ``out`` of a run that has been trained; ``metrics.json`` last.

    ``preprocessed`` is what its inputs were made with, ``made`` its provenance.
    """
    predictions = run.predict("test")
    history = pd.DataFrame(run.history)
    data, facts = run.data, run.data.facts
    on_test = run.select == "best_on_test"
    measured = run.measured(predictions)
    if on_test:
        measured = _best_of_each(run.history, measured)
    counts = {part: len(rows) for part, rows in run.rows.items()}
    training = data.table["label"].to_numpy()[run.rows["train"]]
    metrics = {
        **measured,
        **baselines(training, predictions, data.labels),
        "shares": class_shares(training, len(data.labels)).tolist(),
        "protocol": facts["protocol"],
        "fold": facts["fold"],
        "seed": made["options"]["seed"],
        "labels": data.labels,
        "select": run.select,
        "epoch": run.best["epoch"],
        "leaky": facts["leaky"],
        "permuted": facts.get("permuted", False),  # a split of before there was a control
        "selected_on_test": on_test,
        "segments": counts,
        "without_valid_face": data.dropped,
        "calibration": _calibration(run, predictions),
        "parameters": sum(p.numel() for p in run.unwrapped.parameters()),
        "warnings": facts["warnings"],
        "provenance": made,
    }
    remembered = preprocessed | {
        "labels": data.labels,
        "temperature": metrics["calibration"]["temperature"],
        "computed": {
            "bfloat16": run.bfloat16,
            "batch_size": run.training.batch_size,
            "threads": run.training.threads,
        },
        "card": statement(run.parts, metrics),
    }
    with storage.replacing_folder(out / "model") as folder:
        run.unwrapped.save_pretrained(folder)
        card = model_card(run.unwrapped.config, run.parts, metrics)
        (folder / "README.md").write_text(card, encoding="utf-8")
        if run.processor is not None:
            run.processor.save_pretrained(folder)
        storage.write_json(folder / FILE, remembered)
    storage.write_table(out / "predictions.parquet", predictions, made | {"stage": "predictions"})
    storage.write_table(out / "history.parquet", history, made | {"stage": "history"})
    storage.write_json(out / "metrics.json", metrics)


def _calibration(run: "Training", test: pd.DataFrame) -> dict[str, float | None]:
    """The ``temperature`` that the validation part asks for, and what it does for the test part.

    ``ece`` and ``loss`` are those of the test part as it is, ``tempered_…`` at that temperature.
    What the run and the tables report stays at temperature 1. All of the temperature is null
    without a validation part.
    """
    labels = run.data.labels
    temperature = None
    if len(run.rows["val"]):
        held = run.predict("val")
        temperature = fit_temperature(held["label"].to_numpy(), probabilities(held, labels))
    truth, plain = test["label"].to_numpy(), probabilities(test, labels)
    found: dict[str, float | None] = {"temperature": temperature}
    scaled = None if temperature is None else apply_temperature(plain, temperature)
    for name, probability in (("", plain), ("tempered_", scaled)):
        known = probability is not None
        table = reliability(truth, probability) if known else None
        found[f"{name}ece"] = expected_calibration_error(table) if known else None
        found[f"{name}loss"] = scores(truth, probability)["loss"] if known else None
    return found


def _best_of_each(
    history: list[dict[str, Any]], measured: dict[str, dict[str, float | None]]
) -> dict[str, dict[str, float | None]]:
    """Each metric's best epoch on the test part by itself, as the published numbers are."""
    better = {"loss": min}
    best: dict[str, dict[str, float | None]] = {}
    for level, prefix in (("segment", "test_"), ("trial", "test_trial_")):
        best[level] = {}
        for name in measured[level]:
            values = [e[prefix + name] for e in history if e[prefix + name] is not None]
            best[level][name] = better.get(name, max)(values) if values else None
    return best
