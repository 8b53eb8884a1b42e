"""Recordings that tests write, one in each format, with known content."""

import json
import struct
from pathlib import Path

import edfio
import mne
import numpy as np
import scipy.io

NAMES = ["Fp1", "Fp2", "C3", "C4", "O1", "O2"]


def waves(channels=6, seconds=8.0, sfreq=200.0, seed=0):
    """Noise of 20 µV below 30 Hz: (channel, sample) in µV."""
    rng = np.random.default_rng(seed)
    size = round(seconds * sfreq)
    spectrum = np.fft.rfft(rng.standard_normal((channels, size)))
    spectrum[:, np.fft.rfftfreq(size, 1 / sfreq) > 30] = 0
    x = np.fft.irfft(spectrum, size)
    return 20 * x / x.std(axis=1, keepdims=True)


def edf(path: Path, eeg, names=NAMES, sfreq=200.0, unit="uV"):
    """EEG in µV as an EDF whose header names ``unit``, for all channels or each."""
    units = [unit] * len(names) if isinstance(unit, str) else unit
    factor = {"mV": 1e-3, "V": 1e-6, "nV": 1e3}
    signals = [
        edfio.EdfSignal(row * factor.get(u, 1), sfreq, label=name, physical_dimension=u)
        for row, name, u in zip(eeg, names, units, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1, 2, "T1")]).write(path)
    return path


def bdf(path: Path, eeg, names=NAMES, sfreq=200.0):
    signals = [
        edfio.BdfSignal(row, sfreq, label=name, physical_dimension="uV")
        for row, name in zip(eeg, names, strict=True)
    ]
    edfio.Bdf(signals).write(path)
    return path


def fif(path: Path, eeg, names=NAMES, sfreq=200.0, kinds="eeg"):
    info = mne.create_info(list(names), sfreq, kinds)
    raw = mne.io.RawArray(eeg * 1e-6, info, verbose="error")
    raw.save(path, fmt="double", verbose="error")
    return path


def brainvision(path: Path, eeg, names=NAMES, sfreq=200.0):
    """A header whose data and markers have names of their own."""
    (path.parent / "data.eeg").write_bytes(eeg.T.astype("<f4").tobytes())
    (path.parent / "marks.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\n"
        "DataFile=data.eeg\n[Marker Infos]\nMk1=New Segment,,1,1,0\n"
    )
    channels = "\n".join(f"Ch{i}={name},,1,µV" for i, name in enumerate(names, 1))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=data.eeg\nMarkerFile=marks.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(names)}\n"
        f"SamplingInterval={1e6 / sfreq:g}\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n"
        f"[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    return path


def eeglab(path: Path, eeg, names=NAMES, sfreq=200.0):
    """A .set with its data in a .fdt beside it."""
    eeg.T.astype("<f4").tofile(path.with_suffix(".fdt"))
    places = np.array([(name,) for name in names], dtype=[("labels", object)])
    content = {
        "setname": "x",
        "nbchan": len(names),
        "trials": 1,
        "pnts": eeg.shape[1],
        "srate": sfreq,
        "xmin": 0.0,
        "xmax": (eeg.shape[1] - 1) / sfreq,
        "data": path.with_suffix(".fdt").name,
        "datfile": path.with_suffix(".fdt").name,
        "chanlocs": places,
        "event": [],
        "epoch": [],
        "icawinv": [],
        "icasphere": [],
        "icaweights": [],
        "comments": "",
        "ref": "common",
    }
    scipy.io.savemat(path, {"EEG": content}, appendmat=False)
    return path


def described(path: Path, **description):
    """The JSON file beside an array or an .xdf."""
    path.with_suffix(".json").write_text(json.dumps(description), encoding="utf-8")
    return path


def array(path: Path, eeg, names=NAMES, sfreq=200.0):
    """EEG as an array (channel, sample) in a .npy or .mat, described beside it."""
    if path.suffix == ".npy":
        np.save(path, eeg.astype(np.float32))
    else:
        scipy.io.savemat(path, {"eeg": eeg, "rate": sfreq, "text": "of a lab"})
    return described(path, channels=list(names), sfreq=sfreq, unit="uV")


def xdf(
    path: Path,
    eeg,
    names=NAMES,
    sfreq=200.0,
    times=None,
    offset=0.0,
    unit="microvolts",
    beside=(),
):
    """A recording of LSL: a stream of markers, one of EEG as float32, and those ``beside`` them.

    ``times`` are its time stamps on its own computer, whose clock is ``offset`` s behind. Other
    streams are (name, type, format, times, values, offset), of one channel.
    """
    times = 1000 + np.arange(eeg.shape[1]) / sfreq if times is None else times
    labels = "".join(
        f"<channel><label>{name}</label><unit>{unit}</unit><type>EEG</type></channel>"
        for name in names
    )
    header = (
        "<?xml version='1.0'?><info><name>{}</name><type>{}</type><channel_count>{}</channel_count>"
        "<nominal_srate>{:g}</nominal_srate><channel_format>{}</channel_format><desc>{}</desc></info>"
    )
    content = b"XDF:" + _chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    for number, text in (
        (1, header.format("Screen", "Markers", 1, 0, "int32", "")),
        (
            2,
            header.format(
                "Amp", "EEG", len(names), sfreq, "float32", f"<channels>{labels}</channels>"
            ),
        ),
    ):
        content += _chunk(2, struct.pack("<I", number) + text.encode())
    content += _chunk(3, struct.pack("<IBBBd", 1, 1, 1, 8, 999.0) + struct.pack("<i", 7))
    for first in range(0, eeg.shape[1], 100):
        block = eeg[:, first : first + 100].T.astype("<f4")
        samples = b"".join(
            b"\x08" + struct.pack("<d", time) + row.tobytes()
            for time, row in zip(times[first:], block, strict=False)
        )
        content += _chunk(3, struct.pack("<IBI", 2, 4, len(block)) + samples)
        content += _chunk(4, struct.pack("<Idd", 2, times[first], offset))
    for number, (name, kind, form, stamps, values, behind) in enumerate(beside, 3):
        head = header.format(name, kind, 1, 0, form, "").encode()
        content += _chunk(2, struct.pack("<I", number) + head)
        for time, value in zip(stamps, values, strict=True):
            if form == "string":
                text = value.encode()
                sample = struct.pack("<BB", 1, len(text)) + text
            else:
                sample = struct.pack("<i", value)
            stamp = struct.pack("<IBIBd", number, 4, 1, 8, time)
            content += _chunk(3, stamp + sample)
            content += _chunk(4, struct.pack("<Idd", number, time, behind))
    path.write_bytes(content)
    return path


def _chunk(tag, content):
    return struct.pack("<BIH", 4, len(content) + 2, tag) + content
