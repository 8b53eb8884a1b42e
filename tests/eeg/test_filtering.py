import numpy as np
import pytest

from milmer.eeg.filtering import band_pass, correct_baseline, high_pass, notch

SFREQ = 128.0
TIME = np.arange(15 * 128) / SFREQ


def wave(frequency):
    return np.sin(2 * np.pi * frequency * TIME)


def test_a_notch_takes_the_mains_and_leaves_the_rest_in_phase():
    mains = notch(wave(10) + 5 * wave(50), SFREQ, 50.0)
    np.testing.assert_allclose(mains[450:-450], wave(10)[450:-450], atol=0.02)
    np.testing.assert_allclose(notch(wave(45), SFREQ, 50.0), wave(45), atol=0.1)


def test_no_notch_leaves_the_data():
    eeg = np.ones((2, 400))
    assert notch(eeg, SFREQ, None) is eeg


@pytest.mark.parametrize("frequency", [64.0, 70.0])
def test_a_notch_at_or_above_half_the_rate_is_refused(frequency, refused):
    with refused("eeg.notch", f"{frequency:g} Hz", "128 Hz"):
        notch(np.zeros((1, 2000)), SFREQ, frequency)


def test_a_high_pass_takes_drift_and_keeps_waves():
    eeg = (200 * TIME + 10 * wave(10))[None]
    np.testing.assert_allclose(
        high_pass(eeg, SFREQ, 1.0)[0, 256:-256], 10 * wave(10)[256:-256], atol=0.5
    )


def test_notch_and_band_pass_are_linear_and_can_change_places():
    eeg = np.random.default_rng(0).standard_normal((2, 1920))
    notch_first = band_pass(notch(eeg, SFREQ, 50.0), SFREQ, (1, 50))
    band_first = notch(band_pass(eeg, SFREQ, (1, 50)), SFREQ, 50.0)
    np.testing.assert_allclose(notch_first[:, 500:-500], band_first[:, 500:-500], atol=1e-2)


@pytest.fixture
def trial():
    noise = np.random.default_rng(0).standard_normal((3, 1000))
    return noise * [[1], [10], [100]] + [[5], [-50], [500]]


def test_the_mean_before_the_video_is_taken_from_each_channel(trial):
    corrected = correct_baseline(trial, trial[:, :384], "subtract")
    np.testing.assert_allclose(corrected[:, :384].mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(corrected - corrected[:, :1], trial - trial[:, :1])


def test_a_zscore_counts_in_the_spread_before_the_video(trial):
    corrected = correct_baseline(trial, trial[:, :384], "zscore")
    assert corrected.shape == trial.shape
    np.testing.assert_allclose(corrected[:, :384].mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(corrected[:, :384].std(axis=1), 1)
    louder = trial.copy()
    louder[:, 384:] *= 3
    np.testing.assert_allclose(
        correct_baseline(louder, louder[:, :384], "zscore")[:, :384], corrected[:, :384]
    )


def test_a_zscore_of_a_flat_baseline_is_in_microvolts(trial):
    trial[1, :384] = 7 + 1e-9 * trial[1, :384]  # flat up to rounding
    corrected = correct_baseline(trial, trial[:, :384], "zscore")
    np.testing.assert_allclose(corrected[1, 384:], trial[1, 384:] - 7, atol=1e-6)
    assert np.isfinite(corrected).all()
