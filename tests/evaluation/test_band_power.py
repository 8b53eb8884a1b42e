"""The baseline: what it sees, what it learns from, and what it finds where there is nothing."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import signal
from scipy.stats import binom

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.errors import MilmerError
from milmer.evaluation.band_power import class_probabilities, log_band_power
from milmer.evaluation.baseline_options import BASELINES, BandPowerOptions
from milmer.evaluation.baselines import METHODS, make_baseline
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize

BANDS = BandPowerOptions().bands


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """Trials and segments of a twin whose EEG has a class, and a mark of each trial."""
    folder = tmp_path_factory.mktemp("twin")
    twin = {"subjects": 1, "trials": 24, "seconds": 12, "no_video": [1]}
    synthesize(folder / "deap", TwinOptions(**twin, eeg_signal=1, fingerprint=1))
    trials, segments = folder / "trials/s01.parquet", folder / "segments/s01.h5"
    make_trials(folder / "deap", "s01", TrialsOptions(), trials)
    make_segments(trials, folder / "deap", SegmentsOptions(), segments, read_recording)
    return trials, segments


@pytest.fixture
def tested(subject, tmp_path):
    """``tested(protocol, **options)``: predictions of all folds and their provenance."""

    def run(protocol, **options):
        trials, segments = subject
        parts = []
        for fold in ["s01"] if protocol == "segment" else [f"s01-k{k}" for k in range(4)]:
            split, out = tmp_path / "split.parquet", tmp_path / f"{fold}.parquet"
            make_split([trials], protocol, fold, SplitOptions(folds=4, **options), split)
            make_baseline("band_power", split, [segments], BandPowerOptions(), out)
            parts.append(storage.read_table(out, "baseline"))
        return pd.concat(parts, ignore_index=True), storage.read_provenance(out)

    return run


def right(table):
    p = table[[c for c in table if c.startswith("p_")]].to_numpy()
    assert p.sum(1) == pytest.approx(1)
    return p.argmax(1) == table["label"]


def test_features_are_the_power_of_each_band_in_the_order_of_channels():
    time = np.arange(384) / 128
    eeg = np.random.default_rng(0).normal(0, 0.1, (2, 3, 384))
    eeg[0, 1] += 10 * np.sin(2 * np.pi * 10 * time)  # alpha in the second channel
    features = log_band_power(eeg, 128.0, BANDS).reshape(2, 3, 4)
    plain = features[1].mean()
    assert features[0, 1].argmax() == 1
    assert features[0, 1, 1] > plain + 5
    assert np.abs(features[0, [0, 2]] - plain).max() < 1
    frequency, density = signal.periodogram(eeg, 128.0, window="boxcar", detrend=False)
    low, high = BANDS[2]
    theirs = np.log(density[..., (frequency >= low) & (frequency < high)].mean(-1))
    apart = features[..., 2] - theirs
    assert apart == pytest.approx(apart[0, 0])  # but for a constant, that of the units


def test_a_band_without_a_frequency_is_left_out_and_none_at_all_is_an_error():
    eeg = np.random.default_rng(0).normal(size=(5, 2, 96))
    assert log_band_power(eeg, 32.0, BANDS).shape == (5, 2 * 3)
    with pytest.raises(MilmerError, match=r"segmentation\.seconds: .* at 128 Hz have no frequency"):
        log_band_power(eeg[..., :2], 128.0, BANDS)


def test_a_class_that_was_not_trained_has_no_probability():
    rng = np.random.default_rng(0)
    known, new = rng.normal(size=(20, 4)), rng.normal(size=(3, 4))
    p = class_probabilities(known, np.repeat([0, 2], 10), new, 4, 1.0)
    assert (p[:, [1, 3]] == 0).all()
    assert (class_probabilities(known, np.full(20, 3), new, 4, 1.0) == np.eye(4)[[3, 3, 3]]).all()


def test_it_tests_each_segment_of_the_test_parts_once(tested, subject):
    table, made = tested("trial")
    with storage.open_h5(subject[1]) as file:
        held = set(zip(file["trial"][()], file["position"][()], strict=True))
    found = list(zip(table["trial"], table["position"], strict=True))
    assert len(found) == len(held)
    assert set(found) == held
    assert sum(made["facts"]["shares"]) == pytest.approx(1)
    assert made["options"] == {"bands": [[4, 8], [8, 13], [13, 30], [30, 45]], "c": 1.0}


def test_it_learns_from_the_training_part_alone(subject, tmp_path):
    trials, segments = subject
    split = tmp_path / "split.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)
    parts = storage.read_table(split).set_index(["trial", "position"])["part"]

    def probabilities(changed):
        out = tmp_path / "s01.h5"
        out.write_bytes(segments.read_bytes())
        with storage.open_h5(out) as file:
            key = list(zip(file["trial"][()], file["position"][()], strict=True))
        chosen = np.array([parts[k] == changed for k in key])
        with h5py.File(out, "r+") as file:
            eeg = file["eeg"][()]
            eeg[chosen] *= np.linspace(1, 30, 32)[:, None]
            file["eeg"][...] = eeg
            file.attrs["digest"] = storage.content_digest(file)
        make_baseline("band_power", split, [out], BandPowerOptions(), tmp_path / "out.parquet")
        table = storage.read_table(tmp_path / "out.parquet")
        return table[[c for c in table if c.startswith("p_")]].to_numpy()

    plain = probabilities("nothing")
    np.testing.assert_array_equal(probabilities("val"), plain)
    assert np.abs(probabilities("train") - plain).max() > 0.1


def test_the_same_inputs_give_the_same_bytes(subject, tmp_path):
    trials, segments = subject
    split = tmp_path / "split.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)
    outs = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for out in outs:
        make_baseline("band_power", split, [segments], BandPowerOptions(), out)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_split_that_leaks_is_refused(subject, tmp_path, refused):
    trials, segments = subject
    split = tmp_path / "split.parquet"
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=4), split)
    table, made = storage.read_table(split), storage.read_provenance(split)
    table.loc[(table["part"] == "test").idxmax(), "part"] = "train"
    storage.write_table(split, table, made)
    with refused("leaks: s01, trial", nothing_in=tmp_path):
        make_baseline("band_power", split, [segments], BandPowerOptions(), tmp_path / "out.parquet")


def test_a_control_is_at_chance_where_nothing_leaks_and_high_where_trials_do(tested):
    """A class that is there is found; with exchanged ratings only what a leak shows is left."""
    control = {"labels": {"permuted": True}}
    plain, permuted = (right(tested("trial", **o)[0]) for o in ({}, control))
    assert plain.mean() > 0.8
    # Segments of a trial go together: what is counted is trials.
    assert binom.sf(round(permuted.mean() * 24) - 1, 24, 0.25) > 0.05, permuted.mean()
    leaky, made = tested("segment", **control)
    named = right(leaky)
    assert binom.sf(named.sum() - 1, len(named), 0.25) < 1e-4, named.mean()
    assert (made["facts"]["leaky"], made["facts"]["permuted"]) == (True, True)


def test_each_baseline_has_a_method():
    assert set(METHODS) == set(BASELINES), "milmer/evaluation/baselines.py: METHODS"
