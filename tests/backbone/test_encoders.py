"""Any vision encoder: small random models of many families through the real loading code."""

import json

import numpy as np
import pytest
import torch
import transformers as hf

from milmer import storage
from milmer.backbone.encoder import build_encoder, encoder_config, picture_tokens
from milmer.backbone.loading import load_backbone, read_backbone
from milmer.backbone.options import EncoderOptions, FrozenOptions, TokensOptions
from milmer.backbone.pretraining import _classifier
from milmer.backbone.tokens import make_tokens
from milmer.errors import MilmerError
from milmer.model.configuration import NetworkConfig
from milmer.model.network import MilmerNetwork
from milmer.model.options import ModelOptions
from milmer.model.trained import load_trained, save_trained, taken_pictures

CPU = torch.device("cpu")
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
DINO = VIT | {"image_size": 64}  # as large as the pictures are not: positions are interpolated
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
WINDOWS = {"image_size": 32, "patch_size": 4, "depths": [1, 1], "num_heads": [1, 2]}
FAMILIES = {  # the model, its configuration, tokens before the patches, T and D of 32 px
    "swin": (hf.SwinModel, hf.SwinConfig(embed_dim=8, window_size=4, **WINDOWS), 0, 16, 16),
    "swinv2": (hf.Swinv2Model, hf.Swinv2Config(embed_dim=8, window_size=4, **WINDOWS), 0, 16, 16),
    "vit": (hf.ViTModel, hf.ViTConfig(**VIT), 1, 16, 16),
    "deit": (hf.DeiTModel, hf.DeiTConfig(**VIT), 2, 16, 16),
    "beit": (hf.BeitModel, hf.BeitConfig(**VIT), 1, 16, 16),
    "dinov2": (hf.Dinov2Model, hf.Dinov2Config(**DINO), 1, 16, 16),
    "registers": (
        hf.Dinov2WithRegistersModel,
        hf.Dinov2WithRegistersConfig(num_register_tokens=4, **DINO),
        5,
        16,
        16,
    ),
    "dinov3": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(num_register_tokens=4, **VIT), 5, 16, 16),
    "mae": (
        hf.ViTMAEForPreTraining,
        hf.ViTMAEConfig(
            decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, **VIT
        ),
        1,
        16,
        16,
    ),
    "siglip": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**VIT), 0, 16, 16),
    "clip": (
        hf.CLIPModel,
        hf.CLIPConfig(
            text_config={k: v for k, v in VIT.items() if "size" not in k or "hidden" in k}
            | {"vocab_size": 9, "eos_token_id": 2, "bos_token_id": 1},
            vision_config=VIT,
            projection_dim=8,
        ),
        1,
        16,
        16,
    ),
    "ijepa": (hf.IJepaModel, hf.IJepaConfig(**VIT), 0, 16, 16),
    "hiera": (
        hf.HieraModel,
        hf.HieraConfig(
            image_size=[32, 32], embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]
        ),
        0,
        1,
        64,
    ),
    "convnext": (hf.ConvNextModel, hf.ConvNextConfig(num_stages=2, **STAGES), None, 16, 16),
    "resnet": (
        hf.ResNetModel,
        hf.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES),
        None,
        16,
        16,
    ),
    "mobilevit": (
        hf.MobileViTModel,
        hf.MobileViTConfig(
            hidden_sizes=[16, 24, 32],
            neck_hidden_sizes=[8, 8, 16, 16, 16, 24, 16],
            num_attention_heads=2,
        ),
        None,
        1,
        16,
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder for each family, written once; pictures of 32 px, normalised in an odd way."""
    folders = {}

    def save(name):
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            kind, config, *_ = FAMILIES[name]
            torch.manual_seed(0)
            model = kind(config)
            with torch.no_grad():  # so that no layer is as good as left out
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            processor = hf.ViTImageProcessorPil(
                size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2] * 3
            )
            if name == "mobilevit":
                size = {"height": 32, "width": 32}
                processor = hf.MobileViTImageProcessorPil(
                    size={"shortest_edge": 40}, crop_size=size
                )
            processor.save_pretrained(folder)
            folders[name] = folder
        return folders[name]

    return save


def load(folder, **options):
    return load_backbone(FrozenOptions(name=str(folder), dtype="float32", **options), CPU)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_its_patches_by_row_without_class_and_registers(name, saved):
    kind, _, special, count, dim = FAMILIES[name]
    backbone = load(saved(name))
    assert (backbone.tokens, backbone.dim, backbone.format.size) == (count, dim, 32)
    pictures = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    tokens = backbone(pictures)
    assert tokens.shape == (2, count, dim)
    # The same, the plain way: by the processor and the family's own class.
    processor = hf.AutoImageProcessor.from_pretrained(saved(name))
    whole = kind.from_pretrained(saved(name)).eval()
    pixel_values = processor(list(pictures.numpy()), return_tensors="pt")["pixel_values"]
    if name == "mobilevit":  # it enlarges to 40 px before it takes the middle; a face fills a crop
        pixel_values = (pictures.permute(0, 3, 1, 2) / 255).flip(1)
    how = {}
    if name == "mae":
        whole, how = whole.vit, {"noise": torch.arange(16.0).expand(2, -1)}
        whole.embeddings.config.mask_ratio = 0.0
    whole = whole.vision_model if name == "clip" else whole
    with torch.no_grad():
        hidden = whole(pixel_values, **how).last_hidden_state
    hidden = hidden.flatten(2).mT if special is None else hidden[:, special:]
    torch.testing.assert_close(tokens, hidden, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_training_reaches_the_encoder_and_the_model_loads_again(name, saved, tmp_path):
    backbone = load(saved(name), pool=1)
    options = ModelOptions(
        modalities=["face"], hidden_size=16, num_heads=2, feed_forward=32, num_queries=4,
        num_layers=1, num_select=2, linear_path=False,
    )  # fmt: skip
    config = NetworkConfig(
        options,
        num_instances=3,
        num_tokens=backbone.tokens,
        token_dim=backbone.dim,
        backbone_config=backbone.model.config.to_dict(),
    )
    torch.manual_seed(0)
    network = MilmerNetwork(config)
    network.backbone.swin.load_state_dict(backbone.model.state_dict())
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    x = torch.rand(2, 3, 3, 32, 32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = torch.nn.functional.cross_entropy(
        network.train()(pixel_values=x).logits, torch.tensor([0, 2])
    )
    loss.backward()
    optimizer.step()
    after = network.backbone.state_dict()
    for key in before:
        if "running" in key or "batches_tracked" in key:
            assert torch.equal(before[key], after[key])
    parameters = list(network.backbone.parameters())
    assert sum(p.grad is not None and bool(p.grad.any()) for p in parameters) > len(parameters) / 2
    save_trained(network, tmp_path)
    backbone.processor.save_pretrained(tmp_path)
    network.eval()
    with torch.no_grad():
        expected = network(pixel_values=x).logits
        assert torch.equal(load_trained(tmp_path)(pixel_values=x).logits, expected)
    assert taken_pictures(config, backbone.processor) == backbone.format


def test_pooling_averages_the_parts_of_the_grid_where_they_are(saved):
    backbone, pooled = load(saved("convnext")), load(saved("convnext"), pool=1)
    pictures = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    tokens = backbone(pictures)
    torch.testing.assert_close(pooled(pictures), tokens.mean(1, keepdim=True))
    grid = tokens.mT.unflatten(2, (4, 4))
    for side in (2, 3):  # 3 of 4: neighbouring parts share a row, as in adaptive pooling
        expected = torch.nn.functional.adaptive_avg_pool2d(grid, side).flatten(2).mT
        ours = picture_tokens(backbone.model, backbone.prepare(pictures), side**2)
        torch.testing.assert_close(ours, expected)


def test_the_tokens_stage_pools_the_grid_and_says_where_it_cannot(twin_results, saved, tmp_path):
    faces = twin_results / "faces/default/s01.h5"
    stage = TokensOptions(backbone={"name": str(saved("registers")), "pool": 4, "threads": 1})
    make_tokens(faces, stage, tmp_path / "t.h5")
    with storage.open_h5(tmp_path / "t.h5", "tokens") as file:
        assert file["tokens"].shape[1:] == (16, 16)
        assert np.isfinite(file["tokens"][()]).all()
    assert storage.read_provenance(tmp_path / "t.h5")["options"]["backbone"]["pool"] == 4
    with pytest.raises(MilmerError, match=r"backbone.pool: 7 x 7 parts of 16 patches; lower it"):
        make_tokens(faces, stage.updated({"backbone": {"pool": "7"}}), tmp_path / "u.h5")
    assert not (tmp_path / "u.h5").exists()


def test_numbers_that_float16_does_not_hold_are_refused(twin_results, saved, tmp_path):
    network, _ = read_backbone(EncoderOptions(name=str(saved("resnet"))))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("normalization.weight"):
                parameter.mul_(1e3)
    network.save_pretrained(tmp_path / "loud")
    hf.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "loud")
    stage = TokensOptions(backbone={"name": str(tmp_path / "loud"), "threads": 1})
    with pytest.raises(MilmerError, match=r"backbone.name: gives numbers beyond those of float16"):
        make_tokens(twin_results / "faces/default/s01.h5", stage, tmp_path / "t.h5")
    assert not (tmp_path / "t.h5").exists()


def test_what_gives_no_tokens_of_a_picture_is_one_line(tmp_path):
    config = hf.Siglip2VisionConfig(num_patches=16, **{k: VIT[k] for k in VIT if "image" not in k})
    hf.Siglip2VisionModel(config).save_pretrained(tmp_path)
    hf.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(MilmerError) as error:
        load(tmp_path)
    text = str(error.value)
    assert text.startswith("backbone.name: an encoder of type siglip2_vision_model gives no tokens")
    assert text.endswith("give one with patch tokens or a feature map")


def test_a_backbone_that_names_another_on_the_hub_is_refused(tmp_path, saved):
    config = json.loads((saved("convnext") / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"model_type": "detr", "backbone": "somebody/resnet"})
    )
    with pytest.raises(MilmerError, match=r"backbone asks for code or files from elsewhere"):
        load(tmp_path)


def test_an_encoder_is_built_without_a_layer_for_the_whole_picture_where_it_has_one():
    for name in ("vit", "dinov2", "clip"):
        encoder = build_encoder(encoder_config(FAMILIES[name][1]))
        assert not any("pooler" in key for key in encoder.state_dict())


@pytest.mark.parametrize("name", ["swinv2", "vit", "clip", "resnet"])
def test_an_encoder_that_cannot_be_pre_trained_is_one_line(name, saved):
    encoder, _ = read_backbone(EncoderOptions(name=str(saved(name))))
    if name in ("swinv2", "vit"):
        model = _classifier(encoder, ["joy", "rage"], 0)
        state = model.base_model.state_dict()
        assert all(torch.equal(state[k], v) for k, v in encoder.state_dict().items())
        assert model(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 2)
        return
    with pytest.raises(MilmerError, match=r"backbone.name: an encoder of type .* cannot be pre-tr"):
        _classifier(encoder, ["joy", "rage"], 0)
