"""The workflow: what a change reruns, what goes on without video, and how bad input is told."""

import json
import shutil
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from milmer import storage
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions
from milmer.plan.status import status
from milmer.synthetic.twin import TwinOptions, synthesize
from tests.workflow.runner import REPOSITORY, snakemake, to_run, write_config


@pytest.fixture(scope="module")
def work(twin_backbone, tmp_path_factory):
    """A finished run on a twin whose second subject has no video."""
    folder = tmp_path_factory.mktemp("work")
    small = {"trials": 8, "seconds": 6, "width": 240, "height": 192, "fps": 10}
    synthesize(folder / "deap", TwinOptions(no_video=[2], missing_clips=["s01:3"], **small))
    shutil.copytree(twin_backbone, folder / "swin")
    write_config(folder, **sections())
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    return folder


def sections(**more):
    made = {
        "dataset": {"root": "deap"},
        "faces": {"detector": "haar"},
        "backbone": {"name": "swin", "threads": 1},
        "protocols": {"names": ["trial"], "folds": 2},
        "training": {"epochs": 1, "threads": 1},
        "report": {"resamples": 500, "explain": 8},
        "experiments": {
            "milmer": {},
            "eeg_only": {"model": {"modalities": ["eeg"]}},
            "face_only": None,
            "published_frozen": None,
        },
    }
    return made | {k: made.get(k, {}) | v for k, v in more.items()}


def test_eeg_experiments_run_without_video_and_what_is_missing_is_reported(work):
    folds = storage.read_table(work / "results/tables/folds.parquet", "tables")
    by_experiment = folds.groupby("experiment")["fold"].unique().map(sorted).to_dict()
    assert by_experiment["eeg_only"] == ["s01-k0", "s01-k1", "s02-k0", "s02-k1"]
    assert by_experiment["milmer"] == ["s01-k0", "s01-k1"]
    dropped = folds.loc[folds["experiment"] == "milmer", "without_valid_face"]
    assert (dropped >= 2).all()  # the segments of the trial whose clip is missing
    log = (work / "results/logs/trials/s02.log").read_text()
    assert "s02: no face video of 8 trials" in log
    assert (
        "s01: no face video of 1 trials: [3]" in (work / "results/logs/trials/s01.log").read_text()
    )


def test_nothing_reruns_where_nothing_changed(work):
    assert to_run(snakemake(work, "--dry-run")) == {}
    for path in (work / "deap/metadata_csv").iterdir():
        path.touch()
    assert to_run(snakemake(work, "--dry-run")) == {}


def test_what_is_recorded_of_a_run_that_only_touches_its_files_is_that_of_a_real_one(
    work, tmp_path
):
    """So that tests of reruns can do without training."""
    shutil.copytree(work, tmp_path / "copy")
    done = snakemake(tmp_path / "copy", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr
    real, touched = recorded(work), recorded(tmp_path / "copy")
    assert len(real) > 30
    assert real == touched


def recorded(folder):
    """What Snakemake keeps of each file that it made, but for its time and the process's hash."""
    found = {}
    for path in (folder / ".snakemake/metadata").iterdir():
        known = json.loads(path.read_text())
        found[path.name] = {k: v for k, v in known.items() if "time" not in k and k != "job_hash"}
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"training": {"device": "cpu"}}, ""),
        ({"faces": {"threads": 1}}, ""),
        ({"report": {"faces": "blurred", "resamples": 500}}, "report"),
        ({"report": {"seed": 1}}, "controls tables report"),
        ({"training": {"lr": 0.01}}, "train evaluate explain tables report"),
        (
            {"labels": {"threshold": 4.5}},
            "split train evaluate explain baseline controls tables report",
        ),
        (
            {"eeg": {"band": [4, 45]}},
            "segments train evaluate explain baseline controls tables report",
        ),
        (
            {"faces": {"use_borrowed_boxes": True}},
            "tokens train evaluate explain baseline controls tables report",
        ),
        (
            {"backbone": {"batch_size": 7}},
            "tokens train evaluate explain baseline controls tables report",
        ),
        (
            {"faces": {"margin": 0.2}},
            "faces tokens train evaluate explain baseline controls tables report",
        ),
    ],
    ids=str,
)
def test_a_changed_option_reruns_its_stage_and_what_follows(work, change, expected):
    write_config(work, **sections(**change))
    try:
        assert set(to_run(snakemake(work, "--dry-run"))) - {"all"} == set(expected.split())
    finally:
        write_config(work, **sections())


def test_a_backbone_is_pretrained_before_it_makes_tokens(work):
    for i in range(12):
        picture = work / "images" / ("dark", "light")[i % 2] / f"{i}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.full((8, 8), 150 * (i % 2) + i, np.uint8))
    fer = {"pretrain": {"images": "images", "epochs": 1, "batch_size": 4}}
    write_config(work, **sections(variants={"backbone": {"fer": fer}}))
    target = "results/tokens/default/fer/s01.h5"
    try:
        done = snakemake(work, target)
        assert done.returncode == 0, done.stderr
        assert to_run(snakemake(work, "--dry-run", target)) == {}
        (picture.parent / "more.png").write_bytes(picture.read_bytes())
        assert set(to_run(snakemake(work, "--dry-run", target))) == {"pretrain", "tokens"}
    finally:
        write_config(work, **sections())
    with storage.open_h5(work / target) as tuned:
        weights = load_backbone(
            BackboneOptions(name=str(work / "results/backbones/fer")), torch.device("cpu")
        )
        assert tuned.attrs["backbone"] == weights.fingerprint
        with storage.open_h5(work / "results/tokens/default/default/s01.h5") as plain:
            assert tuned["tokens"].shape == plain["tokens"].shape
            assert (tuned["tokens"][()] != plain["tokens"][()]).mean() > 0.5
    assert not list((work / "results/backbones").glob(".*"))


def test_results_go_where_directory_says_and_config_yaml_is_found_all_the_same(work, tmp_path):
    done = snakemake(work, "--dry-run", "--directory", str(tmp_path), "--config", "dataset={root: "
                     f"{work / 'deap'}}}", f"backbone={{name: {work / 'swin'}}}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert to_run(done)["trials"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean training.epochs?"),
        ({"dataset": {"root": "nowhere"}}, "dataset.root: no such folder: nowhere"),
        ({"dataset": {"root": "swin"}}, "dataset.root: swin holds no .dat file"),
        (
            {"dataset": {"root": "deap/data_preprocessed_python"}},
            "no participant_ratings.csv found",
        ),
        ({"dataset": {"root": "deap", "subjects": [7]}}, "deap holds no recording of s07"),
    ],
    ids=str,
)
def test_a_bad_configuration_is_one_clear_line_before_anything_runs(work, change, message):
    write_config(work, **sections(**change))
    try:
        done = snakemake(work)
    finally:
        write_config(work, **sections())
    assert done.returncode != 0
    assert sum(message in line for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_file_on_top_is_read_as_milmer_config_reads_it(work, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("dataset:\nexperiments:\nbackbone:\n")
    on_top = ("--dry-run", "--configfile", str(work / "mine.yaml"), str(more))
    assert to_run(snakemake(work, *on_top)) == {}  # empty sections change nothing
    more.write_text("training:\n  epochs: 3\n  epochs: 4\n")
    done = snakemake(work, *on_top)
    assert done.returncode == 1
    assert f"{more}: the key 'epochs' stands twice, in lines 2 and 3" in done.stdout + done.stderr


def test_status_knows_all_jobs_that_there_are(work):
    jobs = to_run(snakemake(work, "--dry-run", "--forceall"))
    known = Counter(stage.name.split()[0] for stage in status(work).stages for _ in stage.done)
    assert known == {rule: count for rule, count in jobs.items() if rule != "all"}


def test_a_failing_stage_shows_its_line_and_leaves_nothing(work, tmp_path):
    shutil.copytree(work / "deap", tmp_path / "deap")
    shutil.copytree(work / "swin", tmp_path / "swin")
    clip = tmp_path / "deap/face_video/s01/s01_trial02.avi"
    header, _, _ = clip.read_bytes().partition(b"movi")
    clip.write_bytes(header + b"movi")  # and no picture
    write_config(tmp_path, **sections())
    done = snakemake(tmp_path, "--keep-going")
    assert done.returncode != 0
    assert "s01_trial02.avi: holds no picture that can be decoded; copy it again" in done.stderr
    assert not list((tmp_path / "results/faces").rglob("*"))[1:]  # no more than the folder
    # What does not need the clip is there.
    assert (tmp_path / "results/runs/eeg_only/trial/s01-k0/seed0/predictions.parquet").exists()


def test_the_published_preset_runs_beside_the_corrected_one(work):
    published = {"preset": "published", "protocols": ["segment", "trial"]}
    both = {"experiments": {"milmer": {}, "eeg_only": None, "published": published}}
    write_config(work, **sections(**both))
    try:
        done = snakemake(work)
        assert done.returncode == 0, done.stderr
        assert to_run(snakemake(work, "--dry-run")) == {}
    finally:
        write_config(work, **sections())
    results = work / "results"
    with (
        storage.open_h5(results / "segments/as_published/s01.h5") as scrambled,
        storage.open_h5(results / "segments/default/s01.h5") as corrected,
    ):
        assert scrambled["eeg"].shape == corrected["eeg"].shape
        assert (scrambled["eeg"][()] != corrected["eeg"][()]).any()
    # Its backbone is trained from face crops, so that it has no tokens of its own.
    assert not (results / "tokens/default/as_published").exists()
    models = {
        name: json.loads(
            (results / f"runs/{name}/trial/s01-k0/seed0/model/config.json").read_text()
        )
        for name in ("milmer", "published")
    }
    assert models["published"]["backbone_config"]["model_type"] == "swin"
    assert models["milmer"]["backbone_config"] is None
    folds = storage.read_table(results / "tables/folds.parquet", "tables")
    marks = folds.set_index(["experiment", "protocol"])[["leaky", "select"]]
    marks = {key: set(map(tuple, rows.to_numpy())) for key, rows in marks.groupby(level=[0, 1])}
    assert marks == {
        ("milmer", "trial"): {(False, "validation")},
        ("published", "segment"): {(True, "best_on_test")},
        ("published", "trial"): {(False, "best_on_test")},
    }
    card = results / "runs/published/segment/s01/seed0/model/README.md"
    assert "**Leaky**" in card.read_text()


def test_a_backbone_that_is_trained_too_depends_on_faces_and_its_weights(work):
    changes = {"backbone": {"finetune": True}, "experiments": {"milmer": {}, "eeg_only": None}}
    write_config(work, **sections(**changes))
    try:
        rerun = to_run(snakemake(work, "--dry-run"))
        assert (rerun["train"], rerun["tables"]) == (2, 1)
        assert "tokens" not in rerun
        done = snakemake(work, "--dry-run", "--printshellcmds", "--forcerun", "train")
    finally:
        write_config(work, **sections())
    lines = [
        line for line in done.stdout.splitlines() if "milmer --log" in line and " train " in line
    ]
    assert all("--faces results/faces/default/s01.h5 " in line for line in lines)
    assert all(" --backbone swin " in line for line in lines)
    assert len(lines) == 2


def test_snakemakes_own_report_holds_the_tables_the_figures_and_the_page(work):
    done = snakemake(work, "--report", "report.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(work / "report.zip") as packed:
        names = {name.rpartition("/")[2] for name in packed.namelist()}
    assert {"summary.csv", "inflation.csv", "inflation.svg", "cleaning.svg", "index.html"} <= names


def test_the_slurm_profile_is_read(work):
    done = snakemake(
        work, "--dry-run", "--workflow-profile", str(REPOSITORY / "workflow/profiles/slurm")
    )
    assert "Using workflow specific profile" in done.stderr
