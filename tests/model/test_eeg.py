"""EEG tokens: what the encoder sees, and that it learns where a rhythm is strong."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

from milmer.model.eeg import LogPowerEEGEncoder, PublishedEEGEncoder
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.synthetic.twin import TwinOptions, synthesize
from milmer.training.fold_data import read_fold
from tests.pipeline import predictions, right_trials, run

SMALL = {"modalities": ["eeg"], "hidden_size": 64, "num_heads": 4, "feed_forward": 128}
SFREQ, SAMPLES, CHANNELS = 128, 384, 32
BANDS = [(1, 4), (4, 8), (8, 13), (13, 30), (30, 45)]


def noise(segments):
    """Noise like EEG of channels that are not equally strong, and classes that mean nothing."""
    rng = np.random.default_rng(0)
    frequency = np.fft.rfftfreq(SAMPLES, 1 / SFREQ)
    shape = np.where((frequency >= 1) & (frequency <= 50), 1 / np.sqrt(frequency + 1e-9), 0)
    real, imaginary = rng.standard_normal((2, segments, CHANNELS, len(frequency)))
    loudness = np.exp(rng.normal(0, 0.5, (CHANNELS, 1)))
    eeg = np.fft.irfft((real + 1j * imaginary) * shape, SAMPLES) * loudness * 500  # µV
    return torch.tensor(eeg, dtype=torch.float32), torch.arange(segments) % 4


def trained(eeg, labels):
    """A model after one step."""
    torch.manual_seed(0)
    model = MilmerForEmotionClassification(MilmerConfig(options=SMALL, num_labels=4))
    model.eeg.fit_scale(lambda: eeg.split(64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(eeg=eeg, labels=labels).loss.backward()
    optimizer.step()
    return model.eval()


def log_band_power(eeg):
    power = np.abs(np.fft.rfft(eeg.numpy())) ** 2
    frequency = np.fft.rfftfreq(SAMPLES, 1 / SFREQ)
    bands = [power[..., (frequency >= a) & (frequency < b)].mean(-1) for a, b in BANDS]
    return np.log(np.stack(bands, -1)).reshape(len(eeg), -1)


def encoder(eeg=None, **shapes):
    torch.manual_seed(0)
    module = LogPowerEEGEncoder(MilmerConfig(options=SMALL, **shapes))
    if eeg is not None:
        module.fit_scale(lambda: eeg.split(8))
    return module.eval()


@pytest.mark.slow
def test_on_the_twin_it_learns_where_alpha_is_strong_and_the_published_branch_does_not(tmp_path):
    """One pool of four subjects' 160 trials of one segment, in folds that keep trials together."""
    size = {"subjects": 4, "trials": 40, "seconds": 3, "no_video": [1, 2, 3, 4]}
    synthesize(tmp_path / "deap", TwinOptions(eeg_class="place", **size))
    alone = {"linear_path": False}  # the encoders, and no classifier beside them
    published = {"eeg_encoder": "published", "channel_embeddings": False}
    user = {
        "model": SMALL | alone,
        "training": {"epochs": 20, "lr": 1e-3, "threads": 1},
        "protocols": {"names": ["stimulus"], "folds": 2},
        "experiments": {"milmer": {}, "published": {"model": published}},
    }
    run(tmp_path / "deap", tmp_path / "work", user)
    right = {}
    for experiment in ("milmer", "published"):
        right[experiment], total = right_trials(
            predictions(tmp_path / "work", experiment, "stimulus")
        )
        assert total == 160
    assert baseline_accuracy(tmp_path / "work" / "results") >= 0.99
    assert right["milmer"] / 160 >= 0.9
    assert right["published"] / 160 <= 0.5


def baseline_accuracy(results):
    """Of log band power and logistic regression, on the same folds."""
    right = []
    segments = sorted((results / "segments/default").glob("*.h5"))
    for split in (results / "splits/default/stimulus").glob("*.parquet"):
        data = read_fold(split, segments, [])
        label = data.table["label"].to_numpy()
        features = log_band_power(data.eeg.take(data.eeg_row))
        train, test = data.rows("train"), data.rows("test")
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(features[train], label[train])
        right += list(model.predict(features[test]) == label[test])
    assert len(right) == 160
    return np.mean(right)


def test_an_amplitude_is_seen_and_by_the_published_branch_it_is_not():
    eeg, _ = noise(16)
    louder = eeg.clone()
    louder[:, 5] *= 2
    with torch.no_grad():
        tokens, changed = encoder(eeg)(eeg), encoder(eeg)(louder)
        directions = [torch.nn.functional.layer_norm(t, t.shape[-1:]) for t in (tokens, changed)]
        difference = (directions[0] - directions[1]).square().mean((0, 2)).sqrt()  # (channel,)
        assert difference[5] > 0.2
        assert difference[torch.arange(CHANNELS) != 5].max() == 0
        published = PublishedEEGEncoder(MilmerConfig(options=SMALL))
        torch.testing.assert_close(published(louder), published(eeg), atol=1e-3, rtol=1e-3)


def test_the_same_signal_on_two_channels_gives_two_tokens():
    signal = noise(2)[0][:, :1].expand(-1, CHANNELS, -1)
    with torch.no_grad():
        tokens = encoder()(signal)[0]  # (channel, dim)
        other = encoder().requires_grad_(False)
        other.channel = other.gate = None
        assert torch.cdist(tokens, tokens).fill_diagonal_(9).min() > 1
        assert torch.cdist(other(signal)[0], other(signal)[0]).max() < 1e-2


def test_log_power_does_not_depend_on_phase():
    time = torch.arange(SAMPLES) / SFREQ
    phases = torch.linspace(0, 3.1, 8)[:, None, None]
    waves = (2 * torch.pi * 10 * time + phases).sin().expand(-1, CHANNELS, -1)
    power = encoder(waves).log_power(waves)
    strongest = power.mean((0, 1, 3)).argmax()
    assert power[:, :, strongest].std() < 0.03  # the ends are mirrored, so it is not exactly 0


def test_the_ends_of_a_segment_count_as_its_middle_does():
    module = encoder(num_channels=1)
    time = torch.arange(SAMPLES) / SFREQ
    centres = torch.tensor([0.05, 0.5, 1.5, 2.5, 2.95])[:, None, None]  # s
    bursts = (2 * torch.pi * 20 * time).sin() * torch.exp(-0.5 * ((time - centres) / 0.1) ** 2)
    energy = bursts.square().sum(-1)  # (burst, 1)
    seen = module.log_power(bursts / energy.sqrt()[..., None]).amax((1, 2, 3))
    assert seen.max() - seen.min() < 0.5


def test_training_looks_at_random_moments_and_a_test_at_all_of_them():
    eeg, _ = noise(16)
    module = encoder(eeg)
    with torch.no_grad():
        assert torch.equal(module(eeg), module(eeg))
        module.train()
        torch.manual_seed(1)
        first, second = module(eeg), module(eeg)
        torch.manual_seed(1)
        assert torch.equal(module(eeg), first)
        assert (first - second).abs().mean() > 0.1


def test_bands_follow_the_frequency_at_any_rate():
    for sfreq in (64.0, 128.0, 512.0):
        samples = round(3 * sfreq)
        module = encoder(num_samples=samples, sfreq=sfreq, num_channels=1)
        centres = np.geomspace(2, min(45, 0.45 * sfreq), module.FILTERS)
        time = torch.arange(samples) / sfreq
        for i in range(4, module.FILTERS - 1):  # slower ones do not fit into the kernel
            wave = (2 * torch.pi * centres[i] * time).sin()[None, None]
            strongest = int(module.log_power(wave).mean((0, 1, 3)).argmax())
            assert abs(strongest - i) <= 1, (sfreq, centres[i], centres[strongest])


@pytest.mark.parametrize(
    ("channels", "samples", "sfreq"), [(1, 16, 128.0), (5, 64, 128.0), (62, 2000, 200.0)]
)
def test_other_shapes_and_flat_channels_are_finite(channels, samples, sfreq):
    eeg = torch.randn(4, channels, samples, generator=torch.manual_seed(0))
    eeg[:, 0] = 0
    module = encoder(eeg, num_channels=channels, num_samples=samples, sfreq=sfreq)
    assert torch.isfinite(module(eeg)).all()
    tokens = module.train()(eeg)
    assert tokens.shape == (4, channels, 64)
    tokens.sum().backward()
    assert torch.isfinite(tokens).all()
    assert torch.isfinite(module.filters.grad).all()


def test_units_do_not_matter_once_the_scale_is_known():
    eeg, _ = noise(16)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(eeg * 1e-6)(eeg * 1e-6), encoder(eeg)(eeg), atol=1e-3, rtol=1e-3
        )


def test_autocast_keeps_the_log_in_float32():
    eeg, _ = noise(16)
    module = encoder(eeg).requires_grad_(False)
    exact = module.log_power(eeg)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.log_power(eeg), exact)
        torch.testing.assert_close(module(eeg).float(), encoder(eeg)(eeg), atol=0.05, rtol=0.05)


def test_the_scale_is_saved_with_the_model(tmp_path):
    eeg, labels = noise(16)
    model = trained(eeg, labels)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    for name in ("scale", "mean", "std"):
        assert torch.equal(getattr(again.eeg, name), getattr(model.eeg, name))
    assert again.eeg.scale.std() > 0
    assert torch.equal(again(eeg=eeg).logits, model(eeg=eeg).logits)


def test_it_is_small_at_full_width():
    module = LogPowerEEGEncoder(MilmerConfig())
    assert sum(p.numel() for p in module.parameters()) <= 0.5e6
