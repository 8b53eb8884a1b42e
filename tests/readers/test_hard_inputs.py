"""Healthy recordings that are easily misread; each test is named after a folder of hard inputs.

`tools/make_hard_inputs.py` makes the like from real EEG; here the content is known exactly.
"""

import logging
import re

import edfio
import mne
import numpy as np
import pytest

from milmer.errors import MilmerError
from milmer.readers.amplitude import require_plausible_amplitude
from milmer.readers.channels import interpolation
from milmer.readers.edf import EDFFile
from milmer.readers.eeg import EEGFile, read_eeg
from milmer.readers.units import microvolts
from tests.manifest.recordings import NAMES, bdf, brainvision, edf, fif, waves


def centred(x):
    return x - x.mean(axis=1, keepdims=True)


def signal(x, name, rate=200.0, kind=edfio.EdfSignal, unit="uV"):
    return kind(x, rate, label=name, physical_dimension=unit, physical_range=(-1000, 1000))


# ----------------------------------------------------------------------------------- mixed_rates


@pytest.mark.parametrize("start", [0.0, 1.37, 3.5])
def test_mixed_rates_change_nothing_of_the_eeg(tmp_path, start):
    eeg, ecg = waves(), np.random.default_rng(1).normal(size=8 * 512) * 100
    signals = [signal(x, name) for x, name in zip(eeg, NAMES, strict=True)]
    edfio.Edf(signals).write(tmp_path / "eeg.edf")
    edfio.Edf([signals[0], signal(ecg, "ECG", 512.0), *signals[1:]]).write(tmp_path / "eeg_ecg.edf")
    alone = read_eeg(tmp_path / "eeg.edf", None, "refuse", start, start + 4, 128.0)
    beside = read_eeg(tmp_path / "eeg_ecg.edf", None, "refuse", start, start + 4, 128.0)
    assert beside.channels == alone.channels == tuple(NAMES)
    assert read_eeg(tmp_path / "eeg_ecg.edf").sfreq == 200
    np.testing.assert_array_equal(beside.data, alone.data)


def test_an_eog_at_another_rate_is_read_at_the_same_time(tmp_path):
    """A slow wave, the same in both: what is taken at 50 Hz falls on what is taken at 200 Hz."""
    wave = 40 * np.sin(2 * np.pi * 3 * np.arange(8 * 200) / 200 + 1)
    signals = [signal(wave, name) for name in NAMES]
    edfio.Edf([*signals, signal(wave[::4], "HEOG", 50.0)]).write(tmp_path / "a.edf")
    file = EEGFile(tmp_path / "a.edf")
    eeg, eog = file.trial(1.36, 4, 100.0)[0], file.bipolar(["HEOG"], 1.36, 4, 100.0)
    assert eog == pytest.approx(eeg, abs=0.5)


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_samples_are_those_that_mne_reads(kind, tmp_path):
    eeg = waves(seconds=9)
    path = {"edf": edf, "bdf": bdf}[kind](tmp_path / f"a.{kind}", eeg)
    raw = mne.io.read_raw(path, verbose="error")
    expected = raw.get_data(picks=NAMES, start=311, stop=1507) * 1e6
    file = EDFFile(path)
    assert file.read(file.signals, 311, 1507) == pytest.approx(expected, abs=1e-9)


# ----------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(("uV", 1), ("UV", 1), ("uv", 1), ("µV", 1), ("\u03bcV", 1), ("microV", 1), ("?V", 1)),
        *(("mV", 1e3), ("mv", 1e3), ("MV", 1e3), ("V", 1e6), ("Volt", 1e6), ("volts", 1e6)),
        *(("nV", 1e-3), ("Microvolts", 1), ("ÂµV", 1), ("", None), ("counts", None), ("%", None)),
    ],
)
def test_units_mean_what_they_say_in_whatever_case(unit, factor):
    assert microvolts(unit) == factor


@pytest.mark.parametrize(("unit", "factor"), [("uv", 1), ("UV", 1), ("mv", 1e-3), ("Volt", 1e-6)])
def test_units_of_a_file_become_microvolts(tmp_path, unit, factor):
    eeg = waves()
    signals = [
        edfio.EdfSignal(
            x * factor,
            200.0,
            label=name,
            physical_dimension=unit,
            physical_range=(-1000 * factor, 1000 * factor),
        )
        for x, name in zip(eeg, NAMES, strict=True)
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    assert read_eeg(tmp_path / "a.edf").data == pytest.approx(centred(eeg), abs=0.05)


def test_units_of_brainvision_that_mne_takes_for_volts_are_read(tmp_path):
    path = brainvision(tmp_path / "a.vhdr", waves())
    path.write_text(path.read_text().replace("µV", "microV"))
    read = read_eeg(path)
    assert read.channels == tuple(NAMES)
    assert read.data == pytest.approx(centred(waves()), abs=1e-3)


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (1e6, "µV saved as if they were V"),
        (1e-6, "V saved as if they were µV"),
        (0, "no electrode"),
    ],
)
def test_units_that_no_eeg_has_are_refused_with_the_likely_reason(refused, factor, reason):
    with refused("a.edf: EEG of", reason):
        require_plausible_amplitude([waves() * factor], 200.0, "a.edf")


def test_units_are_judged_by_the_median_channel_within_the_band():
    eeg = waves() + 1e5 * np.arange(1600) / 1600  # drift of 100 mV is no EEG
    eeg[:2] *= 1e4
    require_plausible_amplitude([eeg], 200.0, "a.edf")


# ------------------------------------------------------------------------------------------- gap


def discontinuous(path, eeg, after, gap):
    """An EDF+D of 1 s records, whose clock is ``gap`` s ahead after ``after`` records."""
    signals = [signal(x, name) for x, name in zip(eeg, NAMES, strict=True)]
    marks = [edfio.EdfAnnotation(0, None, "start of all"), edfio.EdfAnnotation(6, 1, "BAD_move")]
    edfio.Edf(signals, annotations=marks, data_record_duration=1.0).write(path)
    content = bytearray(path.read_bytes())
    content[192:236] = b"EDF+D".ljust(44)
    for clock in reversed(list(re.finditer(rb"\+(\d+)\x14\x14", bytes(content)))):
        if (record := int(clock[1])) >= after:
            word = b"+%d\x14\x14" % (record + gap)
            grown = len(word) - len(clock[0])
            end = content.index(b"\0" * (1 + grown), clock.end())
            content[clock.start() : end + grown] = word + content[clock.end() : end]
    path.write_bytes(content)
    return path


def test_gap_is_kept_by_the_clock_of_the_recording(tmp_path):
    eeg = waves(seconds=12)
    file = EEGFile(discontinuous(tmp_path / "a.edf", eeg, after=5, gap=20))
    assert (file.seconds, file.gaps) == (32, [(5, 25)])
    after = file.trial(26.0, 3.0, 200.0)  # what is stored from 6 s on
    assert after == pytest.approx(centred(eeg[:, 1200:1800]), abs=0.05)
    assert file.trial(1.0, 3.0, 200.0) == pytest.approx(centred(eeg[:, 200:800]), abs=0.05)


def test_gap_within_a_trial_is_told(tmp_path):
    file = EEGFile(discontinuous(tmp_path / "a.edf", waves(seconds=12), after=5, gap=20))
    assert file.gaps_in(2, 5) == file.gaps_in(25, 28) == file.gaps_in(26, 30) == []
    assert file.gaps_in(3, 28) == [(2, 22)]
    assert file.gaps_in(4, 6) == [(1, 21)]


def test_gap_is_never_read_across(tmp_path):
    """The filter of the resampling sees no sample of the other side, however large."""
    eeg = waves(seconds=12)
    files = []
    for name, x in (("quiet", eeg), ("loud", np.where(np.arange(2400) < 1000, 900.0, eeg))):
        path = discontinuous(tmp_path / f"{name}.edf", x, after=5, gap=20)
        files.append(EEGFile(path).trial(25.0, 3.0, 128.0))
    np.testing.assert_array_equal(*files)


# --------------------------------------------------------------------------------- marks and caps


def test_marks_of_a_file_are_handed_over(tmp_path):
    raw = mne.io.RawArray(waves() * 1e-6, mne.create_info(NAMES, 200.0, "eeg"), verbose="error")
    raw.info["bads"] = ["C3"]
    raw.set_annotations(mne.Annotations([1, 3, 5], [0.5, 1, 0], ["T1", "BAD_move", "boundary"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    file = EEGFile(tmp_path / "a_raw.fif")
    assert file.bads == ("C3",)
    assert file.marks_in(2, 3.5) == [(1, 2, "BAD_move")]
    assert file.marks_in(4.5, 6) == []
    assert file.gaps == [(5, 5)]


def test_caps_with_names_of_their_own_have_no_invented_places(tmp_path):
    names = [f"{letter}{i}" for letter in "ABF" for i in range(1, 9)]
    file = EEGFile(edf(tmp_path / "abc.edf", waves(24), names))
    assert file.channels == tuple(names)
    assert file.positions == {}


def test_caps_of_twelve_spellings_are_read_as_what_they_are(tmp_path, caplog):
    names = ["EEG Fp1-REF", "EEG.Fp2", "F3.", "F 4", "T3", "T4", "EEG O1-LER", "O2 - Ref"]
    names += ["M1", "A2", "ECG", "Status", "TP9", "EEG C3-A1A2"]
    with caplog.at_level(logging.INFO):
        file = EEGFile(edf(tmp_path / "names.edf", waves(14), names))
    expected = ["Fp1", "Fp2", "F3", "F4", "T7", "T8", "O1", "O2", "TP9", "C3"]
    assert file.channels == tuple(expected)
    assert list(file.dropped) == ["M1", "A2", "ECG", "Status"]
    assert "leaves out M1 (an electrode at the ear), A2 (" in caplog.text


def test_caps_with_a_name_twice_are_refused_with_both(tmp_path, refused):
    path = edf(tmp_path / "a.edf", waves(), ["T3", "T7", "C3", "C4", "O1", "O2"])
    with refused("two channels are T7: T3 and T7"):
        EEGFile(path)
    with refused("T3 and T7 both are EEG T7"):
        EEGFile(path, ["EEG T7", "C3", "C4", "O1"])
    path = fif(tmp_path / "a_raw.fif", waves(), ["Cz-0", "Cz-1", "C3", "C4", "O1", "O2"])
    with refused("two channels are Cz: Cz and Cz"):
        EEGFile(path)


def test_caps_with_positions_in_the_file_are_interpolated_there(tmp_path):
    names = [f"E{i}" for i in range(1, 13)]
    places = mne.channels.make_standard_montage("biosemi32").get_positions()["ch_pos"]
    own = dict(zip(names, list(places.values())[:12], strict=True))
    raw = mne.io.RawArray(waves(12) * 1e-6, mne.create_info(names, 200.0, "eeg"), verbose="error")
    raw.set_montage(mne.channels.make_dig_montage(own, coord_frame="head"))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    file = EEGFile(tmp_path / "a_raw.fif")
    assert file.positions["E3"] == pytest.approx(own["E3"], abs=1e-6)
    matrix = interpolation(names, ["E2"], file.positions)
    raw.info["bads"] = ["E2"]
    expected = raw.interpolate_bads(verbose="error").get_data()[1] * 1e6
    assert (matrix @ waves(12))[1] == pytest.approx(expected, abs=1e-3)


def test_caps_with_few_places_are_one_line(refused):
    with refused("E2: no name of the 10–20 system, and the file has no position"):
        interpolation(["E1", "E2", "E3", "E4", "Cz"], ["E2"], {})
    with refused("AF7: only 3 good channels have a position"):
        interpolation(["TP9", "AF7", "AF8", "TP10"], ["AF7"])
    names = ["Fp1", "Fp2", "C3", "C4", "O1"]
    assert interpolation(names, ["C3"])[2, [0, 1, 3, 4]].sum() == pytest.approx(1, abs=0.05)


# ----------------------------------------------------------------- annotations_only, and headers


def test_annotations_only_is_one_line(tmp_path, refused):
    marks = [edfio.EdfAnnotation(30 * i, 30, "Sleep stage W") for i in range(5)]
    edfio.Edf([], annotations=marks).write(tmp_path / "hypnogram.edf")
    with refused("hypnogram.edf: holds annotations and no signals"):
        EEGFile(tmp_path / "hypnogram.edf")


def test_a_header_that_is_filled_with_zeros_is_read(tmp_path):
    path = edf(tmp_path / "a.edf", waves())
    content = bytearray(path.read_bytes())
    for field in (slice(0, 8), slice(184, 192), slice(236, 244), slice(244, 252), slice(252, 256)):
        content[field] = bytes(content[field]).replace(b" ", b"\0")
    path.write_bytes(content)
    assert read_eeg(path).data == pytest.approx(centred(waves()), abs=0.05)


def test_what_mne_warns_of_samples_is_told(tmp_path, caplog):
    path = fif(tmp_path / "oddly_named.fif", waves())
    with caplog.at_level(logging.WARNING):
        EEGFile(path)
    assert "naming convention" not in caplog.text
    with caplog.at_level(logging.INFO):
        EEGFile(path)
    assert "oddly_named.fif: MNE: This filename" in caplog.text


def test_a_clock_that_goes_back_is_refused(tmp_path):
    path = discontinuous(tmp_path / "a.edf", waves(seconds=12), after=5, gap=-3)
    with pytest.raises(MilmerError, match="its clock goes back after 4 s"):
        EEGFile(path)
