"""`milmer check` of a configuration rehearses the stages before training on what is there."""

import json
import os

import edfio
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from milmer.cli.app import app
from milmer.errors import MilmerError
from milmer.faces.detection import Face, YuNet
from milmer.plan import Plan
from milmer.plan.problems import require_ready
from tests.manifest.described import write_manifest
from tests.readers.test_video import write as film

NAMES = ("Fp1", "Fp2", "C3", "C4", "O1", "O2", "Pz", "ECG")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with noise of two subjects, and a manifest of four and five trials."""
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "a.edf", 60)
    record(tmp_path / "b.edf", 80)
    rows = [row("ann", number, "a.edf", 12.0 * number) for number in range(4)]
    rows += [row("ben", number, "b.edf", 12.0 * number) for number in range(5)]
    write_manifest(tmp_path / "m.csv", rows)
    return tmp_path


def record(path, seconds, names=NAMES, rate=100.0):
    noise = np.random.default_rng(seconds).normal(0, 20, (len(names), int(seconds * rate)))
    signals = [
        edfio.EdfSignal(x, rate, label=name, physical_dimension="uV", physical_range=(-500, 500))
        for name, x in zip(names, noise.clip(-499, 499), strict=True)
    ]
    edfio.Edf(signals).write(path)


def row(subject, number, file, start, seconds=7.0, label=None):
    return {
        "subject": subject,
        "trial": number + 1,
        "stimulus": f"v{number}",
        "eeg_file": file,
        "eeg_start": start,
        "eeg_stop": start + seconds,
        "label": label or ["no", "yes"][number % 2],
    }


def write(folder, **sections):
    own = {
        "dataset": {"kind": "manifest", "manifest": "m.csv"},
        "labels": {"scheme": "label"},
        "protocols": {"names": ["trial", "loso"], "folds": 2},
        "experiments": {"eeg_only": {"model": {"modalities": ["eeg"]}}},
    }
    config = {**own, **sections}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return config


def checked(*arguments):
    said = CliRunner().invoke(app, ["check", "mine.yaml", "--json", *arguments])
    report = json.loads(said.stdout)
    assert (said.exit_code == 0) == (not report["errors"]) == report["usable"]
    return report


def texts(report, about=None):
    found = report["errors"] + report["warnings"] + report["notes"]
    return [finding["text"] for finding in found if about in (None, finding["about"])]


def test_a_good_configuration_has_no_error_and_says_what_will_be_there(work):
    write(work)
    report = checked()
    assert report["errors"] == []
    told = texts(report, "segments")
    assert told == [
        "ann: 8 segments of 7 channels at 128 Hz; not read: ECG",
        "ben: 10 segments of 7 channels at 128 Hz; not read: ECG",
    ]
    assert not list(work.glob("results*"))
    memory = json.loads((work / ".snakemake/milmer-digests.json").read_text())
    assert {os.path.basename(path) for path in memory} == {"a.edf", "b.edf"}


def test_it_judges_the_users_own_configuration_and_not_the_default(work):
    """Four trials cannot make the five folds of the default, and two are what the user set."""
    write(work)
    assert checked()["usable"]
    write(work, protocols={"names": ["trial"], "folds": 5})
    report = checked()
    assert {error["about"] for error in report["errors"]} == {"split"}
    assert any("ann" in error["text"] and "5" in error["text"] for error in report["errors"])
    write(work, segmentation={"seconds": 9})
    errors = checked()["errors"]
    assert [(error["about"], error["subjects"]) for error in errors] == [
        ("plan", ["ann"]),
        ("plan", ["ben"]),
    ]
    assert "trials of 7 s hold no segment of 9 s" in errors[0]["text"]
    write(work, eeg={"band": [4, 70]})  # of 128 Hz
    assert [error["about"] for error in checked()["errors"]] == ["plan"]


@pytest.mark.parametrize(
    ("sections", "about", "part"),
    [
        ({"training": {"device": "cuda:7"}}, "plan", "this machine has no cuda:7"),
        ({"labels": {"scheme": "valence"}}, "plan", "valence"),
    ],
)
def test_what_the_machine_and_the_data_do_not_allow_is_an_error(work, sections, about, part):
    write(work, **sections)
    found = [error["text"] for error in checked()["errors"] if error["about"] == about]
    assert part in found[0]


def test_more_instances_than_a_bag_has_are_refused_by_the_plan(work):
    (work / "v.mp4").touch()
    rows = [row("ann", n, "a.edf", 12.0 * n) | {"video_file": "v.mp4"} for n in range(4)]
    write_manifest(work / "m.csv", rows)
    wide = {"milmer": {"model": {"num_select": 4}}, "narrow": {"model": {"num_select": 5}}}
    config = write(work, experiments=wide, faces={"instances": 4})
    with pytest.raises(MilmerError) as caught:
        Plan.read(config)
    assert str(caught.value) == (
        "experiments.narrow.model.num_select: 5 instances are to be selected from bags of 4; "
        "lower it, or raise faces.instances"
    )
    assert texts(checked("--quick")) is not None
    del wide["narrow"]
    Plan.read(write(work, experiments=wide, faces={"instances": 4}))


def test_rows_that_overlap_and_leave_too_few_groups_are_an_error(work):
    """Of eight trials the last four overlap one another in a chain: five groups, six folds."""
    starts = (0, 8, 16, 24, 32, 38, 44, 50)
    rows = [row("ben", n, "b.edf", start) for n, start in enumerate(starts)]
    write_manifest(work / "m.csv", rows)
    write(work, protocols={"names": ["trial"], "folds": 6})
    errors = checked()["errors"]
    assert {error["about"] for error in errors} == {"split"}
    assert "ben" in errors[0]["text"]
    assert "5 groups cannot make 6 folds" in errors[0]["text"]
    assert "'ben trial 5 and 3 more' holds 50% of the trials" in errors[0]["text"]
    write(work, protocols={"names": ["trial"], "folds": 2})
    report = checked()
    assert report["errors"] == []
    assert "one group each: ben trials 5–8" in texts(report, "groups")[0]


def test_one_recording_of_two_subjects_is_an_error(work):
    rows = [row(name, n, "a.edf", 12.0 * n) for name in ("ann", "ben") for n in range(4)]
    write_manifest(work / "m.csv", rows)
    write(work)
    (error,) = checked()["errors"]
    assert "ann and ben have the same samples (a.edf)" in error["text"]


def test_a_threshold_that_leaves_one_class_is_an_error(work):
    rows = [row("ben", n, "b.edf", 12.0 * n) | {"valence": 3 + n} for n in range(5)]
    write_manifest(work / "m.csv", rows)
    write(work, labels={"scheme": "valence", "threshold": 5.0}, protocols={"names": ["segment"]})
    assert checked()["errors"] == []
    write(work, labels={"scheme": "valence", "threshold": 2.0}, protocols={"names": ["segment"]})
    (error,) = checked()["errors"]
    assert error["text"] == "labels: all trials are of class high; change labels.threshold"


BOTH = {"milmer": {"model": {"num_select": 1}}, "face_only": None, "published_frozen": None}


def filmed(work, start=0.0):
    """Rows of ``ann`` with a video each of grey pictures, in which there is no face."""
    rows = [row("ann", n, "a.edf", 12.0 * n) for n in range(4)]
    for n, one in enumerate(rows):
        film(work / f"v{n}.avi", frames=90, size=(96, 80))
        with open(work / f"v{n}.avi", "ab") as file:
            file.write(bytes([n]))  # each has another content
        one |= {"video_file": f"v{n}.avi", "video_start": start}
    return rows


def with_faces(work, **sections):
    (work / "swin").mkdir(exist_ok=True)
    protocols = {"names": ["trial"], "folds": 2}
    sections = {"experiments": BOTH, "protocols": protocols} | sections
    return write(work, backbone={"name": "swin"}, **sections)


def test_a_video_without_a_face_is_a_warning_that_names_the_option(work):
    write_manifest(work / "m.csv", filmed(work, start=-1.25))
    with_faces(work)
    report = checked()
    assert report["errors"] == []
    (text,) = [finding["text"] for finding in report["warnings"]]
    assert text.startswith("no face in the 3 frames that were looked at: ann trials 1–4; ")
    assert "faces.second_detection_size" in text
    assert texts(report, "first_frames") == [
        "the first picture comes 1.25 s after the trial starts: ann trials 1–4"
    ]
    screen = CliRunner().invoke(app, ["check", "mine.yaml"]).stdout
    assert screen.index("WARNING no face") < screen.index("NOTE")
    assert max(map(len, screen.splitlines())) <= 100
    assert "1 warning, " in screen.splitlines()[-1]
    eeg = {"eeg_only": {"model": {"modalities": ["eeg"]}}, "milmer": None, "face_only": None}
    write(work, experiments=eeg | {"published_frozen": None})  # which looks at no faces
    assert checked()["warnings"] == []


def test_several_faces_are_told_by_trial(work, monkeypatch):
    def two_faces(self, picture):
        return [Face(2, 2, 20, 20, 0.9), Face(50, 40, 20, 20, 0.9)]

    monkeypatch.setattr(YuNet, "detect", two_faces)
    write_manifest(work / "m.csv", filmed(work))
    with_faces(work)
    report = checked()
    assert report["warnings"] == []
    (text,) = texts(report, "several_faces")
    assert text.startswith("several faces: ann trials 1–4; say whose is meant by")


def test_a_video_that_stops_its_stage_is_an_error_and_hides_no_other(work):
    rows = filmed(work)
    (work / "v0.avi").write_bytes(b"no video")
    rows[2]["video_start"] = 60.0
    write_manifest(work / "m.csv", rows)
    with_faces(work)
    errors = [error["text"] for error in checked()["errors"]]
    assert len(errors) == 2
    assert "v0.avi: cannot be decoded" in errors[0]
    assert "v2.avi: ends 51.00 s before trial 3 starts" in errors[1]


def faults(chance, rows, work):
    """Change rows, or the files that they name, in a few ways at random."""
    for kind in chance.choice(KINDS, size=chance.integers(0, 3), replace=False):
        at = int(chance.integers(len(rows)))
        if kind == 0:  # shorter than a segment
            rows[at]["eeg_stop"] = rows[at]["eeg_start"] + 2.0
        elif kind == 1:  # beyond the end
            rows[at]["eeg_stop"] = 500.0
        elif kind == 2:  # no label
            rows[at]["label"] = ""
        elif kind == 3:  # the file is cut
            path = work / rows[at]["eeg_file"]
            path.write_bytes(path.read_bytes()[: int(chance.integers(200, 9000))])
        elif kind == 4:  # a subject of one class
            for one in rows:
                if one["subject"] == rows[at]["subject"]:
                    one["label"] = "yes"
        elif kind == 5:  # other channels
            record(work / rows[at]["eeg_file"], 80, ("Cz", "Fp1", "X9", "O1", "O2", "Pz", "C3"))
        elif kind == 6:  # a file that is not there
            rows[at]["eeg_file"] = "gone.edf"
        elif kind == 7:  # a damaged video
            path = work / "v0.avi"
            path.write_bytes(path.read_bytes()[: int(chance.integers(0, 20000))])
        elif kind == 8:  # of which the trial is another part
            rows[at]["video_start"] = float(chance.choice([-20, -3, 3, 8, 20]))
        else:  # a recording of another subject
            rows[at]["eeg_file"] = "a.edf" if rows[at]["subject"] == "ben" else "b.edf"
    return rows


KINDS = 10
OPTIONS = (
    *({}, {}, {"segmentation": {"seconds": 6.5}}, {"segmentation": {"seconds": 8}}),
    *({"eeg": {"band": [1, 64]}}, {"eeg": {"baseline": "subtract"}}, {"dataset": {"sfreq": None}}),
    *({"protocols": {"names": ["trial"], "folds": 5}}, {"faces": {"min_coverage": 1.0}}),
    *({"faces": {"detector_model": "gone.onnx"}}, {"faces": {"instances": 1}}),
)
"""Options, some of which the recordings do not allow."""


@pytest.mark.parametrize(
    "seeds",
    [range(12), pytest.param(range(12, 200), marks=pytest.mark.long)],
    ids=["few", "many"],
)
def test_check_is_free_of_errors_exactly_when_the_stages_pass(tmp_path, monkeypatch, seeds):
    outcomes = []
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        monkeypatch.chdir(folder)
        outcomes.append(agrees(folder, np.random.default_rng(seed)))
    assert len(set(outcomes)) == 2, "neither all pass nor all stop"


def agrees(work, chance):
    """Whether a made-up manifest and configuration are usable, as check and stages say alike."""
    record(work / "a.edf", 60)
    record(work / "b.edf", 80)
    videos = {"video_file": "", "video_start": ""}
    rows = filmed(work) + [row("ben", n, "b.edf", 12.0 * n) | videos for n in range(5)]
    write_manifest(work / "m.csv", faults(chance, rows, work))
    (work / "swin").mkdir()
    sections = dict(OPTIONS[chance.integers(len(OPTIONS))])
    dataset = {"kind": "manifest", "manifest": "m.csv"} | sections.pop("dataset", {})
    experiments = BOTH | {"eeg_only": {"model": {"modalities": ["eeg"]}}}
    sections = {"backbone": {"name": "swin"}, "experiments": experiments} | sections
    config = write(work, dataset=dataset, **sections)
    said = CliRunner().invoke(app, ["check", "mine.yaml", "--json"])
    usable = bool(said.stdout) and json.loads(said.stdout)["usable"]
    assert usable == stages_pass(config, work), said.stdout
    return usable


def stages_pass(config, work):
    """Whether the three stages pass, run as commands one after another."""
    try:
        plan = Plan.read(config)
        require_ready(plan)
    except MilmerError:
        return False
    table = "results/trials/{}.parquet".format
    for subject in plan.dataset.subjects:
        given = ["--manifest", "m.csv", "--options", plan.dataset.trials_json(subject)]
        trials = ["trials", subject, table(subject), *given]
        segments = ["segments", "--trials", table(subject), f"results/{subject}.h5", "--root", "."]
        segments += ["--options", plan.config.segments_json("default")]
        faces = ["faces", "--trials", table(subject), f"results/f{subject}.h5", "--root", "."]
        faces += ["--options", plan.config.faces_json("default")]
        stages = [trials, segments, *([faces] if subject in plan.dataset.with_video else [])]
        if any(CliRunner().invoke(app, command).exception for command in stages):
            return False
    for protocol, folds in plan.experiments.folds("eeg_only").items():
        for fold in folds:
            subjects = plan.dataset.subjects if protocol == "loso" else [fold.split("-")[0]]
            options = plan.config.split_json("default", protocol, plan.dataset.classes)
            given = [word for subject in subjects for word in ("--trials", table(subject))]
            split = ["split", protocol, fold, "results/split.parquet", *given, "--options", options]
            if CliRunner().invoke(app, split).exception:
                return False
    return True
