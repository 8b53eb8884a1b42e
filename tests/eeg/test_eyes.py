"""Real blinks are removed and alpha stays: EEGLAB's tutorial data, 30 channels and two of EOG."""

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.signal import find_peaks

from milmer.data.options import RecordingOptions
from milmer.data.segmentation import segment_grid
from milmer.deap import recordings as deap
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import cut_segments, margin_of, subject_segments
from milmer.manifest.recordings import read_recording

SFREQ = 128.0
WIRINGS = {
    "bipolar": (["EOG1", "EOG2"], ["EOG1"]),
    "single electrodes": (["EOG1"], ["EOG2"]),
}


@pytest.fixture(scope="module")
def prepared(recordings):
    """``prepared(heog, veog, **eeg)``: the whole recording, prepared, and the report."""

    def prepare(heog, veog, **eeg):
        chosen = SegmentsOptions.model_validate(
            {"eeg": eeg, "recording": RecordingOptions(heog=heog, veog=veog).model_dump()}
        )
        starts = [3.0 * i for i in range(1, 78)]  # trials of 3 s, side by side
        columns = ["trial", "eeg_file", "eeg_start", "eeg_seconds"]
        rows = [(i, "eeglab_data.set", start, 3.0) for i, start in enumerate(starts, 1)]
        table = pd.DataFrame(rows, columns=columns)
        folder, margin = recordings / "eeglab", margin_of(chosen)
        recording = read_recording(folder, table, chosen.recording, margin)
        grid = segment_grid([(i, 3.0) for i, *_ in rows], chosen.segmentation)
        segments, rejected, report = cut_segments(recording, grid, chosen)
        assert not any(rejected)
        whole = np.concatenate(list(segments.astype(np.float64)), axis=1)  # (channel, sample)
        return dict(zip(recording.channels, whole, strict=True)), report

    return prepare


def blinks(eeg, name="Fpz", height=60):
    """Samples at which a frontal channel peaks."""
    slow = mne.filter.filter_data(eeg[name], SFREQ, None, 10, verbose="error")
    return find_peaks(slow, height=height, distance=64)[0]


def blink(eeg, onsets, name="Fpz"):
    """Peak in µV of what is locked to blinks at a frontal channel."""
    epochs = [eeg[name][s - 64 : s + 64] for s in onsets if 64 < s < len(eeg[name]) - 64]
    locked = np.mean(epochs, axis=0)
    return np.abs(locked - np.median(locked)).max()


def alpha(eeg, name, onsets):
    """Power of 8 to 13 Hz half a second and more away from blinks."""
    band = mne.filter.filter_data(eeg[name], SFREQ, 8, 13, verbose="error")
    return (band[np.abs(np.arange(len(band))[:, None] - onsets).min(axis=1) > 64] ** 2).mean()


@pytest.mark.parametrize("wiring", list(WIRINGS))
def test_by_default_at_most_20_microvolts_of_a_blink_are_left_and_95_percent_of_alpha(
    prepared, wiring
):
    before, _ = prepared(*WIRINGS[wiring], artefacts="none")
    after, report = prepared(*WIRINGS[wiring])
    onsets = blinks(before)
    assert len(onsets) >= 18
    assert report["artefacts"] == "ica"
    assert blink(before, onsets) > 150
    assert blink(after, onsets) <= 20
    for name in ("Fz", "Oz"):
        assert 0.95 <= alpha(after, name, onsets) / alpha(before, name, onsets) <= 1.05


def test_regression_keeps_alpha_too(prepared):
    wiring = WIRINGS["single electrodes"]
    before, _ = prepared(*wiring, artefacts="none")
    after, _ = prepared(*wiring, artefacts="eog_regression")
    onsets = blinks(before)
    assert blink(after, onsets) < 0.7 * blink(before, onsets)
    for name in ("Fz", "Oz"):
        assert 0.95 <= alpha(after, name, onsets) / alpha(before, name, onsets) <= 1.05


@pytest.mark.parametrize("subject", ["s01", "s02"])
def test_original_recordings_of_deap_lose_blinks_and_keep_alpha(deap_from_real, tmp_path, subject):
    options = ("--subjects", "1", "2", "--trials", "16", "--seconds", "15", "--formats", "bdf")
    root = deap_from_real("eyes", *options, "--no-video", "1", "2")
    trials = tmp_path / f"{subject}.parquet"
    make_trials(root, subject, TrialsOptions(source="bdf"), trials)

    def prepare(**eeg):
        options = SegmentsOptions.model_validate({"eeg": eeg})
        segments = subject_segments(trials, root, options, deap.read_recording)
        whole = np.concatenate(list(segments.eeg.astype(np.float64)), axis=1)
        return dict(zip(segments.channels, whole, strict=True)), segments.cleaned

    before, _ = prepare(artefacts="none")
    after, report = prepare()
    assert report["artefacts"] == "ica"
    onsets = blinks({"both": (before["Fp1"] + before["Fp2"]) / 2}, "both", 50)  # blinks are even
    assert len(onsets) > 80
    for name in ("Fp1", "Fp2"):
        assert blink(before, onsets, name) > 130
        assert blink(after, onsets, name) <= 20
    for name in ("Fz", "Oz"):
        assert 0.95 <= alpha(after, name, onsets) / alpha(before, name, onsets) <= 1.05
