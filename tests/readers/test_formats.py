"""Arrays, LSL's streams and what is no continuous recording."""

import json
import os

import h5py
import mne
import numpy as np
import pytest
import pyxdf
import scipy.io

from milmer.readers.digests import eeg_digests
from milmer.readers.eeg import EEGFile, read_eeg
from milmer.readers.sidecars import companions
from tests.limited import refusals
from tests.manifest import recordings
from tests.manifest.recordings import NAMES, array, described, eeglab, fif, waves, xdf

READ = "milmer.readers.eeg:read_eeg"


def centred(x):
    return x - x.mean(axis=1, keepdims=True)


# ---------------------------------------------------------------------------------------- arrays


def test_trials_of_an_array_lie_one_behind_the_other_and_apart(tmp_path):
    eeg = waves(seconds=12).reshape(6, 3, 800)
    eeg[:, 1] += 500  # nothing of it is in the trials beside it
    path = tmp_path / "a.npy"
    np.save(path, eeg.transpose(2, 0, 1))
    described(path, channels=NAMES, sfreq=200, unit="µV")
    file = EEGFile(path)
    assert (file.seconds, file.gaps) == (12, [(4, 4), (8, 8)])
    assert file.trial(4, 4, 200) == pytest.approx(centred(eeg[:, 1]))
    assert file.trial(8.5, 3, 200) == pytest.approx(centred(eeg[:, 2, 100:700]))
    eeg[:, 1] -= 500
    np.save(tmp_path / "b.npy", eeg.transpose(2, 0, 1))
    described(tmp_path / "b.npy", channels=NAMES, sfreq=200, unit="µV")
    other = EEGFile(tmp_path / "b.npy")
    np.testing.assert_array_equal(other.trial(8, 4, 128), file.trial(8, 4, 128))
    assert file.gaps_in(3, 5) == [(1, 1)]
    assert file.gaps_in(4, 8) == []


def test_an_array_of_matlab_7_3_is_read_as_matlab_sees_it(tmp_path):
    eeg = waves()
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["other"], file["eeg"] = np.zeros((5, 5)), eeg.T  # MATLAB counts axes from the back
    described(path, channels=NAMES, sfreq=200, unit="mV", variable="eeg")
    assert read_eeg(path).data == pytest.approx(1e3 * centred(eeg))
    with h5py.File(path, "a") as file:
        del file["eeg"]
        file["eeg"] = waves(seconds=12).reshape(6, 3, 800).transpose(1, 0, 2)
    assert EEGFile(path).trial(4, 4, 200) == pytest.approx(
        1e3 * centred(waves(seconds=12)[:, 800:1600])
    )


@pytest.mark.parametrize(
    ("description", "part"),
    [
        (None, "is an array without a description; write a.json with channels, sfreq and unit"),
        ({"channels": NAMES, "sfreq": 200}, "without a description"),
        ({"channels": NAMES, "sfreq": 0, "unit": "uV"}, "a.json: sfreq"),
        ({"channels": NAMES, "rate": 200, "unit": "uV"}, "a.json: rate: unknown key"),
        ({"channels": NAMES[:5], "sfreq": 200, "unit": "uV"}, "read as (channel, sample), and 5"),
    ],
)
def test_an_array_with_a_wrong_description_is_one_line(tmp_path, refused, description, part):
    path = tmp_path / "a.npy"
    np.save(path, waves())
    if description:
        described(path, **description)
    with refused(part):
        EEGFile(path)


def test_arrays_that_cannot_be_read_are_one_line(tmp_path):
    for name in ("object", "text", "cut", "bomb"):
        described(tmp_path / f"{name}.npy", channels=NAMES, sfreq=200, unit="uV")
    np.save(tmp_path / "object.npy", np.array([{}, {}], object), allow_pickle=True)
    np.save(tmp_path / "text.npy", np.array([["a"] * 9] * 6))
    np.save(tmp_path / "cut.npy", waves())
    os.truncate(tmp_path / "cut.npy", 5000)
    np.lib.format.open_memmap(tmp_path / "bomb.npy", "w+", "f8", (6, 10))
    content = (tmp_path / "bomb.npy").read_bytes()
    (tmp_path / "bomb.npy").write_bytes(content.replace(b"(6, 10), }", b"(6, 10**9), }"))
    described(tmp_path / "two.mat", channels=NAMES, sfreq=200, unit="uV")
    scipy.io.savemat(tmp_path / "two.mat", {"a": waves(), "b": waves()})
    names = ["object.npy", "text.npy", "cut.npy", "bomb.npy", "two.mat"]
    lines = refusals(READ, *(tmp_path / name for name in names))
    assert "object.npy: is damaged and cannot be read" in lines[0]
    assert "text.npy: holds an array (6, 9) of" in lines[1]
    assert all("is damaged and cannot be read" in line for line in lines[2:4])
    assert '"variable": one of a, b' in lines[4]


def test_the_description_of_an_array_counts_for_its_digest(tmp_path):
    path = array(tmp_path / "a.npy", waves())
    before = eeg_digests(tmp_path, [path.name])
    described(path, channels=NAMES, sfreq=200, unit="mV")
    assert eeg_digests(tmp_path, [path.name]) != before


# ------------------------------------------------------------------------------------------- xdf


def test_streams_of_lsl_keep_their_gaps_and_their_real_rate(tmp_path):
    eeg = waves(seconds=12)
    times = 50 + np.arange(2400) / 200.02  # what the amplifier really did
    times[1000:] += 30
    file = EEGFile(xdf(tmp_path / "a.xdf", eeg, times=times))
    assert file.sfreq == pytest.approx(200.02, abs=1e-3)
    (gap,) = file.gaps
    assert gap == pytest.approx((1000 / 200.02, 30 + 1000 / 200.02), abs=1e-4)
    part = file.trial(33 + 1000 / 200.02, 2, file.sfreq)
    assert part == pytest.approx(centred(eeg[:, 1600:2000]), abs=1e-2)


def test_the_stream_is_named_where_several_are_eeg(tmp_path, refused):
    path = xdf(tmp_path / "a.xdf", waves())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"<type>Markers", b"<type>EEG    "))
    with refused("a.xdf: no single stream is of type EEG; it holds Screen (EEG), Amp (EEG)"):
        EEGFile(path)
    assert EEGFile(described(path, stream="amp")).channels == tuple(NAMES)
    with refused("no single stream is Amps"):
        EEGFile(described(path, stream="Amps"))
    path = xdf(tmp_path / "b.xdf", waves(), [""] * 6)
    with refused("its stream has 6 channels and names 0"):
        EEGFile(path)
    assert EEGFile(described(path, channels=NAMES)).channels == tuple(NAMES)


def test_an_xdf_that_claims_more_than_it_holds_is_one_line(tmp_path):
    whole = xdf(tmp_path / "a.xdf", waves()).read_bytes()
    at = whole.index(b"\x04\x64\0\0\0")  # the first chunk of 100 samples
    changes = {
        "samples": whole[: at + 1] + b"\xff\xff\xff\x7f" + whole[at + 5 :],
        "channels": whole.replace(b"<channel_count>6<", b"<channel_count>9<"),
        "cut": whole[:-5000],
        "length": whole[:4] + b"\x08" + b"\xff" * 8 + whole[9:],
        "no": b"XDF?" + whole[4:],
    }
    paths = []
    for name, content in changes.items():
        paths.append(tmp_path / f"{name}.xdf")
        paths[-1].write_bytes(content)
    for path, line in zip(paths, refusals(READ, *paths), strict=True):
        assert f"{path.name}: is damaged and cannot be read (" in line


# ------------------------------------------------------------- what is no continuous recording


@pytest.fixture
def epochs():
    info = mne.create_info(NAMES, 200.0, "eeg")
    return mne.EpochsArray(waves().reshape(6, 4, 400).transpose(1, 0, 2) * 1e-6, info, verbose=40)


def test_epochs_and_averages_are_said_to_be_that(tmp_path, refused, epochs):
    epochs.save(tmp_path / "a-epo.fif", verbose="error")
    epochs.average().save(tmp_path / "a-ave.fif", verbose="error")
    mne.write_cov(tmp_path / "a-cov.fif", mne.compute_covariance(epochs, verbose=40), verbose=40)
    eeglab(tmp_path / "a.set", waves())
    content = scipy.io.loadmat(tmp_path / "a.set", simplify_cells=True)["EEG"]
    scipy.io.savemat(
        tmp_path / "a.set", {"EEG": content | {"trials": 4, "pnts": 400}}, appendmat=False
    )
    for name, what in [("a-epo.fif", "epochs"), ("a-ave.fif", "an average"), ("a.set", "epochs")]:
        with refused(f"{name}: holds {what}", "supported are EDF and BDF"):
            EEGFile(tmp_path / name)
    with refused("a-cov.fif: holds no EEG"):
        EEGFile(tmp_path / "a-cov.fif")


def test_a_folder_that_is_no_recording_is_said_to_be_that(tmp_path, refused):
    (tmp_path / "films").mkdir()
    with refused("films: is no kind of EEG file that is read (no suffix)", "(.mff)"):
        EEGFile(tmp_path / "films")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with refused("a.pdf: is no kind of EEG file that is read (.pdf)"):
        EEGFile(tmp_path / "a.pdf")


def test_all_files_of_a_folder_belong_to_the_recording(tmp_path, refused):
    folder = tmp_path / "a.mff"
    (folder / "Contents").mkdir(parents=True)
    (folder / "signal1.bin").write_bytes(b"x")
    (folder / "Contents/info.xml").write_bytes(b"y")
    assert companions(folder) == [folder / "Contents/info.xml", folder / "signal1.bin"]
    before = eeg_digests(tmp_path, ["a.mff"])
    (folder / "Contents/info.xml").write_bytes(b"z")
    assert eeg_digests(tmp_path, ["a.mff"]) != before
    (folder / "out.xml").symlink_to(tmp_path / "b.xml")
    with refused("a.mff: names ", "out.xml"):
        companions(folder)


def test_the_data_of_a_renamed_set_are_found_by_the_name_within(tmp_path):
    path = eeglab(tmp_path / "old.set", waves())
    renamed = path.rename(tmp_path / "new.set")
    assert read_eeg(renamed).data == pytest.approx(centred(waves()), abs=1e-4)
    assert companions(renamed) == [tmp_path / "old.fdt"]
    json.dumps(eeg_digests(tmp_path, ["new.set"]))


def test_a_name_that_mne_numbered_is_no_other_channel(tmp_path, refused):
    path = fif(tmp_path / "a_raw.fif", waves(), ["Cz-0", "Cz-1", "C3", "C4", "O1", "O2"])
    with refused("two channels are Cz"):
        EEGFile(path)


# ------------------------------------------------------------------------------- beside MNE


def with_mne(path):
    """All of a recording as MNE has it, at its own rate: (channel, sample) in µV."""
    return mne.io.read_raw(path, preload=True, verbose="error").get_data(picks=NAMES) * 1e6


def with_pyxdf(path):
    streams, _ = pyxdf.load_xdf(path, verbose=False)
    (stream,) = (s for s in streams if s["info"]["type"] == ["EEG"])
    return stream["time_series"].T.astype(float)


BESIDE = {
    "a.edf": (recordings.edf, with_mne),
    "a.bdf": (recordings.bdf, with_mne),
    "a_raw.fif": (recordings.fif, with_mne),
    "a.vhdr": (recordings.brainvision, with_mne),
    "a.set": (recordings.eeglab, with_mne),
    "a.xdf": (recordings.xdf, with_pyxdf),
    "a.npy": (recordings.array, lambda path: np.load(path).astype(float)),
    "a.mat": (recordings.array, lambda path: scipy.io.loadmat(path)["eeg"]),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_trial_is_what_mne_makes_of_the_whole_recording(tmp_path, name):
    """MNE reads all, resamples all by its own polyphase filter and cuts afterwards."""
    write, read = BESIDE[name]
    path = write(tmp_path / name, waves(seconds=16))
    whole = mne.io.RawArray(read(path), mne.create_info(NAMES, 200.0, "eeg"), verbose="error")
    whole.resample(128.0, method="polyphase", verbose="error")
    expected = whole.get_data(start=4 * 128, stop=9 * 128)
    found = EEGFile(path).trial(4.0, 5.0, 128.0)
    assert found == pytest.approx(centred(expected), abs=0.05)
