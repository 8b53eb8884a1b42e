"""Tokens: what transformers computes for each crop, and which instances are valid."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from milmer import storage
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions, TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.errors import MilmerError


@pytest.fixture
def faces(twin_results):
    return twin_results / "faces/default/s01.h5"


def tokens(faces, backbone, out, **options):
    make_tokens(faces, TokensOptions(backbone={"name": str(backbone), "threads": 1} | options), out)
    with storage.open_h5(out, "tokens") as file:
        return {name: file[name][()] for name in file}


def test_tokens_are_the_last_hidden_state_of_the_plain_way(faces, twin_backbone, tmp_path):
    from transformers import AutoImageProcessor, SwinModel

    ours = tokens(faces, twin_backbone, tmp_path / "t.h5", dtype="float32")["tokens"]
    processor = AutoImageProcessor.from_pretrained(twin_backbone)
    model = SwinModel.from_pretrained(twin_backbone).eval()
    with storage.open_h5(faces) as file:
        pictures = [cv2.imdecode(b, cv2.IMREAD_COLOR)[..., ::-1] for b in file["image"][:6]]
    with torch.no_grad():
        plain = model(**processor(pictures, return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(ours[:6], plain, atol=5e-3)


def test_bfloat16_stays_close(faces, twin_backbone, tmp_path):
    exact = tokens(faces, twin_backbone, tmp_path / "a.h5", dtype="float32")["tokens"]
    fast = tokens(faces, twin_backbone, tmp_path / "b.h5", dtype="bfloat16")["tokens"]
    exact, fast = (torch.from_numpy(t.astype(np.float32)).flatten(1) for t in (exact, fast))
    assert torch.cosine_similarity(exact, fast).min() > 0.999


def test_borrowed_boxes_are_valid_only_where_asked_for(faces, twin_backbone, tmp_path):
    plain = tokens(faces, twin_backbone, tmp_path / "a.h5")
    with storage.open_h5(faces) as file:
        detected = file["detected"][()]
    present = plain["bag"] >= 0
    np.testing.assert_array_equal(plain["valid"][present], detected[plain["bag"][present]])
    assert not plain["valid"][~present].any()
    options = TokensOptions(backbone={"name": str(twin_backbone)}, use_borrowed_boxes=True)
    make_tokens(faces, options, tmp_path / "b.h5")
    with storage.open_h5(tmp_path / "b.h5") as file:
        np.testing.assert_array_equal(file["valid"][()], present)


def test_tokens_can_be_mapped_from_their_file(faces, twin_backbone, tmp_path):
    stored = tokens(faces, twin_backbone, tmp_path / "t.h5")["tokens"]
    with storage.open_h5(tmp_path / "t.h5") as file:
        mapped = storage.mapped(file["tokens"])
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, stored)


def test_other_weights_give_another_fingerprint(twin_backbone, tmp_path):
    from milmer.synthetic.twin import write_backbone

    write_backbone(tmp_path / "other", seed=1)
    first, second = (
        load_backbone(BackboneOptions(name=str(p)), torch.device("cpu")).fingerprint
        for p in (twin_backbone, tmp_path / "other")
    )
    assert first != second


def test_a_swinv2_of_another_size_is_read_and_fed_its_own_size(faces, tmp_path):
    from transformers import Swinv2Config, Swinv2Model, ViTImageProcessorPil

    config = Swinv2Config(
        image_size=128, patch_size=4, window_size=4, embed_dim=12, depths=[1, 1, 1],
        num_heads=[1, 2, 2],
    )  # fmt: skip
    Swinv2Model(config).save_pretrained(tmp_path / "v2")
    ViTImageProcessorPil(size={"height": 128, "width": 128}).save_pretrained(tmp_path / "v2")
    stored = tokens(faces, tmp_path / "v2", tmp_path / "t.h5")["tokens"]
    assert stored.shape[1:] == (64, 48)


def test_a_backbone_that_is_none_is_one_clear_line(faces, tmp_path):
    out = tmp_path / "t.h5"
    with pytest.raises(MilmerError, match=r"backbone.name: .*nowhere cannot be loaded"):
        tokens(faces, tmp_path / "nowhere", out)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(
        MilmerError, match=r"of type bert; give an image model that transformers knows"
    ):
        tokens(faces, tmp_path / "bert", out)
    assert not out.exists()


ON_THE_HUB = "on/the-hub"
LOAD = """
import logging, sys, torch
from milmer.backbone.loading import load_backbone
from milmer.backbone.options import BackboneOptions
logging.basicConfig(format="%(message)s", stream=sys.stdout)
for place in sys.argv[1:]:
    name, _, revision = place.partition("@")
    options = BackboneOptions(name=name, revision=revision or None)
    print(load_backbone(options, torch.device("cpu")).fingerprint)
"""


@pytest.mark.slow
def test_a_backbone_of_the_hub_is_that_of_its_commit_and_without_one_the_log_names_it(
    twin_backbone, tmp_path
):
    """Two commits in the cache of the hub, of which the second is the newest."""
    commits, cache = ("1" * 40, "2" * 40), tmp_path / "hub/models--on--the-hub"
    for commit in commits:
        shutil.copytree(twin_backbone, cache / "snapshots" / commit)
    weights = cache / "snapshots" / commits[1] / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(commits[1])

    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    places = [twin_backbone, *(f"{ON_THE_HUB}@{commit}" for commit in commits), ON_THE_HUB]
    command = [sys.executable, "-c", LOAD, *map(str, places)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    local, first, second, warning, newest = done.stdout.splitlines()
    assert local == first
    assert first != second == newest
    assert warning == (
        f"on/the-hub is not pinned: set backbone.revision to its commit {commits[1]}"
    )
