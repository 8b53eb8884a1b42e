"""From real recordings in DEAP's layout to tables, with one command."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.deap.preprocessed import read_preprocessed
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from tests.workflow.runner import snakemake, write_config

EVERY_FILE = [
    "trials/{subject}.parquet",
    "segments/default/{subject}.h5",
    "faces/default/{subject}.h5",
    "tokens/default/default/{subject}.h5",
    "splits/default/trial/{subject}-k0.parquet",
    "splits/default/loso/{subject}.parquet",
    "splits/default/segment/{subject}.parquet",
    "runs/milmer/trial/{subject}-k1/seed0/model/config.json",
    "runs/milmer/trial/{subject}-k1/seed0/model/model.safetensors",
    "runs/milmer/loso/{subject}/seed0/predictions.parquet",
    "runs/milmer/loso/{subject}/seed0/history.parquet",
    "runs/milmer/segment/{subject}/seed0/validation.parquet",
    "runs/milmer/segment/{subject}/seed0/metrics.json",
    "runs/milmer/loso/{subject}/seed0/model/README.md",
    "runs/milmer/loso/evaluation.parquet",
    "baselines/band_power/default/trial.parquet",
    *(f"tables/{t}.{k}" for t in ("folds", "summary", "inflation", "ablation", "tests", "subjects",
                                  "calibration", "confusion", "literature")
      for k in ("parquet", "csv")),
    *(f"tables/{t}.{k}" for t in ("summary", "inflation", "ablation", "tests")
      for k in ("md", "tex")),
    "tables/conclusions.md",
]  # fmt: skip


@pytest.fixture(scope="module")
def work(real, twin_backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    write_config(
        folder,
        dataset={"root": str(real)},
        backbone={"name": str(twin_backbone)},
        protocols={"names": ["trial", "loso", "segment"], "folds": 2},
        training={"epochs": 2, "threads": 1},
    )
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_one_command_makes_every_file(work):
    for subject in ("s01", "s02"):
        for name in EVERY_FILE:
            assert (work / "results" / name.format(subject=subject)).is_file(), name


def test_original_recordings_with_overlapping_segments_give_tables_too(
    real, twin_backbone, tmp_path
):
    write_config(
        tmp_path,
        dataset={"root": str(real), "source": "bdf"},
        segmentation={"overlap": 1.5},
        faces={"instances": 4},
        backbone={"name": str(twin_backbone)},
        protocols={"names": ["trial"], "folds": 2},
        training={"epochs": 1, "threads": 1},
    )
    done = snakemake(tmp_path)
    assert done.returncode == 0, done.stderr
    summary = storage.read_table(tmp_path / "results/tables/summary.parquet", "tables")
    assert set(summary["protocol"]) == {"trial"}
    with storage.open_h5(tmp_path / "results/segments/default/s02.h5", "segments") as file:
        assert file["eeg"].shape == (16 * 7, 32, 384)
        assert sorted(set(file["start"][()])) == [0, 1.5, 3, 4.5, 6, 7.5, 9]
    folder = tmp_path / "results/runs/milmer/trial"
    tested = [storage.read_table(p) for p in folder.glob("s02-k*/seed0/predictions.parquet")]
    assert 0 < len(pd.concat(tested)) <= 16 * 7


def test_a_second_run_finds_nothing_to_do(work):
    done = snakemake(work)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stderr


@pytest.mark.parametrize("subject", ["s01", "s02"])
def test_every_trial_is_paired_with_its_own_eeg(work, real, subject):
    """A segment's EEG is what the file holds at its trial and position, its label the trial's."""
    recorded = read_preprocessed(real / f"data_preprocessed_python/{subject}.dat").eeg
    pieces = np.split(recorded[:, :, 3 * 128 :], 4, axis=2)  # after the baseline, each of 3 s
    pieces = np.stack(pieces, axis=1).reshape(16 * 4, -1)  # (trial x position, channel x sample)
    with storage.open_h5(work / f"results/segments/default/{subject}.h5", "segments") as file:
        eeg = file["eeg"][()].reshape(16 * 4, -1)
        place = 4 * (file["experiment_id"][()] - 1) + file["position"][()]
    assert sorted(place) == list(range(16 * 4))
    likeness = np.corrcoef(eeg, pieces)[: 16 * 4, 16 * 4 :]  # (segment, piece)
    own = likeness[np.arange(16 * 4), place]
    assert own.min() > 0.99
    likeness[np.arange(16 * 4), place] = 0
    assert likeness.max() < 0.5
    split = pd.concat(
        storage.read_table(work / f"results/splits/default/trial/{subject}-k{k}.parquet")
        for k in range(2)
    )
    labels = split.groupby("experiment_id")["label"].unique().map(list)
    truth = json.loads((real / "truth.json").read_text())[subject]["class_by_experiment_id"]
    assert labels.sort_index().tolist() == [[label] for label in truth]


def crops_match(faces, truth) -> bool:
    """Whether crops are from the video of their trial and from their 3 s, by their colours.

    The luminance of a video encodes its trial, its red the segment.
    """
    with storage.open_h5(faces, "faces") as file:
        bag, trial = file["bag"][()], file["trial"][()]
        detected, position = file["detected"][()], file["position"][()]
        colours = np.array(  # (frame, RGB)
            [cv2.imdecode(b, cv2.IMREAD_COLOR)[..., ::-1].mean((0, 1)) for b in file["image"][()]]
        )
    seen = (bag >= 0) & detected[bag]
    rows = [
        (trial[i], position[i], *colours[bag[i][seen[i]]].mean(0))
        for i in range(len(bag))
        if seen[i].any()
    ]
    table = pd.DataFrame(rows, columns=["trial", "position", "r", "g", "b"])
    luminance = table.groupby("trial")["g"].mean()
    expected = [truth["gain_of_trial"][str(t)] for t in luminance.index]
    right_video = np.corrcoef(luminance, expected)[0, 1] > 0.95
    # Within a trial the face's own colour is the same, so red to green follows the segment.
    ratio = table["r"] / table["g"]
    ratio = ratio / ratio.groupby(table["trial"]).transform("mean")
    red = 0.75 + 0.25 * (table["position"] % 4) / 3
    red = red / red.groupby(table["trial"]).transform("mean")
    right_time = np.corrcoef(ratio, red)[0, 1] > 0.95
    return bool(right_video and right_time)


@pytest.mark.parametrize("subject", ["s01", "s02"])
def test_crops_come_from_the_right_video_and_the_right_three_seconds(work, real, subject):
    truth = json.loads((real / "truth.json").read_text())[subject]
    assert crops_match(work / f"results/faces/default/{subject}.h5", truth)


def test_the_check_of_crops_fails_where_trial_and_experiment_id_are_swapped(work, real, tmp_path):
    truth = json.loads((real / "truth.json").read_text())["s01"]
    right = work / "results/trials/s01.parquet"
    trials = storage.read_table(right, "trials")
    videos = trials.set_index("trial")["video_file"]
    trials["video_file"] = videos.loc[trials["experiment_id"]].to_numpy()
    storage.write_table(tmp_path / "s01.parquet", trials, storage.read_provenance(right))
    options = FaceStageOptions()
    make_faces(tmp_path / "s01.parquet", real, options, tmp_path / "s01.h5")
    assert not crops_match(tmp_path / "s01.h5", truth)


def test_the_summary_has_every_protocol_by_segment_and_by_trial(work):
    summary = storage.read_table(work / "results/tables/summary.parquet", "tables")
    found = set(zip(summary["protocol"], summary["level"], strict=True))
    assert found == {(p, v) for p in ("trial", "loso", "segment") for v in ("segment", "trial")}
    assert (summary["subjects"] == 2).all()
    assert summary["low"].isna().all()  # two subjects allow no interval
