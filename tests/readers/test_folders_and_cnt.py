"""EGI's folders and Neuroscan's files, written here byte by byte or by the maker's own package."""

import datetime
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from milmer.readers.claims import require_plausible
from milmer.readers.eeg import EEGFile
from tests.manifest.recordings import NAMES, waves
from tests.readers.test_hard_inputs import centred


def neuroscan(path, eeg, sfreq=200, step=0.02):
    """A .cnt of 32 bits in steps of ``step`` µV, less a baseline of 40 and without events."""
    channels, samples = eeg.shape
    stored = np.round(eeg / step).astype("<i4") + 40
    end = 900 + 75 * channels + 4 * channels * samples
    file = bytearray(900)
    file[:12] = b"Version 3.0\0"
    struct.pack_into("<H", file, 370, channels)
    struct.pack_into("<H", file, 376, sfreq)
    struct.pack_into("<i", file, 864, samples)
    struct.pack_into("<i", file, 886, end)
    for i, name in enumerate(NAMES):
        electrode = bytearray(75)
        electrode[: len(name)] = name.encode()
        struct.pack_into("<ff", electrode, 19, 100.0 + 20 * i, 80.0 + 15 * (i % 3))
        struct.pack_into("<h", electrode, 47, 40)
        struct.pack_into("<f", electrode, 59, 204.8)
        struct.pack_into("<f", electrode, 71, step)
        file += electrode
    path.write_bytes(bytes(file) + stored.T.tobytes() + struct.pack("<Bll", 1, 0, 0))
    return path


def test_neuroscan_gives_the_same_microvolts(tmp_path):
    file = EEGFile(neuroscan(tmp_path / "a.cnt", waves()))
    assert (file.channels, file.sfreq, file.seconds) == (tuple(NAMES), 200, 8)
    expected = centred(waves()[:, 400:1200])
    assert file.trial(2.0, 4.0, 200) == pytest.approx(expected, abs=0.011)


def test_a_folder_of_egi_gives_the_same_microvolts_and_its_places(tmp_path, monkeypatch):
    pytest.importorskip("mffpy")
    from mffpy.bin_writer import BinWriter
    from mffpy.writer import Writer

    eeg = waves(129, seconds=10, sfreq=250.0)
    writer = Writer(str(tmp_path / "a.mff"))
    when = datetime.datetime(2020, 7, 29, 12, tzinfo=datetime.UTC)
    writer.addxml("fileInfo", recordTime=when)
    writer.add_coordinates_and_sensor_layout("HydroCel GSN 128 1.0")
    signals = BinWriter(sampling_rate=250, data_type="EEG")
    signals.add_block(eeg.astype(np.float32))
    writer.addbin(signals)
    writer.write()
    monkeypatch.chdir(tmp_path)
    for path in (Path("a.mff"), tmp_path / "a.mff"):
        file = EEGFile(path)
        assert (len(file.channels), file.sfreq, file.seconds) == (129, 250, 10)
        assert len(file.positions) == 129
        assert file.trial(2, 4, 250) == pytest.approx(centred(eeg[:, 500:1500]), abs=1e-4)


@pytest.mark.parametrize("relative", [True, False])
def test_files_within_a_folder_are_its_own_however_they_are_named(
    tmp_path, monkeypatch, refused, relative
):
    folder = tmp_path / "a.mff"
    folder.mkdir()
    (folder / "signal1.bin").write_bytes(b"0" * 4000)
    (tmp_path / "b.bin").write_bytes(b"0" * 4000)
    monkeypatch.chdir(tmp_path)
    raw = SimpleNamespace(info={"sfreq": 250.0}, ch_names=NAMES, n_times=100)
    path = Path("a.mff") if relative else folder
    raw.filenames = [str(folder / "signal1.bin")]
    require_plausible(raw, path)
    raw.filenames = [str(tmp_path / "c" / "b.bin")]
    with refused("names", "which is not beside it"):
        require_plausible(raw, path)
