"""`milmer fetch` downloads what a configuration takes from the hub; no test has a network."""

import huggingface_hub
import pytest
import yaml
from typer.testing import CliRunner

from milmer.backbone.fetching import fetch_backbones, require_at_hand
from milmer.backbone.options import EncoderOptions
from milmer.cli.app import app
from milmer.errors import MilmerError


@pytest.fixture
def hub(monkeypatch):
    """What is asked of the hub, which gives each revision a commit."""
    asked = []

    def snapshot_download(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        if name == "no/such":
            raise OSError("We couldn't connect to 'https://huggingface.co'")
        return f"/cache/snapshots/c0ffee-{revision}"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_each_backbone_of_the_hub_is_fetched_once_with_weights_in_safetensors_alone(hub, tmp_path):
    names = [("a/swin", None), ("a/swin", "v2"), (str(tmp_path), None), ("a/swin", None)]
    fetched = fetch_backbones(EncoderOptions(name=name, revision=tag) for name, tag in names)
    assert fetched == [("a/swin", "c0ffee-None"), ("a/swin", "c0ffee-v2")]
    assert [(name, revision) for name, revision, _ in hub] == [("a/swin", None), ("a/swin", "v2")]
    (patterns,) = {tuple(patterns) for _, _, patterns in hub}
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in patterns)
    assert {"config.json", "preprocessor_config.json", "*.safetensors"} <= set(patterns)


def test_a_backbone_that_cannot_be_had_is_one_line(hub):
    with pytest.raises(MilmerError) as caught:
        fetch_backbones([EncoderOptions(name="no/such")])
    line = str(caught.value)
    assert line.startswith("backbone.name: no/such cannot be downloaded (We couldn't connect to")
    assert line.endswith("; check the name, the revision and the network")
    assert "\n" not in line


def test_the_command_fetches_the_backbones_of_all_variants(hub, tmp_path):
    sections = {
        "backbone": {"name": "a/swin"},
        "variants": {"backbone": {"other": {"name": "b/swin", "revision": "v1"}}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sections))
    said = CliRunner().invoke(app, ["fetch", str(tmp_path / "mine.yaml")])
    assert said.exit_code == 0
    assert said.output.splitlines() == [
        "a/swin: commit c0ffee-None is in the Hugging Face cache",
        "b/swin: commit c0ffee-v1 is in the Hugging Face cache",
    ]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"backbone": {"name": str(tmp_path)}}))
    said = CliRunner().invoke(app, ["fetch", str(tmp_path / "mine.yaml")])
    assert said.output == "nothing to download: backbones and face detectors are at hand\n"


def test_a_backbone_is_at_hand_in_a_folder_in_the_cache_or_on_the_hub(
    hub, tmp_path, monkeypatch, refused
):
    cached, online = [("a/swin", "config.json", "v1")], ["b/swin"]

    def try_to_load_from_cache(name, file, *, revision):
        return "/cache/config.json" if (name, file, revision) in cached else None

    def model_info(name, *, revision, timeout):
        if name not in online:
            raise OSError("Name or service not known\nmore")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", try_to_load_from_cache)
    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    require_at_hand(EncoderOptions(name=str(tmp_path)))
    require_at_hand(EncoderOptions(name="a/swin", revision="v1"))
    require_at_hand(EncoderOptions(name="b/swin"))
    with refused(
        "backbone.name: a/swin is neither a directory nor in the Hugging Face cache, and the hub "
        "does not give it (Name or service not known); check the name; without a network, "
        "milmer fetch elsewhere and copy the cache"
    ):
        require_at_hand(EncoderOptions(name="a/swin"))
    for name in ("./swin", "/data/swin", "swin"):
        with refused(f"backbone.name: no such folder: {name}"):
            require_at_hand(EncoderOptions(name=name))
    assert hub == []  # nothing is downloaded
