"""Permutation importance: what decides alone is found, and nothing else is."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from milmer.evaluation.importance import REPEATS, parts, permutation_importance
from milmer.model.configuration import NetworkConfig
from milmer.model.network import MilmerNetwork
from milmer.model.options import ModelOptions
from milmer.training.fold_data import FoldData, Rows

ROWS, CHANNELS, DECIDES = 48, 6, 4
CPU = torch.device("cpu")


def network(**options):
    torch.manual_seed(3)
    small = {"hidden_size": 16, "num_heads": 2, "feed_forward": 32, "num_queries": 3}
    config = NetworkConfig(
        ModelOptions(**(small | options)),
        num_channels=CHANNELS,
        num_samples=384,
        num_instances=4,
        num_tokens=3,
        token_dim=7,
        labels=("a", "b"),
    )
    return MilmerNetwork(config).eval()


@pytest.fixture
def data():
    """Classes that alternate; one channel is loud, and one instance bright, in the second."""
    draw = torch.Generator().manual_seed(5)
    label = torch.arange(ROWS) % 2
    eeg = torch.randn(ROWS, CHANNELS, 384, generator=draw)
    eeg[:, DECIDES] *= 1 + 4 * label[:, None]
    tokens = torch.randn(ROWS * 4, 3, 7, generator=draw) / 10
    tokens[2::4] += 5 * label[:, None, None]
    bag = np.arange(ROWS * 4).reshape(ROWS, 4)
    nothing = dict.fromkeys(f.name for f in dataclasses.fields(FoldData))
    return FoldData(
        **nothing
        | {
            "table": pd.DataFrame({"label": label.numpy()}),
            "eeg": Rows([eeg.numpy()]),
            "eeg_row": np.arange(ROWS),
            "tokens": Rows([tokens.numpy().astype(np.float16)]),
            "bag": bag,
            "valid": bag >= 0,
        }
    )


def importance(model, data, rows=ROWS):
    return permutation_importance(model, data, np.arange(rows), CPU)


@torch.no_grad()
def test_a_channel_that_decides_alone_is_found_where_classes_alternate(data):
    model = network(modalities=["eeg"])
    model.classifier.weight.zero_()
    weight = model.linear.eeg.weight.view(2, CHANNELS, -1)
    weight[1, DECIDES] = 1
    found = importance(model, data)
    assert found["channel"].shape == (REPEATS, CHANNELS)
    # Half of the segments get the power of the other class.
    assert found["channel"][:, DECIDES].min() > 1
    assert (np.delete(found["channel"], DECIDES, 1) == 0).all()
    # What was measured before, half a turn in their order, gives each segment its own class.
    assert (np.roll(np.arange(ROWS), ROWS // 2) % 2 == np.arange(ROWS) % 2).all()
    by_part = dict(zip(parts(model), found["part"].mean(0), strict=True))
    assert list(by_part) == ["eeg", "linear_eeg", "deep_eeg"]
    assert by_part["deep_eeg"] == 0
    assert by_part["eeg"] == pytest.approx(by_part["linear_eeg"], rel=0.5)
    assert found["instance"].shape == (REPEATS, 0)


@torch.no_grad()
def test_an_instance_that_decides_alone_is_found(data):
    model = network()
    model.classifier.weight.zero_()
    model.linear.face.weight[1] = 1
    found = importance(model, data)
    assert found["instance"].argmax(1).tolist() == [2] * REPEATS
    others = np.delete(found["instance"], 2, 1)
    assert found["instance"][:, 2].min() > 20 * np.abs(others).max()
    by_part = dict(zip(parts(model), found["part"].T, strict=True))
    names = ["eeg", "face", "linear_eeg", "linear_face", "deep_eeg", "deep_face"]
    assert list(by_part) == names
    assert by_part["face"].min() > 1
    assert by_part["linear_face"].min() > 1
    assert all((by_part[name] == 0).all() for name in ("eeg", "linear_eeg", "deep_eeg"))
    assert (found["channel"] == 0).all()


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["log_power", "published"])
def test_exchanging_what_a_channel_became_is_exchanging_the_channel(data, encoder):
    model = network(eeg_encoder=encoder)
    torch.nn.init.normal_(model.linear.eeg.weight, std=0.1)
    found = importance(model, data)
    inputs = data.batch(np.arange(ROWS), CPU)
    labels = inputs.pop("labels")
    loss = [F.cross_entropy(model(**inputs).logits, labels)]
    for repeat, channel in ((0, 1), (2, 5)):
        order = np.random.default_rng([repeat, 1, channel]).permutation(ROWS)
        eeg = inputs["eeg"].clone()
        eeg[:, channel] = inputs["eeg"][order, channel]
        expected = F.cross_entropy(model(**(inputs | {"eeg": eeg})).logits, labels) - loss[0]
        assert abs(expected) > 1e-4
        np.testing.assert_allclose(found["channel"][repeat, channel], expected, atol=1e-5)


@torch.no_grad()
def test_exchanging_an_instance_moves_its_frame_and_whether_it_is_valid(data):
    model = network()
    torch.nn.init.normal_(model.linear.face.weight, std=0.1)
    data.valid = data.valid.copy()
    data.valid[::3, 1] = False
    found = importance(model, data, 40)
    inputs = data.batch(np.arange(40), CPU)
    labels = inputs.pop("labels")
    order = np.random.default_rng([3, 2, 1]).permutation(40)
    moved = {name: inputs[name].clone() for name in ("face_tokens", "valid")}
    for name, values in moved.items():
        values[:, 1] = inputs[name][order, 1]
    expected = F.cross_entropy(model(**(inputs | moved)).logits, labels)
    expected -= F.cross_entropy(model(**inputs).logits, labels)
    assert abs(expected) > 1e-5
    np.testing.assert_allclose(found["instance"][3, 1], expected, atol=1e-5)
