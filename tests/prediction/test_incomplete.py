"""A model's folder in which something is missing or damaged predicts nothing, and says so."""

import shutil

import pytest
import torch

from milmer.model import published
from milmer.prediction.processor import MilmerProcessor
from tests.model.test_convert import HOW, head, swin

FILES = ["config.json", "model.safetensors", "milmer_processor.json", "evaluation.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", ["missing", "cut off", "empty", "text"])
def test_a_folder_with_something_missing_or_damaged_is_one_line(
    eeg_run, inside, tmp_path, file, harm
):
    folder = tmp_path / "model"
    shutil.copytree(eeg_run / "model", folder)
    path = folder / file
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
        if file == "evaluation.json":
            pytest.skip("a model that was not evaluated predicts, without calibration")
    else:
        path.write_bytes(
            {"cut off": content[: len(content) // 2], "empty": b"", "text": b"a"}[harm]
        )
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    status, _, errors = inside("predict", folder, tmp_path / "out", "--eeg", tmp_path / "none.bdf")
    lines = [line for line in errors.splitlines() if line.startswith("milmer: ")]
    assert (status, len(lines)) == (1, 1), errors
    assert str(folder) in lines[0]
    assert file in lines[0] or (file, harm) == ("config.json", "missing")
    assert "unexpected error" not in errors
    assert not (tmp_path / "out").exists()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("harm", ["missing", "cut off"])
def test_an_image_processor_that_is_missing_is_one_line(run, refused, tmp_path, harm):
    _, tensors = swin(tmp_path / "swin")
    torch.save(head(samples=384, instances=10) | tensors, tmp_path / "checkpoint.pt")
    published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **HOW)
    path = tmp_path / "model/preprocessor_config.json"
    path.unlink() if harm == "missing" else path.write_text('{"size": ')
    with refused(str(tmp_path / "model"), nothing_in=tmp_path / "model"):
        MilmerProcessor.from_pretrained(tmp_path / "model", like=run / "model")
