"""What a plan says before any job, for next to nothing: values against files and machine."""

import shutil

import pytest

from milmer.plan import Plan, contents, problems
from milmer.plan.problems import require_ready
from tests.manifest.described import write_manifest


@pytest.fixture
def deap(tmp_path):
    """``deap(**sections)``: the plan of a copy by names, two subjects with a clip each."""
    for subject in ("s01", "s02"):
        for name in (f"{subject}.bdf", f"{subject}.dat", f"{subject}.mat"):
            (tmp_path / name).write_bytes(f"{name} and more".encode())
        (tmp_path / f"{subject}_trial01.avi").write_bytes(f"film of {subject}".encode())
    (tmp_path / "participant_ratings.csv").touch()

    def plan(**sections):
        section = {"root": str(tmp_path)} | sections.pop("dataset", {})
        experiments = {"experiments": {"milmer": {}}}
        (tmp_path / "models").mkdir(exist_ok=True)
        backbone = {"backbone": {"name": str(tmp_path / "models")}}
        return Plan.read({"dataset": section} | experiments | backbone | sections)

    plan.folder = tmp_path
    return plan


def told(plan, **how):
    return [(str(problem.error), problem.subjects) for problem in problems.problems(plan, **how)]


@pytest.mark.parametrize("kind", ["bdf", "dat", "mat", "avi"])
def test_a_recording_of_deap_under_two_subjects_is_refused_by_its_content(deap, kind, refused):
    source = "dat" if kind == "avi" else kind
    names = [f"{s}_trial01.avi" if kind == "avi" else f"{s}.{kind}" for s in ("s01", "s02")]
    require_ready(deap(dataset={"source": source}))
    shutil.copy(deap.folder / names[0], deap.folder / names[1])
    with refused(f"s01 and s02 have the same samples ({' and '.join(names)})", str(deap.folder)):
        require_ready(deap(dataset={"source": source}))
    alone = {"source": source, "subjects": ["s02"]}
    require_ready(deap(dataset=alone))
    another = "mat" if kind == "dat" else "dat"
    if kind != "avi":  # a kind that is not read
        require_ready(deap(dataset={"source": another}))


def test_a_job_does_not_compare_recordings_again(deap, monkeypatch):
    def looked_into(path):
        raise AssertionError(path)

    monkeypatch.setattr("milmer.plan.copies.sample_sizes", looked_into)
    assert deap().dataset.subjects == ["s01", "s02"]  # as each job reads the plan
    with pytest.raises(AssertionError):
        require_ready(deap())


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        (
            {"eeg": {"band": [4, 64]}},
            "eeg.band: 64 Hz is not below half the sampling rate of 128 Hz; set a lower frequency, "
            "or null",
        ),
        ({"eeg": {"notch": 100}}, "eeg.notch: 100 Hz is not below half"),
        (
            {
                "variants": {"eeg": {"wide": {"band": [1, 70]}}},
                "experiments": {"e": {"eeg": "wide"}},
            },
            "variants.eeg.wide.band: 70 Hz is not below half",
        ),
        (
            {"faces": {"detector": "mediapipe"}},
            "faces.detector: mediapipe needs a model file",
        ),
        (
            {"faces": {"detector": "mediapipe", "detector_model": "no.tflite"}},
            "faces.detector_model: no.tflite: No such file or directory",
        ),
        (
            {"faces": {"detector_model": "no.onnx"}},
            "faces.detector_model: no.onnx: No such file or directory",
        ),
        ({"backbone": {"name": "./swin-of-mine"}}, "backbone.name: no such folder: ./swin-of-mine"),
        ({"backbone": {"name": "swin"}}, "backbone.name: no such folder: swin"),
        ({"training": {"device": "cuda:7"}}, "device: this machine has no cuda:7"),
        ({"backbone": {"name": "a/b", "device": "cuda"}}, "device: this machine has no cuda"),
    ],
    ids=str,
)
def test_values_that_cannot_work_are_told(deap, sections, text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ((error, subjects),) = told(deap(**sections))
    assert error.startswith(text)
    assert subjects == ()


def test_what_no_experiment_uses_is_not_looked_at(deap):
    eeg = {"experiments": {"eeg": {"model": {"modalities": ["eeg"]}}}}
    assert told(deap(faces={"detector_model": "no.onnx"}, backbone={"name": "./no"}, **eeg)) == []
    faces = {"experiments": {"face": {"model": {"modalities": ["face"]}}}}
    assert told(deap(eeg={"band": [4, 100]}, **faces)) == []


def test_devices_of_other_machines_are_not_judged(deap):
    plan = deap(training={"device": "cuda:7"})
    assert len(told(plan)) == 1
    assert told(plan, elsewhere=True) == []


def described(folder, rows, **sections):
    for row in rows:
        for column in ("eeg_file", "video_file", "video_times"):
            if (name := row.get(column)) and not (folder / name).exists():
                (folder / name).write_bytes(name.encode())
    path = write_manifest(folder / "m.csv", rows)
    user = {
        "dataset": {"kind": "manifest", "manifest": str(path)} | sections.pop("dataset", {}),
        "labels": {"scheme": "label"},
        "experiments": {"eeg": {"model": {"modalities": ["eeg"]}}},
    }
    return Plan.read(user | sections)


def rows(**columns):
    return [
        {"subject": subject, "trial": i, "stimulus": i, "eeg_file": f"{subject}.edf"}
        | {"eeg_start": 10 * i, "eeg_stop": 10 * i + seconds, "label": "ab"[i % 2]}
        | {name: value.format(subject) for name, value in columns.items()}
        for subject, seconds in (("ann", 4.0), ("ben", 7.0))
        for i in range(3)
    ]


def test_trials_that_a_manifest_says_to_be_shorter_than_a_segment_are_told(tmp_path):
    (problem,) = told(described(tmp_path, rows(), segmentation={"seconds": 5}))
    text = "m.csv: ann: trials of 4 s hold no segment of 5 s; lower segmentation.seconds"
    assert problem[0].endswith(text)
    assert problem[1] == ("ann",)
    assert told(described(tmp_path, rows(), segmentation={"seconds": 4})) == []
    open_ended = rows()
    open_ended[0]["eeg_stop"] = ""  # to the end of the recording, which is not opened
    assert told(described(tmp_path, open_ended, segmentation={"seconds": 5})) == []


def test_rates_of_files_that_are_kept_are_not_known_before(tmp_path):
    wide = {"eeg": {"band": [1, 90]}}
    assert "half the sampling rate of 128 Hz" in told(described(tmp_path, rows(), **wide))[0][0]
    for rate in (None, 200.0):
        assert told(described(tmp_path, rows(), dataset={"sfreq": rate}, **wide)) == []


def test_missing_files_hide_no_others(tmp_path):
    plan = described(tmp_path, rows(video_file="{}.mp4"))
    (tmp_path / "ann.edf").unlink()
    (tmp_path / "ben.mp4").unlink()
    assert [(text.partition("m.csv: ")[2], subjects) for text, subjects in told(plan)] == [
        (
            f"line {line} ({subject} trial 0): {column}_file: no such file: {file}; paths are "
            "relative to the manifest's folder",
            (subject,),
        )
        for line, subject, column, file in (
            (2, "ann", "eeg", "ann.edf"),
            (5, "ben", "video", "ben.mp4"),
        )
    ]


def test_a_table_of_frame_times_counts_for_its_own_subject_alone(tmp_path, monkeypatch):
    """As params of the rule trials."""
    monkeypatch.chdir(tmp_path)

    def of(subject):
        plan = described(tmp_path, rows(video_file="{}.mp4", video_times="{}.csv"))
        contents._content.cache_clear()  # as in another run
        return contents.content(plan.dataset.video_files(subject)), plan.dataset.trials_json(
            subject
        )

    before = of("ann"), of("ben")
    (tmp_path / "ben.csv").write_text("time\n0\n1\n")
    after = of("ann"), of("ben")
    assert after[0] == before[0]
    assert after[1][1] == before[1][1]
    assert [a == b for a, b in zip(before[1][0].split(), after[1][0].split(), strict=True)] == [
        False,
        True,
    ]
