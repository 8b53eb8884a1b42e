"""A converted checkpoint predicts recordings that are prepared as for a run (``--like``)."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from milmer.model import published
from milmer.model.trained import load_trained
from milmer.prediction.processor import MilmerProcessor
from tests.model.test_convert import HOW, head, swin
from tests.prediction.trained import clip

CLASSES = ["HAHV", "LAHV", "LALV", "HALV"]


@pytest.fixture(scope="module")
def whole_checkpoint(tmp_path_factory):
    """A converted checkpoint with its backbone, for segments of 384 samples and ten faces."""
    folder = tmp_path_factory.mktemp("converted")
    _, tensors = swin(folder / "swin")
    state = head(samples=384, instances=10) | tensors
    state["classifier.weight"] *= 10  # so that segments differ by more than rounding
    torch.save(state, folder / "checkpoint.pt")
    published.convert(folder / "checkpoint.pt", folder / "model", **HOW)
    return folder / "model"


def predicted(out):
    return pd.read_parquet(out / "predictions.parquet")


def test_it_predicts_what_the_model_says_of_inputs_prepared_as_for_the_run(
    whole_checkpoint, run, twin, made, inside, tmp_path
):
    dat, video = twin / "data_preprocessed_python/s01.dat", clip(twin, made, 1)
    status, _, errors = inside(
        *("predict", whole_checkpoint, tmp_path / "out", "--like", run),
        *("--eeg", dat, "--trial", 1, "--video", video),
    )
    assert status == 0, errors
    table = predicted(tmp_path / "out")
    processor = MilmerProcessor.from_pretrained(whole_checkpoint, like=run / "model")
    inputs = processor(eeg=dat, trial=1, video=video)
    with torch.no_grad():
        p = load_trained(whole_checkpoint)(**inputs).logits.softmax(dim=1).numpy()
    columns = [f"raw_{name}" for name in CLASSES]
    np.testing.assert_allclose(table[columns].to_numpy(), p, atol=1e-5)
    assert np.ptp(p, axis=0).max() > 2e-4
    trained = MilmerProcessor.from_pretrained(run / "model")
    assert processor.recipe.eeg == trained.recipe.eeg  # but not what the run was trained on
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["card"]["trained_on"] is None
    assert "Converted" in about["card"]["caveats"][0]
    assert about["temperature"] is None
    page = (tmp_path / "out/index.html").read_text()
    assert "not known: converted from a checkpoint" in page
    assert about["card"]["intended_use"][0] in page


def test_without_a_backbone_it_looks_at_the_tokens_of_the_runs(
    run, twin, twin_backbone, made, inside, tmp_path
):
    state = head(d=128, samples=384, instances=10)
    torch.save(state, tmp_path / "checkpoint.pt")
    how = HOW | {"selection": "amil"}
    published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **how)
    status, _, errors = inside(
        *("predict", tmp_path / "model", tmp_path / "out", "--like", run),
        *("--eeg", twin / "data_preprocessed_python/s01.dat", "--trial", 1),
        *("--video", clip(twin, made, 1), "--backbone", twin_backbone),
    )
    assert status == 0, errors
    table = predicted(tmp_path / "out")
    assert table["class"].isin(CLASSES).all()
    assert table["chosen"].isna().all()  # amil pools


@pytest.mark.parametrize("other", ["eeg_run", "run"])
def test_what_does_not_fit_is_one_line_before_the_recording_is_read(
    request, other, whole_checkpoint, refused, tmp_path
):
    with refused("holds no milmer_processor.json", "(--like)", nothing_in=whole_checkpoint):
        MilmerProcessor.from_pretrained(whole_checkpoint)
    folder = request.getfixturevalue(other) / "model"
    with refused("holds a milmer_processor.json of its own", "leave out --like"):
        MilmerProcessor.from_pretrained(folder, like=folder)
    if other == "eeg_run":
        with refused(str(folder), "does not prepare what the model looks at", "10 faces"):
            MilmerProcessor.from_pretrained(whole_checkpoint, like=folder)
    shorter = tmp_path / "shorter"
    torch.save(head(samples=256, instances=10), tmp_path / "shorter.pt")
    published.convert(tmp_path / "shorter.pt", shorter, **HOW)
    with refused("does not prepare what the model looks at", "32 channels of 256 samples"):
        MilmerProcessor.from_pretrained(shorter, like=folder)


def test_tokens_of_another_backbone_than_the_checkpoints_are_refused(
    run, twin, twin_backbone, made, refused, tmp_path
):
    torch.save(head(samples=384, instances=10), tmp_path / "narrow.pt")
    published.convert(tmp_path / "narrow.pt", tmp_path / "model", **HOW)
    processor = MilmerProcessor.from_pretrained(
        tmp_path / "model", like=run / "model", backbone=str(twin_backbone)
    )
    with refused("makes 49 tokens of 128 numbers", "49 of 32", "(--like)"):
        processor(eeg=twin / "data_preprocessed_python/s01.dat", trial=1, video=clip(twin, made, 1))
