"""`milmer predict` gives what the pipeline gave, with what has to be known of it."""

import html
import io
import json
import re

import numpy as np
import pandas as pd

from milmer import storage
from milmer.deap.layout import GENEVA
from milmer.evaluation.model_card import INTENDED_USE
from milmer.metrics.calibration import apply_temperature
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, _csv, predict
from tests.manifest.recordings import edf, waves
from tests.prediction.trained import clip, film, originals, train

KEYS = ["experiment_id", "position"]


def beside(run, out):
    """The run's predictions of its test segments, and those of ``out`` of the same segments."""
    expected = storage.read_table(run / "predictions.parquet", "predictions")
    found = storage.read_table(out / "predictions.parquet", "predict")
    both = expected.merge(found, on=KEYS, suffixes=("_run", ""))
    assert len(both) > 0
    return expected, both


def agree(run, out, within=2e-3):
    expected, both = beside(run, out)
    labels = [c.removeprefix("p_") for c in expected if c.startswith("p_")]
    raw, known = both[[f"raw_{n}" for n in labels]], both[[f"p_{n}_run" for n in labels]]
    np.testing.assert_allclose(raw, known, atol=within)
    if both["chosen_run"].notna().any():
        assert [list(c) for c in both["chosen"]] == [list(c) for c in both["chosen_run"]]
        scores = [np.stack(both[c]) for c in ("scores", "scores_run")]
        np.testing.assert_allclose(*scores, atol=within)
    return len(both), float(np.abs(raw.to_numpy() - known.to_numpy()).max())


def test_a_subjects_table_gives_the_folds_predictions(run, whole):
    count, _ = agree(run, whole)
    assert count == len(storage.read_table(run / "predictions.parquet"))


def test_one_trial_of_a_preprocessed_file_gives_the_folds_predictions(
    run, twin, made, twin_backbone, tmp_path
):
    expected = storage.read_table(run / "predictions.parquet")
    experiment_id = int(expected["experiment_id"].iloc[0])
    (eeg,) = twin.rglob("s01.dat")
    recording = RecordingFiles(eeg=eeg, video=clip(twin, made, experiment_id))
    options = PredictOptions(trial=experiment_id, backbone=str(twin_backbone))
    predict(run / "model", recording, options, tmp_path / "out")
    count, _ = agree(run, tmp_path / "out")
    assert count == (expected["experiment_id"] == experiment_id).sum()


def onset(trials, experiment_id):
    row = storage.read_table(trials).set_index("experiment_id").loc[experiment_id]
    return float(row["eeg_start"]), float(row["eeg_seconds"])


def test_all_trials_of_an_original_recording_give_the_folds_predictions(original, twin, tmp_path):
    run, trials = original
    predict(run, RecordingFiles(trials=trials, root=twin), PredictOptions(), tmp_path / "out")
    count, _ = agree(run, tmp_path / "out")
    assert count == len(storage.read_table(run / "predictions.parquet"))


def test_a_stretch_of_a_recording_that_needs_no_fit_gives_the_folds_predictions(
    twin, bdf, tmp_path
):
    """Without a removal of eye artefacts, which is fitted on all trials, a trial is on its own."""
    trials, segments = originals(twin, tmp_path, {"artefacts": "none"})
    run = train(tmp_path, trials, [segments], [], {"modalities": ["eeg"]})
    experiment_id = int(storage.read_table(run / "predictions.parquet")["experiment_id"].iloc[0])
    start, seconds = onset(trials, experiment_id)
    options = PredictOptions(start=start, stop=start + seconds)
    predict(run, RecordingFiles(eeg=bdf), options, tmp_path / "out")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    assert found["start"].tolist() == [start, start + 3]
    expected = storage.read_table(run / "predictions.parquet").set_index(KEYS)
    for row in found.itertuples():
        known = expected.loc[(experiment_id, row.position)]
        for name in ("HAHV", "LAHV", "LALV", "HALV"):
            assert getattr(row, f"raw_{name}") == known[f"p_{name}"]


def test_a_whole_recording_is_predicted_block_by_block(original, bdf, tmp_path):
    """Between trials the twin records nothing: its flat channels make gaps, and stop nothing."""
    run, trials = original
    predict(run, RecordingFiles(eeg=bdf), PredictOptions(), tmp_path / "out")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    np.testing.assert_allclose(found["start"], 3.0 * np.arange(len(found)))
    spans = [onset(trials, e) for e in storage.read_table(trials)["experiment_id"]]
    inside = np.array(
        [any(a - 3 <= s and s + 3 <= a + n for a, n in spans) for s in found["start"]]
    )
    assert found["eeg_usable"][inside].mean() > 0.8
    assert not found["eeg_usable"].all()
    assert (found["p_HAHV"].notna() == found["eeg_usable"]).all()
    assert found["face_seen"].isna().all()
    p = found.loc[found["eeg_usable"], [c for c in found if c.startswith("p_")]].to_numpy()
    np.testing.assert_allclose(p.sum(1), 1)
    notes = json.loads((tmp_path / "out/about.json").read_text())["notes"]
    assert any("have EEG that cannot be used: nothing is predicted there" in n for n in notes)


def test_predictions_are_both_raw_and_calibrated(run, whole):
    known = json.loads((run / "metrics.json").read_text())
    known |= known["calibration"]
    table = storage.read_table(whole / "predictions.parquet")
    raw, p = (table[[f"{k}_{n}" for n in known["labels"]]].to_numpy(float) for k in ("raw", "p"))
    assert known["temperature"] is not None
    np.testing.assert_allclose(p, apply_temperature(raw, known["temperature"]), atol=1e-6)
    assert not np.allclose(p, raw, atol=1e-3)
    assert table["class"].tolist() == [known["labels"][i] for i in raw.argmax(1)]


def test_the_same_recording_gives_the_same_bytes_and_no_path(
    run, whole, twin, made, twin_backbone, tmp_path
):
    options = PredictOptions(backbone=str(twin_backbone))
    predict(run / "model", RecordingFiles(trials=made[0], root=twin), options, tmp_path / "out")
    for path in sorted(whole.iterdir()):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name
        assert b"/tmp" not in path.read_bytes()
        assert str(twin).encode() not in path.read_bytes()


def test_csv_and_parquet_hold_the_same(whole):
    table = storage.read_table(whole / "predictions.parquet")
    csv = pd.read_csv(whole / "predictions.csv")
    assert list(csv) == list(table)
    np.testing.assert_allclose(csv["p_HALV"], table["p_HALV"])
    assert csv["class"].tolist() == table["class"].tolist()
    shown = [[float(x) for x in text.split()] for text in csv["frame_times"]]
    assert shown == [list(times) for times in table["frame_times"]]
    for times, row in zip(shown, table.itertuples(), strict=True):
        assert len(times) == 3
        assert all(row.start <= time < row.stop for time in times)


def test_what_a_spreadsheet_would_compute_is_text_in_the_csv(whole):
    table = storage.read_table(whole / "predictions.parquet").rename(columns={"p_HALV": "p_=1"})
    table["class"] = ["=1+1"] * len(table)
    table["frame_times"] = [[-0.04, 0.2]] * len(table)
    csv = pd.read_csv(io.StringIO(_csv(table)))
    assert set(csv["class"]) == {"'=1+1"}
    assert set(csv["frame_times"]) == {"-0.04 0.2"}
    np.testing.assert_allclose(csv["p_=1"], table["p_=1"])


def test_what_is_shared_names_nobody_that_the_model_was_trained_on_and_no_file(eeg_run, tmp_path):
    (tmp_path / "anna").mkdir()
    eeg = edf(tmp_path / "anna/anna_visit1.edf", waves(32, 8.0), GENEVA)
    predict(eeg_run, RecordingFiles(eeg=eeg), PredictOptions(), tmp_path / "out")
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["provenance"]["inputs"]["eeg"] == storage.digest(eeg)
    texts = [path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"]
    texts.append(json.dumps(storage.read_provenance(tmp_path / "out/predictions.parquet")))
    for word in ("anna", "s01", str(tmp_path), str(eeg_run)):
        assert not any(word in text for text in texts), word
    assert "1 subject, " in (tmp_path / "out/index.html").read_text()


def test_predictions_carry_what_the_card_warns_of(run, whole):
    card = (run / "model/README.md").read_text()
    about = json.loads((whole / "about.json").read_text())
    page = (whole / "index.html").read_text()
    made = storage.read_provenance(whole / "predictions.parquet")
    assert made["about"]["card"] == about["card"]
    assert about["card"]["trained_on"]["subjects"] == 1
    assert about["card"]["protocol"] == "trial"
    for text in about["card"]["caveats"]:
        assert f"* {text}" in card
    assert about["card"]["calibration_means"] in card
    assert about["card"]["intended_use"] == list(INTENDED_USE)
    footer = html.unescape(re.search("<footer>(.*)</footer>", page, re.DOTALL)[1])
    assert re.findall("<li>(.*?)</li>", footer) == list(INTENDED_USE)
    assert "the model has seen the subject in training" in page


# ------------------------------------------------------------------------------- faces and time


def test_where_no_face_is_seen_there_is_a_gap(face_run, twin, made, twin_backbone, tmp_path):
    video = film(tmp_path / "v.mp4", [clip(twin, made, 1), None, clip(twin, made, 2)], 6)
    options = PredictOptions(backbone=str(twin_backbone))
    predict(face_run, RecordingFiles(video=video), options, tmp_path / "out")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    assert found["start"].tolist() == [0, 3, 6, 9, 12, 15]
    assert found["face_seen"].tolist() == [True, True, False, False, True, True]
    assert found["p_HAHV"].isna().tolist() == [False, False, True, True, False, False]
    assert found["chosen"].isna().tolist() == [False, False, True, True, False, False]
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["notes"] == ["2 of 6 segments show no face: nothing is predicted there."]
    page = (tmp_path / "out/index.html").read_text()
    assert "2 of 6 segments show no face" in page
    assert page.count('class="edged"') == 1  # one hatched gap


def test_the_video_may_begin_later_and_end_earlier(run, bdf, twin, made, twin_backbone, tmp_path):
    """A model of preprocessed EEG sees an original recording too, and that is said."""
    experiment_id = 4
    video = film(tmp_path / "v.mp4", [clip(twin, made, experiment_id)], 9)
    options = PredictOptions(offset=10.5, backbone=str(twin_backbone))
    predict(run, RecordingFiles(eeg=bdf, video=video), options, tmp_path / "out")
    found = storage.read_table(tmp_path / "out/predictions.parquet")
    assert found["start"].tolist() == [10.5, 13.5, 16.5]
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["notes"][1] == "The video begins at 10.5 s: nothing is predicted before it."
    assert "the two differ although Milmer prepares them alike" in about["notes"][0]
    assert "segments before the EEG: nothing is predicted there" in about["notes"][2]
    times = found["frame_times"].iloc[0]
    assert all(10.5 <= time < 13.5 for time in times)
    # The same as when the stretch is asked for.
    options = options.updated({"start": 13.5, "stop": 16.5})
    predict(run, RecordingFiles(eeg=bdf, video=video), options, tmp_path / "part")
    part = storage.read_table(tmp_path / "part/predictions.parquet")
    assert part["frames"].iloc[0].tolist() == found["frames"].iloc[1].tolist()
    np.testing.assert_allclose(np.stack(part["scores"]), np.stack(found["scores"][1:2]), atol=0.01)
