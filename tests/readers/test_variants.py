"""Further recordings of the kinds of hard inputs: as other recorders and programs write them."""

import logging
import re

import edfio
import mne
import numpy as np
import pytest
import scipy.io

from milmer.readers.eeg import EEGFile
from milmer.readers.units import microvolts
from tests.manifest.recordings import NAMES, brainvision, described, eeglab, fif, waves, xdf
from tests.readers.test_hard_inputs import centred, signal

# ------------------------------------------------------------------------------- rates and units


def test_three_rates_in_one_file_are_each_read_at_their_own(tmp_path):
    """Two of six channels of EEG are stored at twice the rate: their samples are the same waves."""
    fast = mne.filter.resample(waves(seconds=12), up=2.0, method="polyphase", verbose="error")
    eeg = waves(seconds=12)
    signals = [
        signal(fast[i], name, 400.0) if name in ("C3", "O2") else signal(eeg[i], name)
        for i, name in enumerate(NAMES)
    ]
    heog = 50 * np.sin(2 * np.pi * np.arange(12 * 50) / 50)
    edfio.Edf([signal(heog, "HEOG", 50.0), *signals]).write(tmp_path / "a.edf")
    file = EEGFile(tmp_path / "a.edf")
    assert (file.channels, file.sfreq) == (tuple(NAMES), 200.0)
    assert file.trial(3.0, 6.0, 200.0) == pytest.approx(centred(eeg[:, 600:1800]), abs=0.5)
    wave = 50 * np.sin(2 * np.pi * np.arange(1200) / 200)
    assert file.bipolar(["HEOG"], 3.0, 6.0, 200.0) == pytest.approx(wave - wave.mean(), abs=1.5)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(
            (unit, 1.0)
            for unit in ("MICROV", "microvolts", "Micro Volt", "uVolt", "µvolts", "\xb5V")
        ),
        *((unit, 1.0) for unit in ("μV", " uV ", "Â\xb5V", "?V", "micro-V")),
        *((unit, 1e3) for unit in ("MV", "milliVolt", "millivolts")),
        *((unit, 1e6) for unit in ("volt", "VOLTS", "v")),
        *((unit, 1e-3) for unit in ("NV", "nanovolt")),
        *((unit, None) for unit in ("", "pV", "kV", "uA", "dB", "µV²", "uV/Hz", "counts", "V/m")),
    ],
)
def test_other_spellings_of_units(unit, factor):
    assert microvolts(unit) == factor


def test_units_that_differ_between_the_channels_of_a_file(tmp_path):
    eeg, units = waves(), ["uV", "mV", "Volt", "nV", "milliV", "UV"]
    factors = {"mV": 1e-3, "milliV": 1e-3, "Volt": 1e-6, "nV": 1e3}
    signals = [
        edfio.EdfSignal(x * factors.get(unit, 1), 200.0, label=name, physical_dimension=unit)
        for x, name, unit in zip(eeg, NAMES, units, strict=True)
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    assert EEGFile(tmp_path / "a.edf").trial(0, 8, 200) == pytest.approx(centred(eeg), abs=0.05)


def test_a_range_that_is_written_upside_down_turns_the_sign(tmp_path):
    """The header's minimum of C3 is its maximum: stored numbers count downwards."""
    edfio.Edf([signal(x, name) for x, name in zip(waves(), NAMES, strict=True)]).write(
        tmp_path / "a.edf"
    )
    content = bytearray((tmp_path / "a.edf").read_bytes())
    count = len(NAMES)
    low, high = (256 + (16 + 80 + 8 + 8 * k) * count + 8 * NAMES.index("C3") for k in (0, 1))
    content[low : low + 8], content[high : high + 8] = b"1000    ", b"-1000   "
    (tmp_path / "a.edf").write_bytes(content)
    expected = centred(waves())
    expected[NAMES.index("C3")] *= -1
    assert EEGFile(tmp_path / "a.edf").trial(0, 8, 200) == pytest.approx(expected, abs=0.05)


def test_brainvision_with_a_resolution_and_a_unit_for_each_channel(tmp_path):
    """Whole numbers of 0.1 µV, 0.5 µV and 0.0002 mV."""
    eeg = waves()
    path = brainvision(tmp_path / "a.vhdr", eeg)
    steps = [("0.1", "µV", 0.1), ("0.5", "uV", 0.5), ("0.0002", "mV", 0.2)] * 2
    text = path.read_text().replace("IEEE_FLOAT_32", "INT_16")
    for i, (name, (step, unit, _)) in enumerate(zip(NAMES, steps, strict=True), 1):
        text = text.replace(f"Ch{i}={name},,1,µV", f"Ch{i}={name},,{step},{unit}")
    path.write_text(text)
    stored = np.round(eeg / np.array([[step] for *_, step in steps]))
    (tmp_path / "data.eeg").write_bytes(stored.T.astype("<i2").tobytes())
    file = EEGFile(path)
    assert file.channels == tuple(NAMES)
    assert file.trial(0, 8, 200) == pytest.approx(centred(eeg), abs=0.26)


# ------------------------------------------------------------------------------------------ gaps


def paused(path, eeg, clock, kind=edfio.EdfSignal):
    """A file of 1 s records that begin at ``clock`` s, one a record."""
    writer = edfio.Bdf if kind is edfio.BdfSignal else edfio.Edf
    signals = [signal(x, name, kind=kind) for x, name in zip(eeg, NAMES, strict=True)]
    marks = [edfio.EdfAnnotation(0, None, "some words, so that there is room")]
    writer(signals, annotations=marks, data_record_duration=1.0).write(path)
    content = bytearray(path.read_bytes())
    content[192:196] = path.suffix[1:].upper().encode() + b"+"
    content[196:197] = b"D"
    found = list(re.finditer(rb"\+(\d+)\x14\x14", bytes(content)))
    assert len(found) == len(clock)
    for match in reversed(found):
        word = b"+%d\x14\x14" % clock[int(match[1])]
        grown = len(word) - len(match[0])
        end = content.index(b"\0" * (1 + grown), match.end())
        content[match.start() : end + grown] = word + content[match.end() : end]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [edfio.EdfSignal, edfio.BdfSignal])
def test_two_gaps_each_move_what_comes_after_them(tmp_path, kind):
    eeg = waves(seconds=12)
    clock = [*range(4), *range(14, 18), *range(45, 49)]
    suffix = ".bdf" if kind is edfio.BdfSignal else ".edf"
    file = EEGFile(paused(tmp_path / f"a{suffix}", eeg, clock, kind))
    assert file.gaps == [(4, 14), (18, 45)]
    for start, stored in ((1, 1), (14.5, 4.5), (45.25, 8.25)):
        expected = centred(eeg[:, round(stored * 200) : round((stored + 2.5) * 200)])
        assert file.trial(start, 2.5, 200) == pytest.approx(expected, abs=0.05)
    assert file.gaps_in(15, 18) == []
    assert file.gaps_in(17, 46) == [(1, 28)]
    assert file.gaps_in(3, 46) == [(1, 11), (15, 42)]


def test_boundaries_at_the_edges_of_a_trial_are_no_gap_in_it(tmp_path):
    info = mne.create_info(NAMES, 200.0, "eeg")
    raw = mne.io.RawArray(waves(seconds=20) * 1e-6, info, verbose="error")
    names = ["BAD boundary", "EDGE boundary", "boundary"]
    raw.set_annotations(mne.Annotations([4.0, 10.0, 13.0], [0, 0, 0], names))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    file = EEGFile(tmp_path / "a_raw.fif")
    assert file.gaps_in(4, 10) == file.gaps_in(10, 13) == []
    assert file.gaps_in(9.5, 13.5) == [(0.5, 0.5), (3.5, 3.5)]
    assert (file.part(4.0).start, file.part(4.0).stop) == (4, 10)
    assert file.part(9.999).stop == 10


def test_marks_count_from_the_first_sample_of_a_file_that_was_cut_out(tmp_path):
    info = mne.create_info(NAMES, 200.0, "eeg")
    raw = mne.io.RawArray(waves(seconds=20) * 1e-6, info, verbose="error")
    raw.set_meas_date(1_700_000_000)
    raw.set_annotations(mne.Annotations([9.0], [2.0], ["bad_jaw"], orig_time=raw.info["meas_date"]))
    raw.crop(5.0, 18.0).save(tmp_path / "a_raw.fif", verbose="error")
    file = EEGFile(tmp_path / "a_raw.fif")
    (mark,) = file.marks_in(0, 13)
    assert mark == (pytest.approx(4.0), pytest.approx(6.0), "bad_jaw")
    assert file.marks_in(0, 3.9) == file.marks_in(6.1, 13) == []
    expected = centred(waves(seconds=20)[:, 1200:1800])
    assert file.trial(1.0, 3.0, 200) == pytest.approx(expected, abs=1e-4)


# ----------------------------------------------------------------------------------------- names


def test_prefixed_names_in_fif_are_read_as_what_they_are(tmp_path):
    written = ["EEG FP1-REF", "EEG Fp2-LE", "EEG 001", "eeg.C4", "O1.", "EEG O2-A1A2"]
    file = EEGFile(fif(tmp_path / "a_raw.fif", waves(), written))
    assert file.channels == ("Fp1", "Fp2", "C4", "O1", "O2")
    assert file.dropped == {"EEG 001": "its name has no place on the scalp"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (["EEG Fp1-REF", "Fp1 - A1"], "Fp1"),  # two references of one electrode
        (["T3", "T7"], "T7"),
        (["EEG.CP 6", "cp6"], "CP6"),
    ],
)
def test_names_that_are_the_same_once_they_are_read_are_refused(tmp_path, refused, written, name):
    path = fif(tmp_path / "a_raw.fif", waves(), [*written, *NAMES[2:]])
    with refused(f"two channels are {name}: {written[0]} and {written[1]}"):
        EEGFile(path)
    file = EEGFile(path, [written[1], *NAMES[2:]])
    assert file.trial(0, 8, 200)[0] == pytest.approx(centred(waves())[1], abs=1e-6)


# --------------------------------------------------------------------------------------- formats


def test_a_set_of_epochs_is_said_to_be_that(tmp_path, refused):
    path = eeglab(tmp_path / "a.set", waves())
    content = scipy.io.loadmat(path, simplify_cells=True)["EEG"]
    content |= {"trials": 4, "pnts": 400, "xmax": 1.995}
    content["event"] = np.array(
        [("x", 1.0 + 400 * i, i + 1) for i in range(4)],
        dtype=[("type", object), ("latency", object), ("epoch", object)],
    )
    scipy.io.savemat(path, {"EEG": content}, appendmat=False)
    with refused("holds epochs", "supported are EDF and BDF"):
        EEGFile(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f8", ">f4", "<i2"])
def test_an_array_is_read_whatever_its_order_in_memory_and_its_kind(tmp_path, order, kind):
    stored = np.asarray(np.round(waves() * 10), kind, order=order)  # tenths of µV
    np.save(tmp_path / "a.npy", stored / 10 if "f" in kind else stored)
    if "i" in kind:
        np.save(tmp_path / "a.npy", np.round(waves() * 1000).astype(kind))  # nV
    unit = "nV" if "i" in kind else "µV"
    path = described(tmp_path / "a.npy", channels=NAMES, sfreq=200, unit=unit)
    scale = 1000 if unit == "nV" else 1
    expected = waves() if unit == "µV" else np.load(path) / scale
    assert EEGFile(path).trial(0, 8, 200) == pytest.approx(centred(expected), abs=0.06)


def test_an_array_that_lies_the_other_way_is_refused(tmp_path, refused):
    np.save(tmp_path / "a.npy", waves().T)
    path = described(tmp_path / "a.npy", channels=NAMES, sfreq=200, unit="uV")
    with refused("(1600, 6), read as (channel, sample), and 6 channels are named", "turn it"):
        EEGFile(path)


def test_of_two_streams_of_eeg_none_is_guessed(tmp_path, refused):
    path = xdf(tmp_path / "a.xdf", waves())
    one, other = path.read_bytes(), xdf(tmp_path / "b.xdf", waves(seed=3)).read_bytes()
    one = one.replace(b"<name>Amp</name>", b"<name>Cap</name>")
    path.write_bytes(one + renumber(other, 2, 5)[4:])
    with refused("no single stream is of type EEG; it holds", "Cap (EEG)", "Amp (EEG)"):
        EEGFile(path)
    described(path, stream="amp")
    assert EEGFile(path).trial(0, 8, 200) == pytest.approx(centred(waves(seed=3)), abs=1e-3)


def renumber(content, number, new):
    """The chunks of a stream of LSL alone, under another number."""
    at, kept = 4, b"XDF:"
    while at < len(content):
        size = content[at]
        length = int.from_bytes(content[at + 1 : at + 1 + size], "little")
        begin, end = at + 1 + size, at + 1 + size + length
        tag = int.from_bytes(content[begin : begin + 2], "little")
        if (
            tag in (2, 3, 4, 6)
            and int.from_bytes(content[begin + 2 : begin + 6], "little") == number
        ):
            chunk = content[at : begin + 2] + new.to_bytes(4, "little") + content[begin + 6 : end]
            kept += chunk
        at = end
    return kept


def test_stretches_of_nan_harm_only_the_trials_that_hold_them(tmp_path):
    eeg = waves(seconds=16)
    eeg[1, 800:810] = eeg[4, 2000:2400] = np.nan
    file = EEGFile(fif(tmp_path / "a_raw.fif", eeg))
    assert file.trial(0, 3, 200) == pytest.approx(centred(eeg[:, :600]), abs=1e-6)
    assert file.trial(5.1, 3, 200) == pytest.approx(centred(eeg[:, 1020:1620]), abs=1e-6)
    assert np.isnan(file.trial(3, 3, 200)).any(axis=1).tolist() == [False, True] + [False] * 4
    assert np.isnan(file.trial(9, 3, 200)).any(axis=1).tolist() == [False] * 4 + [True, False]


def test_a_fif_in_two_parts_is_read_across_them(tmp_path):
    info = mne.create_info(NAMES, 200.0, "eeg")
    eeg = waves(seconds=500)
    raw = mne.io.RawArray(eeg * 1e-6, info, verbose="error")
    raw.save(
        tmp_path / "a_raw.fif", split_size="3MB", fmt="double", buffer_size_sec=5, verbose="error"
    )
    assert (tmp_path / "a_raw-1.fif").exists()
    file = EEGFile(tmp_path / "a_raw.fif")
    assert (file.seconds, file.gaps) == (500, [])
    for start in range(0, 495, 15):
        expected = centred(eeg[:, 200 * start : 200 * (start + 15)])
        assert file.trial(start, 15, 200) == pytest.approx(expected, abs=1e-6)


def test_records_of_a_fraction_of_a_second_are_read_at_their_rate(tmp_path):
    """BioSemi's files may have records of any length."""
    eeg = waves(seconds=9)
    signals = [signal(x, name, kind=edfio.BdfSignal) for x, name in zip(eeg, NAMES, strict=True)]
    edfio.Bdf(signals, data_record_duration=0.25).write(tmp_path / "a.bdf")
    file = EEGFile(tmp_path / "a.bdf")
    assert (file.sfreq, file.seconds) == (200, 9)
    assert file.trial(3.1, 4.0, 200) == pytest.approx(centred(eeg[:, 620:1420]), abs=1e-3)


def test_an_unknown_unit_is_told_by_name(tmp_path, caplog):
    signals = [
        signal(x, n, unit="AU" if n == "C4" else "uV") for x, n in zip(waves(), NAMES, strict=True)
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    with caplog.at_level(logging.WARNING):
        assert EEGFile(tmp_path / "a.edf").unclear == ("C4 (AU)",)
    assert "no known unit, numbers are taken for µV: C4 (AU)" in caplog.text
