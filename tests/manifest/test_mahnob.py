"""A first manifest of MAHNOB-HCI, made here small in the layout that is published."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import edfio
import numpy as np
import pandas as pd
import pytest

from milmer.config_files import read_yaml
from milmer.manifest.writing import write_first
from tests.manifest.recordings import NAMES, waves
from tests.manifest.test_eav import film
from tests.workflow.runner import REPOSITORY, snakemake, write_config

RATE = 128.0
SECONDS = 80  # 30 s, a film of 20 s, 30 s
XML = """<?xml version="1.0" encoding="utf-8"?>
<session sessionId="{number}" experimentType="emotion elicitation" isStim="{stim}" {felt}
 mediaFile="{media}" vidRate="{rate}" vidBeginSmp="{begin}" vidEndSmp="1" cutLenSec="20">
<subject id="{subject}" gender="f"/>
<track type="Video" filename="P{subject}-Rec1_C1 trigger _C_Section_{number}.avi" color="1"/>
<track type="Video" filename="P{subject}-Rec1_BW2_Section_{number}.avi" color="0"/>
<track type="Physiological" filename="Part_{subject}_S_Trial{trial}_emotion.bdf"/>
</session>
"""


def session(folder, number, subject, trial, felt=(3, 7, 5, 4), marks=(30.0, 50.0), filmed=True):
    """A session as it is published; ``felt`` is valence, arousal, control and emotion."""
    place = folder / f"Sessions/{number}"
    place.mkdir(parents=True)
    names = ("feltVlnc", "feltArsl", "feltCtrl", "feltEmo")
    words = " ".join(f'{name}="{value}"' for name, value in zip(names, felt, strict=False))
    values = {"number": number, "subject": subject, "trial": trial, "felt": words}
    media = f"{trial % 2 + 50}.avi"
    text = XML.format(**values, media=media, stim=int(bool(felt)), rate="3.97", begin=1234.5)
    (place / "session.xml").write_text(text)
    status = np.zeros(round(SECONDS * RATE))
    for mark in marks:
        status[round(mark * RATE)] = 16
    signals = [
        edfio.BdfSignal(row, RATE, label=name, physical_dimension="uV")
        for row, name in zip(waves(6, SECONDS, RATE, seed=number), NAMES, strict=True)
    ]
    spans = (-8388608, 8388607)
    signals.append(
        edfio.BdfSignal(
            status, RATE, label="Status", physical_dimension="Boolean", physical_range=spans
        )
    )
    kind = "S" if felt else "N"
    edfio.Bdf(signals).write(place / f"Part_{subject}_{kind}_Trial{trial}_emotion.bdf")
    if filmed:
        film(place / f"P{subject}-Rec1_C1 trigger _C_Section_{number}.avi", seed=number)
        (place / f"P{subject}-Rec1_BW2_Section_{number}.avi").write_bytes(b"another camera")
    return place


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_session_is_a_trial_with_its_film_ratings_and_colour_video(tmp_path, caplog):
    folder = tmp_path / "hci"
    session(folder, 132, 2, 1, (1, 9, 4, 11), filmed=False)
    session(folder, 4, 1, 11, (6, 2, 8, 12), marks=(31.5, 52.25))
    session(folder, 2, 1, 2)
    session(folder, 3, 1, 3, felt=())  # a neutral clip
    assert write_first("mahnob", folder, tmp_path / "m.csv") == "3 trials of 2 subjects"
    assert "1 sessions are left out: no ratings" in caplog.text
    table = rows(tmp_path / "m.csv")
    assert [(row["subject"], row["trial"], row["label"]) for row in table] == [
        ("p01", "2", "joy"),
        ("p01", "11", "anxiety"),
        ("p02", "1", "amusement"),
    ]
    second = table[1]
    assert second["eeg_file"] == "hci/Sessions/4/Part_1_S_Trial11_emotion.bdf"
    assert second["video_file"] == "hci/Sessions/4/P1-Rec1_C1 trigger _C_Section_4.avi"
    assert (second["stimulus"], second["eeg_start"], second["eeg_stop"]) == (
        "51.avi",
        "31.5",
        "52.25",
    )
    numbers = [float(second[name]) for name in ("valence", "arousal", "dominance", "video_start")]
    assert numbers == [6, 2, 8, 0]
    assert float(second["video_rate"]) == pytest.approx(4 / 3.97)  # 4 frames/s by its header
    assert table[2]["video_file"] == table[2]["video_rate"] == ""


@pytest.mark.parametrize("marks", [(), (2.0, 50.0), (30.0, 79.0)])
def test_a_film_without_marks_is_taken_30_s_from_both_ends(tmp_path, caplog, marks):
    session(tmp_path, 2, 1, 1, marks=marks, filmed=False)
    write_first("mahnob", tmp_path / "Sessions", tmp_path / "m.csv")  # or the folder of sessions
    (row,) = rows(tmp_path / "m.csv")
    assert (float(row["eeg_start"]), float(row["eeg_stop"])) == (30, 50)
    assert "no marks of the film in Status" in caplog.text


def test_a_video_that_was_converted_keeps_its_own_clock(tmp_path):
    place = session(tmp_path, 2, 1, 1, filmed=False)
    film(place / "P1_C1 trigger.mp4", seed=1, fps=2)
    write_first("mahnob", tmp_path, tmp_path / "m.csv")
    (row,) = rows(tmp_path / "m.csv")
    assert (row["video_file"], float(row["video_rate"])) == ("Sessions/2/P1_C1 trigger.mp4", 1)


BOMB = '<!DOCTYPE s [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><session mediaFile="&b;"/>'
OUTSIDE = '<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><session mediaFile="&a;"/>'


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda text: BOMB, ["session.xml: is not XML that is read (", "copy it again"]),
        (lambda text: OUTSIDE, ["session.xml: is not XML that is read ("]),
        (lambda text: "<session", ["session.xml: is not XML that is read ("]),
        (lambda text: "<html/>", ["session.xml: is no session but 'html'"]),
        (lambda text: text.replace('Vlnc="3"', 'Vlnc="x"'), ["feltVlnc 'x' is not a number"]),
        (lambda text: text.replace('Emo="4"', 'Emo="13"'), ["feltEmo '13' is no number of an"]),
        (lambda text: text.replace('id="1"', ""), ["subject id '' is not a number"]),
        (lambda text: text.replace('feltArsl="7"', ""), ["holds no Sessions/*/session.xml with"]),
    ],
)
def test_what_cannot_be_read_is_a_line(tmp_path, refused, change, parts):
    xml = session(tmp_path, 2, 1, 1, filmed=False) / "session.xml"
    xml.write_text(change(xml.read_text()))
    with refused(*parts, nothing_in=tmp_path):
        write_first("mahnob", tmp_path, tmp_path / "m.csv")


def test_a_track_leads_to_no_file_elsewhere(tmp_path):
    place = session(tmp_path, 2, 1, 1)
    (place / "P1-Rec1_C1 trigger _C_Section_2.avi").rename(tmp_path / "other.avi")
    xml = place / "session.xml"
    text = xml.read_text().replace("P1-Rec1_C1 trigger _C_Section_2.avi", "../../other.avi")
    xml.write_text(text)
    write_first("mahnob", tmp_path, tmp_path / "m.csv")
    assert "video_file" not in rows(tmp_path / "m.csv")[0]


@pytest.mark.slow
def test_a_small_copy_runs_to_the_tables(tmp_path, twin_backbone):
    for trial in range(1, 7):
        felt = (2 + 5 * (trial % 2), 8 - 3 * (trial % 3), 5, 4)
        session(tmp_path / "hci-tagging", 2 * trial, 1, trial, felt)
    page = (REPOSITORY / "docs/datasets.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}
    said = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert read_yaml(tmp_path / "run/config.yaml")["dataset"]["kind"] == "manifest"
    write_config(
        tmp_path,
        dataset={"kind": "manifest", "manifest": "mahnob.csv"},
        labels={"scheme": "valence"},
        protocols={"names": ["trial"], "folds": 2},
        faces={"instances": 4, "detector": "haar"},
        backbone={"name": str(twin_backbone), "threads": 1},
        training={"epochs": 1, "threads": 1},
    )
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    paths = (tmp_path / "results/runs/milmer/trial").glob("*/*/predictions.parquet")
    tested = pd.concat(map(pd.read_parquet, paths))
    assert len(tested) == 6 * 6  # trials, segments of 3 s in 20 s
    assert (tmp_path / "results/tables/summary.csv").is_file()
