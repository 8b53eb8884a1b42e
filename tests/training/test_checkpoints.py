"""The state of an interrupted run, and what every draw of training comes from."""

import dataclasses
import os
import pickle

import numpy as np
import pytest
import torch

from milmer import storage
from milmer.runtime import checkpoints
from milmer.runtime.checkpoints import ResumeState
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training import loop
from milmer.training.fold_data import read_fold
from milmer.training.options import TrainOptions
from tests import asymmetric

ABOUT = storage.provenance("train", "milmer.errors", {"lr": 1, "seed": 0}, {"split": "12"})
STATE = {"step": 7, "model": {"w": torch.arange(3.0)}, "best": {"rank": [0.5, -1.0]}}


def test_a_state_is_taken_up_by_the_same_run_alone(tmp_path):
    run = tmp_path / "seed0"
    state = ResumeState(run, ABOUT, minutes=60)
    assert state.load() is None
    state.save_if_due(lambda: STATE, now=True)
    assert os.listdir(tmp_path) == [".seed0.resume.pt"]
    loaded = ResumeState(run, ABOUT | {"versions": {}, "device": "other"}, 60).load()
    assert (loaded["step"], loaded["best"]) == (7, STATE["best"])
    assert torch.equal(loaded["model"]["w"], STATE["model"]["w"])
    for name, other in (
        ("options", {"lr": 1, "seed": 1}),
        ("inputs", {"split": "13"}),
        ("code", {"milmer.errors": "other"}),
    ):
        assert ResumeState(run, ABOUT | {name: other}, 60).load() is None, name
    assert ResumeState(tmp_path / "seed1", ABOUT, 60).load() is None
    state.remove()
    assert os.listdir(tmp_path) == []
    state.remove()  # there may be none


def test_a_damaged_state_is_none_and_nothing_in_it_is_run(tmp_path):
    path = tmp_path / ".seed0.resume.pt"
    state = ResumeState(tmp_path / "seed0", ABOUT, 60)
    state.save_if_due(lambda: STATE, now=True)
    whole = path.read_bytes()

    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    content = {"key": storage.key(ABOUT), "step": Runs()}
    for text in (b"", b"{", whole[: len(whole) // 2], pickle.dumps(content, protocol=2)):
        path.write_bytes(text)
        assert state.load() is None
    torch.save(content, path)
    assert state.load() is None
    assert not (tmp_path / "it ran").exists()


def test_a_state_is_saved_when_the_last_is_old_enough_or_at_once_if_asked(tmp_path, monkeypatch):
    clock, saved = {"now": 1000.0}, []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock["now"])
    state = ResumeState(tmp_path / "seed0", ABOUT, minutes=2)

    def make():
        saved.append(clock["now"])
        return {"step": len(saved)}

    for clock["now"], at_once in (
        *((1119.0, False), (1120.0, False), (1121.0, False), (1130.0, True), (1240.0, False)),
        *((1249.0, False), (1250.0, False)),
    ):
        state.save_if_due(make, now=at_once)
    assert saved == [1120.0, 1130.0, 1250.0]
    assert state.load()["step"] == 3


# ------------------------------------------------------------------------ draws


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A fold of three uneven subjects, and EEG alone."""
    folder = tmp_path_factory.mktemp("study")
    study = asymmetric.write_study(folder)
    options = SplitOptions(validation=0.3)
    make_split(list(study.trials.values()), "loso", "s03", options, folder / "split.parquet")
    return read_fold(folder / "split.parquet", list(study.segments.values()), [])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def training(data, seed=3, protocol="loso", fold="s03", **options):
    data = dataclasses.replace(data, facts=data.facts | {"protocol": protocol, "fold": fold})
    small = {"modalities": ["eeg"], "hidden_size": 16, "num_heads": 2, "feed_forward": 16}
    options = {"batch_size": 4, "threads": 1, "epochs": 2, "select": "last"} | options
    parsed = TrainOptions(model=small | {"num_layers": 1}, training=options)
    return loop.Training(data, parsed, seed, torch.device("cpu"))


OTHERS = {"seed": 4, "protocol": "trial", "fold": "s02"}


@pytest.mark.parametrize("ingredient", OTHERS)
def test_the_order_depends_on_seed_protocol_fold_and_epoch_and_on_nothing_else(data, ingredient):
    first = training(data)
    other = training(data, **{ingredient: OTHERS[ingredient]})

    def order(run, epoch):
        return np.concatenate(list(run._batches(epoch))).tolist()

    rows = sorted(data.rows("train").tolist())
    orders = [order(run, epoch) for run in (first, other) for epoch in (0, 1, 2)]
    assert len({str(each) for each in orders}) == 6
    assert all(sorted(each) == rows for each in orders)
    assert order(training(data, lr=0.5, batch_size=3), 1) == orders[1]
    np.random.seed(9)  # noqa: NPY002, not read
    torch.manual_seed(9)
    assert order(first, 1) == orders[1]  # nor on what was drawn before


@pytest.mark.parametrize("ingredient", OTHERS)
def test_weights_and_dropout_depend_on_seed_fold_step_and_purpose(data, monkeypatch, ingredient):
    seeds, plain = [], torch.manual_seed
    monkeypatch.setattr(loop.torch, "manual_seed", lambda seed: seeds.append(seed) or plain(seed))

    def drawn(**how):
        seeds.clear()
        run = training(data, **how)
        weights = torch.cat([p.detach().flatten() for p in run.model.parameters()])
        for rows in (*run._batches(0), *run._batches(1)):
            run._train_on(rows)
        return weights, list(seeds)

    first, other = drawn(), drawn(**{ingredient: OTHERS[ingredient]})
    steps = 1 + 2 * -(-len(data.rows("train")) // 4)
    assert len(set(first[1]) | set(other[1])) == 2 * steps  # one a step, one for the weights
    assert not torch.equal(first[0], other[0])
    again = drawn(lr=0.5)
    assert (again[1], torch.equal(again[0], first[0])) == (first[1], True)


def test_a_step_draws_the_same_whatever_came_before(data):
    def after(noise):
        run = training(data)
        torch.rand(noise)
        for rows in run._batches(0):
            run._train_on(rows)
            torch.rand(noise)
        return run.model.state_dict()

    first, second = after(0), after(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
