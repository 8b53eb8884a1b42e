import dataclasses
import json
import pickle

import mne
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from milmer import storage
from milmer.data.labels import label
from milmer.data.options import LabelsOptions
from milmer.data.recording import Recording
from milmer.data.segmentation import segment_grid
from milmer.deap.layout import GENEVA
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.filtering import band_pass
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import cut_segments, make_segments, scramble
from tests.conftest import GOLDEN

DAT = "data_preprocessed_python/s01.dat"


def options(seconds=3, overlap=0, **eeg):
    # The channels made up here are no good ones; tests/eeg/test_cleaning.py has those.
    eeg = {"artefacts": "none", "bad_channels": "keep"} | eeg
    cutting = {"seconds": seconds, "overlap": overlap}
    return SegmentsOptions.model_validate({"eeg": eeg, "segmentation": cutting})


def cut(recording, chosen):
    trials = [
        (e, x.shape[-1] / recording.sfreq - recording.baseline) for e, x in recording.eeg.items()
    ]
    return cut_segments(recording, segment_grid(trials, chosen.segmentation), chosen)[0]


KIND = {"referenced": True, "channels": tuple(GENEVA), "sfreq": 128.0}


def recording(eeg, **about):
    """A recording of (trial, channel, sample) in µV."""
    trials = {row + 1: trial for row, trial in enumerate(eeg)}
    return Recording(trials, None, **(KIND | about))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "eeg_segments.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("layout", "name"), [("as_published", "as_published"), ("channels_by_time", "corrected")]
)
def test_segments_are_the_golden_ones(golden, layout, name):
    drawn = np.random.RandomState(golden["seed"]).standard_normal((40, 40, 8064)) * 10
    wanted = golden["trials"]  # rows, of which only these are filtered
    segments = cut(recording(drawn[wanted, :32]), options(layout=layout))
    segments = segments.reshape(len(wanted), 20, 32, 384)[:, golden["segments"]]
    np.testing.assert_allclose(
        segments[..., :: golden["time_step"]], golden[name], rtol=0, atol=1e-3
    )


def test_the_published_quadrant_rule_is_the_golden_one(golden):
    ratings = pd.DataFrame(golden["labels"][:, :2], columns=["valence", "arousal"])
    rule = LabelsOptions(ties="as_published")
    border = {"valence": 5.0, "arousal": 5.0}
    np.testing.assert_array_equal(label(ratings, border, rule), golden["quadrants_as_published"])


def test_segments_of_a_file_are_those_of_its_trials(twin, twin_results):
    with storage.open_h5(twin_results / "segments/default/s01.h5", "segments") as file:
        stored = {name: data[()] for name, data in file.items()}
        assert json.loads(file.attrs["channels"]) == GENEVA
        assert file.attrs["sfreq"] == 128
    assert stored["experiment_id"].tolist() == [e for e in range(1, 9) for _ in range(2)]
    trials = storage.read_table(twin_results / "trials/s01.parquet")
    assert stored["trial"].tolist() == [t for t in trials["trial"] for _ in range(2)]
    assert stored["position"].tolist() == [0, 1] * 8
    assert stored["start"].tolist() == [0.0, 3.0] * 8
    filtered = mne.filter.filter_data(
        read_preprocessed(twin / DAT).eeg, 128.0, 1.0, 50.0, verbose="error"
    )
    parts = filtered[..., 384:].reshape(8, 32, 2, 384).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(stored["eeg"], parts.reshape(16, 32, 384), rtol=0, atol=1e-4)


def test_trials_of_12_s_give_four_segments_each():
    eeg = np.random.default_rng(0).standard_normal((3, 32, 15 * 128))
    segments = cut(recording(eeg), options(band=None))
    assert segments.shape == (12, 32, 384)
    np.testing.assert_array_equal(segments[5], eeg[1, :, 6 * 128 : 9 * 128].astype(np.float32))


@pytest.mark.parametrize("seconds", [3, 2, 2.5])
def test_the_rest_of_a_trial_that_fills_no_segment_is_dropped(seconds):
    eeg = np.random.default_rng(0).standard_normal((1, 32, round(11.9 * 128)))
    segments = cut(recording(eeg), options(seconds, band=None))
    assert segments.shape == (int(8.9 / seconds), 32, seconds * 128)
    length = segments.shape[0] * segments.shape[2]
    np.testing.assert_array_equal(
        segments.transpose(1, 0, 2).reshape(32, -1),
        eeg[0, :, 384 : 384 + length].astype(np.float32),
    )


@pytest.mark.parametrize("layout", ["channels_by_time", "as_published"])
def test_the_baseline_is_dropped(layout):
    eeg = np.zeros((2, 32, 9 * 128))
    eeg[..., 384:] = 7  # a step where the music video starts
    assert (cut(recording(eeg), options(layout=layout, band=None)) == 7).all()


def test_the_baseline_takes_the_edge_of_the_filter():
    time = np.arange(9 * 128) / 128
    eeg = np.tile(10 * np.sin(2 * np.pi * 10 * time + 1), (1, 32, 1))
    segments = cut(recording(eeg), options())
    np.testing.assert_allclose(segments[0], eeg[0, :, 384:768], atol=0.2)


def test_a_band_keeps_what_is_in_it_and_takes_the_rest():
    time = np.arange(63 * 128) / 128
    inside, outside = np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 30 * time)
    eeg = np.tile(inside + outside, (1, 32, 1))
    filtered = band_pass(eeg, 128, (4, 20))[0, 0, 640:-640]
    np.testing.assert_allclose(filtered, inside[640:-640], atol=0.02)


@pytest.mark.parametrize("samples", [400, 1000, 8064])
@pytest.mark.parametrize("band", [(1.0, 50.0), (4.0, 45.0)])
def test_the_filter_is_that_of_mne(samples, band):
    eeg = np.random.default_rng(1).standard_normal((2, 3, samples)) * 10
    expected = mne.filter.filter_data(eeg, 128.0, *band, verbose="error")
    np.testing.assert_allclose(band_pass(eeg, 128.0, band), expected, rtol=0, atol=1e-9)


def test_scrambling_mixes_channels_and_time_as_published():
    trial = np.arange(32 * 640).reshape(32, 640)
    mixed = scramble(trial)
    assert mixed.shape == trial.shape
    # the first channel's samples are spread over all channels at the first 20 times
    assert mixed[:, :20].T.ravel().tolist() == trial[0].tolist()


def test_no_band_leaves_the_data(twin, twin_results, tmp_path):
    trials = twin_results / "trials" / "s01.parquet"
    make_segments(trials, twin, options(band=None), tmp_path / "s01.h5", read_recording)
    with storage.open_h5(tmp_path / "s01.h5", "segments") as file:
        eeg = file["eeg"][:2]
    data = pickle.loads((twin / DAT).read_bytes())["data"]
    whole = np.concatenate(list(eeg), axis=-1)
    np.testing.assert_array_equal(whole, data[0, :32, 384:].astype(np.float32))


@pytest.mark.parametrize("high", [64, 70])
def test_a_band_at_or_above_half_the_rate_is_refused(twin, twin_results, tmp_path, high, refused):
    trials = twin_results / "trials" / "s01.parquet"
    with refused("eeg.band", f"{high} Hz", "128 Hz", nothing_in=tmp_path):
        make_segments(trials, twin, options(band=(1, high)), tmp_path / "s01.h5", read_recording)


def test_trials_shorter_than_a_segment_are_refused(twin, twin_results, tmp_path, refused):
    trials = twin_results / "trials" / "s01.parquet"
    with refused("6 s", "7 s", "segmentation.seconds", nothing_in=tmp_path):
        make_segments(trials, twin, options(7), tmp_path / "s01.h5", read_recording)


def test_trials_without_eeg_are_refused(twin, twin_results, tmp_path, refused):
    table = storage.read_table(twin_results / "trials" / "s01.parquet")
    table["eeg_file"] = pd.Series([None] * len(table), dtype="string")
    provenance = storage.provenance("trials", "milmer.deap.trials", {}, {})
    storage.write_table(tmp_path / "s01.parquet", table, provenance)
    with refused("s01.parquet", "dataset.root", nothing_in=tmp_path):
        make_segments(
            tmp_path / "s01.parquet", twin, options(), tmp_path / "s01.h5", read_recording
        )


def test_a_recording_that_is_not_the_one_of_the_trials_is_refused(
    twin, twin_results, tmp_path, refused
):
    content = pickle.loads((twin / DAT).read_bytes())
    trials = twin_results / "trials" / "s01.parquet"
    shorter = {
        "fewer": {name: array[:5] for name, array in content.items()},
        "shorter": content | {"data": content["data"][..., :800]},
        "other": content | {"data": content["data"][::-1]},
    }
    for name, changed in shorter.items():
        root = tmp_path / name
        (root / DAT).parent.mkdir(parents=True)
        (root / DAT).write_bytes(pickle.dumps(changed, 2))
        with refused(str(root / DAT), str(trials), "trials again", nothing_in=tmp_path):
            make_segments(trials, root, options(), tmp_path / "s01.h5", read_recording)


def test_a_variant_lives_beside_the_default_with_its_own_options(twin, twin_results, tmp_path):
    trials = twin_results / "trials" / "s01.parquet"
    chosen = options(layout="as_published")
    make_segments(trials, twin, chosen, tmp_path / "s01.h5", read_recording)
    about = storage.read_provenance(tmp_path / "s01.h5")
    assert about["options"] == json.loads(chosen.result_json())
    first = twin_results / "segments/default/s01.h5"
    assert about["inputs"] == storage.read_provenance(first)["inputs"]
    assert storage.digest(tmp_path / "s01.h5") != storage.digest(first)


def test_a_recording_of_another_rate_is_cut_by_seconds():
    slow = dataclasses.replace(recording(np.ones((1, 32, 9 * 100))), sfreq=100.0)
    assert cut(slow, options(band=None)).shape == (2, 32, 300)


def test_trials_may_differ_in_length():
    r = np.random.default_rng(0)
    mixed = [r.standard_normal((32, samples)) for samples in (9 * 128, 6 * 128, 5 * 128)]
    segments = cut(recording(mixed), options(band=None))
    assert segments.shape == (3, 32, 384)  # two, one and none
    np.testing.assert_array_equal(segments[2], mixed[1][:, 384:].astype(np.float32))


def test_overlapping_segments_share_their_samples():
    eeg = np.random.default_rng(0).standard_normal((2, 32, 9 * 128))
    segments = cut(recording(eeg), options(overlap=2, band=None)).reshape(2, 4, 32, 384)
    for shift in range(4):
        first = 384 + 128 * shift
        np.testing.assert_array_equal(
            segments[:, shift], eeg[..., first : first + 384].astype(np.float32)
        )


def test_a_baseline_that_is_subtracted_is_that_of_the_trial():
    eeg = np.zeros((2, 32, 9 * 128))
    eeg[0, :, :384], eeg[0, :, 384:], eeg[1] = 5, 7, 3
    segments = cut(recording(eeg), options(baseline="subtract", band=None))
    assert segments[:2].min() == segments[:2].max() == 2
    assert (segments[2:] == 0).all()


def test_a_notch_takes_the_mains_out():
    time = np.arange(63 * 128) / 128
    eeg = np.tile(10 * np.sin(2 * np.pi * 50 * time) + np.sin(2 * np.pi * 10 * time), (1, 32, 1))
    segments = cut(recording(eeg), options(band=None, notch=50))
    inner = segments[4:16].transpose(1, 0, 2).reshape(32, -1)
    assert inner.std() == pytest.approx(np.sqrt(0.5), rel=0.02)


@pytest.mark.parametrize("subject", ["s01", "s02"])
def test_segments_of_an_original_recording_are_those_of_the_preprocessed_one(
    twin, subject, tmp_path
):
    stored = {}
    for source in ("dat", "bdf"):
        trials = tmp_path / f"{source}.parquet"
        make_trials(twin, subject, TrialsOptions(source=source), trials)
        shown = storage.read_table(trials)["trial"].tolist()
        # Within the twin's own band, whose edges are brick walls.
        make_segments(
            trials, twin, options(band=(6, 40)), tmp_path / f"{source}.h5", read_recording
        )
        with storage.open_h5(tmp_path / f"{source}.h5", "segments") as file:
            stored[source] = {name: data[()] for name, data in file.items()}
            channels, sfreq = json.loads(file.attrs["channels"]), file.attrs["sfreq"]
            cleaned = json.loads(file.attrs["cleaned"])
        assert channels == GENEVA
        assert sfreq == 128
        assert cleaned["average_reference"] == (shown if source == "bdf" else [])
    for name in ("trial", "experiment_id", "position", "start"):
        np.testing.assert_array_equal(stored["dat"][name], stored["bdf"][name])
    inner = [x["eeg"].reshape(8, 2, 32, 384) for x in stored.values()]
    for a, b in ((inner[0][:, 0, :, 128:], inner[1][:, 0, :, 128:]),
                 (inner[0][:, 1, :, :-128], inner[1][:, 1, :, :-128])):  # fmt: skip
        for channel in range(32):
            assert np.corrcoef(a[:, channel].ravel(), b[:, channel].ravel())[0, 1] > 0.99


def test_an_original_recording_has_its_eye_artefacts_removed_by_default(twin, tmp_path):
    trials = tmp_path / "s01.parquet"
    for source, method in (("bdf", "eog_regression"), ("dat", "none")):
        make_trials(twin, "s01", TrialsOptions(source=source), trials)
        make_segments(trials, twin, SegmentsOptions(), tmp_path / "s01.h5", read_recording)
        with storage.open_h5(tmp_path / "s01.h5", "segments") as file:
            assert json.loads(file.attrs["cleaned"])["artefacts"] == method


def test_the_published_layout_is_not_that_of_original_recordings(twin, tmp_path, refused):
    trials = tmp_path / "s01.parquet"
    make_trials(twin, "s01", TrialsOptions(source="bdf"), trials)
    with refused("s01.bdf", "eeg.layout", "dataset.source", nothing_in=tmp_path):
        make_segments(
            trials, twin, options(layout="as_published"), tmp_path / "s01.h5", read_recording
        )


def test_the_published_layout_does_not_overlap():
    with pytest.raises(ValidationError, match="overlap"):
        options(layout="as_published", overlap=1)


def test_original_recordings_of_which_trials_are_missing_give_the_rest(twin, tmp_path):
    trials = tmp_path / "s01.parquet"
    make_trials(twin, "s01", TrialsOptions(source="bdf"), trials)
    table = storage.read_table(trials)
    about = storage.read_provenance(trials)
    table.loc[table["experiment_id"] == 3, ["eeg_start", "eeg_seconds"]] = np.nan
    table.loc[table["experiment_id"] == 3, "eeg_file"] = pd.NA
    storage.write_table(trials, table, about)
    make_segments(trials, twin, options(), tmp_path / "s01.h5", read_recording)
    with storage.open_h5(tmp_path / "s01.h5", "segments") as file:
        assert sorted(set(file["experiment_id"][()])) == [1, 2, 4, 5, 6, 7, 8]
