"""Metrics and cards of runs: made after training, from what it wrote, and from nothing else."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation import evaluate
from milmer.evaluation.evaluate import evaluate_run, evaluate_runs
from milmer.evaluation.evaluate_options import EvaluateOptions
from milmer.metrics.calibration import fit_temperature
from milmer.metrics.scores import measure, probabilities
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from tests.training.test_loop import options


@pytest.fixture(scope="module")
def files(twin_results, tmp_path_factory):
    split = tmp_path_factory.mktemp("fold") / "s01-k0.parquet"
    make_split(
        [twin_results / "trials/s01.parquet"], "trial", "s01-k0", SplitOptions(folds=2), split
    )
    parts = ("segments/default", "tokens/default/default")
    return (split, *([twin_results / part / "s01.h5"] for part in parts))


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "s01-k0/seed0"
    train_fold(*files, options(), 0, out)
    evaluate_run(out)
    return out


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def test_metrics_are_those_of_the_predictions(run):
    metrics = metrics_of(run)
    predictions = storage.read_table(run / "predictions.parquet", "predictions")
    again = measure(predictions, metrics["labels"])
    for level in ("segment", "trial"):
        assert metrics[level] == pytest.approx(again[level], nan_ok=True)


def test_the_majority_is_that_of_the_training_part(files, run):
    split = storage.read_table(files[0], "split")
    most = split.loc[split["part"] == "train", "label"].mode().iloc[0]
    expected = (split.loc[split["part"] == "test", "label"] == most).mean()
    assert metrics_of(run)["majority"]["segment"] == expected


def test_of_a_run_chosen_on_the_test_part_each_metric_is_the_best_of_all_epochs(files, tmp_path):
    # With the linear path all epochs are alike: six segments leave nothing to learn.
    stage = options(model={"linear_path": False}, select="best_on_test", lr=3e-3, epochs=6)
    train_fold(*files, stage, 2, tmp_path / "best")
    evaluate_run(tmp_path / "best")
    metrics = metrics_of(tmp_path / "best")
    assert metrics["selected_on_test"]
    predictions = storage.read_table(tmp_path / "best/predictions.parquet")
    history = storage.read_table(tmp_path / "best/history.parquet")
    columns = [f"p_{name}" for name in metrics["labels"]]
    epochs = []
    for flat in history["test_probabilities"]:
        predictions[columns] = np.reshape(flat, (-1, 4))
        epochs.append(measure(predictions, metrics["labels"]))
    for level in ("segment", "trial"):
        for name, value in metrics[level].items():
            values = [epoch[level][name] for epoch in epochs]
            assert value == (min(values) if name == "loss" else max(values)), name
            assert metrics["best_epochs"][level][name] == values.index(value)
    assert metrics["caveat"] == "chosen on the test part"
    card = (tmp_path / "best/model/README.md").read_text()
    assert "## Results on the test part (chosen on the test part)\n" in card
    evaluation = json.loads((tmp_path / "best/model/evaluation.json").read_text())
    assert evaluation["caveat"] == metrics["caveat"]
    # Not all of them are of the epoch that was kept.
    kept = epochs[metrics["epoch"]]
    assert any(metrics["segment"][name] != kept["segment"][name] for name in kept["segment"])


def test_the_temperature_is_fitted_on_the_validation_part_alone(files, run, monkeypatch):
    seen = []

    def recorded(truth, probability, trials):
        seen.append((truth, probability, trials))
        return fit_temperature(truth, probability)

    monkeypatch.setattr(evaluate, "validated_temperature", recorded)
    evaluate_run(run)
    ((truth, probability, trials),) = seen
    split = storage.read_table(files[0], "split")
    validation = split[split["part"] == "val"]
    assert truth.tolist() == validation["label"].tolist()
    assert len(set(trials)) == validation["trial"].nunique()
    assert probability.shape == (len(truth), 4)
    metrics = metrics_of(run)
    evaluation = json.loads((run / "model/evaluation.json").read_text())
    assert evaluation["calibration"] == metrics["calibration"]
    assert metrics["calibration"]["temperature"] == fit_temperature(truth, probability)
    # The predictions that the run reports are those of the model as it is.
    predictions = storage.read_table(run / "predictions.parquet")
    p = probabilities(predictions, metrics["labels"])
    loss = -np.log(np.maximum(p[np.arange(len(p)), predictions["label"]], 1e-12)).mean()
    assert metrics["segment"]["loss"] == pytest.approx(loss)


def test_of_a_small_validation_part_there_is_no_temperature(run):
    evaluate_run(run)
    assert metrics_of(run)["calibration"]["temperature"] is None
    text = (run / "model/README.md").read_text()
    assert re.search(r"\d+ segments of the validation part are too few to fit a temperature:", text)


def test_without_a_validation_part_there_is_no_temperature(files, tmp_path):
    train_fold(*files, options(validation=False, select="last"), 0, tmp_path / "last")
    evaluate_run(tmp_path / "last")
    calibration = metrics_of(tmp_path / "last")["calibration"]
    assert (calibration["temperature"], calibration["tempered_ece"]) == (None, None)
    assert 0 <= calibration["ece"] <= 1
    text = (tmp_path / "last/model/README.md").read_text()
    assert "There was no validation part" in text


def test_all_runs_of_a_protocol_are_evaluated_and_their_content_is_noted(files, run, tmp_path):
    runs = tmp_path / "runs"
    for fold, seed in (("s01-k0", 0), ("s01-k0", 3), ("s01-k1", 0), ("s01-k1", 3)):
        train_fold(*files, options(epochs=1), seed, runs / fold / f"seed{seed}")
    chosen = EvaluateOptions(folds=["s01-k0", "s01-k1"], seeds=[0, 3])
    evaluate_runs(runs, chosen, tmp_path / "evaluation.parquet")
    table = storage.read_table(tmp_path / "evaluation.parquet", "evaluate")
    expected = pd.MultiIndex.from_product([["s01-k0", "s01-k1"], [0, 3]]).to_list()
    assert list(zip(table["fold"], table["seed"], strict=True)) == expected
    for row in table.itertuples():
        folder = runs / row.fold / f"seed{row.seed}"
        assert row.metrics == storage.digest(folder / "metrics.json")
        assert row.card == storage.digest(folder / "model/README.md")
        assert metrics_of(folder)["seed"] == row.seed


def test_a_run_that_is_missing_is_one_line(tmp_path, refused):
    with refused("s02/seed0/predictions.parquet: no such file", nothing_in=tmp_path):
        evaluate_runs(tmp_path, EvaluateOptions(folds=["s02"]), tmp_path / "evaluation.parquet")
