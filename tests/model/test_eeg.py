"""EEG tokens: what the encoder sees, and that it learns where a rhythm is strong."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel

from milmer.model.configuration import MilmerConfig
from milmer.model.eeg import LogPowerEEGEncoder, PublishedEEGEncoder
from milmer.model.modeling import MilmerForEmotionClassification

SMALL = {"modalities": ["eeg"], "hidden_size": 64, "num_heads": 4, "feed_forward": 128}
SFREQ, SAMPLES, CHANNELS = 128, 384, 32
BANDS = [(1, 4), (4, 8), (8, 13), (13, 30), (30, 45)]


def topography(trials=160, seed=0):
    """Noise like EEG; a trial's class is which eight channels have four times the alpha power."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.rfftfreq(SAMPLES, 1 / SFREQ)
    shape = np.where((frequency >= 1) & (frequency <= 50), 1 / np.sqrt(frequency + 1e-9), 0)
    alpha = np.flatnonzero((frequency >= 8) & (frequency <= 12))
    groups = rng.permutation(CHANNELS).reshape(4, 8)
    labels = np.arange(trials) % 4
    gain = np.ones((trials, CHANNELS, len(frequency)))
    for i, label in enumerate(labels):
        gain[np.ix_([i], groups[label], alpha)] = 2
    real, imaginary = rng.standard_normal((2, *gain.shape))
    spectrum = (real + 1j * imaginary) * gain * shape
    loudness = np.exp(rng.normal(0, 0.5, (CHANNELS, 1)))
    eeg = np.fft.irfft(spectrum, SAMPLES) * loudness * 500  # µV
    return torch.tensor(eeg, dtype=torch.float32), torch.tensor(labels)


def trained(eeg, labels, epochs=10, **options):
    torch.manual_seed(0)
    config = MilmerConfig(options=SMALL | options, num_labels=4)
    model = MilmerForEmotionClassification(config)
    if isinstance(model.eeg, LogPowerEEGEncoder):
        model.eeg.fit_scale(lambda: eeg.split(64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(eeg)).split(16):
            optimizer.zero_grad()
            model(eeg=eeg[rows], labels=labels[rows]).loss.backward()
            optimizer.step()
    return model.eval()


def accuracy(model, eeg, labels):
    with torch.no_grad():
        return float((model(eeg=eeg).logits.argmax(1) == labels).float().mean())


def log_band_power(eeg):
    power = np.abs(np.fft.rfft(eeg.numpy())) ** 2
    frequency = np.fft.rfftfreq(SAMPLES, 1 / SFREQ)
    bands = [power[..., (frequency >= a) & (frequency < b)].mean(-1) for a, b in BANDS]
    return np.log(np.stack(bands, -1)).reshape(len(eeg), -1)


def encoder(eeg=None, **shapes):
    torch.manual_seed(0)
    made = LogPowerEEGEncoder(MilmerConfig(options=SMALL, **shapes))
    if eeg is not None:
        made.fit_scale(lambda: eeg.split(8))
    return made


def test_it_learns_which_channels_are_strong_in_alpha_and_the_published_branch_does_not():
    eeg, labels = topography()
    train, test = slice(0, 128), slice(128, 160)  # a segment a trial
    baseline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    baseline.fit(log_band_power(eeg[train]), labels[train])
    assert baseline.score(log_band_power(eeg[test]), labels[test]) == 1
    ours = trained(eeg[train], labels[train])
    assert accuracy(ours, eeg[test], labels[test]) >= 0.9
    published = trained(eeg[train], labels[train], eeg_encoder="published")
    assert accuracy(published, eeg[test], labels[test]) <= 0.5


def test_an_amplitude_is_seen_and_by_the_published_branch_it_is_not():
    eeg, _ = topography(16)
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
    signal = topography(2)[0][:, :1].expand(-1, CHANNELS, -1)
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
    assert power[:, :, strongest].std() < 0.01


def test_bands_follow_the_frequency_at_any_rate():
    for sfreq in (64.0, 128.0, 512.0):
        samples = round(3 * sfreq)
        made = encoder(num_samples=samples, sfreq=sfreq, num_channels=1)
        centres = np.geomspace(2, min(45, 0.45 * sfreq), made.FILTERS)
        time = torch.arange(samples) / sfreq
        for i in range(4, made.FILTERS - 1):  # slower ones do not fit into the kernel
            wave = (2 * torch.pi * centres[i] * time).sin()[None, None]
            found = int(made.log_power(wave).mean((0, 1, 3)).argmax())
            assert abs(found - i) <= 1, (sfreq, centres[i], centres[found])


@pytest.mark.parametrize(
    ("channels", "samples", "sfreq"), [(1, 16, 128.0), (5, 64, 128.0), (62, 2000, 200.0)]
)
def test_other_shapes_and_flat_channels_are_finite(channels, samples, sfreq):
    eeg = torch.randn(4, channels, samples, generator=torch.manual_seed(0))
    eeg[:, 0] = 0
    made = encoder(eeg, num_channels=channels, num_samples=samples, sfreq=sfreq)
    tokens = made(eeg)
    assert tokens.shape == (4, channels, 64)
    tokens.sum().backward()
    assert torch.isfinite(tokens).all()
    assert torch.isfinite(made.filters.grad).all()


def test_units_do_not_matter_once_the_scale_is_known():
    eeg, _ = topography(16)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(eeg * 1e-6)(eeg * 1e-6), encoder(eeg)(eeg), atol=1e-3, rtol=1e-3
        )


def test_autocast_keeps_the_log_in_float32():
    eeg, _ = topography(16)
    made = encoder(eeg).requires_grad_(False)
    exact = made.log_power(eeg)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.log_power(eeg), exact)
        torch.testing.assert_close(made(eeg).float(), encoder(eeg)(eeg), atol=0.05, rtol=0.05)


def test_the_scale_is_saved_with_the_model(tmp_path):
    eeg, labels = topography(16)
    model = trained(eeg, labels, epochs=1)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    for name in ("scale", "mean", "std"):
        assert torch.equal(getattr(again.eeg, name), getattr(model.eeg, name))
    assert again.eeg.scale.std() > 0
    assert torch.equal(again(eeg=eeg).logits, model(eeg=eeg).logits)


def test_it_is_small_at_full_width():
    made = LogPowerEEGEncoder(MilmerConfig())
    assert sum(p.numel() for p in made.parameters()) <= 0.5e6
