"""Training the backbone with the model, from face crops."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    SwinConfig,
    SwinModel,
    ViTImageProcessorPil,
)

from milmer import storage
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions
from milmer.faces.bags import decode_crops
from milmer.metrics.shrinkage_lda import fit_classifier
from milmer.model.linear_path import mean_token
from milmer.model.network import FaceEncoder
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training import loop
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions
from tests.training.test_loop import same_bytes

MODEL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}


def options(model=None, **training):
    training = {"epochs": 2, "threads": 1, "lr": 1e-3, "batch_size": 4} | training
    return TrainOptions(
        model=MODEL | {"num_instances": 3} | (model or {}),
        training=training,
        finetune={"backbone": {"name": "a local directory"}},
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A small random Swin for pictures of half the crops' size."""
    folder = tmp_path_factory.mktemp("swin")
    torch.manual_seed(0)
    shape = {"embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 4], "window_size": 7}
    SwinModel(SwinConfig(image_size=112, patch_size=4, **shape)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 112, "width": 112}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def files(twin_results, tmp_path_factory):
    split = tmp_path_factory.mktemp("fold") / "s01-k0.parquet"
    make_split(
        [twin_results / "trials/s01.parquet"], "trial", "s01-k0", SplitOptions(folds=2), split
    )
    parts = ("segments/default", "faces/default")
    return (split, *([twin_results / part / "s01.h5"] for part in parts))


@pytest.fixture(scope="module")
def run(files, backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "seed0"
    train_fold(*files, options(), 0, out, backbone)
    return out


def test_the_backbone_is_trained_and_kept_with_the_model(files, backbone, tmp_path):
    # From six segments the linear path is sure of all, and leaves nothing to learn.
    run = tmp_path / "seed0"
    train_fold(*files, options({"linear_path": False}), 0, run, backbone)
    begun = load_backbone(BackboneOptions(name=backbone), torch.device("cpu")).model.state_dict()
    model = AutoModel.from_pretrained(run / "model")
    trained = model.backbone.swin.state_dict()
    assert trained.keys() == begun.keys()
    changed = [name for name in begun if not torch.equal(trained[name], begun[name].float())]
    assert len(changed) > len(begun) / 2
    assert "embeddings.norm.bias" in changed  # of a bias nothing decays
    made = storage.read_provenance(run / "predictions.parquet")
    assert backbone not in json.dumps(made)
    assert set(made["inputs"]) == {"split", "segments_s01", "faces_s01", "backbone"}
    weights = sum(v.numel() for v in load_file(run / "model/model.safetensors").values())
    assert weights >= sum(v.numel() for v in trained.values())


def test_the_saved_model_and_processor_repeat_the_predictions(run, files):
    table = storage.read_table(run / "predictions.parquet", "predictions")
    model = AutoModel.from_pretrained(run / "model").eval()
    processor = AutoImageProcessor.from_pretrained(run / "model")
    row = table.iloc[0]
    with storage.open_h5(files[2][0]) as faces, storage.open_h5(files[1][0]) as segments:
        here = (faces["trial"][()] == row.trial) & (faces["position"][()] == row.position)
        bag = faces["bag"][()][here][0][[1, 5, 8]]  # 3 of 10, evenly spaced
        frames = processor(list(decode_crops(faces["image"][np.sort(bag)])), return_tensors="pt")
        eeg = torch.from_numpy(segments["eeg"][()][here])
        valid = torch.from_numpy(faces["detected"][()][bag])[None]
    with torch.no_grad():
        output = model(eeg=eeg, pixel_values=frames["pixel_values"][None], valid=valid)
    expected = row[[c for c in table if c.startswith("p_")]].to_numpy(np.float32)
    np.testing.assert_allclose(output.logits.softmax(1)[0], expected, atol=0.05)
    assert set(row.chosen) == {1, 5, 8}  # as numbered in the cached bag


def test_the_linear_path_begins_from_one_pass_without_gradient(
    files, backbone, tmp_path, monkeypatch
):
    passes, begun = [], []
    forward = FaceEncoder.forward

    def watched(self, pixel_values, valid):
        tokens = forward(self, pixel_values, valid)
        passes.append((tokens, valid, self.training or torch.is_grad_enabled()))
        return tokens

    def stop(self, rows):
        begun.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceEncoder, "forward", watched)
    monkeypatch.setattr(loop.Training, "_train_on", stop)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(select="last"), 0, tmp_path / "r", backbone)
    training = begun[0]
    rows, path = training.rows["train"], training.model.linear
    assert sum(len(valid) for _, valid, _ in passes) == len(rows)  # each segment once
    assert not any(with_gradient for _, _, with_gradient in passes)
    valid = training.data.batch(rows, training.device)["valid"]
    assert torch.equal(torch.cat([valid for _, valid, _ in passes]), valid)
    face = torch.cat([mean_token(tokens, valid) for tokens, valid, _ in passes]).double().numpy()
    np.testing.assert_allclose(path.face_mean, face.mean(0), rtol=1e-5)
    label = training.data.table["label"].to_numpy()[rows]
    inputs = next(training.data.inputs(rows, len(rows), training.device))
    eeg = training.model.linear_features(**inputs)["eeg"]
    features = {"eeg": eeg.detach().double().numpy(), "face": (face - face.mean(0)) / face.std(0)}
    trial = training.data.table["trial"].to_numpy()[rows]
    expected = fit_classifier(features, label, trial, len(path.bias))
    np.testing.assert_allclose(path.face.weight.detach(), expected.weight["face"], atol=1e-5)


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(
    run, files, backbone, tmp_path, monkeypatch
):
    out, train_on, steps = tmp_path / "seed0", loop.Training._train_on, []

    def stopping(self, rows):
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(rows)
        train_on(self, rows)

    monkeypatch.setattr(loop.Training, "_train_on", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_fold(*files, options(checkpoint_minutes=0), 0, out, backbone)
    monkeypatch.undo()
    train_fold(*files, options(checkpoint_minutes=0), 0, out, backbone)
    assert same_bytes(run, out)


def test_faces_alone_and_eeg_alone(files, backbone, tmp_path):
    split, segments, faces = files
    face = options({"modalities": ["face"]}, epochs=1)
    train_fold(split, [], faces, face, 0, tmp_path / "face", backbone)
    assert (tmp_path / "face/model/preprocessor_config.json").exists()
    eeg = options({"modalities": ["eeg"]}, epochs=1)
    train_fold(split, segments, [], eeg, 0, tmp_path / "eeg")
    assert not (tmp_path / "eeg/model/preprocessor_config.json").exists()


def test_without_faces_it_says_what_to_add(files, refused, tmp_path):
    with refused("the model looks at face", "add --faces", nothing_in=tmp_path):
        train_fold(files[0], files[1], [], options(), 0, tmp_path / "r")


def test_more_instances_than_are_cached_are_refused(files, backbone, refused, tmp_path):
    with refused("model.num_instances: 11", "10 are cached", nothing_in=tmp_path):
        train_fold(*files, options({"num_instances": 11}), 0, tmp_path / "r", backbone)
