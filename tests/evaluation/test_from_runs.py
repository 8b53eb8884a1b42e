"""From trained runs to tables: recomputed from predictions and histories by pandas alone."""

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation.baseline_options import BaselinesOptions
from milmer.evaluation.baselines import make_baselines
from milmer.evaluation.evaluate import evaluate_run
from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

FOLDS = {"trial": [f"s0{s}-k{k}" for s in (1, 2) for k in range(2)], "segment": ["s01", "s02"]}
# With the linear path all epochs are alike: six segments leave nothing to learn.
TINY = {"modalities": ["eeg"], "hidden_size": 16, "num_heads": 2, "feed_forward": 16}
TINY |= {"linear_path": False}
EEG = {"inputs": ["default", ""]}
EXPERIMENTS = {
    "milmer": {"folds": FOLDS, **EEG},
    "best": {"folds": FOLDS, "changes": {"training": {"select": "best_on_test"}}, **EEG},
    "control": {"folds": {"trial": FOLDS["trial"]}, "labels": "permuted", **EEG},
}


@pytest.fixture(scope="module")
def results(twin_results, tmp_path_factory):
    """Two epochs of a tiny model on the EEG of the twin's two subjects."""
    folder = tmp_path_factory.mktemp("results")
    for labels, permuted in (("default", False), ("permuted", True)):
        for protocol, folds in FOLDS.items():
            for fold in folds:
                split = folder / f"splits/{labels}/{protocol}/{fold}.parquet"
                subject = fold[:3]
                options = SplitOptions(folds=2, labels={"permuted": permuted})
                trials = [twin_results / f"trials/{subject}.parquet"]
                make_split(trials, protocol, fold, options, split)
                segments = [twin_results / f"segments/default/{subject}.h5"]
                for name, of in EXPERIMENTS.items():
                    if of.get("labels", "default") != labels or protocol not in of["folds"]:
                        continue
                    select = "best_on_test" if name == "best" else "validation"
                    training = {"epochs": 2, "threads": 1, "lr": 1e-3, "select": select}
                    run = folder / f"runs/{name}/{protocol}/{fold}/seed0"
                    stage = TrainOptions(model=TINY, training=training)
                    train_fold(split, segments, [], stage, 0, run)
                    evaluate_run(run)
    names = ["band_power", "band_power_lda", "tangent_space_lda"]
    segments = [twin_results / f"segments/default/{s}.h5" for s in ("s01", "s02")]
    for labels, protocols in (("default", FOLDS), ("permuted", {"trial": FOLDS["trial"]})):
        for protocol, folds in protocols.items():
            stage = BaselinesOptions(folds=folds, names=names, inputs=[EEG["inputs"]])
            splits = folder / f"splits/{labels}/{protocol}"
            make_baselines(splits, segments, [], stage, folder / "baselines")
    options = TablesOptions(experiments=EXPERIMENTS)
    make_tables(folder / "runs", options, folder / "tables", folder / "baselines")
    return folder


def read(results, experiment, protocol, fold, name):
    return pd.read_parquet(results / f"runs/{experiment}/{protocol}/{fold}/seed0/{name}.parquet")


def accuracy(table, level="segment"):
    p = [c for c in table if c.startswith("p_")]
    if level == "trial":
        table = table.groupby(["subject", "trial"])[["label", *p]].mean()
    return (table[p].to_numpy().argmax(1) == table["label"]).mean()


def epochs(results, protocol, fold, level):
    """Label and probabilities of the test part in each epoch, by segment or by trial."""
    table = read(results, "best", protocol, fold, "predictions")
    p = [c for c in table if c.startswith("p_")]
    for flat in read(results, "best", protocol, fold, "history")["test_probabilities"]:
        table[p] = np.reshape(flat, (len(table), len(p)))
        by_trial = table.groupby(["subject", "trial"])[["label", *p]].mean()
        yield (table if level == "segment" else by_trial)[["label", *p]].to_numpy(float)


def loss(rows):
    p = rows[np.arange(len(rows)), 1 + rows[:, 0].astype(int)]
    return -np.log(np.maximum(p, 1e-12)).mean()


def f1(rows):
    label, guess = rows[:, 0], rows[:, 1:].argmax(1)
    hits = [2 * ((label == c) & (guess == c)).sum() for c in np.unique(label)]
    sizes = [(label == c).sum() + (guess == c).sum() for c in np.unique(label)]
    return np.divide(hits, sizes).mean()


by_hand = {
    "accuracy": lambda rows: (rows[:, 0] == rows[:, 1:].argmax(1)).mean(),
    "loss": loss,
    "macro_f1": f1,
}


def of(results, table, **key):
    frame = storage.read_table(results / f"tables/{table}.parquet", "tables")
    return frame[(frame[list(key)] == list(key.values())).all(axis=1)]


@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize("protocol", ["trial", "segment"])
def test_an_honest_number_is_that_of_its_predictions(results, protocol, level):
    expected = []
    for subject in ("s01", "s02"):
        folds = [f for f in FOLDS[protocol] if f.startswith(subject)]
        parts = [read(results, "milmer", protocol, f, "predictions") for f in folds]
        expected.append(accuracy(pd.concat(parts), level))
    key = {"experiment": "milmer", "protocol": protocol, "level": level}
    assert of(results, "subjects", **key)["accuracy"].tolist() == pytest.approx(expected)
    found = of(results, "summary", **key, metric="accuracy").squeeze()
    assert found["mean"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("protocol", ["trial", "segment"])
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_a_number_that_was_chosen_on_the_test_part_is_the_best_of_its_history(
    results, protocol, metric
):
    """Pooled like an honest one: the best epoch of each fold by the metric, folds together."""
    best = min if metric == "loss" else max
    for level in ("segment", "trial"):
        expected = []
        for subject in ("s01", "s02"):
            folds = [f for f in FOLDS[protocol] if f.startswith(subject)]
            chosen = [best(epochs(results, protocol, f, level), key=by_hand[metric]) for f in folds]
            expected.append(by_hand[metric](np.concatenate(chosen)))
        key = {"experiment": "best", "protocol": protocol, "level": level, "metric": metric}
        assert of(results, "summary", **key).squeeze()["mean"] == pytest.approx(np.mean(expected))


def test_what_choosing_on_the_test_part_adds_is_the_same_training_told_differently(results):
    for protocol in FOLDS:
        found = of(results, "inflation", experiment="best", protocol=protocol).squeeze()
        assert found["chosen_honestly"] == "milmer"
        honest = of(results, "inflation", experiment="milmer", protocol=protocol).squeeze()
        assert found["above_chosen_honestly"] == pytest.approx(
            found["accuracy"] - honest["accuracy"]
        )
        for fold in FOLDS[protocol]:  # the same weights in each epoch
            losses = [
                read(results, e, protocol, fold, "history")["train_loss"]
                for e in ("milmer", "best")
            ]
            pd.testing.assert_series_equal(*losses)


def test_baselines_are_those_of_their_own_predictions(results):
    """The best is the one whose validation parts say so, whatever the test part says."""
    validated, tested = {}, {}
    for path in sorted((results / "baselines").glob("*/default/trial.parquet")):
        name = path.parts[-3]
        folds = storage.read_provenance(path)["facts"]["folds"]
        validated[name] = np.mean([fold["validated"] for fold in folds])
        own = pd.read_parquet(path)
        for level in ("segment", "trial"):
            expected = [accuracy(part, level) for _, part in own.groupby("subject")]
            tested[name, level] = np.mean(expected)
            key = {"protocol": "trial", "level": level, "metric": "accuracy"}
            found = of(results, "summary", experiment=name, **key).squeeze()
            assert found["mean"] == pytest.approx(tested[name, level])
    assert len(validated) == 3
    best = max(validated, key=validated.get)
    for level in ("segment", "trial"):
        key = {"protocol": "trial", "level": level, "metric": "accuracy"}
        beside = of(results, "summary", experiment="milmer", **key).squeeze()
        assert beside["best_baseline"] == pytest.approx(tested[best, level])
        assert beside["baseline_name"] == best
    about = of(results, "baselines", protocol="trial").set_index("experiment")
    assert about.loc[best, "best_of"] == "milmer, best"
    assert about.loc[list(validated), "validated"].to_dict() == pytest.approx(validated)


def test_the_majority_is_that_of_each_folds_training_part(results):
    expected = []
    for subject in ("s01", "s02"):
        right = []
        for fold in (f for f in FOLDS["trial"] if f.startswith(subject)):
            split = pd.read_parquet(results / f"splits/default/trial/{fold}.parquet")
            counts = split.loc[split["part"] == "train", "label"].value_counts()
            named = min(counts[counts == counts.max()].index)
            right.append(split.loc[split["part"] == "test", "label"] == named)
        expected.append(pd.concat(right).mean())
    found = of(results, "subjects", experiment="milmer", protocol="trial", level="segment")
    assert found["majority"].tolist() == pytest.approx(expected)


def test_a_control_says_so_wherever_it_stands(results):
    for table in ("folds", "summary", "subjects", "inflation", "ablation", "calibration"):
        assert set(of(results, table, experiment="control")["caveat"]) == {"permuted"}
    card = results / "runs/control/trial/s01-k0/seed0/model/README.md"
    assert "**Permuted**" in card.read_text()
    text = (results / "tables/conclusions.md").read_text()
    assert "The control `control`, whose ratings were permuted among trials" in text
