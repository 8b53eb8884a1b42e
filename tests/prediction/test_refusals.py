"""What cannot be predicted is told in one clear line, and leaves nothing behind."""

import json
import shutil

from milmer.deap.layout import GENEVA
from milmer.synthetic.twin import write_backbone
from tests.manifest.recordings import edf, waves
from tests.prediction.trained import clip, film


def wrong(inside, *arguments):
    """The one line that a command ends with."""
    status, _, told = inside("predict", *arguments)
    assert status == 1
    lines = [line for line in told.splitlines() if line.startswith("milmer: ")]
    assert len(lines) == 1
    assert "Traceback" not in told
    return lines[0]


def test_what_the_model_looks_at_has_to_be_given(run, eeg_run, bdf, inside, tmp_path):
    out = tmp_path / "out"
    told = wrong(inside, run, out, "--eeg", bdf)
    assert "looks at EEG and faces: give --video as well" in told
    assert "looks at EEG: give --eeg" in wrong(inside, eeg_run, out)
    assert not out.exists()


def test_another_backbone_and_one_that_is_not_named_are_refused(
    face_run, twin, made, inside, tmp_path
):
    write_backbone(tmp_path / "other", seed=1)
    video, out = clip(twin, made, 1), tmp_path / "out"
    told = wrong(inside, face_run, out, "--video", video, "--backbone", tmp_path / "other")
    known = json.loads((face_run / "model/milmer_processor.json").read_text())["face"]
    assert "not the backbone that the model was trained with" in told
    assert known["fingerprint"][:12] in told
    assert "say where it is (--backbone)" in wrong(inside, face_run, out, "--video", video)
    assert not out.exists()


def test_eeg_that_the_model_cannot_look_at_is_one_clear_line(eeg_run, twin, inside, tmp_path):
    out = tmp_path / "out"
    few = edf(tmp_path / "few.edf", waves())
    told = wrong(inside, eeg_run, out, "--eeg", few)
    assert "few.edf: no channel AF3" in told
    assert "--missing-channels interpolate" in told
    told = wrong(inside, eeg_run, out, "--eeg", few, "--missing-channels", "interpolate")
    assert "too many to interpolate" in told
    slow = edf(tmp_path / "slow.edf", waves(32, 8, 100.0), GENEVA, 100.0)
    assert "sampled at 100 Hz, but the model requires 128 Hz or more" in wrong(
        inside, eeg_run, out, "--eeg", slow
    )
    short = edf(tmp_path / "short.edf", waves(32, 2.0), GENEVA)
    assert "2.00 s hold no segment; the model requires 3 s or more" in wrong(
        inside, eeg_run, out, "--eeg", short
    )
    (tmp_path / "empty.edf").write_bytes(b"")
    assert "is empty (0 bytes)" in wrong(inside, eeg_run, out, "--eeg", tmp_path / "empty.edf")
    assert "no such file" in wrong(inside, eeg_run, out, "--eeg", tmp_path / "none.edf")
    long = edf(tmp_path / "long.edf", waves(32, 8.0), GENEVA)
    assert "ends at 8.00 s, before --stop 9" in wrong(
        inside, eeg_run, out, "--eeg", long, "--stop", "9"
    )
    assert "--stop 2: must be after --start 3" in wrong(
        inside, eeg_run, out, "--eeg", long, "--start", "3", "--stop", "2"
    )
    (dat,) = twin.rglob("s01.dat")
    assert "say which one (--trial)" in wrong(inside, eeg_run, out, "--eeg", dat)
    assert "contains trials 1 to 8, not 9" in wrong(
        inside, eeg_run, out, "--eeg", dat, "--trial", "9"
    )
    assert "--trial goes with a .dat or .mat" in wrong(
        inside, eeg_run, out, "--eeg", long, "--trial", "1"
    )
    assert not out.exists()


def test_eog_that_the_training_data_was_cleaned_with_is_asked_for(original, inside, tmp_path):
    run, _ = original
    eeg = edf(tmp_path / "e.edf", waves(32, 8.0, 256.0), GENEVA, 256.0)
    told = wrong(inside, run, tmp_path / "out", "--eeg", eeg)
    assert "no channel EXG1, EXG2, EXG3, EXG4" in told
    assert "--without-eog to predict without removing them" in told
    status, said, _ = inside("predict", run, tmp_path / "out", "--eeg", eeg, "--without-eog")
    assert status == 0
    assert "index.html" in said
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert any(
        "Eye artefacts were removed from the training data but not" in n for n in about["notes"]
    )


def test_videos_that_the_model_cannot_look_at_are_one_clear_line(
    face_run, run, bdf, twin, made, twin_backbone, inside, tmp_path
):
    out, swin = tmp_path / "out", ("--backbone", twin_backbone)
    black = film(tmp_path / "black.mp4", [None], 6)
    told = wrong(inside, face_run, out, "--video", black, *swin)
    assert "black.mp4: no face was seen in any of 2 segments" in told
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "is empty (0 bytes)" in wrong(
        inside, face_run, out, "--video", tmp_path / "empty.mp4", *swin
    )
    assert "no such file" in wrong(inside, face_run, out, "--video", tmp_path / "no.mp4", *swin)
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4: cannot be decoded" in wrong(
        inside, face_run, out, "--video", tmp_path / "text.mp4", *swin
    )
    both = ("--eeg", bdf, "--video", clip(twin, made, 1), *swin)
    assert "they have no time in common; see --offset" in wrong(
        inside, run, out, *both, "--offset", "5000"
    )
    assert not out.exists()


def test_a_folder_that_is_no_model_or_an_old_one_is_told(run, bdf, twin, inside, tmp_path):
    assert "give a run's folder model/" in wrong(inside, twin, tmp_path / "o", "--eeg", bdf)
    old = tmp_path / "old"
    shutil.copytree(run / "model", old)
    (old / "milmer_processor.json").unlink()
    assert "train it again with this version" in wrong(inside, old, tmp_path / "o", "--eeg", bdf)
    (old / "milmer_processor.json").write_text("{}")
    assert "damaged, or of another version" in wrong(inside, old, tmp_path / "o", "--eeg", bdf)


def test_a_folder_with_other_things_in_it_is_not_overwritten(eeg_run, bdf, inside, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists and is not empty" in wrong(inside, eeg_run, tmp_path, "--eeg", bdf)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_neither_the_model_nor_an_input_is_overwritten(
    eeg_run, twin, made, bdf, inside, tmp_path, monkeypatch
):
    run, recording = shutil.copytree(eeg_run, tmp_path / "run"), tmp_path / "recording/visit.bdf"
    recording.parent.mkdir()
    shutil.copy(bdf, recording)
    (tmp_path / "alias").symlink_to("run")
    before = content(tmp_path)
    model = "is or holds the input"
    for given, out, reason in (
        (run, run, model),
        (run / "model", run / "model", model),
        (run / "model", run, model),
        (run, tmp_path / "alias", model),
        (tmp_path / "alias", run, model),
        (run, tmp_path, "is or holds "),
        (run, run / "predictions", "lies in the input"),
        (run, tmp_path / "alias/model/new", "lies in the input"),
        (run, recording.parent, "is or holds the input"),
    ):
        said = wrong(inside, given, out, "--eeg", recording)
        assert f"{out}: {reason}" in said
        assert content(tmp_path) == before
    trials = ("--trials", made[0], "--root", twin)
    assert "lies in the input" in wrong(inside, run, twin / "out", *trials)
    assert not (twin / "out").exists()
    monkeypatch.chdir(recording.parent)
    assert "holds the working directory" in wrong(inside, run, ".", "--eeg", "visit.bdf")
    assert content(tmp_path) == before


def test_only_predictions_are_replaced(eeg_run, bdf, inside, tmp_path):
    """Not a run, whose predictions have the same name, and not what was added to predictions."""
    run, out = shutil.copytree(eeg_run, tmp_path / "run"), tmp_path / "out"
    before = content(run)
    assert "exists and is not empty" in wrong(inside, eeg_run, run, "--eeg", bdf)
    assert content(run) == before
    for _ in range(2):
        assert inside("predict", eeg_run, out, "--eeg", bdf, "--without-eog")[0] == 0
    first = content(out)
    (out / "notes.txt").write_text("mine")
    assert "holds notes.txt" in wrong(inside, eeg_run, out, "--eeg", bdf)
    assert content(out) == first | {out / "notes.txt": b"mine"}


def test_numbers_and_facts_that_a_card_cannot_show_are_one_line(eeg_run, bdf, inside, tmp_path):
    model = shutil.copytree(eeg_run / "model", tmp_path / "model")
    recipe, scores = (
        (model / name, json.loads((model / name).read_text()))
        for name in ("milmer_processor.json", "evaluation.json")
    )
    twice = ["Fz", *recipe[1]["eeg"]["channels"][1:]]
    calibration = scores[1]["calibration"]
    for (path, whole), changes in (
        (recipe, {"run": recipe[1]["run"] | {"protocol": "x"}}),
        (recipe, {"run": recipe[1]["run"] | {"segments": {"train": 1}}}),
        (recipe, {"run": recipe[1]["run"] | {"subjects": {}}}),
        (recipe, {"eeg": recipe[1]["eeg"] | {"channels": twice}}),
        (scores, {"segment": {}}),
        (scores, {"trial": {"accuracy": 1.0}}),
        (scores, {"majority": {"trial": 1.0}}),
        (scores, {"calibration": {}}),
        *((scores, {"calibration": calibration | {"temperature": t}}) for t in (0, -1, 1e-320)),
    ):
        path.write_text(json.dumps(whole | changes))
        said = wrong(inside, model, tmp_path / "out", "--eeg", bdf)
        assert f"{path}: damaged, or of another version" in said, changes
        path.write_text(json.dumps(whole))


def test_a_recipe_that_is_not_the_models_is_one_line(eeg_run, bdf, inside, tmp_path):
    model = shutil.copytree(eeg_run / "model", tmp_path / "model")
    path = model / "milmer_processor.json"
    whole = json.loads(path.read_text())
    eeg = whole["eeg"]
    grid = {"segmentation": {"seconds": 1e-9, "overlap": 0}}
    for changes, reason in (
        ({"labels": ["one"]}, "is not that of the model"),
        ({"eeg": None}, "is not that of the model"),
        ({"eeg": eeg | {"channels": ["Fz"]}}, "is not that of the model"),
        ({"eeg": eeg | {"sfreq": 1e12}}, "is not that of the model"),
        ({"eeg": eeg | {"options": eeg["options"] | grid}}, "is not that of the model"),
        ({"computed": whole["computed"] | {"threads": 10**9}}, "damaged"),
        ({"computed": whole["computed"] | {"batch_size": 10**9}}, "damaged"),
        ({"labels": ["x" * 20_000_000]}, "bytes; at most"),
    ):
        path.write_text(json.dumps(whole | changes))
        assert reason in wrong(inside, model, tmp_path / "out", "--eeg", bdf), changes.keys()
    assert not (tmp_path / "out").exists()
