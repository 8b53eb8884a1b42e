"""A manifest as the workflow sees it."""

import itertools
import json
import re
import subprocess
import sys

import pytest

from milmer.errors import MilmerError
from milmer.plan import Plan
from milmer.plan.problems import require_ready
from tests.manifest.described import write_manifest

EXPERIMENTS = {"milmer": {}, "eeg_only": {"model": {"modalities": ["eeg"]}}}


@pytest.fixture
def plan(tmp_path):
    """The plan of rows about files that are there by their names."""

    def make(*rows, user=None, touch=True, **dataset):
        made = []
        for i, row in enumerate(rows):
            base = {"subject": "p1", "trial": i, "stimulus": i, "eeg_file": f"eeg/{i}.edf"}
            made.append({name: "" for r in rows for name in r} | base | row)
            for column in ("eeg_file", "video_file"):
                if touch and (name := made[-1].get(column)):
                    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / name).touch()
        path = write_manifest(tmp_path / "m.csv", made)
        described = {"kind": "manifest", "manifest": str(path), **dataset}
        return Plan.read(
            {"experiments": EXPERIMENTS, "labels": {"scheme": "label"}, "dataset": described}
            | (user or {})
        )

    return make


def two(**more):
    return (
        {"subject": "Anna_1", "label": "joy", **more},
        {"subject": "ben", "label": "fear", **more},
    )


def test_subjects_folds_and_files_are_those_of_the_manifest(plan, tmp_path):
    found = plan(*two(video_file="v.mp4"), {"subject": "ben", "trial": 9, "video_file": "w.mp4"})
    assert found.dataset.subjects == found.dataset.with_video == ["Anna_1", "ben"]
    assert found.dataset.eeg_files("ben") == [str(tmp_path / f"eeg/{i}.edf") for i in (1, 2)]
    assert found.dataset.video_files("ben") == [str(tmp_path / f"{n}.mp4") for n in "vw"]
    assert found.dataset.video_files("Anna_1") == [str(tmp_path / "v.mp4")]
    folds = {path.split("/")[4] for path in found.results.predictions()}
    assert {"Anna_1", "ben", "Anna_1-k0", "ben-k4"} <= folds
    assert found.warnings == []


def test_subjects_can_be_chosen(plan, refused):
    assert plan(*two(), subjects=["ben"]).dataset.subjects == ["ben"]
    with refused("dataset.subjects", "m.csv: no row of eve"):
        plan(*two(), subjects=["ben", "eve"])


def test_classes_by_name_are_those_of_the_whole_manifest(plan):
    found = plan(*two(), {"subject": "eve", "label": "anger"}, subjects=["ben", "Anna_1"])

    class Wildcards:
        labels, protocol = "default", "trial"

    told = json.loads(found.training.split_json(Wildcards))["labels"]
    assert told["classes"] == ["anger", "fear", "joy"]
    some = plan(*two(), user={"labels": {"scheme": "label", "classes": ["joy", "fear"]}})
    assert json.loads(some.training.split_json(Wildcards))["labels"]["classes"] == ["joy", "fear"]


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ({}, "labels.scheme quadrant needs a column valence; set labels.scheme to label"),
        ({"scheme": "liking"}, "needs a column liking"),
        ({"scheme": "label", "classes": ["joy", "rage"]}, "no row of"),
    ],
)
def test_labels_that_the_columns_do_not_give_are_told(plan, refused, labels, part):
    with refused("none can be run", part):
        plan(*two(), user={"labels": labels})


def test_one_name_alone_is_no_label(plan, refused):
    with refused("m.csv: labels.scheme label needs two names or more in the column label"):
        plan(*two(label="joy"))


def test_deap_has_no_labels_by_name(refused, twin):
    with refused("labels.scheme label needs a manifest"):
        Plan.read({"dataset": {"root": str(twin)}, "labels": {"scheme": "label"}})


def test_what_needs_preprocessed_files_is_left_out(plan):
    published = EXPERIMENTS | {"published": {"preset": "published"}}
    rated = {"valence": 3, "arousal": 4, "video_file": "v.mp4"}
    found = plan(*two(**rated), user={"experiments": published})
    assert any("experiments.published is left out" in w for w in found.warnings)


def test_a_column_that_may_be_misspelt_is_told(plan):
    assert any(
        "vidoe_file is not read; is it video_file?" in w
        for w in plan(*two(vidoe_file="x")).warnings
    )


@pytest.mark.parametrize("column", ["eeg_file", "video_file"])
def test_a_file_that_is_not_there_is_named_with_its_line(plan, tmp_path, column):
    rows = two(video_file="v.mp4")
    plan(*rows)
    (tmp_path / ("v.mp4" if column == "video_file" else "eeg/0.edf")).unlink()
    with pytest.raises(MilmerError, match=rf"line 2 \(Anna_1 trial 0\): {column}: no such file"):
        require_ready(plan(*rows, touch=False))


def test_a_subject_without_any_eeg_is_refused(plan, refused):
    with refused("p1: no row names an EEG file"):
        require_ready(plan({"eeg_file": "", "label": "joy"}, {"eeg_file": "n/a", "label": "fear"}))
    require_ready(plan({"eeg_file": "", "label": "joy"}, {"label": "fear"}))


def test_a_row_that_changes_is_another_trigger_of_its_subject_alone(plan):
    before = plan(*two())
    after = plan({**two()[0], "eeg_stop": 9}, two()[1])
    told = [{s: p.dataset.trials_json(s) for s in p.dataset.subjects} for p in (before, after)]
    assert told[0]["Anna_1"] != told[1]["Anna_1"]
    assert told[0]["ben"] == told[1]["ben"]


def test_the_manifest_itself_is_no_input_and_files_of_a_recording_are(plan, tmp_path):
    found = plan({"eeg_file": "a.vhdr", "valence": 3}, user={"labels": {"scheme": "valence"}})
    (tmp_path / "a.vhdr").write_text("DataFile=x.eeg\nMarkerFile=x.vmrk\n")
    (tmp_path / "x.eeg").touch()
    assert found.dataset.trials_files() == []
    assert found.dataset.eeg_files("p1") == [str(tmp_path / name) for name in ("a.vhdr", "x.eeg")]


def test_reading_a_manifest_loads_nothing_heavy(plan, tmp_path):
    plan(*two())
    code = (
        "import sys\nfrom milmer.plan import Plan\n"
        "from milmer.plan.problems import require_ready\n"
        "require_ready(Plan.read({'labels': {'scheme': 'label'}, 'dataset': "
        f"{{'kind': 'manifest', 'manifest': {str(tmp_path / 'm.csv')!r}}},"
        "'experiments': {'e': {'model': {'modalities': ['eeg']}}}}))\n"
        "print([m for m in ('torch', 'mne', 'pandas', 'h5py', 'numpy', 'pyarrow') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sessions_and_groups_decide_which_folds_there_are(plan):
    rows = [{"subject": "sub-01", "session": s, "label": "joy"} for s in ("1", "2", "10")]
    rows += [{"subject": f"sub-0{n}", "session": "1", "label": "fear"} for n in (2, 3, 4, 5)]
    rows[4]["group"] = rows[6]["group"] = "twins"
    protocols = {"names": ["loso", "session", "trial"], "folds": 2}
    found = plan(*rows, user={"protocols": protocols})
    folds = found.experiments.folds("eeg_only")
    assert folds["session"] == ["sub-01-k0", "sub-01-k1", "sub-01-k2"]
    assert folds["loso"] == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert len(folds["trial"]) == 10
    for fold in itertools.chain(*folds.values()):
        assert re.fullmatch(found.training.fold_pattern, fold)
    assert found.dataset.sessions == {"sub-01": 3} | {f"sub-0{n}": 1 for n in (2, 3, 4, 5)}
    rows[4]["label"] = "joy"
    only = plan(*rows[3:], user={"protocols": protocols})
    assert set(only.experiments.folds("eeg_only")) == {"loso", "trial"}
    lack = "protocol session is left out: it needs a subject with two sessions"
    assert any(lack in warning for warning in only.warnings)
    both = plan(*rows[4:7:2], user={"protocols": protocols})
    assert any("groups tie all subjects to each other" in warning for warning in both.warnings)
