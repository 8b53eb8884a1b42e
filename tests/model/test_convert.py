"""`milmer convert`: from a checkpoint file of the authors' code to a model folder."""

import os
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    SwinConfig,
    SwinModel,
    Swinv2Config,
    Swinv2Model,
)

from milmer.model import published
from tests.limited import refusals

WIDTH, TOKENS, INSTANCES, QUERIES, SAMPLES = 32, 49, 4, 6, 64
HOW = {"selection": "attention_weighted_topk", "fusion": "cross_attention", "num_heads": 4}


def head(d=WIDTH, samples=SAMPLES, instances=INSTANCES):
    """A small checkpoint under the authors' names, as a GPU leaves it: without a CLS token."""
    flat = d * TOKENS
    shapes = {
        "instance_weights": (1, instances),
        "token_type_embeddings.weight": (2, d),
        "query_tokens": (1, QUERIES, d),
        "cross_attention.in_proj_weight": (3 * d, d),
        "cross_attention.in_proj_bias": (3 * d,),
        "layernorm.weight": (samples,),
        "layernorm.bias": (samples,),
    }
    linear = {
        **{"eeg_proj": (d, samples), "classifier": (4, d), "cross_attention.out_proj": (d, d)},
        **{"amil_value_proj": (d, d), "amil_weight_proj": (1, d)},
        **{"topk_value_proj": (flat, flat), "topk_weight_proj": (1, flat)},
        **{"topk_dimension_recover": (instances, flat)},
    }
    layer = "transformer_encoder.layers.0"
    linear |= {f"{layer}.linear1": (2 * d, d), f"{layer}.linear2": (d, 2 * d)}
    linear |= {f"{layer}.self_attn.out_proj": (d, d)}
    shapes |= {f"{layer}.self_attn.in_proj_weight": (3 * d, d)}
    shapes |= {f"{layer}.self_attn.in_proj_bias": (3 * d,)}
    for norm in ("norm1", "norm2"):
        shapes |= {f"{layer}.{norm}.{kind}": (d,) for kind in ("weight", "bias")}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    torch.manual_seed(0)
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def swin(folder, kind=SwinModel):
    """A small backbone of 49 tokens of 32 numbers, and its tensors as older versions name them."""
    config = (SwinConfig if kind is SwinModel else Swinv2Config)(
        image_size=56, patch_size=4, embed_dim=16, depths=[2, 1], num_heads=[1, 2], window_size=7
    )
    torch.manual_seed(1)
    model = kind(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    saved = load_file(folder / "model.safetensors")
    assert any(".attention.self.query." in name for name in saved)
    return model, {f"swin_model.{name}": value for name, value in saved.items()}


def inputs(pictures=False):
    draw = torch.Generator().manual_seed(2)
    eeg = torch.randn(2, 32, SAMPLES, generator=draw)
    if pictures:
        return {"eeg": eeg, "pixel_values": torch.randn(2, INSTANCES, 3, 56, 56, generator=draw)}
    tokens = torch.randn(2, INSTANCES, TOKENS, WIDTH, generator=draw)
    return {"eeg": eeg, "face_tokens": tokens}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before torch 1.6"])
def test_without_a_backbone_the_folder_gives_the_logits_of_the_state_dict(new, tmp_path):
    torch.save(head(), tmp_path / "checkpoint.pt", _use_new_zipfile_serialization=new)
    published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **HOW)
    with torch.no_grad():
        logits = AutoModel.from_pretrained(tmp_path / "model").eval()(**inputs()).logits
        assert torch.equal(logits, published.from_state_dict(head(), **HOW)(**inputs()).logits)


def test_the_backbone_comes_along_and_takes_pictures(tmp_path):
    plain, tensors = swin(tmp_path / "swin")
    # As of DataParallel on a GPU, wrapped as trainers do it.
    state = {f"module.{name}": value for name, value in (head() | tensors).items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pt")
    published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **HOW)
    model = AutoModel.from_pretrained(tmp_path / "model").eval()
    batch = inputs(pictures=True)
    with torch.no_grad():
        tokens = plain(batch["pixel_values"].flatten(0, 1)).last_hidden_state
        tokens = tokens.unflatten(0, (2, INSTANCES))
        expected = published.from_state_dict(head(), **HOW)(
            eeg=batch["eeg"], face_tokens=tokens
        ).logits
        torch.testing.assert_close(model(**batch).logits, expected)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model")
    assert (processor.size["height"], processor.image_mean[0]) == (56, 0.485)


def test_a_swinv2_needs_a_model_of_its_shape(tmp_path, refused):
    plain, tensors = swin(tmp_path / "swin", Swinv2Model)
    torch.save(head() | tensors, tmp_path / "checkpoint.pt")
    with refused("SwinV2", "give --backbone", nothing_in=tmp_path):
        published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **HOW)
    named = {"backbone": str(tmp_path / "swin")}
    published.convert(tmp_path / "checkpoint.pt", tmp_path / "model", **HOW, **named)
    model = AutoModel.from_pretrained(tmp_path / "model").eval()
    frames = inputs(pictures=True)["pixel_values"]
    with torch.no_grad():
        tokens = model.backbone(frames, torch.ones(2, INSTANCES, dtype=torch.bool))
        expected = plain(frames.flatten(0, 1)).last_hidden_state.unflatten(0, (2, INSTANCES))
        torch.testing.assert_close(tokens, expected)


def test_what_is_no_checkpoint_is_one_line_and_leaves_nothing(tmp_path, refused):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": head(), "more": Runs()}, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "empty.pt").touch()
    torch.save(head() | {"classifier.bias": torch.full((4,), torch.nan)}, tmp_path / "nan.pt")
    torch.save(head() | {"eeg_proj.weight": torch.ones(3)}, tmp_path / "odd.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    _, tensors = swin(tmp_path / "swin")
    half = {k: v for k, v in tensors.items() if "blocks.1" not in k or "query" not in k}
    torch.save(head() | half, tmp_path / "half.pt")
    out = tmp_path / "model"
    for name, parts in {
        "none.pt": ["no such file"],
        "code.pt": ["code.pt: holds more than tensors"],
        "text.pt": ["text.pt: holds more than tensors, or is no checkpoint"],
        "empty.pt": ["empty.pt: holds more than tensors, or is no checkpoint"],
        "nan.pt": ["classifier.bias holds values that are not finite numbers"],
        "odd.pt": ["eeg_proj.weight has the shape [3]"],
        "list.pt": ["list.pt: is not a state_dict"],
        "other.pt": ["no tensor 'eeg_proj.weight'"],
        "half.pt": ["its backbone has no fitting", "give --backbone"],
    }.items():
        with refused(*parts, nothing_in=tmp_path):
            published.convert(tmp_path / name, out, **HOW)
    assert not (tmp_path / "ran").exists()
    torch.save(head(), tmp_path / "good.pt")
    with refused("exists and is not empty", nothing_in=tmp_path):
        published.convert(tmp_path / "good.pt", tmp_path / "swin", **HOW)
    with refused("num_heads", nothing_in=tmp_path):
        published.convert(tmp_path / "good.pt", out, **HOW | {"num_heads": 5})
    with refused("selection", nothing_in=tmp_path):
        published.convert(tmp_path / "good.pt", out, **HOW | {"selection": "best"})


def convert_hostile(path):
    """Convert a file as `milmer convert` does, to a folder beside it."""
    published.convert(path, path.with_suffix(".model"), **HOW)


BIAS = "swin_model.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"
EMBEDDING = "swin_model.embeddings.patch_embeddings.projection.weight"
HOSTILE = {
    "a number as a name": ({5: torch.ones(1)}, "is not a state_dict"),
    "itself": (None, "is not a state_dict"),
    "an escape in a name": (
        {"red\x1b[31m\n": torch.tensor(torch.nan)},
        r"red\x1b[31m  holds values",
    ),
    "strides of zero": (
        {"classifier.weight": torch.zeros(1).expand(10**9, 32)},
        "tensors claim 128,",
    ),
    "no queries": ({"query_tokens": torch.zeros(1, 10**8, 0)}, "has the shape [1, 100000000, 0]"),
    "many layers": (
        {f"transformer_encoder.layers.{i}.x": torch.zeros(0) for i in range(500)},
        "500 layers, so it is not",
    ),
    "many blocks": (
        {f"swin_model.encoder.layers.0.blocks.{i}.x": torch.zeros(0) for i in range(500)},
        "501 blocks of its backbone",
    ),
    "a wide backbone": (
        {EMBEDDING: torch.zeros(10**8, 3, 4, 0)},
        "has the shape [100000000, 3, 4, 0]",
    ),
    "a wide window": ({BIAS: torch.zeros(10**9, 0)}, "has the shape [1000000000, 0]"),
    "a large window": ({BIAS: torch.zeros(300**2, 1)}, "the window_size 150; at most 64"),
    "large patches": (
        {EMBEDDING: torch.zeros(16, 3, 1, 1000)},
        "the image_size 14000; at most 2048",
    ),
    "a backbone of few weights": ({EMBEDDING: torch.zeros(500, 3, 4, 4)}, "no fitting tensors"),
    "a backbone without blocks": ({BIAS: None}, "no tensor swin_model.encoder.layers.0.blocks.0"),
}
"""Tensors on top of a checkpoint with a backbone, and a part of the line that refuses it."""


def test_a_hostile_checkpoint_is_one_line_and_takes_no_memory(tmp_path):
    whole = head() | swin(tmp_path / "swin")[1]
    paths = []
    for name, (tensors, _) in HOSTILE.items():
        state = whole | (tensors or {})
        if tensors is None:
            state["state_dict"] = state
        if name == "a backbone without blocks":
            state = {key: value for key, value in state.items() if ".blocks." not in key}
        paths.append(tmp_path / f"{name}.pt")
        torch.save(state, paths[-1])
    lines = refusals("tests.model.test_convert:convert_hostile", *paths)
    for line, (name, (_, part)) in zip(lines, HOSTILE.items(), strict=True):
        assert part in line, name
    assert not list(tmp_path.glob("*.model*"))


def test_what_a_checkpoints_pickle_claims_is_not_believed(tmp_path):
    """Sizes, texts and pipes, in the format of today and in that before torch 1.6."""
    torch.save({"a": torch.zeros(4)}, tmp_path / "small.pt")
    with zipfile.ZipFile(tmp_path / "small.pt") as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    pickled = next(name for name in entries if name.endswith("data.pkl"))
    assert b"K\x04\x85" in entries[pickled]
    contents = {
        "size": entries[pickled].replace(b"K\x04\x85", b"\x8a\x05\x00\xe8\x76\x48\x17\x85"),
        "negative": entries[pickled].replace(b"K\x04\x85", b"J\xff\xff\xff\xff\x85"),
        "text": b"\x80\x02X" + (10**9).to_bytes(4, "little"),
        "long": b"\x80\x02X" + (3 * 10**7).to_bytes(4, "little") + bytes(3 * 10**7) + b".",
    }
    for name, content in contents.items():
        with zipfile.ZipFile(tmp_path / f"{name}.pt", "w") as archive:
            for entry, old in entries.items():
                archive.writestr(entry, content if entry == pickled else old)
    for name, start in (
        ("old bytes", b"\x80\x04\x8e" + (29 * 10**9).to_bytes(8, "little")),
        ("old name", b"c"),
    ):
        with open(tmp_path / f"{name}.pt", "wb") as file:
            file.write(start)
            file.truncate(30 * 10**9)
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "circle.pt").symlink_to("circle.pt")
    parts = {
        **dict.fromkeys((*contents, "old bytes", "old name"), "holds more than tensors"),
        "pipe": "is a pipe or a device, not a file",
        "folder": "cannot be read (Is a directory)",
        "circle": "cannot be read (Too many levels of symbolic links)",
    }
    paths = [tmp_path / f"{name}.pt" for name in parts]
    lines = refusals("tests.model.test_convert:convert_hostile", *paths)
    for line, path, part in zip(lines, paths, parts.values(), strict=True):
        assert line.startswith(f"{path}: {part}")


@pytest.mark.parametrize("place", ["checkpoint.pt", ".", "inside/checkpoint.pt"])
def test_a_model_is_not_written_over_or_into_its_checkpoint(place, tmp_path, refused):
    path = tmp_path / place / "checkpoint.pt" if place == "." else tmp_path / place
    path.parent.mkdir(exist_ok=True)
    torch.save(head(), path)
    out = path.parent if place == "inside/checkpoint.pt" else tmp_path / place
    with refused(nothing_in=tmp_path):
        published.convert(path, out, **HOW)


@pytest.mark.slow
def test_from_the_shell(tmp_path):
    torch.save(head(), tmp_path / "checkpoint.pt")
    command = [sys.executable, "-m", "milmer", "convert", "checkpoint.pt", "model"]
    how = ["--selection", "amil", "--fusion", "cross_attention", "--num-heads", "4"]
    done = subprocess.run(
        [*command, *how], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "wrote model\n"), done.stderr
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        ".milmer-convert.json",
        "config.json",
        "model.safetensors",
        "modeling_milmer.py",
    ]
