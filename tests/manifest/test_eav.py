"""A first manifest of EAV, made here small in the layout that is published; the real one is not."""

import csv
import json
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.io
from skimage import data

from milmer.manifest.table import read_manifest
from milmer.manifest.writing import write_first
from milmer.readers.eeg import read_eeg
from tests.workflow.runner import snakemake, write_config

EMOTIONS = ["Neutral", "Sadness", "Anger", "Happiness", "Calmness"]
SHOWN = ["Sadness", "Calmness", "Calmness", "Sadness", "Calmness", "Sadness"]
"""Emotions of the interactions, in the order in which all subjects had them."""


def film(path, seed, fps=4):
    """A face for 20 s, a little brighter each time."""
    picture = cv2.resize(data.astronaut()[:256, 96:352], (128, 128))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps, options={"b": "400k"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, fps)
        for i in range(20 * fps):
            pixels = (picture * (0.6 + 0.02 * (seed % 10))).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def eav(folder, subjects=(1, 12), variable="seg", filmed=True):
    """A copy of the layout: arrays (10000, 30, trial) of noise whose size is the trial's number."""
    for subject in subjects:
        place = folder / f"subject{subject}"
        for name in ("EEG", "Video", "Audio"):
            (place / name).mkdir(parents=True)
        trials = [(task, emotion) for emotion in SHOWN for task in ("Listening", "Speaking")]
        rng = np.random.default_rng(subject)
        size = 10 + np.arange(len(trials))  # µV
        eeg = rng.normal(size=(10_000, 30, len(trials))).astype(np.float32) * size
        label = np.zeros((10, len(trials)), np.uint8)
        for i, (task, emotion) in enumerate(trials):
            label[2 * EMOTIONS.index(emotion) + (task == "Speaking"), i] = 1
            if filmed:
                path = place / f"Video/{i + 1:03d}_Trial_{i % 20 + 1:02d}_{task}_{emotion}.mp4"
                film(path, i)
                # A box that players skip: no two files are the same.
                box = f"{subject:04d}{i:04d}".encode()
                with open(path, "ab") as file:
                    file.write((8 + len(box)).to_bytes(4, "big") + b"free" + box)
        stem = place / f"EEG/subject{subject}_eeg"
        scipy.io.savemat(f"{stem}.mat", {variable: eeg.astype(np.float32)})
        scipy.io.savemat(f"{stem}_label.mat", {"label": label})
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_trials_are_those_of_the_array_with_the_clip_of_their_number(tmp_path):
    folder = eav(tmp_path / "EAV", variable="seg1")
    assert write_first("eav", folder, tmp_path / "m.csv") == "24 trials of 2 subjects"
    table = rows(tmp_path / "m.csv")
    assert [row["subject"] for row in table] == ["subject1"] * 12 + ["subject12"] * 12
    columns = ("trial", "stimulus", "eeg_start", "eeg_stop", "video_file", "label")
    assert [tuple(row[column] for column in columns) for row in table[2:5]] == [
        ("3", "Calmness 002", "40", "60",
         "EAV/subject1/Video/003_Trial_03_Listening_Calmness.mp4", "Calmness"),
        ("4", "Calmness 002", "60", "80",
         "EAV/subject1/Video/004_Trial_04_Speaking_Calmness.mp4", "Calmness"),
        ("5", "Calmness 003", "80", "100",
         "EAV/subject1/Video/005_Trial_05_Listening_Calmness.mp4", "Calmness"),
    ]  # fmt: skip


def test_each_trial_is_its_own_page_of_the_array(tmp_path):
    folder = eav(tmp_path / "EAV", subjects=[3], filmed=False)
    write_first("eav", folder, tmp_path / "m.csv")
    manifest = read_manifest(tmp_path / "m.csv")
    for row in manifest.rows:
        assert row.video_file is None
        eeg = read_eeg(manifest.at(row.eeg_file), start=row.eeg_start, stop=row.eeg_stop)
        assert eeg.sfreq == 500
        assert (len(eeg.channels), eeg.channels[0], eeg.channels[-1]) == (30, "Fp1", "PO10")
        assert eeg.data.std() == pytest.approx(9 + row.trial, rel=0.02)


def test_listening_and_speaking_of_one_interaction_are_a_group(tmp_path):
    write_first("eav", eav(tmp_path / "EAV", filmed=False), tmp_path / "m.csv")
    groups = [row["group"] for row in rows(tmp_path / "m.csv")]
    assert groups[:4] == ["subject1 001", "subject1 001", "subject1 002", "subject1 002"]
    assert len(set(groups)) == 12


def test_what_the_array_does_not_say_is_written_beside_it_once(tmp_path):
    folder = eav(tmp_path / "EAV", subjects=[1], filmed=False)
    path = folder / "subject1/EEG/subject1_eeg.json"
    write_first("eav", folder, tmp_path / "m.csv")
    described = json.loads(path.read_text())
    assert (described["variable"], described["unit"]) == ("seg", "µV")
    path.write_text(json.dumps(described | {"unit": "V"}))  # somebody knows better
    write_first("eav", folder, tmp_path / "n.csv")
    assert json.loads(path.read_text())["unit"] == "V"


def test_what_does_not_fit_is_refused(tmp_path, refused):
    folder = eav(tmp_path / "EAV", subjects=[1])
    place = folder / "subject1"
    clip = place / "Video/003_Trial_03_Listening_Calmness.mp4"
    wrong = clip.with_name("003_Trial_03_Listening_Anger.mp4")
    clip.rename(wrong)
    with refused("trial 3 is Listening Calmness by its label, and Listening Anger by its clip"):
        write_first("eav", folder, tmp_path / "m.csv")
    wrong.rename(clip.with_name("notes.mp4"))
    with refused("notes.mp4: is not the clip of one of 12 trials; names are as 001_Trial_01_"):
        write_first("eav", folder, tmp_path / "m.csv")
    clip.with_name("notes.mp4").rename(clip)
    labels = place / "EEG/subject1_eeg_label.mat"
    scipy.io.savemat(labels, {"label": np.ones((10, 12))})
    with refused("subject1_eeg_label.mat: holds no array label (10, 12) with a 1 in each column"):
        write_first("eav", folder, tmp_path / "m.csv")
    labels.unlink()
    with refused("subject1_eeg_label.mat: no such file"):
        write_first("eav", folder, tmp_path / "m.csv")
    scipy.io.savemat(place / "EEG/subject1_eeg.mat", {"seg": np.ones((9, 30, 8))})
    with refused("subject1_eeg.mat: holds no array seg or seg1 (10000, 30, trial)"):
        write_first("eav", folder, tmp_path / "m.csv")
    os.rename(place, folder / "participant1")
    with refused("EAV: holds no subject*/EEG/*_eeg.mat"):
        write_first("eav", folder, tmp_path / "m.csv")


@pytest.mark.slow
def test_a_small_copy_runs_to_the_tables(tmp_path, twin_backbone):
    write_first("eav", eav(tmp_path / "EAV", subjects=[1]), tmp_path / "eav.csv")
    write_config(
        tmp_path,
        dataset={"kind": "manifest", "manifest": "eav.csv"},
        labels={"scheme": "label"},
        protocols={"names": ["trial"], "folds": 2},
        faces={"instances": 4, "detector": "haar"},
        backbone={"name": str(twin_backbone), "threads": 1},
        training={"epochs": 1, "threads": 1},
    )
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    paths = (tmp_path / "results/runs/milmer/trial").glob("*/*/predictions.parquet")
    tested = pd.concat(map(pd.read_parquet, paths))
    assert len(tested) == 12 * 6  # trials, segments of 3 s in 20 s
    assert {"p_Calmness", "p_Sadness"} <= set(tested)
    assert "Calmness" in (tmp_path / "results/tables/confusion.csv").read_text()
