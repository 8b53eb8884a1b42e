"""Continuing from a trained model: what is taken over, what is new, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from milmer import storage
from milmer.errors import MilmerError
from milmer.model.trained import load_trained
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training import loop
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions
from tests.training.test_loop import MODEL, facts, same_bytes

DEEP = {"linear_path": False}
EEG = {"modalities": ["eeg"]} | DEEP


def options(model=None, **training):
    training = {"epochs": 1, "threads": 1, "lr": 1e-3, "batch_size": 4} | training
    return TrainOptions(model=MODEL | (model or {}), training=training)


@pytest.fixture(scope="module")
def split(twin_results, tmp_path_factory):
    """Writes the split of a fold: all subjects' under loso, else its own."""
    folder, trials = tmp_path_factory.mktemp("splits"), twin_results / "trials"

    def make(protocol, fold, **changes):
        path = folder / f"{protocol}-{len(changes)}" / f"{fold}.parquet"
        if not path.exists():
            names = ("s01", "s02") if protocol == "loso" else (fold[:3],)
            paths = [trials / f"{name}.parquet" for name in names]
            make_split(paths, protocol, fold, SplitOptions(folds=2, **changes), path)
        return path

    return make


@pytest.fixture(scope="module")
def files(twin_results):
    def of(*subjects, tokens=True):
        kinds = ("segments/default", "tokens/default/default")
        segments, faces = ([twin_results / k / f"{s}.h5" for s in subjects] for k in kinds)
        return segments, faces if tokens else []

    return of


@pytest.fixture(scope="module")
def before(split, files, tmp_path_factory):
    """A model of s02 under loso: s01 is tested."""
    out = tmp_path_factory.mktemp("before") / "seed0"
    train_fold(split("loso", "s01"), *files("s01", "s02"), options(DEEP, epochs=2), 0, out)
    return out


def begun(monkeypatch, *arguments, **named):
    """The weights with which a run begins its first step."""
    weights, plain = {}, loop.Training._train_on

    def noted(self, rows):
        if not weights:
            weights.update({k: v.clone() for k, v in self.model.state_dict().items()})
        plain(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_train_on", noted)
        train_fold(*arguments, **named)
    return weights


def test_a_subject_goes_on_from_the_loso_model_that_has_not_seen_it(
    before, split, files, tmp_path, monkeypatch
):
    arguments = (split("trial", "s01-k0"), *files("s01"), options(DEEP), 0, tmp_path / "r")
    weights = begun(monkeypatch, *arguments, init=before)
    source = load_file(before / "model/model.safetensors")
    fitted = {"eeg.scale", "eeg.mean", "eeg.std"}  # to the subject's own training part
    assert {k for k in source if not torch.equal(weights[k], source[k])} == fitted
    init = facts(tmp_path / "r")["init"]
    assert init["new"] == []
    assert init["taken"] == len(source) - len(fitted)
    assert init["checked"]
    digest = storage.digest(before / "model/model.safetensors")
    provenance = storage.read_provenance(tmp_path / "r/predictions.parquet")
    assert provenance["inputs"]["init"] == digest
    assert init["weights"] == digest[:12]
    assert provenance["options"]["training"]["init"] == "a local directory"
    assert str(before) not in json.dumps(provenance)


def test_what_it_was_trained_on_is_carried_on(before, split, files, tmp_path):
    out = tmp_path / "r"
    train_fold(split("trial", "s01-k0"), *files("s01"), options(EEG), 0, out, init=before)
    digests = [set(facts(run)["trained_on"]) for run in (before, out)]
    recording = storage.read_provenance(files("s01")[0][0])["inputs"]["eeg"][:12]
    assert recording in digests[1] - digests[0]
    assert digests[0] < digests[1]
    in_the_folder = json.loads((out / "model/milmer_processor.json").read_text())["run"]
    assert in_the_folder["trained_on"] == sorted(digests[1])


@pytest.mark.parametrize("kind", ["subject", "name", "preparation", "chain"])
def test_a_model_of_a_subject_that_is_tested_is_refused(
    kind, before, split, files, tmp_path, twin_results, refused
):
    """Of the subject in another fold, of its recording under another name, and of its copy."""
    if kind == "subject":
        arguments = (split("trial", "s02-k0"), *files("s02"), options(EEG), 0, tmp_path / "r")
        init = before
    elif kind == "name":  # nothing but the digests says whose it is
        init = tmp_path / "renamed"
        shutil.copytree(before / "model", init)
        arguments = (split("loso", "s02"), *files("s01", "s02"), options(DEEP), 0, tmp_path / "r")
    elif kind == "preparation":  # the other modality's files are of the same trials
        init = before
        arguments = (split("trial", "s02-k1"), [], files("s02")[1])
        arguments += (options({"modalities": ["face"]} | DEEP), 0, tmp_path / "r")
    else:
        init = tmp_path / "between"
        train_fold(split("trial", "s01-k0"), *files("s01"), options(EEG), 0, init, init=before)
        arguments = (split("trial", "s02-k0"), *files("s02"), options(EEG), 0, tmp_path / "r")
    with pytest.raises(MilmerError) as error:
        train_fold(*arguments, init=init)
    assert "was trained on recordings of subjects that this fold tests" in str(error.value)
    assert str(error.value).startswith("training.init: ")
    assert not (tmp_path / "r").exists()


def test_a_model_of_the_same_split_may_go_on_and_of_another_fold_may_not(split, files, tmp_path):
    first = tmp_path / "first"
    train_fold(split("trial", "s01-k0"), *files("s01"), options(EEG), 0, first)
    train_fold(split("trial", "s01-k0"), *files("s01"), options(EEG), 0, tmp_path / "r", init=first)
    with pytest.raises(MilmerError, match="recordings of subjects that this fold tests"):
        train_fold(
            split("trial", "s01-k1"), *files("s01"), options(EEG), 0, tmp_path / "s", init=first
        )


def test_other_classes_and_channels_are_new_and_shared_channels_keep_their_place(
    before, split, files, tmp_path, monkeypatch
):
    """The model before knew the channels of s01 in another order, and one of them not at all."""
    other = tmp_path / "other"
    shutil.copytree(before / "model", other)
    recipe = json.loads((other / "milmer_processor.json").read_text())
    names = recipe["eeg"]["channels"]
    recipe["eeg"]["channels"] = ["X1", *reversed(names[1:])]
    (other / "milmer_processor.json").write_text(json.dumps(recipe))
    valence = SplitOptions(labels={"scheme": "valence"}).labels.model_dump()
    arguments = (split("trial", "s01-k0", labels=valence), *files("s01"))
    weights = begun(monkeypatch, *arguments, options(DEEP), 0, tmp_path / "r", init=other)
    source = load_file(other / "model.safetensors")
    assert torch.equal(weights["eeg.channel.weight"][1:], source["eeg.channel.weight"][1:].flip(0))
    assert not torch.equal(weights["eeg.channel.weight"][0], source["eeg.channel.weight"][0])
    assert weights["classifier.weight"].shape == (2, 32)
    assert torch.equal(weights["visual.attend.key.weight"], source["visual.attend.key.weight"])
    assert facts(tmp_path / "r")["init"]["new"] == [
        "classifier.bias", "classifier.weight", "eeg.channel", "eeg.gate",
    ]  # fmt: skip


def test_tokens_of_another_backbone_are_looked_at_anew(before, split, files, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(before / "model", other)
    recipe = json.loads((other / "milmer_processor.json").read_text())
    recipe["face"]["fingerprint"] = "0" * 64
    (other / "milmer_processor.json").write_text(json.dumps(recipe))
    arguments = (split("trial", "s01-k0"), *files("s01"), options(DEEP), 0, tmp_path / "r")
    weights = begun(monkeypatch, *arguments, init=other)
    source = load_file(other / "model.safetensors")
    taken = {k for k in source if torch.equal(weights[k], source[k])}
    assert "encoder.layers.0.linear1.weight" in taken
    assert not any(k.startswith("visual.") and source[k].any() for k in taken)


def test_the_linear_path_is_fitted_to_the_new_training_part(split, files, tmp_path, monkeypatch):
    first, arguments = tmp_path / "first", (split("trial", "s01-k0"), files("s01")[0], [])
    train_fold(
        split("loso", "s01"), files("s01", "s02")[0], [], options({"modalities": ["eeg"]}), 0, first
    )
    eeg = options({"modalities": ["eeg"]})
    alone = begun(monkeypatch, *arguments, eeg, 0, tmp_path / "alone")
    weights = begun(monkeypatch, *arguments, eeg, 0, tmp_path / "r", init=first)
    source = load_file(first / "model/model.safetensors")
    assert not torch.equal(weights["linear.eeg.weight"], source["linear.eeg.weight"])
    assert not weights["classifier.weight"].any()
    # The filters may have learned; where they have not, it is that of a new model.
    if torch.equal(alone["eeg.filters"], weights["eeg.filters"]):
        torch.testing.assert_close(weights["linear.eeg.weight"], alone["linear.eeg.weight"])
    assert torch.equal(
        weights["encoder.layers.0.linear1.weight"], source["encoder.layers.0.linear1.weight"]
    )


def test_an_interrupted_run_goes_on_and_refit_begins_from_it_again(
    before, split, files, tmp_path, monkeypatch
):
    eeg = options(EEG, epochs=2, refit=True, checkpoint_minutes=0)
    arguments = (split("trial", "s01-k0"), files("s01")[0], [], eeg, 0)
    train_fold(*arguments, tmp_path / "whole", init=before)
    plain, steps = loop.Training._train_on, []

    def stopping(self, rows):
        if self.refitting and not steps:
            steps.append(self.step)
            raise KeyboardInterrupt
        plain(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "_train_on", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_fold(*arguments, tmp_path / "r", init=before)
    train_fold(*arguments, tmp_path / "r", init=before)
    assert same_bytes(tmp_path / "whole", tmp_path / "r")
    alone = tmp_path / "alone"
    train_fold(*arguments, alone)
    assert not np.array_equal(
        *(load_trained(run / "model").cls.detach() for run in (alone, tmp_path / "r"))
    )


def test_a_model_that_does_not_say_what_it_was_trained_on_is_said_to_be_unchecked(
    before, split, files, tmp_path
):
    from milmer.evaluation.evaluate import evaluate_run

    silent = tmp_path / "silent"
    shutil.copytree(before / "model", silent)
    (silent / "milmer_processor.json").unlink()
    runs = [tmp_path / "a", tmp_path / "b"]
    for run, init in zip(runs, (silent, before), strict=True):
        train_fold(split("trial", "s01-k0"), files("s01")[0], [], options(EEG), 0, run, init=init)
        evaluate_run(run)
    cards = [(run / "model/README.md").read_text() for run in runs]
    digest = storage.digest(before / "model/model.safetensors")[:12]
    for card in cards:
        assert f"It continues from a model with the weights `{digest}…`" in card
    assert "**Unknown past**" in cards[0]
    assert "**Unknown past**" not in cards[1]


@pytest.mark.parametrize("fault", ["missing", "no model", "not finite"])
def test_a_folder_without_a_whole_model_is_one_line(fault, before, split, files, tmp_path):
    folder = tmp_path / "odd"
    if fault != "missing":
        shutil.copytree(before / "model", folder)
    if fault == "no model":
        (folder / "config.json").unlink()
    if fault == "not finite":
        state = load_file(folder / "model.safetensors")
        state["cls"] = state["cls"] * float("nan")
        save_file(state, folder / "model.safetensors")
    with pytest.raises(MilmerError) as error:
        train_fold(
            split("trial", "s01-k0"), files("s01")[0], [], options(EEG), 0, tmp_path / "r",
            init=folder,
        )  # fmt: skip
    assert str(error.value).startswith("training.init: ")
    assert not (tmp_path / "r").exists()
