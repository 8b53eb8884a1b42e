"""A step of training asks no device for a value: on a GPU nobody waits for it.

On PyTorch's device ``meta`` tensors have a shape and no values: whoever looks at one fails there.
"""

import contextlib

import numpy as np
import pytest
import torch

from milmer.errors import MilmerError
from milmer.runtime.losses import Losses
from milmer.training.fold_data import Rows, read_fold, read_fold_with_pictures
from milmer.training.initial import parameter_groups
from milmer.training.loop import Training
from tests.training import test_finetuning, test_loop
from tests.training.test_finetuning import backbone  # noqa: F401
from tests.training.test_loop import files  # noqa: F401

CPU, META = torch.device("cpu"), torch.device("meta")
MODELS = [
    {},
    {"fusion": "mlp", "selection_gradient": "unit_gain"},
    {"fusion": "none", "eeg_encoder": "published", "linear_path": False},
    {"selection": "attention_topk", "scorer": "low_rank", "instance_dropout": 0.5},
    {"selection": "amil"},
    {"selection": "evenly_spaced", "fusion": "mlp"},
    {"selection": "random"},
]


@pytest.fixture
def on_meta(monkeypatch):
    """``on_meta(training)``: three of its steps on the device ``meta``; the labels of each."""

    def train(training):
        # It knows no mixed precision.
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
        training.model.to(META).train()
        training.optimizer = torch.optim.AdamW(parameter_groups(training.model), lr=0.1)
        training.device = META
        for _, rows in zip(range(3), training._batches(0), strict=False):
            training._train_on(rows)
        return training

    return train


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_step_on_tokens_waits_for_no_value(files, on_meta, model):  # noqa: F811
    options = test_loop.options(model)
    data = read_fold(*files, options.model.num_instances)
    assert not data.valid.all()  # so that there is something to mask
    training = on_meta(Training(data, options, 0, CPU))
    assert [loss.device for _, loss, _ in training.losses._unread] == [META] * training.step
    moments = training.optimizer.state[training.model.cls]
    assert {m.device for name, m in moments.items() if name != "step"} == {META}


def test_a_step_that_trains_the_backbone_waits_for_no_value(
    twin_results,
    files,  # noqa: F811
    backbone,  # noqa: F811
    on_meta,
):
    from milmer.backbone.loading import load_backbone
    from milmer.backbone.options import BackboneOptions

    options = test_finetuning.options()
    encoder = load_backbone(BackboneOptions(name=backbone, dtype="float32"), CPU)
    faces = [twin_results / "faces/default/s01.h5"]
    data = read_fold_with_pictures(*files[:2], faces, encoder.prepare, 3)
    assert not data.valid.all()
    training = on_meta(Training(data, options, 0, CPU, encoder))
    assert training.step == len(training.losses._unread) > 0


def test_losses_are_added_up_in_their_order_and_the_first_that_is_not_finite_is_named():
    losses = Losses("trial s01-k0", "lower it", total=2.5)
    for step, (loss, rows) in enumerate([(0.1, 4), (0.7, 4), (0.2, 3)], 6):
        losses.add(step, torch.tensor(loss), rows)
    tenth, seventh, fifth = np.float32([0.1, 0.7, 0.2]).tolist()
    assert losses.total() == 2.5 + tenth * 4 + seventh * 4 + fifth * 3
    assert losses.total() == 2.5 + tenth * 4 + seventh * 4 + fifth * 3  # read once
    for step, loss in enumerate([0.5, float("nan"), float("inf")], 9):
        losses.add(step, torch.tensor(loss), 4)
    with pytest.raises(
        MilmerError, match="trial s01-k0: the loss is no longer finite at step 10; lower it"
    ):
        losses.total()


def test_rows_move_to_a_device_once(monkeypatch):
    """Into the memory that they stay in: no second copy beside it, which would take as much."""
    arrays = [np.arange(n * 6, dtype=np.float16).reshape(n, 2, 3) + 100 * n for n in (3, 1, 4)]
    rows, reserved, empty = Rows(arrays), [], torch.empty
    monkeypatch.setattr(torch, "cat", None)
    monkeypatch.setattr(
        torch, "empty", lambda shape, **how: reserved.append(shape) or empty(shape, **how)
    )
    rows.to(CPU)
    assert reserved == [(8, 2, 3)]
    index = np.array([[7, 0], [3, -1]])
    expected = np.concatenate(arrays)[index] * (index >= 0)[..., None, None]
    np.testing.assert_array_equal(rows.take(index).numpy(), expected)
    assert rows.take(index).dtype == torch.float16
