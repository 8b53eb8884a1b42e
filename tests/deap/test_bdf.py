"""Original recordings: as the laboratories left them, and what is read of them."""

import json
import random
import shutil
from contextlib import suppress

import edfio
import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.deap import bdf
from milmer.deap.layout import GENEVA, TWENTE
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.filtering import band_pass
from milmer.errors import MilmerError

BDF = "data_original/s01.bdf"
SECOND = 512


def signal(values, label="", limit=2**23, rate=SECOND):
    unit = "Boolean" if limit == 2**23 else "uV"
    span = (-limit, limit - 1)
    return edfio.BdfSignal(values, rate, label=label, physical_dimension=unit, physical_range=span)


@pytest.fixture
def recording(tmp_path):
    """Write a recording of ``seconds`` with markers ``{second: code}`` and given channels."""

    def write(markers, seconds=20, order=TWENTE, status="Status", upper=0, after=(), **channels):
        n, noise = seconds * SECOND, np.random.default_rng(0)
        words = np.full(n, upper)
        for at, code in markers.items():
            words[int(at * SECOND) : int(at * SECOND) + 8] = upper | code
        values = {name: noise.standard_normal(n) * 20 for name in order}
        values |= {f"EXG{i}": noise.standard_normal(n) * 20 for i in range(1, 9)} | channels
        signals = [signal(x, name, 262144) for name, x in values.items() if x is not None]
        words = np.where(words >= 2**23, words - 2**24, words)
        signals.append(signal(words.astype(float), status))
        signals += [signal(np.full(n, float(value))) for value in after]
        path = tmp_path / "s01.bdf"
        edfio.Bdf(signals).write(path)
        return path

    return write


def table(root, subject="s01", source="bdf", out=None):
    path = (out or root.parent) / f"{subject}-{source}.parquet"
    make_trials(root, subject, TrialsOptions(source=source), path)
    return storage.read_table(path, "trials")


def trials_of(root, subject, source, out, band=(4, 45)):
    """Band-passed and average-referenced trials by their number."""
    trials = table(root, subject, source, out)
    recording = read_recording(root, trials)
    return {
        e: band_pass(x - x.mean(axis=0), recording.sfreq, band) for e, x in recording.eeg.items()
    }


# ------------------------------------------------------------------- what is read


def alike(first, second):
    """Correlation of each channel over all trials, 1 s left out at each trial's edges."""
    common = sorted(set(first) & set(second))
    stop = {e: min(x[e].shape[1] for x in (first, second)) - 128 for e in common}
    a, b = (
        np.concatenate([x[e][:, 512 : stop[e]] for e in common], axis=1) for x in (first, second)
    )
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(a, b, strict=True)])


def test_the_twins_original_and_preprocessed_eeg_are_the_same(twin, tmp_path):
    inside = (6, 40)  # the twin's own filter is a brick wall at 4 and 45 Hz
    for subject in ("s01", "s02"):
        original = trials_of(twin, subject, "bdf", tmp_path, inside)
        assert sorted(original) == list(range(1, 9))
        preprocessed = trials_of(twin, subject, "dat", tmp_path, inside)
        assert alike(original, preprocessed).min() > 0.99


@pytest.fixture(scope="module")
def quirky(deap_from_real):
    """Real EEG with the quirks of both laboratories: upper bits, no name, a 49th channel, gaps."""
    size = ["--subjects", "1", "24", "--trials", "8", "--no-video", "1", "24"]
    quirks = ["--extra-unnamed", "--drop-onsets", "3", "--formats", "dat", "bdf"]
    return deap_from_real("quirky", *size, *quirks)


@pytest.mark.parametrize("subject", ["s01", "s24"])
def test_real_eeg_of_both_kinds_of_file_is_alike(quirky, subject, tmp_path):
    original = trials_of(quirky, subject, "bdf", tmp_path)
    preprocessed = trials_of(quirky, subject, "dat", tmp_path)
    assert alike(original, preprocessed).min() >= 0.98
    first, *rest = original.values()
    others = dict(zip(original, [*rest, first], strict=True))
    assert abs(alike(others, preprocessed)).max() < 0.5  # had trials been mixed up


def test_a_missing_onset_leaves_its_trial_without_eeg(quirky, tmp_path, caplog):
    truth = json.loads((quirky / "truth.json").read_text())
    for subject in ("s01", "s24"):
        trials = table(quirky, subject, out=tmp_path).set_index("trial")
        assert trials.index[trials["eeg_file"].isna()].tolist() == [4]
        assert trials.loc[4, ["eeg_start", "eeg_seconds"]].isna().all()
        kept = trials.drop(4)
        assert set(kept["eeg_seconds"]) == {12.0}
        assert kept.sort_index()["eeg_start"].is_monotonic_increasing
        by_trial = truth[subject]["experiment_id_of_trial"]
        assert trials["experiment_id"].to_dict() == {int(t): e for t, e in by_trial.items()}
    assert "no onset in" in caplog.text
    assert "of trials [4]; they have no EEG" in caplog.text


def test_channels_are_picked_by_name(recording):
    time = np.arange(20 * SECOND) / SECOND
    marked = {name: 10 * np.sin(2 * np.pi * (4 + i) * time) for i, name in enumerate(GENEVA)}
    for order in (TWENTE, GENEVA, [name.upper() for name in GENEVA]):
        given = {name: marked[GENEVA[[g.upper() for g in GENEVA].index(name.upper())]]
                 for name in order}  # fmt: skip
        eeg = bdf.read_trials(recording({8: 4}, order=order, **given), {1: 8.0}, {1: 6.0}).eeg
        power = np.abs(np.fft.rfft(eeg[1]))
        np.testing.assert_allclose(
            power.argmax(axis=1) * 128 / eeg[1].shape[1], 4 + np.arange(32), atol=0.1
        )


def test_eog_is_the_difference_of_its_electrodes(recording):
    time = np.arange(20 * SECOND) / SECOND
    slow, fast = np.sin(2 * np.pi * 2 * time), np.sin(2 * np.pi * 8 * time)
    given = {"EXG1": 50 + 3 * slow, "EXG2": slow, "EXG3": fast, "EXG4": -3 * fast}
    eog = bdf.read_trials(recording({8: 4}, **given), {1: 8.0}, {1: 6.0}).eog
    expected = np.stack([2 * slow, 4 * fast])[:, 5 * SECOND : 17 * SECOND : 4]
    np.testing.assert_allclose(eog[1], expected - expected.mean(1, keepdims=True), atol=0.05)


def test_a_recording_without_eog_electrodes_has_none(recording):
    eog = bdf.read_trials(recording({8: 4}, EXG3=None), {1: 8.0}, {1: 6.0}).eog
    assert eog is None


def test_what_lies_above_the_new_rate_is_taken_out_first(recording):
    time = np.arange(20 * SECOND) / SECOND
    path = recording({8: 4}, Oz=100 * np.sin(2 * np.pi * 118 * time))  # would fold back to 10 Hz
    eeg = bdf.read_trials(path, {1: 8.0}, {1: 6.0}).eeg
    assert np.abs(eeg[1][GENEVA.index("Oz")]).max() < 1


def test_resampling_does_not_shift_time(recording):
    pulse = np.zeros(20 * SECOND)
    pulse[int(9.5 * SECOND) - 20 : int(9.5 * SECOND) + 21] = 100 * np.hanning(41)
    eeg = bdf.read_trials(recording({8: 4}, Cz=pulse), {1: 8.0}, {1: 6.0}).eeg
    assert eeg[1][GENEVA.index("Cz")].argmax() == (3 + 1.5) * 128


def test_a_large_offset_of_an_electrode_leaves_no_trace(recording):
    wave = np.sin(2 * np.pi * 10 * np.arange(20 * SECOND) / SECOND)
    path = recording({8: 4}, Cz=40000 + 10 * wave, Pz=10 * wave)
    eeg = bdf.read_trials(path, {1: 8.0}, {1: 6.0}).eeg
    first, second = (eeg[1][GENEVA.index(name)] for name in ("Cz", "Pz"))
    np.testing.assert_allclose(first, second, atol=0.05)


@pytest.mark.parametrize(
    ("start", "margin", "before", "after"),
    [(8.0, 3, 3, 3), (8.0, 5, 5, 5), (1.0, 3, 1, 3), (12.5, 3, 3, 1.5)],
)
def test_a_trial_comes_with_what_is_recorded_around_it(recording, start, margin, before, after):
    read = bdf.read_trials(recording({1: 4}), {1: start}, {1: 6.0}, margin)
    assert read.before(1) == before
    assert read.eeg[1].shape == (32, (before + 6 + after) * 128)


def test_the_unit_of_gsr_does_not_matter(recording):
    """Geneva gave 1e9 over Twente's unit; nothing of it is read."""
    n = 20 * SECOND
    read = [
        bdf.read_trials(recording({8: 4}, GSR1=np.full(n, value)), {1: 8.0}, {1: 6.0}).eeg[1]
        for value in (20000.0, 50000.0)
    ]
    np.testing.assert_array_equal(*read)


# ------------------------------------------------------------------------ markers

PLAN = {1: 1, 2: 2, 3: 3, 6: 4, 12: 5, 13: 1, 15: 7}


def codes(path):
    markers = bdf.read_markers(path)
    return dict(zip(markers.time.tolist(), markers.code.tolist(), strict=True))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"status": ""},
        {"status": "", "after": [0]},
        {"status": "", "upper": 0x19FF00},
        {"status": "", "upper": 0x58FF00, "after": [0x58FF00]},
        {"status": "", "upper": 0xF9FF00, "after": [4]},
    ],
    ids=str,
)
def test_codes_are_found_whatever_the_status_channel_is_called_and_carries(recording, how):
    assert codes(recording(PLAN, **how)) == PLAN


def test_what_the_status_channel_is_like_is_told(recording):
    def seen(**how):
        markers = bdf.read_markers(recording(PLAN, **how))
        return markers.named, markers.spare, markers.upper_bits

    assert seen() == (True, 0, False)
    assert seen(status="") == (False, 0, False)
    assert seen(status="", upper=0x19FF00, after=[0x19FF00]) == (False, 1, True)
    assert seen(after=[0]) == (True, 1, False)


def test_the_channel_with_codes_is_found_where_it_comes_second(recording, tmp_path):
    path = recording(PLAN, status="", after=[0])
    whole = edfio.read_bdf(path)
    *others, status, empty = whole.signals
    edfio.Bdf([*others, empty, status]).write(path)
    assert codes(path) == PLAN


def test_a_marker_counts_once_however_long_it_lasts(recording):
    assert codes(recording({**PLAN, 6 + 8 / SECOND: 4})) == PLAN


def test_lengths_are_those_of_most_trials(recording):
    markers = bdf.read_markers(
        recording({1: 4, 7.01: 5, 8: 4, 13.99: 5, 15: 4, 21: 5, 22: 4, 25: 5, 28: 4}, seconds=30)
    )
    # The fourth was broken off, the recording ends in the fifth.
    assert markers.lengths.tolist() == [6.0, 6.0, 6.0, 3.0, 2.0]


# -------------------------------------------------------------------- bad input


@pytest.fixture
def copy(twin, tmp_path):
    return shutil.copytree(twin, tmp_path / "deap", ignore=shutil.ignore_patterns("*.avi"))


def test_a_recording_of_another_subject_is_refused(copy, refused):
    path = copy / "metadata_csv" / "participant_ratings.csv"
    ratings = pd.read_csv(path)
    ratings.loc[ratings["Participant_id"] == 1, "Start_time"] = np.arange(8) ** 2 * 70000
    ratings.to_csv(path, index=False)
    with refused("s01.bdf", "s01", "start", nothing_in=copy.parent):
        table(copy)


def test_a_recording_without_markers_is_refused(copy, recording, refused):
    shutil.copy(recording({}), copy / BDF)
    with refused("s01.bdf", "status 4", nothing_in=copy):
        table(copy)
    shutil.copy(recording(PLAN, status="Trigger1"), copy / BDF)
    with refused("s01.bdf", "no channel Status", nothing_in=copy):
        table(copy)


def test_a_missing_channel_is_named(recording, refused):
    with refused("s01.bdf", "no channel Oz"):
        bdf.read_trials(recording({8: 4}, Oz=None), {1: 8.0}, {1: 6.0})


@pytest.mark.parametrize("kept", [0, 5, 256, 3000, 0.5, -1])
def test_a_cut_off_recording_is_one_line(copy, kept, refused):
    whole = (copy / BDF).read_bytes()
    (copy / BDF).write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with refused("s01.bdf", nothing_in=copy):
        table(copy)


def test_a_damaged_header_is_never_anything_but_one_line(copy, tmp_path):
    whole = (copy / BDF).read_bytes()
    for seed in range(60):
        r = random.Random(seed)
        mutated = bytearray(whole)
        for _ in range(r.randint(1, 4)):
            mutated[r.randrange(256 * 49)] = r.randrange(256)
        (copy / BDF).write_bytes(mutated)
        with suppress(MilmerError):  # any other exception comes through
            read_recording(copy, table(copy))


def test_a_missing_recording_is_told_by_its_name(tmp_path, refused):
    with refused("s01.bdf: no such file"):
        bdf.read_markers(tmp_path / "s01.bdf")
