"""Models of strangers are data: no code of theirs is run, and what is absurd is one line."""

import json
import os
import pty
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SwinConfig

from milmer.backbone.loading import read_backbone
from milmer.backbone.options import EncoderOptions
from milmer.model import published
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.model.network import MilmerNetwork
from milmer.model.trained import load_trained, read_config, save_trained
from tests.backbone.test_pretraining import write_swin
from tests.conftest import REPOSITORY

SMALL = {"hidden_size": 16, "num_heads": 2, "feed_forward": 32, "num_queries": 4, "num_layers": 1}
SHAPES = {"num_channels": 4, "num_samples": 64, "num_instances": 6}


@pytest.fixture
def swin(tmp_path):
    write_swin(tmp_path / "swin")
    return tmp_path / "swin"


@pytest.fixture
def trained(tmp_path):
    config = MilmerConfig(options=SMALL, num_tokens=4, token_dim=16, **SHAPES)
    torch.manual_seed(0)
    MilmerForEmotionClassification(config).save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


def backbone(folder):
    return read_backbone(EncoderOptions(name=str(folder)))


def change_config(folder, name="config.json", **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def with_code(folder, kind="odd"):
    """A folder that asks to run the code that lies in it."""
    (folder / "odd.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Odd: pass\n")
    names = ("AutoConfig", "AutoModel", "AutoImageProcessor")
    change_config(folder, auto_map={name: "odd.Odd" for name in names}, model_type=kind)
    return folder


def on_a_terminal(answer, code):
    """The end of a Python program on a terminal where somebody answers each question."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        os.execv(sys.executable, [sys.executable, "-c", code])
    os.write(terminal, answer * 20)
    text = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the program ended
            break
        if not part:
            break
        text += part
    os.waitpid(pid, 0)
    return text.decode()


@pytest.mark.parametrize("kind", ["odd", "swin"])
def test_code_of_a_backbone_is_not_run_even_where_a_terminal_says_yes(swin, kind):
    with_code(swin, kind)
    code = (
        "from milmer.backbone.loading import read_backbone\n"
        "from milmer.backbone.options import EncoderOptions\n"
        f"try:\n    read_backbone(EncoderOptions(name={str(swin)!r}))\n"
        "except Exception as error:\n    print('REFUSED', error)\n"
    )
    text = on_a_terminal(b"y\n", code)
    assert "REFUSED" in text, text
    assert "auto_map asks for code" in text
    assert "[y/N]" not in text
    assert not (swin / "ran").exists()


def test_code_of_a_trained_model_or_its_image_processor_is_not_run(swin, trained, refused):
    with_code(trained, "milmer")
    with refused("config.json: auto_map asks for code", nothing_in=trained):
        load_trained(trained)
    change_config(swin, "preprocessor_config.json", auto_map={"AutoImageProcessor": "odd.Odd"})
    with refused("preprocessor_config.json: auto_map asks for code", nothing_in=swin):
        backbone(swin)


@pytest.mark.parametrize("load", ["backbone", "trained"])
@pytest.mark.parametrize("kind", ["pickled", "missing", "damaged", "short", "empty"])
def test_weights_are_read_from_whole_safetensors_alone(request, refused, load, kind):
    folder = request.getfixturevalue("swin" if load == "backbone" else load)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    if kind == "pickled":
        torch.save(load_file(path), folder / "pytorch_model.bin")
        path.unlink()
    elif kind == "missing":
        path.unlink()
    else:
        huge = (1 << 62).to_bytes(8, "little") + whole[8:]
        path.write_bytes({"damaged": huge, "short": whole[:-1], "empty": b""}[kind])
    said = (
        "holds no model.safetensors" if kind in ("pickled", "missing") else "safetensors: damaged"
    )
    with refused(said, nothing_in=folder):
        (backbone if load == "backbone" else load_trained)(folder)


HUGE = 10**9
ABSURD_SWIN = [
    {"embed_dim": HUGE},
    {"embed_dim": 32768},
    {"depths": [HUGE, 1]},
    {"depths": [90000, 1]},
    {"num_labels": HUGE},
    {"image_size": 10**5},
    {"window_size": 5000},
    {"num_heads": [0, 0]},
    {"num_heads": "many"},
    {"depths": None},
    {"patch_size": -1},
    {"drop_path_rate": "x"},
    {"hidden_act": "os.system"},
    {"quantization_config": {"quant_method": "bitsandbytes"}},
    {"attn_implementation": "someone/kernel"},
    {"configuration_files": ["config.9.json"]},
    {"model_type": ["swin"]},
    {"model_type": "bert"},
]
ABSURD_MILMER = [
    {"num_channels": HUGE},
    {"num_channels": 500_000},
    {"num_labels": HUGE},
    {"num_labels": 500_000},
    {"sfreq": 0},
    {"sfreq": 1e-9},
    {"sfreq": float("inf")},
    {"num_channels": "four"},
    {"num_tokens": None, "options": SMALL | {"scorer": "published"}},
    {"token_dim": 500_000, "options": SMALL | {"scorer": "published"}},
    {"options": SMALL | {"hidden_size": 800_000}},
    {"options": SMALL | {"num_layers": 900_000}},
    {"options": SMALL | {"hidden_size": HUGE}},
    {"options": SMALL | {"selection": "os.system"}},
    {"options": "none"},
    {"backbone_config": {"model_type": "bert"}},
    {"backbone_config": "swin"},
    {"backbone_config": {"model_type": "swin", "embed_dim": 8192}},
    {"backbone_config": {"model_type": "swin", "auto_map": {"AutoModel": "odd.Odd"}}},
    {"id2label": {"0": "only"}},
]


@pytest.mark.parametrize("values", ABSURD_SWIN, ids=str)
def test_absurd_options_of_a_backbone_are_one_line(swin, refused, values):
    change_config(swin, **values)
    with refused(nothing_in=swin):
        backbone(swin)


@pytest.mark.parametrize("values", ABSURD_MILMER, ids=str)
def test_absurd_options_of_a_trained_model_are_one_line(trained, refused, values):
    change_config(trained, **values)
    with refused(nothing_in=trained):
        load_trained(trained)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"\xff\xfe{", b"[" * 100_000, b'{"model_type": "swin"' + b" " * 20_000_000 + b"}"],
    ids=["empty", "list", "bytes", "deep", "long"],
)
def test_a_configuration_that_is_none_is_one_line(swin, trained, refused, text):
    for folder, load in ((swin, backbone), (trained, read_config)):
        (folder / "config.json").write_bytes(text)
        with refused("config.json: ", nothing_in=folder):
            load(folder)


@pytest.mark.parametrize(
    "values", [{"image_mean": "a"}, {"image_std": [0, 1, 1]}, {"image_mean": 1}]
)
def test_an_image_processor_without_sense_is_one_line(swin, refused, values):
    change_config(swin, "preprocessor_config.json", **values)
    with refused("must be three numbers", nothing_in=swin):
        backbone(swin)


def test_a_model_with_a_tensor_missing_is_refused_and_not_drawn_at_random(swin, trained, refused):
    for folder, load, name in (
        (swin, backbone, "layernorm.weight"),
        (trained, load_trained, "classifier.bias"),
    ):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        spare = {"spare": torch.zeros_like(tensors[name])}  # as many values as before
        del tensors[name]
        save_file(tensors | spare, path, metadata={"format": "pt"})
        with refused("its weights lack", name, nothing_in=folder):
            load(folder)


def retouch(folder, change):
    """Save the weights in ``folder`` again after ``change(tensors)``."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.update(spare=torch.zeros(2)), ["hold an unknown spare"]),
        (lambda t: t["classifier.bias"].fill_(torch.nan), ["classifier.bias holds", "not finite"]),
        (lambda t: t["eeg.std"].view(-1)[3:].fill_(torch.inf), ["eeg.std holds", "not finite"]),
        (lambda t: t.update({"classifier.bias": torch.zeros(5)}), ["classifier.bias"]),
    ],
    ids=["unknown", "NaN", "infinite", "shape"],
)
def test_weights_that_are_not_the_models_are_one_line(trained, refused, change, parts):
    retouch(trained, change)
    with refused(*parts, nothing_in=trained):
        load_trained(trained)


def test_weights_in_half_precision_are_computed_in_float32(trained):
    expected = load_trained(trained).classifier.weight
    retouch(trained, lambda tensors: tensors.update({k: v.half() for k, v in tensors.items()}))
    loaded = load_trained(trained).classifier.weight
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, expected, atol=1e-3, rtol=1e-3)


def test_a_backbone_has_the_names_of_whichever_version_of_transformers_saved_it(tmp_path, refused):
    """As milmer saves it, and as transformers does, whose names on disk are others."""
    swin = SwinConfig(
        image_size=56, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=7
    )
    config = MilmerConfig(
        options=SMALL, num_tokens=49, token_dim=16, backbone_config=swin.to_dict(), **SHAPES
    )
    torch.manual_seed(0)
    model = MilmerForEmotionClassification(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    network = MilmerNetwork(config.network)
    network.load_state_dict(model.state_dict())
    (tmp_path / "ours").mkdir()
    save_trained(network, tmp_path / "ours")
    names = [load_file(tmp_path / n / "model.safetensors").keys() for n in ("ours", "theirs")]
    assert names[0] != names[1]
    batch = {"eeg": torch.randn(2, 4, 64), "pixel_values": torch.randn(2, 6, 3, 56, 56)}
    with torch.no_grad():
        expected = model(**batch).logits
        for name in ("ours", "theirs"):
            assert torch.equal(load_trained(tmp_path / name)(**batch).logits, expected)
            again = MilmerForEmotionClassification.from_pretrained(tmp_path / name).eval()
            assert torch.equal(again(**batch).logits, expected)
    key = "backbone.swin.layernorm.weight"
    retouch(tmp_path / "theirs", lambda tensors: tensors.update(spare=tensors.pop(key)))
    with refused(f"its weights lack {key}"):
        load_trained(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"options_version": 99}, ["options_version is 99"]),
        ({"options": SMALL | {"telepathy": True}}, ["telepathy", "not permitted"]),
    ],
)
def test_options_of_a_newer_version_are_one_line(trained, refused, change, parts):
    change_config(trained, **change)
    with refused(*parts, nothing_in=trained):
        load_trained(trained)


def test_absurd_sizes_take_no_memory(swin, trained):
    """Under a limit of memory that no model of the claimed size would keep to."""
    change_config(swin, embed_dim=32768)
    change_config(trained, options=SMALL | {"hidden_size": 800_000})
    code = (
        "import resource, torch, transformers\n"
        "from milmer.backbone.loading import read_backbone\n"
        "from milmer.backbone.options import EncoderOptions\n"
        "from milmer.model.trained import load_trained\n"
        "from pathlib import Path\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * 4096 + 500_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        "from milmer.errors import MilmerError\n"
        f"for load in (lambda: read_backbone(EncoderOptions(name={str(swin)!r})),\n"
        f"             lambda: load_trained(Path({str(trained)!r}))):\n"
        "    try:\n        load()\n"
        "    except MilmerError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if "config.json: describes" in line]
    assert len(lines) == 2, done.stdout


# ------------------------------------------------------- checkpoints of the authors' code


class Asks:
    """Asks the unpickler to call ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refuse_checkpoint(path, refused, part):
    how = {"selection": "attention_topk", "fusion": "mlp"}
    with refused(f"{path.name}: ", part, nothing_in=path.parent):
        published.convert(path, path.parent / "out", **how)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before torch 1.6"])
def test_a_checkpoint_may_ask_for_tensors_alone(tmp_path, refused, new):
    import codecs
    import collections

    for value in (
        Asks(codecs.encode, "a" * 1000, "hex"),
        Asks(bytearray, 10**12),
        Asks(torch.Tensor, 10**6, 10**6),
        collections.Counter({"a": 1}),
    ):
        path = tmp_path / "asks.pt"
        torch.save({"a": value}, path, _use_new_zipfile_serialization=new)
        refuse_checkpoint(path, refused, "holds more than tensors")


def test_a_checkpoint_whose_tensors_claim_more_than_it_holds_is_refused(tmp_path, refused):
    wide = torch.zeros(1).expand(100_000, 100_000)
    torch.save({"eeg_proj.weight": wide}, tmp_path / "wide.pt")
    refuse_checkpoint(tmp_path / "wide.pt", refused, "more than the file holds")


def test_a_compressed_checkpoint_is_refused(tmp_path, refused):
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    refuse_checkpoint(tmp_path / "small.pt", refused, "it is compressed")


def test_sizes_that_a_checkpoint_implies_take_no_memory(tmp_path, refused):
    """A narrow tensor makes the model wide, whose other tensors are not there."""
    width = 10**6
    state = {
        "eeg_proj.weight": torch.zeros(width, 1),
        "topk_weight_proj.weight": torch.zeros(1, width),
        "transformer_encoder.layers.0.linear1.weight": torch.zeros(8, 1),
        "query_tokens": torch.zeros(1, 1, 1),
        "instance_weights": torch.zeros(1, 10),
        "classifier.weight": torch.zeros(4, 1),
        "cls_token": torch.zeros(1, 1, 1),
    }
    torch.save(state, tmp_path / "wide.pt")
    how = {"selection": "attention_topk", "fusion": "mlp", "num_heads": 8}
    with refused("checkpoint: does not fit", nothing_in=tmp_path):
        published.convert(tmp_path / "wide.pt", tmp_path / "out", **how)


def test_a_folder_of_another_name_loads_as_before(swin, trained, tmp_path):
    shutil.move(swin, tmp_path / "moved")
    model, processor = backbone(tmp_path / "moved")
    assert list(processor.image_mean) == [0.4, 0.5, 0.6]
    assert not load_trained(trained).training
    assert model.config.model_type == "swin"
