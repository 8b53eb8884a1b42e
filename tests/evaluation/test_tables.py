"""Tables: recomputed from the predictions by other means, with their remarks."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from milmer import storage
from milmer.errors import MilmerError
from milmer.evaluation.tables import TablesOptions, make_tables
from milmer.metrics import baselines, measure

LABELS = ["HAHV", "LAHV", "LALV", "HALV"]
SUBJECTS = [f"s{i:02d}" for i in range(1, 8)]


def write_run(runs, experiment, protocol, fold, strength, on_test=False):
    """A run with random predictions that are right the more often the greater ``strength``."""
    rng = np.random.default_rng([*experiment.encode(), *fold.encode()])
    trials, segments = 8, 4
    label = np.repeat(rng.permutation(np.arange(trials) % 4), segments)
    logits = rng.normal(size=(trials * segments, 4)) + strength * np.eye(4)[label]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = pd.DataFrame(
        {
            "subject": fold.partition("-")[0],
            "experiment_id": np.repeat(np.arange(trials), segments)
            + (100 * int(fold[-1]) if "-k" in fold else 0),
            "position": np.tile(np.arange(segments), trials),
            "label": label,
        }
        | {f"p_{name}": p[:, i] for i, name in enumerate(LABELS)}
    )
    folder = runs / experiment / protocol / fold / "seed0"
    made = storage.provenance("predictions", "milmer.errors", {}, {})
    storage.write_table(folder / "predictions.parquet", table, made)
    metrics = measure(table, LABELS) | baselines(np.array([0, 1, 2, 3, 3]), table, LABELS)
    metrics |= {"labels": LABELS, "epoch": 3, "leaky": protocol == "segment", "warnings": []}
    metrics |= {"select": "best_on_test" if on_test else "validation", "selected_on_test": on_test}
    metrics["without_valid_face"] = {}
    if on_test:
        metrics["segment"] = dict.fromkeys(metrics["segment"], 0.99)
    storage.write_json(folder / "metrics.json", metrics)
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    folds = {"trial": [f"{s}-k{k}" for s in SUBJECTS for k in range(2)], "segment": SUBJECTS}
    held = {}
    for experiment, strength in (("milmer", 1.0), ("weak", 0.2)):
        for protocol, names in folds.items():
            for fold in names:
                held[experiment, protocol, fold] = write_run(
                    folder / "runs", experiment, protocol, fold, strength
                )
    for fold in SUBJECTS:
        write_run(folder / "runs", "peeking", "segment", fold, 1.0, on_test=True)
    options = TablesOptions(
        experiments={
            "milmer": {"folds": folds},
            "weak": {"folds": folds, "changes": {"model": {"selection": "random"}}},
            "peeking": {"folds": {"segment": SUBJECTS}},
        },
        report={"resamples": 2000},
    )
    make_tables(folder / "runs", options, folder / "tables")
    return folder / "tables", held


def table(made, name):
    return storage.read_table(made[0] / f"{name}.parquet", "tables")


def row(summary, experiment, protocol, level, metric):
    key = {"experiment": experiment, "protocol": protocol, "level": level, "metric": metric}
    return summary.loc[(summary[list(key)] == list(key.values())).all(axis=1)].squeeze()


def test_the_summary_is_recomputed_from_the_predictions(made):
    summary = table(made, "summary")
    for level in ("segment", "trial"):
        accuracies = []
        for subject in SUBJECTS:
            pooled = pd.concat([made[1]["milmer", "trial", f"{subject}-k{k}"] for k in (0, 1)])
            if level == "trial":
                pooled = pooled.groupby("experiment_id").mean(numeric_only=True)
            guess = pooled[[f"p_{n}" for n in LABELS]].to_numpy().argmax(1)
            accuracies.append(accuracy_score(pooled["label"], guess))
        found = row(summary, "milmer", "trial", level, "accuracy")
        assert found["mean"] == pytest.approx(np.mean(accuracies))
        assert found["sd"] == pytest.approx(np.std(accuracies, ddof=1))
        assert found["low"] < found["mean"] < found["high"]
        assert found["majority"] == pytest.approx(0.25)


def test_what_was_chosen_on_the_test_part_shows_the_best_and_says_so(made):
    found = row(table(made, "summary"), "peeking", "segment", "segment", "accuracy")
    assert found["mean"] == pytest.approx(0.99)
    assert "leaky" in found["note"]
    assert "chosen on the test part" in found["note"]
    text = (made[0] / "summary.md").read_text()
    assert "best epoch chosen on the test part" in text
    assert "leaky" in (made[0] / "summary.tex").read_text()


def test_experiments_are_compared_over_their_common_subjects(made):
    tests = table(made, "tests")
    weak = tests[(tests["experiment"] == "weak") & (tests["metric"] == "accuracy")]
    assert (weak["subjects"] == 7).all()
    assert (weak["difference"] < 0).all()
    assert weak["p"].min() == pytest.approx(2 / 2**7)
    assert (weak["p_holm"] >= weak["p"]).all()


def test_inflation_sets_each_protocol_beside_an_honest_one(made):
    table_ = table(made, "inflation").set_index(["experiment", "protocol"])
    assert table_.loc[("milmer", "trial"), "above_reference"] == 0
    assert not table_.loc[("milmer", "segment"), "honest"]
    assert table_.loc[("milmer", "segment"), "reference"] == "milmer/trial"
    # What chose its epoch on the test part is no reference, not even for itself.
    assert not table_.loc[("peeking", "segment"), "honest"]
    assert table_.loc[("peeking", "segment"), "reference"] == "milmer/trial"


def test_ablation_names_the_changes_and_the_difference(made):
    table_ = table(made, "ablation").set_index(["experiment", "protocol", "level"])
    found = table_.loc[("weak", "trial", "trial")]
    assert json.loads(found["changes"]) == {"model": {"selection": "random"}}
    assert found["accuracy_above_milmer"] < 0
    assert found["common_subjects"] == 7


def test_ablation_and_tests_hold_only_what_was_run_and_carry_the_remarks(made):
    ablation, tests = table(made, "ablation"), table(made, "tests")
    run = set(zip(ablation["experiment"], ablation["protocol"], strict=True))
    assert ("peeking", "trial") not in run
    peeking = ablation[ablation["experiment"] == "peeking"]
    assert peeking["note"].str.contains("leaky.*chosen on the test part").all()
    peeking = tests[tests["experiment"] == "peeking"]
    assert peeking["note"].str.contains("leaky.*peeking: best epoch chosen").all()


def test_csv_and_parquet_hold_the_same(made):
    for name in ("folds", "summary", "inflation", "ablation", "tests"):
        text = pd.read_csv(made[0] / f"{name}.csv")
        assert list(text.columns) == list(table(made, name).columns)
        assert len(text) == len(table(made, name))


def test_a_missing_run_is_one_clear_line(tmp_path):
    options = TablesOptions(experiments={"milmer": {"folds": {"trial": ["s01-k0"]}}})
    with pytest.raises(MilmerError, match=r"s01-k0/seed0/metrics.json: cannot be read"):
        make_tables(tmp_path, options, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
