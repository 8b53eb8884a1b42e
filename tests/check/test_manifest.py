"""``milmer check`` of a manifest: what it reports, and in which words."""

import json
import re

import mne
import numpy as np
import pytest
import yaml

from milmer.check.manifest import inspect_manifest
from milmer.check.manifest_findings import manifest_findings
from milmer.data.options import DatasetOptions, LabelsOptions
from tests.conftest import REPOSITORY
from tests.manifest.described import write_manifest
from tests.manifest.recordings import NAMES, edf, fif, waves
from tests.readers.test_video import write


@pytest.fixture
def lab(tmp_path):
    """``lab(row, …)``: findings about six good trials of two subjects, some rows changed."""
    for seed, name in enumerate(("p1", "p2")):
        edf(tmp_path / f"{name}.edf", waves(seconds=80, seed=seed))
    video = write(tmp_path / "v.avi", frames=130).read_bytes()
    for i in range(12):
        (tmp_path / f"v{i}.avi").write_bytes(video + bytes([i]))

    def make(changes=(), labels=None, quick=False, **dataset):
        rows = []
        for i in range(12):
            subject = f"p{1 + i // 6}"
            row = {"subject": subject, "trial": i % 6 + 1, "stimulus": f"s{i % 6}"}
            row |= {"eeg_file": f"{subject}.edf", "eeg_start": 1 + 13 * (i % 6)}
            row |= {"eeg_stop": row["eeg_start"] + 12}
            row |= {
                "video_file": f"v{i}.avi",
                "video_start": 0,
                "label": "ab"[i % 2],
                "valence": "",
            }
            rows.append(row)
        for place, change in dict(changes).items():
            rows[place] |= change
        make.path = write_manifest(tmp_path / "m.csv", rows)
        options = DatasetOptions(kind="manifest", manifest=str(make.path), **dataset)
        facts = inspect_manifest(options, labels, quick)
        return {(f.about, f.stops): f.text for f in manifest_findings(facts)}

    make.folder = tmp_path
    return make


def test_a_good_manifest_has_no_errors(lab):
    findings = lab()
    assert set(findings) == {
        ("classes", False)
    }  # three trials of a class are fewer than five folds


@pytest.mark.parametrize(
    ("changes", "about", "stops", "part"),
    [
        ({0: {"eeg_file": "x.edf"}}, "eeg", True, "line 2 (p1 trial 1): eeg_file: no such file"),
        ({0: {"video_file": "x.avi"}}, "video", True, "line 2 (p1 trial 1): video_file: no such"),
        ({3: {"eeg_stop": 81}}, "eeg", True, "line 5 (p1 trial 4): eeg_stop 81 s lies beyond"),
        (
            {3: {"video_start": 14}},
            "video",
            True,
            "v3.avi: ends 1.00 s before trial 4 starts",
        ),
        ({2: {"video_start": -2.5}}, "lengths", False, "begins 2.50 s after the EEG: p1 trial 3"),
        ({3: {"video_start": 4}}, "lengths", False, "ends 3.00 s before the EEG: p1 trial 4"),
        (
            {7: {"eeg_stop": 16}},
            "trials_short",
            False,
            "left out, shorter than a segment of 3 s: p2 trial 2",
        ),
        ({7: {"eeg_file": ""}}, "no_eeg", False, "p2 trial 2"),
        ({7: {"video_file": ""}}, "no_video", False, "p2 trial 2"),
        ({7: {"label": ""}}, "unlabelled", False, "p2 trial 2"),
        ({7: {"stimulus": "s0"}}, "repeated", False, "shown again"),
        (
            {i: {"video_file": ""} for i in range(6)},
            "eeg_without_video",
            False,
            "only EEG is used: p1",
        ),
        (
            {0: {"eeg_stop": 3}, 1: {"eeg_stop": 16}},
            "trials",
            True,
            "p1: 4 trials per subject are too few for 5 folds",
        ),
        (
            {i: {"eeg_stop": 13 * i + 3} for i in range(6)},
            "trials",
            True,
            "p1: no trial is as long as a segment",
        ),
        (
            {7: {"eeg_start": 1}},
            "groups",
            False,
            "as one group each: p2 trials 1, 2",
        ),
        (
            {i: {"eeg_start": 1} for i in range(1, 6)},
            "trials",
            True,
            "p1: 1 groups cannot make 5 folds: 'p1 trial 1 and 5 more' holds 100% of the trials",
        ),
        ({7: {"eeg_file": "p1.edf"}}, "samples", True, "p1 and p2 have the same samples (p1.edf)"),
        ({i: {"eeg_file": ""} for i in range(6)}, "eeg", True, "p1: no row names an EEG file"),
        ({i: {"label": "a"} for i in range(12)}, "labels", True, "two names or more"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(lab, changes, about, stops, part):
    assert part in lab(changes)[about, stops]


def test_one_file_that_cannot_be_read_hides_no_other(lab):
    (lab.folder / "p1.edf").write_bytes(b"")
    (lab.folder / "v0.avi").write_bytes(b"no video")
    findings = lab()
    assert "p1.edf: is empty" in findings["eeg", True]
    assert "v0.avi: cannot be decoded" in findings["video", True]


def test_files_that_differ_in_channels_or_rate(lab):
    edf(lab.folder / "p2.edf", waves(5, 80, 250.0), NAMES[:5], 250.0)
    findings = lab()
    assert "set dataset.channels, all have Fp1, Fp2, C3, C4, O1" in findings["channels", True]
    assert "200 Hz (1 files), 250 Hz (1 files), all resampled to 128 Hz" in findings["rates", False]
    findings = lab(channels=NAMES[:4], sfreq=None)
    assert ("channels", True) not in findings
    assert "set dataset.sfreq" in findings["rates", True]
    assert "p2.edf: no channel O2" in lab(channels=NAMES)["eeg", True]
    assert ("eeg", True) not in lab(channels=NAMES, missing_channels="interpolate")
    assert "no channel EXG1" in lab(heog=["EXG1"], veog=["C3"])["eeg", True]


def test_labels_are_those_that_are_asked_for(lab):
    assert "needs a column valence" in lab(labels=LabelsOptions())["labels", True]
    rated = {i: {"valence": 1 + i % 5} for i in range(12)}
    findings = lab(rated, LabelsOptions(scheme="valence", threshold=3.0))
    assert findings["classes", False] == "low, high: fewer trials than the 5 folds: 3 of p1, p2"


def test_labels_and_subjects_that_the_manifest_lacks_are_errors_as_in_a_run(lab):
    labels = LabelsOptions(scheme="label", classes=["a", "z"])
    findings = lab(labels=labels, subjects=["p1", "eve"])
    assert findings["labels", True].endswith("has the label z")
    assert "no row of eve" in findings["subjects", True]


def test_quick_opens_nothing(lab):
    (lab.folder / "p1.edf").write_bytes(b"")
    assert not [about for about, stops in lab(quick=True) if stops]


def test_the_command_tells_of_a_manifest_and_of_a_configuration(lab, inside):
    lab()
    status, screen, _ = inside("check", lab.path)
    assert status == 0
    assert "12 (2 subjects, 6 stimuli)" in screen
    assert re.search(r"p1 +6 +6 +12 +6 +200 +6\n", screen)
    assert screen.endswith("Usable: no error, 1 note.\n")
    assert max(map(len, screen.splitlines()[1:])) <= 100
    path = lab.folder / "mine.yaml"
    user = {"dataset": {"kind": "manifest", "manifest": str(lab.path), "channels": [*NAMES, "Cz"]}}
    user["labels"] = {"scheme": "label"}
    path.write_text(yaml.safe_dump(user | {"experiments": {"face_only": None}}))
    status, text, _ = inside("check", path, "--json")
    report = json.loads(text)
    assert (status, report["usable"]) == (1, False)
    assert any("no channel Cz" in error["text"] for error in report["errors"])


def test_the_command_still_tells_of_a_copy_of_deap(twin, tmp_path, inside):
    path = tmp_path / "deap.yaml"
    path.write_text(yaml.safe_dump({"dataset": {"root": str(twin)}}))
    by_folder, by_configuration = (inside("check", at, "--quick") for at in (twin, path))
    assert by_folder[:2] == by_configuration[:2]
    assert by_folder[0] == 0


def test_keys_of_the_json_are_documented(lab, inside):
    lab()
    report = json.loads(inside("check", lab.path, "--json")[1])
    page = (REPOSITORY / "docs/own-data.md").read_text()
    keys = {
        *report,
        *report["subjects"]["p1"][0],
        *report["eeg"]["p1.edf"],
        *report["video"]["v0.avi"],
    }
    assert not [key for key in keys if f"`{key}`" not in page]


def test_what_is_rejected_or_not_read_is_told_beforehand(lab):
    raw = mne.io.RawArray(
        waves(8, seconds=20) * 1e-6, mne.create_info([*NAMES, "M1", "F3"], 200.0, "eeg"), verbose=40
    )
    raw.info["bads"] = ["F3"]
    raw.set_annotations(mne.Annotations([3.0], [1.0], ["BAD_movement"]))
    raw.save(lab.folder / "marked_raw.fif", verbose="error")
    eeg = waves(seconds=20)
    eeg[2, 2500] = np.nan
    fif(lab.folder / "nan_raw.fif", eeg)
    fif(lab.folder / "volts_raw.fif", eeg * 1e6)
    edf(lab.folder / "unclear.edf", waves(seconds=20), unit="counts")
    files = ["marked_raw.fif", "nan_raw.fif", "volts_raw.fif", "unclear.edf"]
    span = {"eeg_start": 1, "eeg_stop": 13}
    found = lab({i: {"eeg_file": name} | span for i, name in enumerate(files)}, channels=NAMES)
    assert found["rejected", False] == "rejected, as a whole or in part, not finite: p1 trial 2"
    assert "volts_raw.fif: EEG of 1.96e+07 µV" in found["eeg", True]
    assert "µV saved as if they were V" in found["eeg", True]
    assert "of unclear.edf Fp1 (counts), Fp2" in found["unit", False]
    found = lab({i: {"eeg_file": "marked_raw.fif"} | span for i in range(12)})
    assert (
        "rejected, as a whole or in part, marked BAD_movement: p1 trial" in found["rejected", False]
    )
    assert found["bad_channels", False].startswith("of marked_raw.fif F3: the file calls them bad")
    assert found["channels_not_read", False].endswith("are read; not M1 (an electrode at the ear)")
