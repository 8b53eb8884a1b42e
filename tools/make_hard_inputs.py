#!/usr/bin/env python3
"""Write small recordings and videos as labs really have them, each hard in one way.

    python tools/make_hard_inputs.py OUT

They are made of one run of PhysioNet's EEG Motor Movement/Imagery Database (real EEG) and of the
"foreman" sequence (a real face); `python tools/fetch_test_data.py` gets both. OUT/README.md says
what each case is, and what is right to do with it.
"""

import argparse
import csv
import re
import shutil
import struct
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import edfio
import mne
import numpy as np
from skimage.data import astronaut

from fetch_test_data import COMMAND, find_recordings

RECORDINGS = find_recordings()
SFREQ = 160.0  # of the real EEG
NAMES = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "O1", "O2")
HEADER = ["subject", "trial", "stimulus", "eeg_file", "eeg_start", "eeg_stop", "label"]


class Case(NamedTuple):
    """What makes the files of a folder, what they are, and what is right to do with them."""

    write: Callable[[Path], None]
    description: str
    right: str


# ------------------------------------------------------------------------------ EEG


def write_manifest(path: Path, rows: Sequence[tuple]) -> None:
    """Write the trials ``rows`` as a manifest."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])


def trials(
    file: str, starts: Sequence[float] = (4.5, 11.37, 18.2, 25.9, 31.6), seconds: float = 6.0
) -> list[tuple]:
    """Rows of a manifest: trials of ``file``, of two classes in turn."""
    return [
        ("p01", i + 1, f"v{i + 1}", file, start, round(start + seconds, 3), "ab"[i % 2])
        for i, start in enumerate(starts)
    ]


@cache
def _raw(names: tuple[str, ...]) -> mne.io.BaseRaw:
    path = RECORDINGS / "eegmmidb" / "S001R03.edf"
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    raw.rename_channels(lambda name: name.strip("."))
    by_upper = {name.upper(): name for name in raw.ch_names}
    return raw.pick([by_upper[name.upper()] for name in names])


def real_eeg(seconds: float, names: Sequence[str] = NAMES, sfreq: float = SFREQ) -> np.ndarray:
    """Real EEG in µV, (channel, sample)."""
    raw = _raw(tuple(names))
    if sfreq != SFREQ:
        raw = raw.copy().resample(sfreq, verbose="error")
    return raw.get_data()[:, : int(sfreq * seconds)] * 1e6


def edf_signal(
    samples: np.ndarray, sfreq: float, label: str, unit: str = "uV", factor: float = 1.0
) -> edfio.EdfSignal:
    """A channel of an EDF file: ``samples`` in µV, stored in ``unit``, 1 µV being ``factor``."""
    top = 1000.0 * factor
    return edfio.EdfSignal(
        np.clip(samples, -999, 999) * factor,
        sampling_frequency=sfreq,
        label=label,
        physical_dimension=unit,
        physical_range=(-top, top),
    )


def edf_signals(
    eeg: np.ndarray, names: Sequence[str] = NAMES, sfreq: float = SFREQ, **about: Any
) -> list[edfio.EdfSignal]:
    """All channels of (channel, sample)."""
    return [edf_signal(row, sfreq, name, **about) for row, name in zip(eeg, names, strict=True)]


def write_fif(path: Path, volts: np.ndarray, names: Sequence[str], sfreq: float = SFREQ) -> None:
    """Write (channel, sample) in V."""
    info = mne.create_info(list(names), sfreq, "eeg")
    mne.io.RawArray(volts, info, verbose="error").save(path, verbose="error")


def mixed_rates(folder: Path) -> None:
    """Write EEG alone, and beside a channel of another rate."""
    eeg = edf_signals(real_eeg(40))
    edfio.Edf(eeg).write(folder / "eeg.edf")
    ecg = np.random.default_rng(0).normal(size=500 * 40) * 100
    edfio.Edf([*eeg, edf_signal(ecg, 500.0, "ECG")]).write(folder / "eeg_ecg.edf")
    for name in ("eeg", "eeg_ecg"):
        write_manifest(folder / f"{name}.csv", trials(f"{name}.edf"))


def units(folder: Path) -> None:
    """Write the same EEG in each unit."""
    factors = {"uV": 1, "UV": 1, "uv": 1, "microV": 1, "mV": 1e-3, "mv": 1e-3}
    factors |= {"V": 1e-6, "Volt": 1e-6, "nV": 1e3, "none": 1}
    for name, factor in factors.items():
        unit = "" if name == "none" else name
        signals = edf_signals(real_eeg(30), unit=unit, factor=factor)
        edfio.Edf(signals).write(folder / f"{name}.edf")
        write_manifest(folder / f"{name}.csv", trials(f"{name}.edf", (4.0, 12.0, 20.0)))


def gap(folder: Path) -> None:
    """Write a recording without a gap, and the same with one."""
    edfio.Edf(
        edf_signals(real_eeg(40)),
        annotations=[edfio.EdfAnnotation(0, None, "start"), edfio.EdfAnnotation(35, None, "video")],
        data_record_duration=1.0,
    ).write(folder / "same_without_gap.edf")
    content = (folder / "same_without_gap.edf").read_bytes()
    (folder / "gap20s.edf").write_bytes(_discontinuous(content, 20, 20))
    across = ("p01", 9, "v9", "gap20s.edf", 17.0, 23.0, "a")
    rows = [*trials("gap20s.edf", (4.0, 12.0, 42.0, 50.0)), across]
    write_manifest(folder / "manifest.csv", rows)


def _discontinuous(content: bytes, after: int, seconds: int) -> bytes:
    """An EDF+C file of 1 s records as EDF+D: after ``after`` of them its clock is ahead."""
    file = bytearray(content)
    count, header, records = int(file[252:256]), int(file[184:192]), int(file[236:244])
    samples = [int(file[256 + 216 * count + 8 * i :][:8]) for i in range(count)]
    labels = [bytes(file[256 + 16 * i :][:16]).decode().strip() for i in range(count)]
    place = labels.index("EDF Annotations")
    file[192:236] = b"EDF+D".ljust(44)
    record, offset, size = 2 * sum(samples), 2 * sum(samples[:place]), 2 * samples[place]
    for number in range(records):
        start = header + number * record + offset
        clock = number if number < after else number + seconds
        text = bytes(file[start : start + size])
        text = re.sub(rb"^\+[0-9.]+\x14\x14", b"+%d\x14\x14" % clock, text)
        text = text.replace(b"+35", b"+%d" % (35 + seconds))
        file[start : start + size] = text[:size].ljust(size, b"\0")
    return bytes(file)


def headset(folder: Path) -> None:
    """Write a recording of four channels whose contact is lost for a while."""
    eeg = real_eeg(100, ["TP7", "AF7", "AF8", "TP8"], 256.0)
    eeg[0, 256 * 30 : 256 * 45] = 0
    eeg[2, 256 * 35 : 256 * 45] = 0
    signals = edf_signals(eeg, ["TP9", "AF7", "AF8", "TP10"], 256.0)
    edfio.Edf(signals).write(folder / "muse.edf")
    write_manifest(folder / "manifest.csv", trials("muse.edf", (5, 18, 33, 50, 65, 80), 9))


def marks(folder: Path) -> None:
    """Write files that carry marks of their own, wrong units and NaN."""
    eeg = real_eeg(100)
    info = mne.create_info(list(NAMES), SFREQ, "eeg")
    raw = mne.io.RawArray(eeg * 1e-6, info, verbose="error")
    raw.info["bads"] = ["C3"]
    raw.set_annotations(mne.Annotations([10.0, 40.0], [5.0, 8.0], ["BAD_movement", "BAD_blink"]))
    raw.save(folder / "marked_raw.fif", verbose="error")
    write_fif(folder / "microvolts_as_volts_raw.fif", eeg, NAMES)
    broken = eeg.copy()
    broken[2, 160 * 24 : 160 * 25] = np.nan
    write_fif(folder / "nan_raw.fif", broken * 1e-6, NAMES)
    for name in ("marked", "microvolts_as_volts", "nan"):
        rows = trials(f"{name}_raw.fif", (4, 20, 38, 60), 12)
        write_manifest(folder / f"{name}.csv", rows)


def caps(folder: Path) -> None:
    """Write recordings whose channels are named in other ways than 10-20's."""
    eeg = real_eeg(60, [*NAMES, "F7", "F8", "T7", "T8", "P3", "P4", "Fz", "Cz"])
    edfio.Edf(edf_signals(eeg, [f"A{i + 1}" for i in range(16)])).write(folder / "abc.edf")
    write_manifest(folder / "abc.csv", trials("abc.edf"))
    net = np.vstack([eeg, np.zeros((1, eeg.shape[1]))]) * 1e-6
    write_fif(folder / "egi_raw.fif", net, [*(f"E{i + 1}" for i in range(16)), "Cz"])
    write_manifest(folder / "egi.csv", trials("egi_raw.fif"))
    names = ["EEG Fp1-REF", "EEG.Fp2", "F3.", "F 4", "T3", "T4", "EEG O1-LER", "O2 - Ref"]
    names += ["M1", "A2", "ECG", "Status"]
    electrodes = ["Fp1", "Fp2", "F3", "F4", "T7", "T8", "O1", "O2", "TP7", "TP8", "C3", "C4"]
    edfio.Edf(edf_signals(real_eeg(60, electrodes), names)).write(folder / "names.edf")
    write_manifest(folder / "names.csv", trials("names.edf"))


def odd_length(folder: Path) -> None:
    """Write noise at two rates, each one sample short of a minute."""
    rng = np.random.default_rng(1)
    for sfreq in (1000, 2048):
        noise = rng.normal(size=(6, sfreq * 60 - 1)) * 1e-5
        write_fif(folder / f"t{sfreq}_raw.fif", noise, NAMES[:6], sfreq)
        whole = ("p01", 1, "v1", f"t{sfreq}_raw.fif", "", "", "a")
        write_manifest(folder / f"t{sfreq}.csv", [whole])


def annotations_only(folder: Path) -> None:
    """Write a hypnogram."""
    stages = [edfio.EdfAnnotation(30 * i, 30, "Sleep stage W") for i in range(5)]
    edfio.Edf([], annotations=stages).write(folder / "hypnogram.edf")
    write_manifest(folder / "manifest.csv", trials("hypnogram.edf", (4,)))


def same_samples(folder: Path) -> None:
    """Write manifests whose trials share samples."""
    edfio.Edf(edf_signals(real_eeg(100))).write(folder / "one.edf")
    shutil.copy(folder / "one.edf", folder / "copy.edf")
    rows = trials("one.edf", [4 + 8 * i for i in range(10)])
    again = [(subject, trial + 10, f"w{trial}", *rest) for subject, trial, _, *rest in rows]
    other = [("p02", *row[1:3], "copy.edf", *row[4:]) for row in rows]
    write_manifest(folder / "honest.csv", rows)
    write_manifest(folder / "twice.csv", rows + again)
    write_manifest(folder / "overlapping.csv", trials("one.edf", [4 + 3 * i for i in range(20)], 9))
    write_manifest(folder / "copied.csv", rows + other)


def bids(folder: Path) -> None:
    """Write an EEG-BIDS folder."""
    for place in ("sub-01/eeg", "derivatives/clean/sub-01/eeg", "sourcedata/sub-01/eeg"):
        (folder / place).mkdir(parents=True)
        edfio.Edf(edf_signals(real_eeg(40))).write(folder / place / "sub-01_task-film_eeg.edf")
        events = "onset\tduration\ttrial_type\n4.5\t6\tjoy\n18\t6\tfear\n"
        (folder / place / "sub-01_task-film_events.tsv").write_text(events)
    description = '{"Name": "made up", "BIDSVersion": "1.9.0"}'
    (folder / "dataset_description.json").write_text(description)
    channels = "name\ttype\tunits\tstatus\n"
    for name in NAMES:
        kind, status = "EOG" if name == "Fp2" else "EEG", "bad" if name == "C3" else "good"
        channels += f"{name}\t{kind}\tuV\t{status}\n"
    (folder / "sub-01/eeg/sub-01_task-film_channels.tsv").write_text(channels)


# ---------------------------------------------------------------------------- video


@cache
def face_frames() -> list[np.ndarray]:
    """Frames of a real face video, RGB."""
    with av.open(str(RECORDINGS / "video" / "foreman_cif.264")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:180]


@cache
def numbered_frames() -> list[np.ndarray]:
    """The same; their top 16 rows hold their number as 12 black or white fields."""
    numbered = []
    for number, frame in enumerate(face_frames()):
        picture, width = frame.copy(), frame.shape[1] // 12
        for bit in range(12):
            field = picture[:16, bit * width : (bit + 1) * width]
            field[:] = 235 if number >> bit & 1 else 16
        numbered.append(picture)
    return numbered


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_format: str | None = None,
    rate: int = 25,
) -> None:
    """Write ``frames``; ``times`` are numbers of frames at which each is shown."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def containers(folder: Path) -> None:
    """Write the same video in several containers."""
    frames = numbered_frames()
    encode(folder / "h264.ts", frames, options={"g": "25"})
    encode(folder / "h264.m2ts", frames, container_format="mpegts")
    encode(folder / "mpeg2.ts", frames, "mpeg2video", options={"b": "4M"})
    encode(folder / "mpeg2.mpg", frames, "mpeg2video", None, {"b": "4M"}, "mpeg")
    encode(folder / "plain.mp4", frames)
    whole = (folder / "h264.ts").read_bytes()
    start = (len(whole) // 3) // 188 * 188
    (folder / "cut_in.ts").write_bytes(whole[: 188 * 4] + whole[start:])


def stall(folder: Path) -> None:
    """Write videos whose clock jumps."""
    frames = numbered_frames()
    times = [i if i < 90 else i + 200 for i in range(len(frames))]
    for name, number in (("b_frames", "2"), ("no_b_frames", "0")):
        encode(folder / f"{name}.avi", frames, "mpeg4", times, {"b": "4M", "bf": number})


def phone(folder: Path) -> None:
    """Write a video, and the same with each display matrix."""
    encode(folder / "upright.mp4", face_frames())
    unit = 0x00010000
    matrices = {
        "rotated_90": (0, unit, -unit, 0),
        "rotated_180": (-unit, 0, 0, -unit),
        "mirrored": (-unit, 0, 0, unit),
        "upside_down_mirrored": (unit, 0, 0, -unit),
    }
    for name, (a, b, c, d) in matrices.items():
        content = bytearray((folder / "upright.mp4").read_bytes())
        start = content.index(b"tkhd") + 4 + 40
        content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
        (folder / f"{name}.mp4").write_bytes(content)


def two_faces(folder: Path) -> None:
    """Write videos of a participant and a poster."""
    poster = cv2.resize(astronaut()[0:220, 120:340], (96, 96))
    covered, late = [], []
    for i, frame in enumerate(face_frames()):
        grey = (120, 120, 120)
        picture = cv2.copyMakeBorder(frame, 0, 0, 0, 140, cv2.BORDER_CONSTANT, value=grey)
        picture[20:116, 380:476] = poster
        empty = picture.copy()
        empty[:, :352] = 120
        covered.append((empty if 60 <= i < 80 else picture)[:, :492])
        late.append((empty if i < 30 else picture)[:, :492])
    encode(folder / "covered_for_a_moment.mp4", covered)
    encode(folder / "walks_in.mp4", late)


def far_away(folder: Path) -> None:
    """Write a video of a whole room."""
    wide = []
    for frame in face_frames()[:60]:
        picture = np.full((1080, 1920, 3), 90, np.uint8)
        picture[500:716, 900:1164] = cv2.resize(frame, (264, 216), interpolation=cv2.INTER_AREA)
        wide.append(picture)
    encode(folder / "room_camera.mp4", wide, options={"crf": "18"})


def damaged(folder: Path) -> None:
    """Write a video, and the same with damaged packets."""
    encode(folder / "good.mp4", numbered_frames(), options={"g": "25", "bf": "0"})
    content = bytearray((folder / "good.mp4").read_bytes())
    with av.open(str(folder / "good.mp4")) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for number in (37, 38, 83, 129):
        start, size = packets[number]
        content[start : start + size] = b"\xff" * size
    (folder / "bad_packets.mp4").write_bytes(content)


CASES = [
    Case(
        mixed_rates,
        "EEG at 160 Hz beside an ECG at 500 Hz in one EDF; trials begin between data records",
        "both manifests give the same segments to 1e-3 µV",
    ),
    Case(
        units,
        "the same EEG stored in ten spellings of its unit",
        "the same µV from each whose unit is clear; an unclear one is refused or reported by name, "
        "never a wrong number without a word",
    ),
    Case(
        gap,
        "EDF+D: recording stops after 20 s for 20 s",
        "trials at 42 and 50 s hold the samples that are at 22 and 30 s of same_without_gap.edf; "
        "the trial from 17 to 23 s is refused or rejected with the reason",
    ),
    Case(
        headset,
        "four channels; two of them drop out in one of six trials",
        "five trials are used, one is rejected with its reason; the subject stays",
    ),
    Case(
        marks,
        "a file's own bad channel and BAD_ annotations; µV saved as if they were V; NaN in one "
        "trial",
        "marks are honoured and counted; amplitudes of 1e7 µV are refused with the likely reason; "
        "NaN rejects its trial; `milmer check` says all of it beforehand",
    ),
    Case(
        caps,
        "ABC caps, a net with a flat reference and without positions, twelve ways to write names",
        "abc: no 10–05 positions are made up, all channels are used or the file is refused with "
        "the list; egi: no traceback; names: Fp1 Fp2 F3 F4 T7 T8 O1 O2 are EEG, the mastoids M1 "
        "and A2, ECG and Status are not; used and dropped channels are listed by check",
    ),
    Case(
        odd_length,
        "one sample short of whole segments, `dataset.sfreq: null`",
        "no traceback; whole segments only",
    ),
    Case(
        annotations_only,
        "an EDF+ without a signal",
        "one line; other files are still checked",
    ),
    Case(
        same_samples,
        "spans listed twice, spans that overlap, one recording under two subjects",
        "twice: what shares samples is one group and never split, and check says so; overlapping: "
        "all trials are one group, so there is no protocol trial, which is an ERROR that names it; "
        "copied: refused by name of both subjects",
    ),
    Case(
        bids,
        "EEG-BIDS with derivatives and sourcedata; channels.tsv calls Fp2 EOG and C3 bad",
        "two trials, not six; Fp2 is no EEG channel, C3 is bad",
    ),
    Case(
        containers,
        "broadcast and camcorder containers; cut_in.ts begins inside a group of pictures; rows "
        "0–15 hold the frame's number in 12 fields",
        "each frame at its time, as in plain.mp4; of cut_in.ts what can be decoded, the rest is a "
        "gap; time 0 is the first picture of the whole file",
    ),
    Case(
        stall,
        "AVI from a camera that stopped for 8 s after 90 frames",
        "frames after the stall are at their own times to within two frames, or the file is "
        "refused with this reason; never seconds off without a word",
    ),
    Case(
        phone,
        "the display matrix of a phone or a front camera",
        "each picture as a player shows it, mirrored too; a face is found in as many frames of "
        "mirrored as of upright; the contact sheet keeps the shape",
    ),
    Case(
        two_faces,
        "a participant (left) and a poster of a face (right); the participant is covered from 2.4 "
        "to 3.2 s, or walks in after 1.2 s",
        "every crop that counts as detected is the participant; how many faces a frame shows is "
        "stored and reported",
    ),
    Case(
        far_away,
        "a face about 80 px wide in a picture of 1920 px",
        "found with the default options in at least nine of ten frames in which it is found in the "
        "original size",
    ),
    Case(
        damaged,
        "four packets of 180 (frames 37, 38, 83, 129) cannot be decoded; each second begins with a "
        "key frame",
        "frames that decode are used at their right times (those that FFmpeg conceals count as "
        "decoded), the rest is a gap that is counted and reported",
    ),
]


def main() -> None:
    """Write all cases into a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    out = parser.parse_args().out
    if RECORDINGS is None:
        sys.exit(f"error: the recordings are not here; `{COMMAND}` gets them")
    table = "# Hard inputs\n\n| folder | what | right |\n|---|---|---|\n"
    for case in CASES:
        folder = out / case.write.__name__
        folder.mkdir(parents=True)
        case.write(folder)
        table += f"| {folder.name} | {case.description} | {case.right} |\n"
    (out / "README.md").write_text(table)
    print(f"{len(CASES)} cases in {out}")


if __name__ == "__main__":
    main()
