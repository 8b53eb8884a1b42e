#!/usr/bin/env python3
"""Write a small dataset in DEAP's own file layout, made of real recordings.

    python tools/make_deap_from_real.py OUT --subjects 1 2 --trials 8 --seconds 12

The EEG is PhysioNet's EEG Motor Movement/Imagery subject S001: runs 3-6 are four tasks and runs
7-10 repeat them; a trial's class is its task. The face video is the public "foreman" test sequence,
frames 0-215, played to and fro: its face is out of the picture from frame 187, so some frames hold
no face. There are two runs of each task, so subjects 1 and 2 are independent and every later
subject repeats the data of one of them (fit for reading tests, not for leave-one-subject-out).
Ratings, presentation orders and markers are drawn from --seed. Everything that a reader has to get
right is as in DEAP:

  data_preprocessed_python/sNN.dat   pickle, protocol 2, {'data': trials x 40 x samples float64,
                                     'labels': trials x 4}; Geneva channel order, in the order of
                                     Experiment_id
  data_preprocessed_matlab/sNN.mat   the same arrays
  data_original/sNN.bdf              512 Hz, 32 EEG + 15 others + Status, continuous, PRESENTATION
                                     order; Twente channel order for s01-s22, Geneva from s23;
                                     from s24 the status words carry upper bits and the status
                                     channel has no name
  face_video/sNN/sNN_trialTT.avi     H.264, 720x576, 50 fps, TT in PRESENTATION order, a little
                                     shorter than the EEG (59.05 s of 60 s in DEAP)
  metadata_csv/participant_ratings.csv   the only map from Trial to Experiment_id; Start_time in
                                     1e-4 s, as in DEAP

Each video's luminance gain encodes its presentation trial and its red gain the 3 s segment, so a
test can tell, from all crops of a trial, which video they came from, and from the ratio of red to
green which 3 s (truth.json). `python tools/fetch_test_data.py` gets the recordings.
"""

import argparse
import json
import pickle
import sys
from pathlib import Path

import av
import edfio
import mne
import numpy as np
import scipy.io

from fetch_test_data import COMMAND, find_recordings

TWENTE = [
    "Fp1", "AF3", "F7", "F3", "FC1", "FC5", "T7", "C3", "CP1", "CP5", "P7",
    "P3", "Pz", "PO3", "O1", "Oz", "O2", "PO4", "P4", "P8", "CP6", "CP2",
    "C4", "T8", "FC6", "FC2", "F4", "F8", "AF4", "Fp2", "Fz", "Cz",
]  # fmt: skip
GENEVA = [
    "Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3",
    "P7", "PO3", "O1", "Oz", "Pz", "Fp2", "AF4", "Fz", "F4", "F8", "FC6",
    "FC2", "Cz", "C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2",
]  # fmt: skip
PERIPHERAL = [
    "EXG1", "EXG2", "EXG3", "EXG4", "EXG5", "EXG6", "EXG7", "EXG8",
    "GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Plet", "Temp",
]  # fmt: skip
STAND_INS = ("FPZ", "AF7", "AF8", "F5", "F6", "FT7", "FT8", "TP7")  # for 8 peripheral channels
# (valence, arousal) box of each class: HAHV, LAHV, LALV, HALV
BOXES = [((5.5, 9), (5.5, 9)), ((5.5, 9), (1, 4.5)), ((1, 4.5), (1, 4.5)), ((1, 4.5), (5.5, 9))]
HEADER = (
    "Participant_id,Trial,Experiment_id,Start_time,Valence,Arousal,Dominance,Liking,Familiarity"
)


def read_run(path: Path) -> mne.io.BaseRaw:
    """A recording with DEAP's 32 channels in the order of Twente, and 8 others."""
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    raw.rename_channels(lambda name: name.strip("."))
    by_upper = {name.upper(): name for name in raw.ch_names}
    return raw.pick([by_upper[name.upper()] for name in (*TWENTE, *STAND_INS)])


def read_frames(path: Path) -> list[np.ndarray]:
    """The first 216 frames, RGB, in DEAP's size."""
    with av.open(str(path), format="h264") as container:
        frames = [
            frame.reformat(720, 576, format="rgb24").to_ndarray()
            for frame in container.decode(video=0)
        ]
    return frames[:216]


def write_video(
    path: Path, frames: list[np.ndarray], start: int, seconds: float, gain: float, fps: int = 50
) -> None:
    """Write ``frames`` from number ``start``, forwards and back, as a video of DEAP's kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    period = 2 * len(frames) - 2
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "bf": "3"}
        for i in range(round(seconds * fps)):
            place = (start + (i * 3) // 5) % period  # 30 fps source shown at 50 fps
            picture = frames[min(place, period - place)].astype(np.float32) * gain
            picture[..., 0] *= 0.75 + 0.25 * ((int(i / fps / 3) % 4) / 3)
            picture = np.clip(picture, 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_bdf(
    path: Path,
    subject: int,
    trials: list[np.ndarray],
    sfreq: int,
    drop_onsets: list[int],
    extra_unnamed: bool,
    gap: float = 4.0,
) -> list[float]:
    """Write a continuous recording in presentation order with DEAP's status codes.

    ``trials`` are (channel, sample) in µV and begin 3 s before the music video. Returns the onset
    of each video in s.
    """
    upper = 0x19FF00 if subject >= 24 else 0
    quiet = trials[0][:, : int(gap * sfreq)]
    pieces, time = [quiet], quiet.shape[1] / sfreq
    events = [(0.5, 1), (1.5, 1), (3.0, 2)]
    onsets = []
    for number, trial in enumerate(trials):
        events.append((time + 0.01, 3))
        onsets.append(time + 3.0)
        if number not in drop_onsets:
            events.append((time + 3.0, 4))
        pieces.append(trial)
        time += trial.shape[1] / sfreq
        events += [(time, 5), (time + gap / 2, 1)]
        pieces.append(quiet)
        time += quiet.shape[1] / sfreq
    events.append((time - 0.5, 7))
    whole = np.concatenate(pieces, axis=1)
    samples = int(whole.shape[1] // sfreq * sfreq)
    status = np.full(samples, upper, dtype=np.int64)
    for at, code in events:
        first = round(at * sfreq)
        status[first : first + 8] = upper | code  # DEAP's code for an event lasts a few samples
    status = np.where(status >= 2**23, status - 2**24, status)
    names = (TWENTE if subject <= 22 else GENEVA) + PERIPHERAL
    signals = [
        edfio.BdfSignal(
            np.clip(row, -260000, 260000),
            sfreq,
            label=name,
            physical_dimension="uV",
            physical_range=(-262144, 262143),
        )
        for row, name in zip(whole[:, :samples], names, strict=True)
    ]
    signals.append(
        edfio.BdfSignal(
            status.astype(float),
            sfreq,
            label="" if subject >= 24 else "Status",
            physical_dimension="Boolean",
            physical_range=(-8388608, 8388607),
            digital_range=(-8388608, 8388607),
        )
    )
    if extra_unnamed:
        level = upper - 2**24 if upper >= 2**23 else upper
        signals.append(
            edfio.BdfSignal(
                np.full(samples, float(level)),
                sfreq,
                label="",
                physical_dimension="Boolean",
                physical_range=(-8388608, 8388607),
                digital_range=(-8388608, 8388607),
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Bdf(signals).write(path)
    return onsets


def write_preprocessed(
    out: Path,
    name: str,
    trials: list[mne.io.BaseRaw],
    seconds: float,
    ratings: np.ndarray,
    formats: list[str],
) -> None:
    """Write ``trials`` at 128 Hz, 4-45 Hz, against the average reference, as .dat and .mat."""
    samples = []
    for trial in trials:
        raw = trial.copy().resample(128, method="polyphase").filter(4, 45)
        signal = raw.get_data() * 1e6
        eeg = dict(zip(TWENTE, signal[:32] - signal[:32].mean(0), strict=True))
        channels = np.concatenate([np.stack([eeg[c] for c in GENEVA]), signal[32:40]])
        samples.append(channels[:, : int(seconds * 128)])
    content = {"data": np.stack(samples).astype(np.float64), "labels": ratings}
    if "dat" in formats:
        path = out / "data_preprocessed_python" / f"{name}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=2))
    if "mat" in formats:
        path = out / "data_preprocessed_matlab" / f"{name}.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(path, content, do_compression=True)


def original_channels(trial: mne.io.BaseRaw, subject: int) -> np.ndarray:
    """A trial as the amplifier records it: 32 EEG, 4 EOG and 11 other channels at 512 Hz, in µV."""
    signal = trial.copy().resample(512, method="polyphase").get_data() * 1e6
    eeg = dict(zip(TWENTE, signal[:32], strict=True))
    order = TWENTE if subject <= 22 else GENEVA
    eog = [signal[34], signal[33], signal[32], -signal[32]]  # EXG1-2 horizontal, EXG3-4 vertical
    rest = [signal[35 + i % 5] for i in range(11)]
    return np.concatenate([np.stack([eeg[c] for c in order]), np.stack(eog + rest)])


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("out", type=Path)
    add("--subjects", type=int, nargs="+", default=[1, 2])
    add("--trials", type=int, default=8)
    add("--seconds", type=float, default=12, help="EEG after the 3 s baseline; 60 in DEAP")
    add("--video-missing", type=float, default=0.95, help="seconds a video is shorter than its EEG")
    add("--no-video", type=int, nargs="*", default=[], help="subjects without face video")
    add(
        "--drop-last-video",
        type=int,
        nargs="*",
        default=[],
        help="subjects whose last presented trial has no video",
    )
    add(
        "--drop-onsets",
        type=int,
        nargs="*",
        default=[],
        help="presentation positions (from 0) whose onset code is missing in the .bdf",
    )
    add("--extra-unnamed", action="store_true", help="a 49th, unnamed channel in the .bdf")
    formats = ["dat", "mat", "bdf"]
    add("--formats", nargs="+", default=formats, choices=formats)
    add("--seed", type=int, default=0)
    add("--recordings", type=Path, default=find_recordings(), help="folder of the recordings")
    arguments = parser.parse_args()
    if arguments.recordings is None:
        parser.error(f"the recordings are not here; `{COMMAND}` gets them")
    return arguments


def make_subject(
    arguments: argparse.Namespace,
    subject: int,
    runs: dict[str, mne.io.BaseRaw],
    frames: list[np.ndarray],
) -> tuple[list[str], dict]:
    """Write all files of a subject; return its rows of the ratings, and the truth about it."""
    name, count, seconds = f"s{subject:02d}", arguments.trials, arguments.seconds
    rng = np.random.RandomState(1000 * arguments.seed + subject)
    # class c is a real task: one run of the recording, another run of it for the next subject
    tasks = [list(runs)[task::4] for task in range(4)]
    run_of_class = [files[(subject - 1) % len(files)] for files in tasks]
    classes = np.arange(count) % 4
    rng.shuffle(classes)
    ratings = np.array(
        [
            [rng.uniform(*valence), rng.uniform(*arousal), rng.uniform(1, 9), rng.uniform(1, 9)]
            for valence, arousal in (BOXES[c] for c in classes)
        ]
    ).round(2)
    length = seconds + 3
    ends, trials = {}, []
    for c in classes:  # in the order of Experiment_id
        raw = runs[run_of_class[c]]
        start = ends.get(c, 0.0)
        if start + length > raw.times[-1]:
            start = 0.0  # the run is used up: start it again
        ends[c] = start + length
        trials.append(raw.copy().crop(start, start + length, include_tmax=False))
    presentation = rng.permutation(count)  # [t] = index of the Experiment_id shown as trial t + 1
    if {"dat", "mat"} & set(arguments.formats):
        write_preprocessed(arguments.out, name, trials, length, ratings, arguments.formats)
    onsets = [10 + (seconds + 7) * t for t in range(count)]
    if "bdf" in arguments.formats:
        onsets = write_bdf(
            arguments.out / "data_original" / f"{name}.bdf",
            subject,
            [original_channels(trials[e], subject) for e in presentation],
            512,
            arguments.drop_onsets,
            arguments.extra_unnamed,
        )
    rows, gains, starts = [], {}, {}
    for t, e in enumerate(presentation):
        familiarity = "" if subject in (2, 15, 23) else rng.randint(1, 6)
        values = [f"{rating:g}" for rating in ratings[e]]
        fields = [subject, t + 1, e + 1, int(1e4 * onsets[t]), *values, familiarity]
        rows.append(",".join(map(str, fields)))
        gains[t + 1] = 0.45 + 0.5 * t / max(1, count - 1)
        last = t == count - 1
        if subject in arguments.no_video or (subject in arguments.drop_last_video and last):
            continue
        starts[t + 1] = int(rng.randint(0, 150))
        path = arguments.out / "face_video" / name / f"{name}_trial{t + 1:02d}.avi"
        shorter = seconds - arguments.video_missing
        write_video(path, frames, starts[t + 1], shorter, gains[t + 1])
    return rows, {
        "experiment_id_of_trial": {str(t + 1): int(e + 1) for t, e in enumerate(presentation)},
        "class_by_experiment_id": [int(c) for c in classes],
        "gain_of_trial": gains,
        "first_frame_of_trial": starts,
        "runs": run_of_class,
    }


def main() -> None:
    """Write the dataset that the command line asks for."""
    arguments = parse_arguments()
    mne.set_log_level("ERROR")
    if len({(subject - 1) % 2 for subject in arguments.subjects}) < len(arguments.subjects):
        print("note: only two subjects have EEG of their own; others repeat it", file=sys.stderr)
    files = sorted((arguments.recordings / "eegmmidb").glob("*.edf"))
    runs = {path.name: read_run(path) for path in files}
    frames = read_frames(arguments.recordings / "video" / "foreman_cif.264")
    rows, truth = [HEADER], {}
    for subject in arguments.subjects:
        added, truth[f"s{subject:02d}"] = make_subject(arguments, subject, runs, frames)
        rows += added
    path = arguments.out / "metadata_csv" / "participant_ratings.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    (arguments.out / "truth.json").write_text(json.dumps(truth, indent=1))


if __name__ == "__main__":
    main()
