import logging

import mne
import numpy as np
import pytest

from milmer.readers.digests import eeg_digests
from milmer.readers.eeg import EEGFile, channel_name, read_eeg
from tests.manifest import recordings
from tests.manifest.recordings import NAMES, edf, fif, waves

FORMATS = {
    "edf": recordings.edf,
    "bdf": recordings.bdf,
    "fif": recordings.fif,
    "vhdr": recordings.brainvision,
    "set": recordings.eeglab,
    "xdf": recordings.xdf,
    "npy": recordings.array,
    "mat": recordings.array,
}


def centred(x):
    return x - x.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_microvolts(kind, tmp_path):
    eeg = waves()
    name = "a_raw.fif" if kind == "fif" else f"a.{kind}"
    read = read_eeg(FORMATS[kind](tmp_path / name, eeg))
    assert read.channels == tuple(NAMES)
    assert read.sfreq == pytest.approx(200)
    assert read.data == pytest.approx(centred(eeg), abs=0.01)  # 16 bits of EDF


@pytest.mark.parametrize("kind", ["vhdr", "set"])
def test_a_recording_of_several_files_has_one_digest_of_all(kind, tmp_path):
    path = FORMATS[kind](tmp_path / f"a.{kind}", waves())
    before = eeg_digests(tmp_path, [path.name])
    data = tmp_path / ("data.eeg" if kind == "vhdr" else "a.fdt")
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\0")
    assert eeg_digests(tmp_path, [path.name]) != before


def test_real_recordings_are_read_with_their_names_in_order(recordings):
    path = recordings / "eegmmidb/S001R03.edf"
    read = read_eeg(path)
    assert len(read.channels) == 64
    assert read.channels[:4] == ("FC5", "FC3", "FC1", "FCz")
    assert (read.sfreq, read.data.shape[1]) == (160, 125 * 160)
    assert 20 < read.data.std() < 120  # µV
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    some = read_eeg(path, ["oz", "FP1", "T7", "Fcz"], start=10, stop=12.5)
    assert some.channels == ("Oz", "Fp1", "T7", "FCz")
    expected = raw.get_data(["Oz..", "Fp1.", "T7..", "Fcz."], 1600, 2000) * 1e6
    assert some.data == pytest.approx(centred(expected))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *(("Fc5.", "FC5"), ("FP1", "Fp1"), ("EEG Fp1-REF", "Fp1"), ("EEG FCZ-LE", "FCz")),
        *(("C3-A2", "C3"), ("EEG C3-A1A2", "C3"), ("Cz..", "Cz"), (" oz ", "Oz")),
        *(("T3", "T7"), ("Fp1-F7", "Fp1-F7"), ("E12", "E12"), ("EOG", "EOG")),
    ],
)
def test_names_are_told_from_what_recorders_add(written, name):
    assert channel_name(written) == name


def test_channels_that_are_no_eeg_are_left_out(tmp_path):
    names = ["EEG Fp1-REF", "ECG", "EEG C3-REF", "Resp", "EEG C4-REF", "Photic", "EEG O1-REF"]
    path = edf(tmp_path / "a.edf", waves(7), names)
    assert read_eeg(path).channels == ("Fp1", "C3", "C4", "O1")
    own = ["E1", "E2", "ECG1", "E3", "EMG chin", "E4", "Status"]
    assert read_eeg(edf(tmp_path / "b.edf", waves(7), own)).channels == ("E1", "E2", "E3", "E4")
    kinds = ["eeg", "eeg", "eeg", "eeg", "eog", "stim"]
    typed = fif(tmp_path / "c_raw.fif", waves(), [*NAMES[:4], "Fz", "Cz"], kinds=kinds)
    assert read_eeg(typed).channels == tuple(NAMES[:4])


def test_a_name_is_taken_as_it_is_written_before_it_is_read_freely(tmp_path):
    names = ["Cz", "EEG Cz", "C3", "C4", "O1", "O2"]
    eeg = waves()
    path = edf(tmp_path / "a.edf", eeg, names)
    wanted = ["EEG Cz", "C3", "C4", "O1"]
    assert read_eeg(path, wanted).data[0] == pytest.approx(centred(eeg)[1], abs=0.01)


def test_two_channels_of_one_name_are_refused(tmp_path, refused):
    names = ["EEG Cz-REF", "Cz..", "C3", "C4", "O1", "O2"]
    path = edf(tmp_path / "a.edf", waves(), names)
    with refused("EEG Cz-REF and Cz.. both are Cz", "dataset.channels"):
        read_eeg(path, ["Cz", "C3", "C4", "O1"])
    with refused("two channels are Cz"):
        read_eeg(path)


@pytest.mark.parametrize("unit", ["uV", "mV", "V", "nV", "", "counts"])
def test_units_are_brought_to_microvolts_and_unknown_ones_taken_for_them(tmp_path, unit, caplog):
    eeg = waves()
    with caplog.at_level(logging.WARNING):
        read = read_eeg(edf(tmp_path / "a.edf", eeg, unit=unit))
    assert read.data == pytest.approx(centred(eeg), rel=0.02, abs=0.1)
    assert ("no known unit" in caplog.text) == (unit in ("", "counts"))


def test_a_missing_channel_is_refused_or_made_from_the_others(tmp_path, refused, caplog):
    """On a smooth field a left-out channel is made as it was measured, others stay as they are."""
    names = [n for n in mne.channels.make_standard_montage("biosemi32").ch_names]
    places = mne.channels.make_standard_montage("biosemi32").get_positions()["ch_pos"]
    along = np.array([places[name] for name in names]) @ [1.0, 2.0, 1.0]
    eeg = 400 * along[:, None] * waves(1)
    whole = edf(tmp_path / "whole.edf", eeg, names)
    path = edf(
        tmp_path / "a.edf",
        np.delete(eeg, names.index("Cz"), 0),
        [n for n in names if n != "Cz"],
    )
    with refused("a.edf: no channel Cz", "Fp1, AF3", "missing_channels"):
        read_eeg(path, names)
    made, true = read_eeg(path, names, "interpolate"), read_eeg(whole, names)
    cz = names.index("Cz")
    assert made.channels == tuple(names)
    assert np.delete(made.data, cz, 0) == pytest.approx(np.delete(true.data, cz, 0), abs=0.01)
    error = np.abs(made.data[cz] - true.data[cz]).mean()
    assert error < 0.1 * np.abs(true.data).mean()
    assert "Cz interpolated from the other channels" in caplog.text


def test_all_placed_channels_of_a_file_help_to_make_a_missing_one(recordings):
    path = recordings / "eegmmidb/S001R03.edf"
    wanted = ["Fp1", "C3", "Cz", "C4", "O1", "O2", "P3", "PPO1h"]
    made = read_eeg(path, wanted, "interpolate", 0, 10)
    near = read_eeg(path, ["PO3", "P1", "POz", "Pz"], None, 0, 10)
    assert np.corrcoef(made.data[-1], near.data.mean(axis=0))[0, 1] > 0.97


def test_too_many_missing_channels_and_ones_without_a_place_are_refused(tmp_path, refused):
    path = edf(tmp_path / "a.edf", waves())
    with refused("no channel Cz, Pz", "2 of 6", "too many to interpolate"):
        read_eeg(path, [*NAMES[:4], "Cz", "Pz"], "interpolate")
    with refused("no channel E9", "not known where on the head"):
        read_eeg(path, [*NAMES[:4], "E9"], "interpolate")


def test_fewer_than_four_channels_are_refused(tmp_path, refused):
    path = edf(tmp_path / "a.edf", waves(4), ["C3", "C4", "Cz", "ECG"])
    with refused("3 EEG channels (C3, C4, Cz)", "at least 4"):
        read_eeg(path)


def test_a_stretch_at_another_rate_is_that_stretch(tmp_path):
    eeg = waves(seconds=8)
    path = edf(tmp_path / "a.edf", eeg)
    read = read_eeg(path, start=2, stop=6, sfreq=128)
    assert read.data.shape == (6, 4 * 128)
    whole = np.fft.rfft(eeg)
    times = 2 + np.arange(512) / 128
    waves_of = np.exp(2j * np.pi * np.fft.rfftfreq(1600, 1 / 200)[:, None] * times)
    weight = np.where(np.arange(801) % 800 == 0, 1, 2)  # the two sides of a real spectrum
    expected = ((whole * weight) @ waves_of).real / 1600
    assert read.data[:, 20:-20] == pytest.approx(centred(expected)[:, 20:-20], abs=1.0)


def test_a_stretch_beyond_the_end_is_refused_but_for_a_sample(tmp_path, refused):
    path = edf(tmp_path / "a.edf", waves())
    assert read_eeg(path, stop=8.004).data.shape[1] == 1600
    with refused("a.edf: ends at 8 s, before 8.1 s"):
        read_eeg(path, stop=8.1)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.edf", b"", "is empty (0 bytes)"),
        ("a.edf", b"<html>not found</html>", "not an EDF"),
        ("a.fif", b"x" * 100, "cannot be read"),
        ("a.vhdr", b"nothing", "cannot be read"),
        ("a.set", b"nothing", "cannot be read"),
        ("a.xyz", b"nothing", "no kind of EEG file"),
    ],
)
def test_what_is_no_recording_is_told_in_one_line(tmp_path, refused, name, content, part):
    (tmp_path / name).write_bytes(content)
    with refused(name, part):
        EEGFile(tmp_path / name)


def test_a_recording_that_is_cut_off_is_told(tmp_path, refused):
    path = edf(tmp_path / "a.edf", waves())
    path.write_bytes(path.read_bytes()[:-2000])
    with refused("a.edf", "cut off"):
        read_eeg(path)
    with refused("absent.edf", "no such file"):
        read_eeg(tmp_path / "absent.edf")


def test_values_that_are_not_finite_leave_other_channels_and_stretches_alone(tmp_path):
    eeg = waves()
    eeg[3, 700] = np.nan
    path = fif(tmp_path / "a_raw.fif", eeg)
    finite = np.isfinite(read_eeg(path).data).all(axis=1)
    assert np.flatnonzero(~finite).tolist() == [3]
    assert np.isfinite(read_eeg(path, stop=2).data).all()
