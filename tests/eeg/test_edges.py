"""Segments are those of the continuous recording, to the last sample of a trial."""

import mne
import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.data.options import RecordingOptions
from milmer.deap.layout import GENEVA
from milmer.deap.recordings import read_recording as read_deap
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import cut_segments, make_segments, margin_of, segment_grid
from milmer.manifest.recordings import read_recording
from milmer.prediction.eeg import ArrayEEG, ContinuousEEG
from milmer.prediction.recipe import EEGRecipe
from milmer.readers.eeg import EEGFile
from milmer.readers.parts import Part, read_with_margins
from tests.manifest.recordings import edf, fif, waves

NAMES = ["Fp1", "Fp2", "C3", "C4", "P3", "P4", "O1", "O2", "Cz"]
STARTS = {1: 4.5, 2: 11.25, 4: 20.0, 7: 27.5}
"""Where trials of 6 s begin, on the grid of 128 Hz; the last ends 0.5 s before the recording."""


def options(**eeg):
    changes = {"artefacts": "none", "bad_channels": "keep"} | eeg
    return SegmentsOptions.model_validate(
        {"eeg": changes, "recording": RecordingOptions().model_dump()}
    )


def continuous(path, picks, chosen, sfreq=128.0):
    """The whole recording as MNE filters it: (channel, sample) in µV."""
    raw = mne.io.read_raw(path, preload=True, verbose="error").pick(picks)
    raw.reorder_channels(picks)
    raw.resample(sfreq, method="polyphase", verbose="error")
    x = raw.get_data() * 1e6
    if chosen.notch:
        x = mne.filter.notch_filter(x, sfreq, chosen.notch, verbose="error")
    if chosen.band:
        x = mne.filter.filter_data(x, sfreq, *chosen.band, verbose="error")
    return x - x.mean(axis=0)


def trials_table(path):
    rows = [(e, path.name, start, 6.0) for e, start in STARTS.items()]
    return pd.DataFrame(rows, columns=["trial", "eeg_file", "eeg_start", "eeg_seconds"])


@pytest.mark.parametrize("sfreq", [160.0, 200.0, 512.0])
@pytest.mark.parametrize(
    "eeg", [{}, {"band": [0.5, 40.0]}, {"notch": 50.0}], ids=["default", "slow", "notch"]
)
@pytest.mark.parametrize("write", [edf, fif])
def test_segments_of_a_file_are_those_of_mne_on_the_whole_of_it(tmp_path, write, sfreq, eeg):
    path = tmp_path / f"a_raw.{write.__name__}"
    write(path, waves(len(NAMES), 34, sfreq), NAMES, sfreq=sfreq)
    chosen = options(**eeg)
    margin = margin_of(chosen)
    assert margin == {"{}": 3, "{'band': [0.5, 40.0]}": 4, "{'notch': 50.0}": 5}[str(eeg)]
    recording = read_recording(tmp_path, trials_table(path), chosen.recording, margin)
    assert {e: recording.before(e) for e in STARTS} == {
        e: min(margin, s) for e, s in STARTS.items()
    }
    grid = segment_grid([(e, 6.0) for e in STARTS], chosen.segmentation)
    segments, _, _ = cut_segments(recording, grid, chosen)
    whole = continuous(path, NAMES, chosen.eeg)
    for segment, x in zip(grid, segments, strict=True):
        first = round((STARTS[segment.trial] + segment.start) * 128)
        # The last trial ends so near the recording's end that no filter can know what followed.
        settled = slice(0, 250 if segment.trial == 7 and segment.position else None)
        expected = whole[:, first : first + 384]
        assert np.abs(x - expected)[:, settled].max() < 0.05


def test_segments_of_an_original_recording_are_those_of_mne_on_the_whole_of_it(twin, tmp_path):
    trials, chosen = tmp_path / "s01.parquet", options().updated({"recording": None})
    make_trials(twin, "s01", TrialsOptions(source="bdf"), trials)
    make_segments(trials, twin, chosen, tmp_path / "s01.h5", read_deap)
    table = storage.read_table(trials).set_index("trial")
    whole = continuous(twin / table["eeg_file"].iloc[0], GENEVA, chosen.eeg)
    with storage.open_h5(tmp_path / "s01.h5", "segments") as file:
        rows = zip(file["trial"][()], file["start"][()], file["eeg"][()], strict=True)
        for trial, start, x in rows:
            first = round((table.loc[trial, "eeg_start"] + start) * 128)
            assert np.abs(x - whole[:, first : first + 384]).max() < 0.05
        assert len(file["start"]) == 16


def test_a_prediction_reads_what_is_recorded_around_its_stretch(tmp_path):
    chosen = options()
    path = fif(tmp_path / "a_raw.fif", waves(len(NAMES), 34), NAMES)
    recipe = EEGRecipe(
        channels=NAMES,
        sfreq=128.0,
        trial_seconds=6.0,
        options=chosen,
        source="manifest",
        artefacts="none",
    )
    whole = continuous(path, NAMES, chosen.eeg)
    raw = mne.io.read_raw(path, verbose="error")
    for signal in (EEGFile(path, NAMES), ArrayEEG(raw.get_data() * 1e6, 200.0)):
        eeg = ContinuousEEG("a", signal, recipe, None, 8.0, 18.0)  # three blocks of 6 s
        grid = segment_grid([(0, 18.0)], chosen.segmentation)
        for segment, x in zip(grid, eeg.segments(grid), strict=True):
            first = round((8.0 + segment.start) * 128)
            assert np.abs(x - whole[:, first : first + 384]).max() < 0.05


class Held:
    """A recording of two parts, 0 to 20 and 30 to 60 s, that says which stretch is read."""

    def __init__(self, bad_until=0.0):
        self.read, self.bad_until = [], bad_until

    def part(self, start):
        return Part(0.0, 0.0, 20.0) if start < 30 else Part(30.0, 20.0, 30.0)

    def trial(self, start, seconds, sfreq):
        self.read.append((start, start + seconds))
        x = np.zeros((2, round(seconds * sfreq)))
        x[0, : max(0, round((self.bad_until - start) * sfreq))] = np.nan
        return x


@pytest.mark.parametrize(
    ("start", "span", "before"),
    [
        (10.0, (7.0, 19.0), 3.0),
        (13.0, (10.0, 20.0), 3.0),  # a gap follows
        (32.0, (30.0, 41.0), 2.0),  # a gap came before
        (52.5, (49.5, 60.0), 3.0),
    ],
)
def test_margins_end_at_gaps_and_at_the_recordings_ends(start, span, before):
    signal = Held()
    assert read_with_margins(signal, start, 6.0, 128.0, 3, None)[1:] == (None, before)
    assert signal.read == [span]


def test_margins_that_are_not_finite_are_not_used():
    signal = Held(bad_until=9.0)
    x, _, before = read_with_margins(signal, 10.0, 6.0, 128.0, 3, None)
    assert signal.read == [(7.0, 19.0), (10.0, 16.0)]
    assert (x.shape, before, np.isfinite(x).all()) == ((2, 768), 0.0, True)
