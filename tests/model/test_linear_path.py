"""The linear path: the model begins as shrinkage LDA of what both modalities show."""

import numpy as np
import pytest
import torch

from milmer.metrics.shrinkage_lda import fit_classifier
from milmer.model.configuration import NetworkConfig
from milmer.model.eeg import LogPower
from milmer.model.linear_path import mean_token
from milmer.model.network import MilmerNetwork
from milmer.model.options import ModelOptions
from milmer.model.shares import logit_shares
from milmer.model.trained import load_trained, save_trained
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training import initial
from milmer.training.fold_data import read_fold
from milmer.training.initial import fit_linear_path, parameter_groups
from milmer.training.options import TrainOptions
from tests import asymmetric

SMALL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 6}
ROWS, CLASSES = 60, 3


def build(**options):
    torch.manual_seed(0)
    config = NetworkConfig(
        ModelOptions(**(SMALL | options)),
        num_channels=5,
        num_samples=384,
        num_instances=4,
        num_tokens=3,
        token_dim=7,
        labels=("a", "b", "c"),
    )
    return MilmerNetwork(config).eval()


@pytest.fixture(scope="module")
def data():
    """Segments whose class makes one channel louder and moves one number of the tokens."""
    draw = torch.Generator().manual_seed(5)
    label = torch.randint(CLASSES, (ROWS,), generator=draw)
    eeg = 10 * torch.randn(ROWS, 5, 384, generator=draw)
    eeg[:, 2] *= (0.7 * label + 0.6 * torch.randn(ROWS, generator=draw)).exp()[:, None]
    tokens = 3 + torch.randn(ROWS, 4, 3, 7, generator=draw) * torch.arange(1.0, 8.0)
    tokens[..., 1] += 3 * label[:, None, None]
    valid = torch.rand(ROWS, 4, generator=draw) < 0.7
    valid[:, 3] = True
    return {"eeg": eeg, "face_tokens": tokens, "valid": valid}, label.numpy()


def batches(inputs, size=16):
    return lambda: (
        {name: x[first : first + size] for name, x in inputs.items()}
        for first in range(0, ROWS, size)
    )


def fitted(data, **options):
    inputs, label = data
    network = build(**options)
    if isinstance(network.eeg, LogPower):
        network.eeg.fit_scale(lambda: inputs["eeg"].split(16))
    fit_linear_path(network, batches(inputs), label, np.arange(ROWS) // 2)
    return network


def features_by_hand(network, inputs):
    """Log power of the bank, a channel after the other, and the mean of all valid tokens."""
    bank = network.eeg if isinstance(network.eeg, LogPower) else network.linear.power
    power = bank.log_power(inputs["eeg"]).detach().mean(-1).flatten(1)
    faces = [x[v].mean((0, 1)) for x, v in zip(inputs["face_tokens"], inputs["valid"], strict=True)]
    raw = {"eeg": power, "face": torch.stack(faces)}
    return {
        name: ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy() for name, x in raw.items()
    }


@pytest.mark.parametrize("modalities", [["eeg"], ["face"], ["face", "eeg"]], ids=str)
@pytest.mark.parametrize("encoder", ["log_power", "published"])
def test_before_the_first_step_it_is_the_tempered_classifier(data, modalities, encoder):
    inputs, label = data
    network = fitted(data, modalities=modalities, eeg_encoder=encoder)
    both = features_by_hand(fitted(data, eeg_encoder=encoder), inputs)
    features = {name: both[name] for name in ("eeg", "face") if name in modalities}
    expected = fit_classifier(features, label, np.arange(ROWS) // 2, CLASSES).logits(features)
    with torch.no_grad():
        logits = network(**inputs).logits.numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-3)
    assert (logits.argmax(1) == label).mean() > 0.7
    assert np.abs(expected).max() > 0.5


def test_the_deep_path_adds_to_it_once_its_last_layer_has_learned(data):
    inputs, _ = data
    network = fitted(data)
    with torch.no_grad():
        linear = network(**inputs).logits
        network.classifier.bias += torch.tensor([0.0, 1.0, -2.0])
        torch.testing.assert_close(network(**inputs).logits, linear + network.classifier.bias)


def test_training_moves_both_paths_and_the_encoder_by_way_of_either(data):
    inputs, label = data
    network = fitted(data).train()
    logits = network(**inputs).logits
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(label)).backward()
    for parameter in (network.linear.eeg.weight, network.linear.face.weight, network.linear.bias):
        assert parameter.grad.any()
    assert network.classifier.weight.grad.any()
    assert network.eeg.filters.grad.any()  # the features are live


def test_the_filters_beside_an_encoder_without_log_power_stay(data):
    network = fitted(data, eeg_encoder="published").train()
    assert not network.linear.power.filters.requires_grad
    first, second = (network.linear.power.standardised(data[0]["eeg"]) for _ in range(2))
    assert torch.equal(first, second)  # no dropout of time either


def test_a_bag_without_a_valid_instance_adds_nothing(data):
    inputs, _ = data
    network = fitted(data, modalities=["face"])
    none = torch.zeros_like(inputs["valid"])
    features = network.linear_features(face_tokens=inputs["face_tokens"], valid=none)
    assert not features["face"].any()
    assert torch.equal(network.linear(features)[0], network.linear.bias)


def test_what_an_invalid_instance_shows_is_not_in_the_mean_even_where_it_is_nan(data):
    inputs, _ = data
    tokens = inputs["face_tokens"].clone()
    tokens[~inputs["valid"]] = torch.nan
    expected = mean_token(inputs["face_tokens"], inputs["valid"])
    assert torch.equal(mean_token(tokens, inputs["valid"]), expected)


def test_it_is_part_of_the_file(data, tmp_path):
    inputs, _ = data
    network = fitted(data, eeg_encoder="published")
    save_trained(network, tmp_path)
    again = load_trained(tmp_path)
    assert torch.equal(again(**inputs).logits, network(**inputs).logits)
    assert again.linear.face.weight.any()


def test_the_order_in_which_segments_are_read_does_not_matter(data):
    inputs, label = data
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    other = build()
    other.eeg.fit_scale(lambda: inputs["eeg"].split(16))
    moved = {name: x[order] for name, x in inputs.items()}
    fit_linear_path(other, batches(moved, 7), label[order], (np.arange(ROWS) // 2)[order])
    expected = fitted(data)(**inputs).logits
    torch.testing.assert_close(other(**inputs).logits, expected, atol=1e-4, rtol=1e-4)


def test_without_it_nothing_is_fitted_and_the_network_is_as_before(data):
    network = build(linear_path=False)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    fit_linear_path(network, batches(data[0]), data[1], np.arange(ROWS))
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert not any(name.startswith("linear.") for name in before)


# ------------------------------------------------- where the logits come from


def test_at_the_start_all_of_the_logits_comes_from_the_linear_paths(data):
    inputs, _ = data
    network = fitted(data)
    shares = logit_shares(network, batches(inputs)())
    with torch.no_grad():
        features = network.linear_features(**inputs)
        face = features["face"] @ network.linear.face.weight.T
        total = network(**inputs).logits
    face, total = (x - x.mean(1, keepdim=True) for x in (face, total))
    face, total = (x - x.mean(0) for x in (face, total))
    assert shares["linear_face"] == pytest.approx(
        float((face * total).sum() / total.square().sum())
    )
    assert shares["linear_eeg"] == pytest.approx(1 - shares["linear_face"], abs=1e-4)
    assert 0.1 < shares["linear_face"] < 0.95
    assert (shares["frames"], shares["eeg"]) == pytest.approx((0, 0), abs=1e-6)


def test_the_deep_path_is_parted_into_chosen_frames_and_eeg(data):
    inputs, _ = data
    network = build()
    network.eeg.fit_scale(lambda: inputs["eeg"].split(16))
    shares = logit_shares(network, batches(inputs)())
    assert shares["linear_eeg"] == shares["linear_face"] == 0.0
    assert shares["frames"] + shares["eeg"] == pytest.approx(1.0, abs=1e-5)
    same = inputs | {"eeg": inputs["eeg"][:1].expand_as(inputs["eeg"])}
    of_frames = logit_shares(network, batches(same)())
    assert of_frames["frames"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("modality", "part"), [("eeg", "eeg"), ("face", "frames")])
def test_of_one_modality_the_deep_path_is_its_own(data, modality, part):
    network = build(modalities=[modality], linear_path=False)
    shares = logit_shares(network, batches(data[0])())
    assert shares == {part: pytest.approx(1.0)}


def test_equal_segments_have_no_shares(data):
    same = {name: x[:1].expand_as(x) for name, x in data[0].items()}
    assert logit_shares(build(modalities=["face"]), batches(same)()) == {}


def test_it_learns_at_a_tenth_of_the_rate_and_all_else_at_the_whole(data):
    network = fitted(data)
    share = {id(p): group["share"] for group in parameter_groups(network) for p in group["params"]}
    named = dict(network.named_parameters())
    assert {name for name, p in named.items() if share[id(p)] == 0.1} == {
        *("linear.eeg.weight", "linear.face.weight", "linear.bias"),
    }
    assert {share[id(p)] for name, p in named.items() if not name.startswith("linear.")} == {1.0}


@pytest.mark.parametrize(
    ("protocol", "fold", "unit"),
    [("trial", "s01-k0", ["subject", "trial"]), ("loso", "s03", ["subject"])],
)
def test_what_the_protocol_keeps_whole_is_left_out(
    study, tmp_path, monkeypatch, protocol, fold, unit
):
    """Under ``loso`` subjects, so that the temperature is that of new people."""
    subjects = list(study.trials) if protocol == "loso" else ["s01"]
    trials = [study.trials[subject] for subject in subjects]
    make_split(
        trials, protocol, fold, SplitOptions(folds=2, validation=0), tmp_path / "split.parquet"
    )
    segments = [
        asymmetric.write_segments(tmp_path / "segments", subject, study.trials[subject])
        for subject in subjects
    ]
    data = read_fold(tmp_path / "split.parquet", segments, [])
    monkeypatch.setattr(initial, "fit_linear_path", lambda *arguments: seen.extend(arguments[2:]))
    seen = []
    options = TrainOptions.model_validate({"model": SMALL | {"modalities": ["eeg"]}})
    rows = data.rows("train")
    initial.initial_network(data, rows, options, torch.device("cpu"), None)
    label, groups = seen
    table = data.table.iloc[rows]
    assert label.tolist() == table["label"].tolist()
    expected = table.groupby(unit, sort=True).ngroup()
    assert groups.tolist() == expected.tolist()
    assert len(set(groups)) > 1
