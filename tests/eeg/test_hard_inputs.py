"""Healthy recordings that are hard to use; each test is named after a folder of hard inputs."""

import json

import mne
import numpy as np
import pytest

from milmer import storage
from milmer.eeg.cleaning import clean
from milmer.eeg.options import EEGOptions, SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.manifest.recordings import read_recording
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from tests.manifest.described import write_manifest
from tests.manifest.recordings import NAMES, edf, fif, waves


@pytest.fixture
def segments(tmp_path):
    """Segments of a recording: EEG, the reasons of rejection and the report of cleaning."""

    def make(path, *trials, sfreq=128.0, **eeg):
        rows = [
            {"subject": "p01", "trial": i, "stimulus": i, "eeg_file": path.name}
            | ({} if span is None else {"eeg_start": span[0], "eeg_stop": span[1]})
            for i, span in enumerate(trials)
        ]
        manifest = read_manifest(write_manifest(path.parent / "manifest.csv", rows))
        table, out = tmp_path / "trials.parquet", tmp_path / "segments.h5"
        rows = ManifestTrialsOptions(rows=manifest.digest("p01"))
        make_manifest_trials(manifest.path, "p01", rows, table)
        options = SegmentsOptions.model_validate({"recording": {"sfreq": sfreq}, "eeg": eeg})
        make_segments(table, path.parent, options, out, read_recording)
        with storage.open_h5(out, "segments") as file:
            reasons = [word.decode() for word in file["rejected"][:]]
            return file["eeg"][:], reasons, json.loads(file.attrs["cleaned"])

    return make


@pytest.mark.parametrize("rate", [1000, 2048])
def test_odd_length_gives_whole_segments_only(tmp_path, segments, rate):
    eeg = waves(seconds=12, sfreq=float(rate))[:, :-1]
    path = fif(tmp_path / "a_raw.fif", eeg, sfreq=float(rate))
    segments_of, reasons, _ = segments(path, None, sfreq=None)
    assert segments_of.shape == (3, 6, 3 * rate)
    assert reasons == ["", "", ""]
    assert (segments_of.std(axis=2) > 1).all()


def test_marks_of_the_file_are_honoured_and_can_be_switched_off(tmp_path, segments):
    names = [*NAMES, "F3", "F4", "P3", "P4"]
    raw = mne.io.RawArray(
        waves(10, seconds=20) * 1e-6, mne.create_info(names, 200.0, "eeg"), verbose="error"
    )
    raw.info["bads"] = ["C4"]
    raw.set_annotations(mne.Annotations([7.5], [0.1], ["BAD_movement"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    _, reasons, cleaned = segments(tmp_path / "a_raw.fif", (4, 10), (11, 17))
    assert reasons == ["", "mark", "", ""]
    (bad,) = cleaned["bad_channels"]
    assert (bad["channel"], bad["why"], bad["done"]) == ("C4", "marked", "interpolated")
    _, reasons, cleaned = segments(
        tmp_path / "a_raw.fif", (4, 10), (11, 17), reject={"marks": False}
    )
    assert (reasons, cleaned["bad_channels"]) == ([""] * 4, [])


def test_caps_say_which_channels_are_not_read(tmp_path, segments):
    path = edf(tmp_path / "a.edf", waves(8), [*NAMES, "M1", "ECG"])
    *_, cleaned = segments(path, (1, 7))
    (dropped,) = cleaned["not_read"].values()
    assert dropped == {"M1": "an electrode at the ear", "ECG": "its name is not one of EEG"}


def test_caps_with_a_flat_reference_without_a_place_keep_it(tmp_path, segments):
    """It measured nothing by definition; in the average reference it is what it should be."""
    eeg = np.vstack([waves(16), np.zeros(1600)])
    path = fif(tmp_path / "egi_raw.fif", eeg, [*(f"E{i}" for i in range(1, 17)), "Cz"])
    found, reasons, cleaned = segments(path, (0.5, 3.5), (4, 7), band=None)
    assert reasons == ["", ""]
    assert [(b["channel"], b["done"]) for b in cleaned["bad_channels"]] == [("Cz", "kept")]
    assert found[:, 16] == pytest.approx(
        -(found[:, :16] - found[:, 16:]).sum(axis=1) / 17, abs=1e-3
    )


def test_caps_without_places_reject_the_trial_of_a_bad_channel():
    rng = np.random.default_rng(0)
    eeg = {e: 20 * rng.standard_normal((12, 512)) for e in (1, 2)}
    eeg[2][3] = 0
    names = [f"E{i}" for i in range(12)]
    options = EEGOptions(artefacts="none")
    cleaned, report = clean(eeg, None, names, 128.0, False, options, positions={})
    assert list(cleaned) == [1]
    assert report["bad_channels"][0]["done"] == "rejected"
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    places = {
        n: (0.08 * np.cos(a), 0.08 * np.sin(a), 0.03 + 0.02 * (i % 3))
        for i, (n, a) in enumerate(zip(names, angles, strict=True))
    }
    cleaned, report = clean(eeg, None, names, 128.0, False, options, positions=places)
    assert report["bad_channels"][0]["done"] == "interpolated"
    assert cleaned[2][3].std() > 1


@pytest.mark.parametrize("placed", [True, False])
def test_caps_keep_the_positions_of_their_file_with_the_segments(tmp_path, segments, placed):
    """An ABC cap: `A1 … A8` have the places of the file, or none, and never those of 10–05."""
    names = [f"A{i}" for i in range(1, 9)]
    info = mne.create_info(names, 200.0, "eeg")
    places = {name: np.array([0.01 * i, 0.05, 0.06 - 0.01 * i]) for i, name in enumerate(names)}
    if placed:
        info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
    raw = mne.io.RawArray(waves(8) * 1e-6, info, verbose="error")
    raw.save(tmp_path / "a_raw.fif", fmt="double", verbose="error")
    _, reasons, cleaned = segments(tmp_path / "a_raw.fif", (1, 7))
    assert reasons == ["", ""]
    assert list(cleaned["positions"]) == (names if placed else [])
    for name, xyz in cleaned["positions"].items():
        assert xyz == pytest.approx(places[name], abs=1e-6)
