"""Training one fold: reproducible, resumable, and honest about the test part."""

import json
import shutil
import signal

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from milmer import storage
from milmer.errors import MilmerError, Stopped
from milmer.metrics.epoch_score import BEFORE, epoch_scores
from milmer.metrics.scores import measure
from milmer.model.huggingface import MilmerForEmotionClassification
from milmer.model.trained import load_trained
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training import loop
from milmer.training.fold_data import read_fold
from milmer.training.initial import initial_network
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

MODEL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}
FILES = [
    *("model/model.safetensors", "model/config.json"),
    *("predictions.parquet", "validation.parquet", "history.parquet"),
]


def options(model=None, validation=True, **training):
    training = {"epochs": 4, "threads": 1, "lr": 1e-3, "batch_size": 4} | training
    return TrainOptions(model=MODEL | (model or {}), training=training, validation=validation)


@pytest.fixture(scope="module")
def files(twin_results, tmp_path_factory):
    split = tmp_path_factory.mktemp("fold") / "s01-k0.parquet"
    make_split(
        [twin_results / "trials/s01.parquet"], "trial", "s01-k0", SplitOptions(folds=2), split
    )
    return (
        split,
        [twin_results / "segments/default/s01.h5"],
        [twin_results / "tokens/default/default/s01.h5"],
    )


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "seed0"
    train_fold(*files, options(), 0, out)
    return out


def facts(out):
    """What a run says of itself."""
    return storage.read_provenance(out / "predictions.parquet")["facts"]


def same_bytes(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def test_the_same_inputs_give_the_same_bytes_and_another_seed_does_not(files, run, tmp_path):
    train_fold(*files, options(), 0, tmp_path / "again")
    assert same_bytes(run, tmp_path / "again")
    train_fold(*files, options(), 1, tmp_path / "other")
    assert not same_bytes(run, tmp_path / "other")


@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_an_interrupted_run_goes_on_to_the_same_bytes(files, run, tmp_path, monkeypatch, stop_at):
    out = tmp_path / "seed0"
    steps = []

    def interrupted(self, rows):
        if self.step >= stop_at:
            raise KeyboardInterrupt
        plain(self, rows)
        steps.append(self.step)

    plain = loop.Training._train_on
    monkeypatch.setattr(loop.Training, "_train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(checkpoint_minutes=0), 0, out)
    assert not (out / "predictions.parquet").exists()
    monkeypatch.setattr(
        loop.Training, "_train_on", lambda s, r: (plain(s, r), steps.append(s.step))
    )
    train_fold(*files, options(checkpoint_minutes=0), 0, out)
    assert steps == list(range(1, len(steps) + 1))
    assert same_bytes(run, out)
    assert [p.name for p in tmp_path.iterdir()] == ["seed0"]


# ------------------------------------------------------------------- patience


def ranked(history):
    """Of each row of a history, what it is compared by."""
    first = history["epoch"] == BEFORE
    return list(zip(history["val_macro_f1"], first, -history["val_loss"], strict=True))


@pytest.mark.parametrize("patience", [1, 3])
def test_training_ends_after_as_many_epochs_without_a_better_one(
    files, tmp_path, monkeypatch, patience
):
    train_fold(*files, options(epochs=12), 0, tmp_path / "whole")
    whole = pd.read_parquet(tmp_path / "whole/history.parquet")
    ranks = ranked(whole)
    ends = [i for i in range(1, 13) if i - ranks[: i + 1].index(max(ranks[: i + 1])) == patience]
    assert ends[0] < 12  # rows: one before the first step, then one an epoch
    out = tmp_path / "seed0"
    plain = loop.Training._train_on

    def interrupted(self, rows):
        if self.step == 1:
            raise KeyboardInterrupt
        plain(self, rows)

    monkeypatch.setattr(loop.Training, "_train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(epochs=12, patience=patience, checkpoint_minutes=0), 0, out)
    monkeypatch.setattr(loop.Training, "_train_on", plain)
    train_fold(*files, options(epochs=12, patience=patience, checkpoint_minutes=0), 0, out)
    ended = pd.read_parquet(out / "history.parquet")
    pd.testing.assert_frame_equal(ended, whole[: ends[0] + 1])
    assert facts(out)["epochs"] == ends[0]
    best = whole["epoch"][ranks.index(max(ranks[: ends[0] + 1]))]
    assert facts(out)["epoch"] == best


def test_patience_goes_by_the_validation_part():
    with pytest.raises(ValueError, match="patience: requires select: validation"):
        options(patience=3, select="last")


# ---------------------------------------------------------------------- refit

DEEP = {"linear_path": False}  # so that an epoch is kept


@pytest.fixture(scope="module")
def refitted(files, tmp_path_factory):
    """A run with ``refit``, and the rows of each step of both trainings."""
    steps, plain = [], loop.Training._train_on

    def noted(self, rows):
        steps.append((self.refitting, self.step, tuple(rows), self.optimizer.param_groups[0]["lr"]))
        plain(self, rows)

    loop.Training._train_on = noted
    try:
        out = tmp_path_factory.mktemp("refit") / "seed0"
        train_fold(*files, options(DEEP, refit=True), 0, out)
    finally:
        loop.Training._train_on = plain
    return out, steps


def test_refit_trains_on_both_parts_for_as_many_steps_as_led_to_the_chosen_epoch(
    files, run, refitted
):
    out, steps = refitted
    data = read_fold(*files)
    train, val = ({*data.rows(part).tolist()} for part in ("train", "val"))
    first = [step for step in steps if not step[0]]
    again = [step for step in steps if step[0]]
    batches, epoch = len(first) // 4, facts(out)["epoch"]
    assert [step for _, step, *_ in again] == list(range((epoch + 1) * batches))
    assert {row for _, _, rows, _ in first for row in rows} == train
    seen = {row for _, _, rows, _ in again for row in rows}
    assert seen <= train | val
    assert seen & val
    both = -(-len(train | val) // 4)
    for _, step, _, lr in again:  # the schedule of the first training, by steps
        assert lr == first[step // both * both // batches * batches][3]
    assert facts(out)["refit"]
    assert not facts(run)["refit"]
    assert facts(out)["segments"]["train"] == len(train | val)


def test_what_a_refitted_run_says_of_the_validation_part_comes_from_before(
    files, refitted, tmp_path
):
    plain = tmp_path / "plain"
    train_fold(*files, options(DEEP), 0, plain)
    before, after = (
        storage.read_table(folder / "validation.parquet", "validation")
        for folder in (plain, refitted[0])
    )
    pd.testing.assert_frame_equal(before, after)
    weights = [(folder / "model/model.safetensors").read_bytes() for folder in (plain, refitted[0])]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("back", [1, 2])
def test_a_refit_that_was_interrupted_goes_on_to_the_same_bytes(
    files, refitted, tmp_path, monkeypatch, back
):
    whole, steps = refitted
    out, left = tmp_path / "seed0", len(steps) - back
    plain = loop.Training._train_on

    def interrupted(self, rows):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        plain(self, rows)

    monkeypatch.setattr(loop.Training, "_train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(DEEP, refit=True, checkpoint_minutes=0), 0, out)
    left = len(steps)
    train_fold(*files, options(DEEP, refit=True, checkpoint_minutes=0), 0, out)
    assert left == len(steps) - back
    assert same_bytes(whole, out)


def test_refit_without_an_epoch_chosen_on_validation_is_refused():
    with pytest.raises(ValueError, match="refit: requires select: validation"):
        options(refit=True, select="last")


@pytest.mark.parametrize("stop_at", [0, 5])
def test_asked_to_stop_it_saves_and_the_same_command_goes_on(
    files, run, tmp_path, monkeypatch, stop_at
):
    """SIGTERM in the middle of a step, long before the next state would have been due."""
    out, steps = tmp_path / "seed0", []

    def counted(self, rows):
        if stop_at is not None and self.step == stop_at:
            signal.raise_signal(signal.SIGTERM)
        plain(self, rows)
        steps.append(self.step)

    plain, before = loop.Training._train_on, signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(loop.Training, "_train_on", counted)
    with pytest.raises(Stopped, match=rf"asked to stop at step {stop_at + 1}; the same command"):
        train_fold(*files, options(checkpoint_minutes=60), 0, out)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (out / "predictions.parquet").exists()
    stop_at = None
    train_fold(*files, options(checkpoint_minutes=60), 0, out)
    assert steps == list(range(1, len(steps) + 1))
    assert same_bytes(run, out)


def test_damaged_tokens_are_found_before_training(files, tmp_path, monkeypatch):
    split, segments, (tokens,) = files
    bad = tmp_path / "s01.h5"
    shutil.copy(tokens, bad)
    with h5py.File(bad, "r") as file:
        place = file["tokens"].id.get_offset() + file["tokens"].nbytes // 2
    with open(bad, "r+b") as file:  # one bit, as a disk loses it
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 4]))
    monkeypatch.setattr(loop.Training, "_train_on", lambda *_: pytest.fail("it trained"))
    with pytest.raises(MilmerError, match=r"s01\.h5: damaged: .*; delete it and run again"):
        train_fold(split, segments, [bad], options(), 0, tmp_path / "seed0")
    assert not (tmp_path / "seed0").exists()


def test_a_state_of_other_options_is_not_taken_up(files, tmp_path, monkeypatch):
    out = tmp_path / "seed0"
    plain = loop.Training._train_on

    def interrupted(self, rows):
        if self.step == 3:
            raise KeyboardInterrupt
        plain(self, rows)

    monkeypatch.setattr(loop.Training, "_train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(checkpoint_minutes=0), 0, out)
    monkeypatch.undo()
    train_fold(*files, options(lr=2e-3), 0, out)
    train_fold(*files, options(lr=2e-3), 0, tmp_path / "fresh")
    assert same_bytes(tmp_path / "fresh", out)


@pytest.mark.parametrize("kind", ["list", "text", "folder"])
def test_what_is_no_state_is_not_taken_up(files, run, refused, tmp_path, kind):
    out, path = tmp_path / "seed0", tmp_path / ".seed0.resume.pt"
    if kind == "folder":
        path.mkdir()
        with refused(".seed0.resume.pt: a folder lies where", "move it away", nothing_in=tmp_path):
            train_fold(*files, options(), 0, out)
        return
    torch.save([1, 2], path) if kind == "list" else path.write_text("no state")
    train_fold(*files, options(), 0, out)
    assert same_bytes(run, out)
    assert not path.exists()


def test_the_saved_model_makes_the_saved_predictions(files, run):
    model = MilmerForEmotionClassification.from_pretrained(run / "model").eval()
    assert model.config.id2label[0] == "HAHV"
    data = loop.read_fold(*files)
    with torch.no_grad():
        logits = model(**data.batch(data.rows("test"), torch.device("cpu"))).logits
    predictions = storage.read_table(run / "predictions.parquet", "predictions")
    saved = predictions[[f"p_{name}" for name in data.labels]].to_numpy()
    np.testing.assert_allclose(logits.softmax(1), saved, atol=0.03)  # bfloat16 in training


def test_predictions_hold_each_test_segment_once_with_its_choice(files, run):
    predictions = storage.read_table(run / "predictions.parquet", "predictions")
    split = storage.read_table(files[0], "split")
    keys = ["subject", "trial", "position", "label"]
    expected = split.loc[split["part"] == "test", keys].reset_index(drop=True)
    pd.testing.assert_frame_equal(predictions[keys], expected)
    chosen, scores = np.stack(predictions["chosen"]), np.stack(predictions["scores"])
    assert chosen.shape[1] == 3
    assert scores.shape[1] == 10
    assert (np.sort(chosen, 1)[:, :-1] != np.sort(chosen, 1)[:, 1:]).all()


def test_validation_predictions_are_those_that_chose_the_epoch(files, run):
    validation = storage.read_table(run / "validation.parquet", "validation")
    split = storage.read_table(files[0], "split")
    keys = ["subject", "trial", "position", "label"]
    expected = split.loc[split["part"] == "val", keys].reset_index(drop=True)
    pd.testing.assert_frame_equal(validation[keys], expected)
    history = storage.read_table(run / "history.parquet", "history")
    history = history.set_index("epoch")
    kept = facts(run)["epoch"]
    history.loc[BEFORE, "val_loss"] = -np.inf  # kept unless an epoch names more segments rightly
    best = history.sort_values(["val_macro_f1", "val_loss"], ascending=[False, True]).index[0]
    assert kept == best
    history = storage.read_table(run / "history.parquet", "history").set_index("epoch")
    scores = measure(validation, facts(run)["labels"])["segment"]
    for name in ("loss", "accuracy", "macro_f1"):
        assert history.loc[kept, f"val_{name}"] == pytest.approx(scores[name])


def epochs_of(out):
    return storage.read_table(out / "history.parquet", "history").set_index("epoch")


def keep_macro_f1(monkeypatch, macro_f1):
    """Validation says ``macro_f1`` (of the model before its first step, of epoch 0, …)."""
    scores = iter(macro_f1)
    monkeypatch.setattr(
        loop, "epoch_scores", lambda *part: epoch_scores(*part) | {"macro_f1": next(scores)}
    )


def test_the_model_before_its_first_step_is_kept_where_no_epoch_is_better(
    files, tmp_path, monkeypatch
):
    keep_macro_f1(monkeypatch, [0.5, 0.25, 0.5, 0.5, 0.25])
    train_fold(*files, options(), 0, tmp_path / "seed0")
    assert facts(tmp_path / "seed0")["epoch"] == BEFORE
    history = epochs_of(tmp_path / "seed0")
    assert history.index.tolist() == [BEFORE, 0, 1, 2, 3]
    assert history[["lr", "train_loss"]].isna().all(axis=1).tolist() == [True, *4 * [False]]
    kept = load_trained(tmp_path / "seed0/model")
    assert not kept.classifier.weight.any()
    data = read_fold(*files)
    torch.manual_seed(0)
    begun, _ = initial_network(data, data.rows("train"), options(), torch.device("cpu"), None)
    for name in ("eeg", "face"):
        torch.testing.assert_close(
            getattr(kept.linear, name).weight, getattr(begun.linear, name).weight
        )
    # Nothing comes from the deep path, and nothing says otherwise.
    shares = facts(tmp_path / "seed0")["logit_shares"]
    assert shares["linear_eeg"] + shares["linear_face"] == pytest.approx(1)
    assert (shares["frames"], shares["eeg"]) == pytest.approx((0, 0), abs=1e-6)


def test_an_epoch_that_is_better_than_before_the_first_step_is_kept(files, tmp_path, monkeypatch):
    keep_macro_f1(monkeypatch, [0.5, 0.25, 0.75, 0.5, 0.25])
    train_fold(*files, options(), 0, tmp_path / "seed0")
    assert facts(tmp_path / "seed0")["epoch"] == 1


def test_refit_of_the_model_before_its_first_step_takes_no_step(files, tmp_path, monkeypatch):
    keep_macro_f1(monkeypatch, [0.5, 0.25, 0.5, 0.5, 0.25])
    train_fold(*files, options(refit=True), 0, tmp_path / "seed0")
    data = read_fold(*files)
    both = np.sort(np.concatenate([data.rows("train"), data.rows("val")]))
    begun, _ = initial_network(data, both, options(), torch.device("cpu"), None)
    kept = load_trained(tmp_path / "seed0/model")
    torch.testing.assert_close(kept.linear.bias, begun.linear.bias)
    assert (facts(tmp_path / "seed0")["epoch"], facts(tmp_path / "seed0")["refit"]) == (
        BEFORE,
        True,
    )


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({"linear_path": False}, {}),
        ({}, {"select": "last"}),
        ({}, {"select": "best_on_test"}),
    ],
    ids=["no linear path", "last", "best_on_test"],
)
def test_otherwise_only_epochs_are_chosen_from(files, tmp_path, model, training):
    train_fold(*files, options(model, epochs=1, **training), 0, tmp_path / "seed0")
    assert epochs_of(tmp_path / "seed0").index.tolist() == [0]
    assert facts(tmp_path / "seed0")["epoch"] == 0


def test_a_run_that_was_interrupted_keeps_the_model_before_its_first_step(
    files, tmp_path, monkeypatch
):
    """It is noted once, not again when the run goes on."""
    plain = loop.Training._train_on

    def interrupted(self, rows):
        if self.step == 1:
            raise KeyboardInterrupt
        plain(self, rows)

    low = [0.5, *4 * [0.25]]
    keep_macro_f1(monkeypatch, low)
    train_fold(*files, options(), 0, tmp_path / "whole")
    keep_macro_f1(monkeypatch, low)
    monkeypatch.setattr(loop.Training, "_train_on", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(checkpoint_minutes=0), 0, tmp_path / "seed0")
    monkeypatch.setattr(loop.Training, "_train_on", plain)
    keep_macro_f1(monkeypatch, low[1:])
    train_fold(*files, options(checkpoint_minutes=0), 0, tmp_path / "seed0")
    assert facts(tmp_path / "seed0")["epoch"] == BEFORE
    assert same_bytes(tmp_path / "whole", tmp_path / "seed0")


def test_facts_say_what_was_trained_and_tested_on(files, run):
    split = storage.read_table(files[0], "split")
    about = facts(run)
    assert about["segments"] == split["part"].value_counts().to_dict()
    assert about["subjects"] == {"train": 1, "val": 1, "test": 1}
    training = split.loc[split["part"] == "train", "label"]
    assert about["classes"] == [int((training == label).sum()) for label in range(4)]
    assert (about["scheme"], about["modalities"]) == ("quadrant", ["eeg", "face"])


def test_metrics_of_an_older_run_do_not_outlive_it(files, tmp_path):
    out = tmp_path / "seed0"
    train_fold(*files, options(epochs=1), 0, out)
    (out / "metrics.json").write_text("{}")
    (out / "model/README.md").write_text("")
    train_fold(*files, options(epochs=2), 0, out)
    assert not (out / "metrics.json").exists()
    assert not (out / "model/README.md").exists()


def test_a_missing_modality_and_a_file_of_another_stage_are_one_clear_line(
    files, twin_results, tmp_path
):
    with pytest.raises(MilmerError, match=r"no tokens were given; add --tokens"):
        train_fold(files[0], files[1], [], options(), 0, tmp_path / "r")
    faces = [twin_results / "faces/default/s01.h5"]
    with pytest.raises(MilmerError, match=r"faces/default/s01.h5: not a file of .* tokens"):
        train_fold(files[0], files[1], faces, options(), 0, tmp_path / "r")


def test_inputs_that_do_not_belong_together_are_refused_before_the_first_step(
    files, twin_results, refused, tmp_path, monkeypatch
):
    """Two subjects whose EEG was filtered or whose faces were encoded in two ways."""
    monkeypatch.setattr(loop.Training, "_train_on", lambda *_: pytest.fail("it trained"))
    split = tmp_path / "s01.parquet"
    trials = [twin_results / f"trials/s0{i}.parquet" for i in (1, 2)]
    make_split(trials, "loso", "s01", SplitOptions(), split)
    segments, tokens = (
        [twin_results / part / f"s0{i}.h5" for i in (1, 2)]
        for part in ("segments/default", "tokens/default/default")
    )

    def changed(path, change):
        """A copy of a file whose provenance is ``change``d."""
        copy = tmp_path / path.parts[-3] / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        with h5py.File(copy, "r+") as file:
            provenance = json.loads(file.attrs["provenance"])
            change(provenance)
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        return copy

    filtered = changed(segments[1], lambda p: p["options"]["eeg"].update(band=[4.0, 45.0]))
    with refused(f"{filtered}: ", "preprocessing of the EEG", nothing_in=tmp_path):
        train_fold(split, [segments[0], filtered], tokens, options(), 0, tmp_path / "seed0")
    encoded = changed(tokens[1], lambda p: p["inputs"].update(backbone="0" * 64))
    with refused(f"{encoded}: ", "preprocessing of faces", nothing_in=tmp_path):
        train_fold(split, segments, [tokens[0], encoded], options(), 0, tmp_path / "seed0")
    assert not (tmp_path / "seed0").exists()


def test_a_file_given_twice_is_one_clear_line(files, refused, tmp_path):
    split, (segments,), (tokens,) = files
    with refused(f"{segments}: given twice", nothing_in=tmp_path):
        train_fold(split, [segments, segments], [tokens], options(), 0, tmp_path / "r")
    other = tmp_path / "s01.h5"
    shutil.copy(tokens, other)
    with refused(f"{other}: of the same subject as {tokens}", nothing_in=tmp_path):
        train_fold(split, [segments], [tokens, other], options(), 0, tmp_path / "r")


def test_the_test_part_is_not_looked_at_unless_asked(run, files, tmp_path):
    history = storage.read_table(run / "history.parquet", "history")
    assert any(c.startswith("val_") for c in history)
    assert not any(c.startswith("test_") for c in history)
    train_fold(*files, options(select="best_on_test"), 0, tmp_path / "best")
    history = storage.read_table(tmp_path / "best/history.parquet", "history")
    kept = facts(tmp_path / "best")["epoch"]
    assert history.loc[kept, "test_accuracy"] == history["test_accuracy"].max()
    predictions = storage.read_table(tmp_path / "best/predictions.parquet")
    seen = np.reshape(history.loc[kept, "test_probabilities"], (-1, 4))
    columns = [f"p_{name}" for name in facts(tmp_path / "best")["labels"]]
    assert np.array_equal(seen, predictions[columns].to_numpy())


def test_without_validation_its_part_trains_too(files, run, tmp_path):
    train_fold(*files, options(validation=False, select="last"), 0, tmp_path / "last")
    with_part, without = facts(run)["segments"], facts(tmp_path / "last")["segments"]
    assert storage.read_table(tmp_path / "last/validation.parquet", "validation").empty
    assert without["train"] == with_part["train"] + with_part["val"]
    assert without["val"] == 0


def test_the_rate_falls_along_the_published_cosine(run):
    rate = epochs_of(run)["lr"].drop(BEFORE).to_numpy()
    epochs = np.arange(4)
    expected = 1e-3 * ((1 + np.cos(np.pi * epochs / 4)) / 2 * 0.9 + 0.1)
    np.testing.assert_allclose(rate, expected)


def test_eeg_alone_needs_no_tokens(files, tmp_path):
    train_fold(
        files[0], files[1], [], options({"modalities": ["eeg"]}, epochs=1), 0, tmp_path / "r"
    )
    predictions = storage.read_table(tmp_path / "r/predictions.parquet", "predictions")
    assert predictions["chosen"].isna().all()


def test_a_diverging_run_is_one_clear_line_and_leaves_nothing(files, tmp_path):
    with pytest.raises(MilmerError, match=r"no longer finite .* lower training.lr"):
        train_fold(*files, options(lr=1e30, epochs=30), 0, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("minutes", [0, 60], ids=["the state to resume", "the model"])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(files, small_disk, refused, minutes):
    disk = small_disk("32k")
    with refused("no space left on the disk", nothing_in=disk):
        train_fold(*files, options(checkpoint_minutes=minutes, epochs=1), 0, disk / "seed0")


def test_the_eegs_scale_is_that_of_the_training_part_alone(files):
    def buffers(loud):
        data = loop.read_fold(*files)
        eeg = data.eeg.take(np.arange(data.eeg.first[-1]))
        eeg[data.eeg_row[data.rows(loud)]] *= 3
        data.eeg._resident = eeg
        return dict(
            loop.Training(data, options(), 0, torch.device("cpu")).model.eeg.named_buffers()
        )

    plain, test, train = buffers("nothing"), buffers("test"), buffers("train")
    assert set(plain) == {"scale", "mean", "std"}
    assert all(torch.equal(test[name], plain[name]) for name in plain)
    torch.testing.assert_close(train["scale"], 3 * plain["scale"])
    data = loop.read_fold(*files)
    rows = data.eeg.take(data.eeg_row[data.rows("train")])
    torch.testing.assert_close(plain["scale"], rows.square().mean((0, 2)).sqrt())


def test_the_scale_of_the_eeg_is_that_of_the_training_part_alone(files, tmp_path):
    """Whatever stands in the other parts, the encoder's buffers are the same bit for bit."""

    def scale(changed_parts):
        split, (segments,), _ = files
        out = tmp_path / "-".join(["changed", *changed_parts]) / "s01.h5"
        out.parent.mkdir()
        shutil.copy(segments, out)
        parts = storage.read_table(split).set_index(["trial", "position"])["part"]
        with h5py.File(out, "r+") as file:
            key = zip(file["trial"][()], file["position"][()], strict=True)
            chosen = np.array([parts[k] in changed_parts for k in key])
            eeg = file["eeg"][()]
            eeg[chosen] = eeg[chosen] * 50 + 7
            file["eeg"][...] = eeg
            file.attrs["digest"] = storage.content_digest(file)
        data = read_fold(split, [out], [])
        run = loop.Training(data, options({"modalities": ["eeg"]}), 0, torch.device("cpu"))
        return [run.model.eeg.get_buffer(name) for name in ("scale", "mean", "std")]

    plain = scale([])
    assert all(torch.equal(a, b) for a, b in zip(scale(["val", "test"]), plain, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(scale(["train"]), plain, strict=True))
