"""Pre-training: it learns, keeps parts apart, goes on when interrupted, and its result loads."""

import json
import shutil
import signal
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from milmer import storage
from milmer.backbone import pretraining
from milmer.backbone.class_folders import read_pictures
from milmer.backbone.encoder import prepare
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions, PretrainStageOptions
from milmer.backbone.pretraining import class_weights, pretrain_backbone
from milmer.errors import Stopped
from milmer.metrics.scores import scores

FILES = [".milmer-finetune-backbone.json", "config.json", "metrics.json", "model.safetensors"]
FILES += ["preprocessor_config.json"]
TINY = {"image_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 16}
TINY |= {"depths": [1, 1], "num_heads": [1, 2]}
PATTERNS = {
    "happy": lambda i: i[0] % 4 < 2,  # rows
    "neutral": lambda i: i[0] < 0,
    "sad": lambda i: i[1] % 4 < 2,  # columns
}


def draw(folder, counts, seed=0):
    """Grey pictures of 16 x 16 px as FER-2013 has them: {class: number} below ``folder``."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        pattern = PATTERNS[name](np.indices((16, 16)))
        for i in range(count):
            picture = 100 + 60 * pattern + rng.normal(0, 25, (16, 16))
            cv2.imwrite(str(folder / name / f"{i}.png"), picture.clip(0, 255).astype(np.uint8))
    return folder


def write_swin(folder, family="Swin"):
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{family}Model")
    model(getattr(transformers, f"{family}Config")(**TINY)).save_pretrained(folder)
    processor = transformers.ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]
    )
    processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def swin(once):
    return once("tiny_swin", write_swin)


@pytest.fixture(scope="module")
def images(once):
    return once("expressions", lambda path: draw(path, {"happy": 24, "neutral": 8, "sad": 8}))


def pretrain_from(start, images, out, **how):
    chosen = {"epochs": 3, "batch_size": 2, "lr": 1e-3, "validation": 0.25} | how
    backbone = {"name": str(start), "dtype": "float32", "threads": 1, "device": "cpu"}
    pretrain_backbone(images, PretrainStageOptions(backbone=backbone, pretrain=chosen), out)
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def pretrain(swin):
    return partial(pretrain_from, swin)


@pytest.fixture(scope="module")
def result(once, images, pretrain):
    return once("pretrained", lambda path: pretrain(images, path))


def same_bytes(first, second):
    names = [sorted(p.name for p in folder.iterdir()) for folder in (first, second)]
    assert names == [FILES, FILES]
    return all((first / n).read_bytes() == (second / n).read_bytes() for n in FILES)


def contents(part):
    return sorted(path.read_bytes() for path in part.paths)


def test_it_learns(result):
    metrics = json.loads((result / "metrics.json").read_text())
    assert metrics["classes"] == ["happy", "neutral", "sad"]
    assert metrics["pictures"] == {
        "train": {"happy": 18, "neutral": 6, "sad": 6},
        "val": {"happy": 6, "neutral": 2, "sad": 2},
    }
    assert metrics["validation"]["majority"] == 0.6
    assert metrics["validation"]["accuracy"] >= 0.9
    losses = [row["train_loss"] for row in metrics["history"]]
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)


def test_the_kept_weights_do_what_is_recorded(images, result):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    metrics = json.loads((result / "metrics.json").read_text())
    model = AutoModelForImageClassification.from_pretrained(result).eval()
    processor = AutoImageProcessor.from_pretrained(result)
    validation = read_pictures(images, 0.25, 0, 1).parts["val"]
    norm = [torch.tensor(x) for x in (processor.image_mean, processor.image_std)]
    x = prepare(
        torch.stack([validation[i][0] for i in range(len(validation))]), 32, *norm, torch.float32
    )
    with torch.no_grad():
        probability = model(x).logits.double().softmax(1).numpy()
    by_hand = scores(validation.labels, probability)
    best = metrics["history"][metrics["epoch"]]
    assert best["val_macro_f1"] == max(row["val_macro_f1"] for row in metrics["history"])
    assert set(metrics["validation"]) == {"loss", "accuracy", "macro_f1", "majority"}
    for name in ("loss", "accuracy", "macro_f1"):
        assert metrics["validation"][name] == pytest.approx(by_hand[name], abs=1e-5)
        assert best[f"val_{name}"] == metrics["validation"][name]


@pytest.mark.parametrize("family", ["Swin", "Swinv2"])
def test_the_result_is_a_backbone_with_the_trained_encoder(
    family, images, swin, result, pretrain, tmp_path
):
    from transformers import AutoModel, AutoModelForImageClassification

    start = swin
    if family != "Swin":
        start, result = tmp_path / "start", tmp_path / "out"
        write_swin(start, family)
        pretrain_from(start, images, result, epochs=1)
    _, loading = AutoModel.from_pretrained(
        result, add_pooling_layer=False, output_loading_info=True
    )
    assert not loading["missing_keys"]
    classifier = AutoModelForImageClassification.from_pretrained(result).eval()
    assert classifier.config.id2label == {0: "happy", 1: "neutral", 2: "sad"}
    pictures = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    options = {"dtype": "float32", "threads": 1}
    before, after = (
        load_backbone(BackboneOptions(name=str(path), **options), torch.device("cpu"))
        for path in (start, result)
    )
    tokens = after(pictures)
    x = after.prepare(pictures)
    with torch.no_grad():
        inner = classifier.base_model(x).last_hidden_state
    torch.testing.assert_close(tokens, inner)
    assert (tokens - before(pictures)).abs().max() > 0.01
    assert after.format.mean == (0.4, 0.5, 0.6)


def test_it_ends_when_the_held_out_part_no_longer_gets_better(images, pretrain, tmp_path):
    metrics = pretrain(images, tmp_path / "out", epochs=9, lr=1e-12, patience=2)
    assert metrics["epoch"] == 0
    assert len(metrics["history"]) == 3


def test_class_weights_are_those_of_the_loss_by_hand(images, pretrain, tmp_path, monkeypatch):
    weights = class_weights(np.array([0] * 6 + [1] * 2 + [2] * 4), 3)
    torch.testing.assert_close(weights, torch.tensor([12 / 18, 2.0, 1.0]))
    seen = []
    plain = pretraining._Learner.forward

    def watched(self, pictures, labels):
        loss, logits = plain(self, pictures, labels)
        seen.append((labels, loss, logits))
        return loss, logits

    monkeypatch.setattr(pretraining._Learner, "forward", watched)
    for weighted in (True, False):
        seen.clear()
        pretrain(images, tmp_path / "out", epochs=1, class_weights=weighted, batch_size=8)
        weights = torch.tensor([30 / 54, 30 / 18, 30 / 18]) if weighted else torch.ones(3)
        for labels, loss, logits in seen:
            likely = logits.log_softmax(1)[range(len(labels)), labels]
            by_hand = -(weights[labels] * likely).sum() / weights[labels].sum()
            torch.testing.assert_close(loss, by_hand)


def test_half_of_the_pictures_are_mirrored():
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (400, 2, 3, 3), dtype=torch.uint8)
    flipped = pretraining._flip_half(pictures)
    mirrored = (flipped == pictures.flip(2)).flatten(1).all(1)
    assert ((flipped == pictures).flatten(1).all(1) | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_equal_pictures_never_lie_on_two_sides(tmp_path):
    folder = draw(tmp_path / "images", {"happy": 20, "sad": 20})
    for path in sorted(folder.glob("*/*.png")):
        for i in range(int(path.stem) % 4):
            shutil.copy(path, path.with_name(f"again{i}-{path.name}"))
    for seed in range(5):
        parts = read_pictures(folder, 0.3, seed, 1).parts
        assert not set(contents(parts["train"])) & set(contents(parts["val"]))
        assert len(parts["train"]) + len(parts["val"]) == 100
        counts = np.bincount(parts["val"].labels)
        assert (abs(counts - 15) <= 3).all()  # 0.3 of 50 in each class, whole groups


def test_neither_names_nor_order_decide_what_is_held_out(images, tmp_path):
    renamed = tmp_path / "renamed"
    for path in images.glob("*/*.png"):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed / path.parent.name / f"{900 - int(path.stem)}.PNG")
    first, second, other = (
        read_pictures(folder, 0.25, seed, 2)
        for folder, seed in [(images, 0), (renamed, 0), (images, 1)]
    )
    assert first.digest == second.digest == other.digest
    assert contents(first.parts["val"]) == contents(second.parts["val"])
    assert contents(first.parts["val"]) != contents(other.parts["val"])


@pytest.fixture
def divided(tmp_path):
    """train, Valid and test; one picture of train is in test too, and one in Valid."""
    folder = tmp_path / "divided"
    for seed, (part, count) in enumerate([("train", 8), ("Valid", 3), ("test", 4)]):
        draw(folder / part, {"happy": count, "sad": count}, seed)
    shutil.copy(folder / "test/sad/0.png", folder / "train/sad/leak.png")
    shutil.copy(folder / "Valid/happy/0.png", folder / "train/happy/leak.png")
    return folder


def test_folders_train_val_and_test_are_taken_as_they_are(divided, pretrain, tmp_path):
    metrics = pretrain(divided, tmp_path / "out")
    counts = {"train": 8, "val": 3, "test": 4}
    assert metrics["pictures"] == {p: {"happy": n, "sad": n} for p, n in counts.items()}
    assert metrics["repeated"] == {"train": 2, "val": 0, "test": 0}
    assert metrics["test"]["accuracy"] >= 0.75
    assert metrics["test"]["majority"] == 0.5


def test_the_test_part_decides_nothing(divided, pretrain, tmp_path):
    (divided / "train/sad/leak.png").unlink()
    pretrain(divided, tmp_path / "with")
    shutil.rmtree(divided / "test")
    metrics = pretrain(divided, tmp_path / "without")
    assert metrics["test"] is None
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("with", "without")]
    assert weights[0] == weights[1]


def _empty(folder):
    (folder / "angry").mkdir()


def _broken(folder):
    (folder / "happy/3.png").write_bytes(b"no picture")
    (folder / "sad/3.png").write_bytes(b"")


def _one_class(folder):
    shutil.rmtree(folder / "sad")


def _too_few(folder):
    for path in list((folder / "sad").iterdir())[1:]:
        path.unlink()


def _all_equal(folder):
    for path in (folder / "sad").iterdir():
        shutil.copy(folder / "happy/0.png", path)


def _flat(folder):
    for path in [folder / "happy", folder / "sad"]:
        shutil.rmtree(path)
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 8), np.uint8))


def _no_train(folder):
    (folder / "happy").rename(folder / "test")


def _other_class(folder):
    for part in ("train", "val"):
        (folder / part).mkdir()
    (folder / "happy").rename(folder / "val/joy")
    draw(folder / "train", {"happy": 2, "sad": 2})


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (_empty, ["angry: holds no pictures"]),
        (_broken, ["happy/3.png: is not a readable picture", "and 1 more"]),
        (_one_class, ["holds one class, happy"]),
        (_too_few, ["sad: holds too few different pictures"]),
        (_all_equal, ["sad: holds too few different pictures"]),
        (_flat, ["holds no class folders"]),
        (_no_train, ["holds test without train"]),
        (_other_class, ["val/joy: is not a class of", "happy, sad"]),
        (shutil.rmtree, ["images: no such folder of pictures"]),
    ],
)
def test_a_folder_that_is_of_no_use_is_one_clear_line(spoil, parts, pretrain, refused, tmp_path):
    folder = draw(tmp_path / "images", {"happy": 4, "sad": 4})
    spoil(folder)
    with refused(*parts, nothing_in=tmp_path):
        pretrain(folder, tmp_path / "out")


def test_pictures_of_many_sizes_and_kinds_are_taken(pretrain, tmp_path):
    folder = draw(tmp_path / "images", {"happy": 4, "sad": 4})
    for i, path in enumerate(sorted(folder.glob("*/*.png"))):
        colour = cv2.resize(cv2.imread(str(path)), (20 + i, 30))
        cv2.imwrite(str(path.with_suffix(".jpg")), colour)
    (folder / "happy/Thumbs.db").touch()
    metrics = pretrain(folder, tmp_path / "out", epochs=1)
    assert metrics["pictures"] == {"train": {"happy": 6, "sad": 6}, "val": {"happy": 2, "sad": 2}}


def test_the_same_inputs_give_the_same_bytes_and_no_path(images, result, pretrain, tmp_path):
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    pretrain(elsewhere, tmp_path / "out")
    assert same_bytes(result, tmp_path / "out")
    for path in result.iterdir():
        assert str(images.parent).encode() not in path.read_bytes()


def test_a_rate_that_is_too_high_is_one_clear_line(images, pretrain, refused, tmp_path):
    with refused("the loss is no longer finite", "lower backbone.pretrain.lr"):
        pretrain(images, tmp_path / "out", lr=1e38)


def test_a_full_disk_is_one_clear_line_before_anything_is_written(
    images, pretrain, refused, small_disk
):
    disk = small_disk("512k")
    with refused("no space left on the disk", nothing_in=disk):
        pretrain(images, disk / "out")


def test_a_disk_that_is_full_later_is_one_clear_line(
    images, pretrain, refused, small_disk, monkeypatch
):
    disk = small_disk("1m")
    plain = pretraining._Learner._train_on

    def step(self, *batch):
        if self.step == 5:
            (disk / "other").write_bytes(bytes(storage.free_bytes(disk / "other") - 8192))
        return plain(self, *batch)

    monkeypatch.setattr(pretraining._Learner, "_train_on", step)
    with refused("no space left on the disk"):
        pretrain(images, disk / "out")
    assert not (disk / "out").exists()


# ------------------------------------------------------------------- interruption


@pytest.fixture
def steps(monkeypatch):
    """Steps that were trained; ``steps.stop = n`` interrupts before step n."""

    class Steps(list):
        stop = None

    seen = Steps()
    plain = pretraining._Learner._train_on

    def step(self, *batch):
        if self.step == seen.stop:
            raise KeyboardInterrupt
        seen.append(self.step)
        return plain(self, *batch)

    monkeypatch.setattr(pretraining._Learner, "_train_on", step)
    return seen


# 15 steps an epoch.
@pytest.mark.parametrize("stop", [1, 15, 25, 44])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    images, result, pretrain, steps, tmp_path, stop
):
    out, steps.stop = tmp_path / "out", stop
    with pytest.raises(KeyboardInterrupt):
        pretrain(images, out, checkpoint_minutes=0)
    assert not out.exists()
    steps.stop = None
    pretrain(images, out, checkpoint_minutes=0)
    assert steps == list(range(45))
    assert same_bytes(result, out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_asked_to_stop_it_saves_and_the_same_command_goes_on(
    images, result, pretrain, steps, tmp_path, monkeypatch
):
    out, plain = tmp_path / "out", pretraining._Learner._train_on

    def step(self, *batch):
        if self.step == 12 and not out.with_name("went on").exists():
            signal.raise_signal(signal.SIGTERM)
        return plain(self, *batch)

    monkeypatch.setattr(pretraining._Learner, "_train_on", step)
    with pytest.raises(Stopped, match="asked to stop at step 13; the same command goes on"):
        pretrain(images, out, checkpoint_minutes=60)
    assert not out.exists()
    out.with_name("went on").touch()
    pretrain(images, out, checkpoint_minutes=60)
    assert steps == list(range(45))
    assert same_bytes(result, out)


def test_a_run_that_had_ended_early_trains_no_more(images, pretrain, steps, tmp_path, monkeypatch):
    still = {"epochs": 9, "lr": 1e-12, "patience": 1}
    pretrain(images, tmp_path / "plain", **still)
    with monkeypatch.context() as patch:
        patch.setattr(pretraining._Learner, "metrics", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain(images, tmp_path / "out", **still)
    steps.clear()
    pretrain(images, tmp_path / "out", **still)
    assert steps == []
    assert same_bytes(tmp_path / "plain", tmp_path / "out")


@pytest.mark.parametrize(
    ("patience", "ending"),
    [
        (2, "ended after 3 epochs, of which 2 in a row were no better; kept 0 of the best"),
        (9, "ended after 5 epochs; kept 0 of the best"),
    ],
)
def test_it_says_how_it_ended(images, pretrain, tmp_path, caplog, patience, ending):
    caplog.set_level("INFO")
    pretrain(images, tmp_path / "out", epochs=5, lr=1e-12, patience=patience)
    assert caplog.messages[-1].startswith(ending)


def test_weights_that_are_no_longer_finite_after_the_last_step_are_one_line_too(
    images, pretrain, refused, tmp_path, monkeypatch
):
    plain = pretraining._Learner._train_on

    def step(self, *batch):
        plain(self, *batch)
        if self.step == 15:
            next(self.model.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(pretraining._Learner, "_train_on", step)
    with refused("the loss is no longer finite at step 15", "lower backbone.pretrain.lr"):
        pretrain(images, tmp_path / "out", epochs=1)


def test_the_rate_rises_and_falls_along_a_cosine(images, pretrain, tmp_path):
    """In the first tenth of the steps, rounded up: 5 of 45."""
    history = pretrain(images, tmp_path / "out")["history"]
    by_hand = [1e-3 * (1 + np.cos(np.pi * (step - 5) / 40)) / 2 for step in (14, 29, 44)]
    assert [row["lr"] for row in history] == pytest.approx(by_hand)


class _Bad:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("harm", ["other options", "cut off", "code"])
def test_a_state_that_is_of_no_use_is_left(images, pretrain, steps, tmp_path, harm):
    out, steps.stop = tmp_path / "out", 20
    with pytest.raises(KeyboardInterrupt):
        pretrain(images, out, checkpoint_minutes=0)
    state = tmp_path / ".out.resume.pt"
    if harm == "cut off":
        state.write_bytes(state.read_bytes()[:-100])
    if harm == "code":
        torch.save(torch.load(state) | {"step": _Bad(tmp_path / "ran")}, state)
    steps.clear()
    steps.stop = None
    other = {"weight_decay": 0.5} if harm == "other options" else {}
    pretrain(images, out, **other)
    assert steps[0] == 0
    assert not (tmp_path / "ran").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_picture_in_two_classes_is_named(images, tmp_path, caplog):
    folder = shutil.copytree(images, tmp_path / "images")
    shutil.copy(folder / "happy/3.png", folder / "sad/again.png")
    shutil.copy(folder / "happy/4.png", folder / "happy/same class.png")
    read_pictures(folder, 0.25, 0, 1)
    assert [m for m in caplog.messages if "class" in m] == [
        f"{folder}: one picture in more than one class: happy/3.png and sad/again.png"
    ]
