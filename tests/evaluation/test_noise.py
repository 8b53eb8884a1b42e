"""On noise the conclusions name what a result comes from; of an honest one they name nothing."""

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.evaluation.baseline_options import BaselinesOptions
from milmer.evaluation.baselines import make_baselines
from milmer.evaluation.control_options import ControlsOptions
from milmer.evaluation.control_table import controls_table, links
from milmer.evaluation.controls import make_controls
from milmer.evaluation.explanations import explanations
from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from tests.evaluation import noise
from tests.evaluation.made_up import write_predictions

SECTION = "What else could explain it?"


@pytest.fixture
def concluded(tmp_path):
    """``concluded(protocol, **how)``: the sentences about controls, and their table.

    The experiment is logistic regression on band power.
    """

    def make(protocol, folds=4, draws=49, with_faces=False, **what):
        study = noise.make_noise(tmp_path, **what)
        study.split(protocol, folds)
        controls = study.controls(protocol, draws, with_faces=with_faces)
        splits, eeg = tmp_path / "splits/default" / protocol, ["segments", ""]
        stage = BaselinesOptions(folds=study.folds[protocol], names=["band_power"], inputs=[eeg])
        make_baselines(splits, study.files("segments"), [], stage, tmp_path)
        path = tmp_path / "band_power/default" / f"{protocol}.parquet"
        labels = storage.read_provenance(path)["facts"]["labels"]
        for fold, predicted in storage.read_table(path).groupby("fold"):
            split = storage.read_table(splits / f"{fold}.parquet")
            trained = split.query("part == 'train'")["label"].to_numpy()
            write_predictions(
                tmp_path / "runs", "model", protocol, fold,
                predicted.drop(columns=["fold", "eeg", "tokens"]), labels=labels, trained=trained,
            )  # fmt: skip
        options = TablesOptions(
            experiments={"model": {"folds": study.folds, "inputs": eeg}},
            controls=[("default", protocol)],
            report={"resamples": 200},
        )
        make_tables(tmp_path / "runs", options, tmp_path / "tables", controls=tmp_path / "controls")
        text = (tmp_path / "tables/conclusions.md").read_text()
        return text.split(f"## {SECTION}\n\n")[1].partition("\n\n##")[0], controls

    return make


def percent(value):
    return f"{100 * value:.1f} %"


def test_a_class_that_is_half_of_the_session_is_its_position(concluded):
    text, controls = concluded("trial", **noise.HALF)
    position, shifted = (
        controls.loc[("position", "any_trial")],
        controls.loc["band_power", "shifted"],
    )
    assert position["observed"] > 0.9
    assert "can be explained without the class: the position in the session alone gives " in text
    assert f"alone gives {percent(position['observed'])}, and log band power knows it" in text
    assert f"shifted in presentation order, LDA still reaches {percent(shifted['drawn'])}" in text
    assert shifted["drawn"] > controls.loc[("band_power", "by_trial"), "drawn_high"]
    assert "stimulus" not in text
    assert "who was recorded" not in text


def test_blocks_over_a_drift_are_their_position(concluded):
    text, controls = concluded("trial", **noise.DRIFT)
    position = controls.loc[("position", "any_trial")]
    assert position["observed"] > 0.8
    assert f"class: the position in the session alone gives {percent(position['observed'])}" in text
    assert "stimulus" not in text


def test_in_another_session_the_position_is_that_within_it(concluded):
    """The class is the second half of each session, and the cap dries in each anew."""
    text, controls = concluded("session", sessions=2, **noise.FIRST_HALVES)
    position = controls.loc[("position", "any_trial")]
    assert position["observed"] > 0.9
    assert f"class: the position in the session alone gives {percent(position['observed'])}" in text
    assert "who was recorded" not in text


def test_a_session_with_a_class_of_its_own_is_the_position_in_it(concluded):
    whole = noise.HALF | {"label": lambda subject, order, stimulus, rng: order > len(order) // 2}
    text, controls = concluded("trial", sessions=2, **whole)
    assert controls.loc[("position", "any_trial"), "observed"] > 0.95
    # A shift within a session of one class is no shift: the link is kept whole.
    shifted = controls.loc[("band_power", "shifted")]
    assert shifted["drawn"] == pytest.approx(shifted["observed"])
    assert "class: the position in the session alone gives" in text


def test_controls_look_at_each_variant_and_each_explains_who_looks_at_it(tmp_path):
    """The cap dries in `segments` alone: of `raw` log band power does not know the position."""
    study = noise.make_noise(tmp_path, **noise.HALF)
    noise.make_noise(tmp_path / "still", label=noise.HALF["label"])
    (tmp_path / "still/segments").rename(tmp_path / "raw")
    study.split("trial")
    raw = [tmp_path / "raw" / path.name for path in study.files("segments")]
    out = tmp_path / "controls/default/trial.parquet"
    make_controls(
        tmp_path / "splits/default/trial", study.files("trials"),
        [*study.files("segments"), *raw], [],
        ControlsOptions(folds=study.folds["trial"], control_draws=49), out,
    )  # fmt: skip
    options = TablesOptions(
        experiments={
            name: {"folds": {"trial": []}, "inputs": [name, ""]} for name in ("raw", "segments")
        },
        controls=[("default", "trial")],
    )
    controls = controls_table(tmp_path / "controls", options)
    by = controls.set_index(["variant", "control"]).loc[:, ["drawn", "drawn_high"]]
    assert by.loc[("segments", "shifted"), "drawn"] > by.loc[("segments", "by_trial"), "drawn_high"]
    assert by.loc[("raw", "shifted"), "drawn"] < by.loc[("raw", "by_trial"), "drawn_high"]
    rows = [{"experiment": name, "protocol": "trial", "mean": 0.7} for name in ("raw", "segments")]
    summary = pd.DataFrame(rows).assign(level="segment", metric="balanced_accuracy")
    texts = explanations({"summary": summary, "controls": controls}, options)
    of_raw, of_segments = texts
    assert of_raw.startswith("`raw` under `trial` (balanced accuracy 70.0 %) can be explained")
    assert "knows it" not in of_raw
    assert "log band power knows it" in of_segments


def test_videos_that_leave_a_trace_are_what_was_shown(concluded):
    text, controls = concluded("loso", **noise.TRACE)
    kept = controls.loc[("band_power", "by_stimulus"), "drawn"]
    assert "explained without the class: which stimulus was shown alone gives 100.0 %, and" in text
    assert f"labels exchanged between stimuli, LDA still reaches {percent(kept)}" in text
    assert "16 of 16 stimuli are on both sides of a split" in text
    assert "position" not in text


def test_a_class_that_is_the_subject_is_who_was_recorded(concluded):
    text, controls = concluded("stimulus", **noise.SUBJECTS)
    assert controls.loc[("band_power", "by_trial"), "draws"] == 1  # there is no other order
    assert "explained without the class: who was recorded alone gives 100.0 %, and" in text
    assert "position" not in text
    assert "which stimulus" not in text


def test_of_few_trials_any_result_can_be_chance(concluded):
    few = {"subjects": 1, "trials": 6, "seed": 11}
    text, controls = concluded("trial", folds=3, **few, **noise.NOTHING)
    assert controls.loc[("band_power", "by_trial"), "draws"] == 20
    assert controls.loc[("band_power", "by_trial"), "smallest_p"] == 1 / 20
    assert "(balanced accuracy 83.3 %) can be chance: the labels of 6 trials have only 20" in text
    assert "explained without" not in text


@pytest.mark.parametrize(("result", "said"), [(0.58, True), (0.63, False), (0.5, False)])
def test_what_permuted_labels_give_too_can_be_chance(result, said):
    rows = [("band_power", "by_trial", 0.6), ("mean_token", "by_trial", 0.62)]
    rows += [(name, "any_trial", 0.7) for name in ("stimulus", "subject", "position")]
    controls = pd.DataFrame(rows, columns=["features", "control", "drawn_high"]).assign(
        labels="default", protocol="trial", observed=0.49, drawn=0.5, drawn_low=0.4, draws=99,
        p=0.5, smallest_p=0.01, chance=0.5, caveat="", trials=32, stimuli=8,
        stimuli_on_both_sides=0, variant="",
    )  # fmt: skip
    row = {"experiment": "model", "protocol": "trial", "level": "segment", "mean": result}
    summary = pd.DataFrame([row | {"metric": "balanced_accuracy"}])
    options = TablesOptions(experiments={"model": {"folds": {}}})
    (text,) = explanations({"summary": summary, "controls": controls}, options)
    chance = "can be chance: with 32 trials, permuted labels give 62.0 % in one of 20 draws" in text
    assert chance == said
    assert ("Nothing that was looked for" in text) == (result > 0.62)
    assert ("not above chance (50.0 %)" in text) == (result == 0.5)


def test_few_trials_that_lie_near_their_like_are_not_told_from_their_position(concluded):
    few = {"subjects": 1, "trials": 8, "seed": 2}
    text, controls = concluded("trial", **few, **noise.NOTHING)
    prior = controls.loc[("position", "any_trial")]
    assert prior["p"] > 0.01
    assert "(balanced accuracy 62.5 %) cannot be told from the position in the session" in text
    assert f"alone gives 87.5 %, as permuted labels do too (p = {prior['p']:.3f})" in text


@pytest.mark.parametrize("protocol", ["trial", "loso"])
def test_of_an_honest_result_nothing_is_named(concluded, protocol):
    text, controls = concluded(protocol, **noise.EMOTION)
    assert "Nothing that was looked for explains `model`" in text
    assert "can be explained" not in text
    assert controls.loc[("band_power", "by_trial"), "p"] == 0.02


def test_of_nothing_nothing_is_named(concluded):
    text, controls = concluded("loso", **noise.NOTHING)
    assert "not above chance" in text or "can be chance" in text
    assert "explained without" not in text
    assert controls.loc[("band_power", "by_trial"), "p"] > 0.05


def test_a_leak_is_told_by_how_well_trials_are_recognised(concluded):
    fingerprint = {
        "label": noise.NOTHING["label"],
        "eeg": lambda subject, order, stimulus, label: np.stack(
            [3 * noise.pattern(subject, s) for s in stimulus]
        ),
    }
    text, controls = concluded("segment", **fingerprint)
    drawn = controls.loc[("band_power", "by_trial"), "drawn"]
    assert drawn > 0.58
    assert f"reaches {percent(drawn)} of labels that are permuted among trials" in text
    assert "it recognises trials" in text


def test_faces_are_looked_at_too(concluded):
    faces = {
        "label": noise.TRACE["label"],
        "face": lambda subject, order, stimulus, label: np.stack(
            [np.random.default_rng(s).normal(0, 2, 5) for s in stimulus]
        ),
    }
    text, controls = concluded("loso", with_faces=True, **faces)
    kept = controls.loc[("mean_token", "by_stimulus")]
    assert kept["drawn"] > controls.loc[("mean_token", "by_trial"), "drawn_high"]
    assert controls.loc[("band_power", "by_stimulus"), "drawn"] < 0.6
    (link,) = links(controls.reset_index())
    assert (link.name, link.prior, link.signal) == ("stimulus", 1.0, "mean_token")
    assert link.kept == kept["drawn"]
    assert "mean token" not in text  # there is nothing to be explained in what looks at the EEG
