"""Every ingredient of every seed of training changes what is drawn, and nothing else does."""

import numpy as np
import pytest
import torch

from milmer.runtime.checkpoints import ResumeState
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold
from milmer.training.loop import Training
from milmer.training.options import TrainOptions

MODEL = {"modalities": ["face"], "hidden_size": 8, "num_heads": 2, "feed_forward": 8}
EPOCHS = 2


@pytest.fixture
def training(study, tmp_path):
    """``training(protocol, fold, seed)``: of a small model that looks at faces alone."""

    def make(protocol="segment", fold="s01", seed=0, batch_size=3, lr=1e-3):
        subjects = ["s01"] if protocol in ("segment", "trial") else ["s01", "s03"]
        split = tmp_path / "split.parquet"
        trials = [study.trials[s] for s in subjects]
        make_split(trials, protocol, fold, SplitOptions(folds=2, validation=0.2), split)
        data = read_fold(split, [], [study.tokens[s] for s in subjects])
        options = TrainOptions(
            model=MODEL | {"num_queries": 2},
            training={"epochs": EPOCHS, "batch_size": batch_size, "lr": lr, "threads": 1},
        )
        return Training(data, options, seed, torch.device("cpu"))

    return make


def test_each_ingredient_of_a_seed_changes_the_draw_and_nothing_else_does(
    training, tmp_path, monkeypatch
):
    """Seed, protocol and fold; purpose, epoch and step. Not the rate or the size of a batch."""
    seeds, seen = {}, {"torch": [], "numpy": []}
    manual_seed, default_rng = torch.manual_seed, np.random.default_rng
    monkeypatch.setattr(torch, "manual_seed", lambda s: seen["torch"].append(s) or manual_seed(s))
    monkeypatch.setattr(
        np.random, "default_rng", lambda s: seen["numpy"].append(tuple(s)) or default_rng(s)
    )
    state = ResumeState(tmp_path / "run", {k: {} for k in ("options", "inputs", "code")}, 60)
    runs = [("segment", "s01", 0), ("loso", "s01", 0), ("trial", "s01-k0", 0)]
    runs += [("trial", "s01-k1", 0), ("trial", "s01-k1", 1), ("trial", "s01-k1", 1)]
    for number, of in enumerate(runs):
        run = training(*of, batch_size=3 - number % 2, lr=10.0**-number)
        weights = seen["torch"][-1]
        seen["torch"].clear()
        seen["numpy"].clear()
        run.fit(state)
        assert (len(seen["torch"]), len(seen["numpy"])) == (run.step, EPOCHS)
        draws = {("weights",): weights}
        draws |= {("step", step): drawn for step, drawn in enumerate(seen["torch"])}
        draws |= {("epoch", epoch): drawn for epoch, drawn in enumerate(seen["numpy"])}
        for purpose, drawn in draws.items():
            seeds.setdefault((*of, *purpose), set()).add(drawn)
    assert all(len(drawn) == 1 for drawn in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_an_epoch_takes_each_row_of_the_training_part_once_in_an_order_of_its_own(training):
    run = training()
    train = run.data.rows("train").tolist()
    batches = [len(batch) for batch in run._batches(0)]
    assert batches == [3] * (len(train) // 3) + [len(train) % 3]
    first, second, again = (np.concatenate(list(run._batches(n))).tolist() for n in (0, 1, 0))
    assert first == again != second
    assert train not in (first, second)
    assert sorted(first) == sorted(second) == train


def test_weights_are_drawn_from_the_seed_whatever_was_drawn_before(training):
    first = training().model.state_dict()
    torch.manual_seed(123)
    again, other = training().model.state_dict(), training(seed=1).model.state_dict()
    assert all(torch.equal(again[name], weights) for name, weights in first.items())
    assert any(not torch.equal(other[name], weights) for name, weights in first.items())
