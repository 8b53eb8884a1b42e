"""Checkpoints of the authors' code: their weights under our names, with the same logits."""

import math
import pickle
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    SwinConfig,
    ViTImageProcessorPil,
)

from milmer import storage
from milmer.errors import MilmerError
from milmer.model.configuration import MilmerConfig
from milmer.model.modeling import MilmerForEmotionClassification

_NAMES = {
    "token_type_embeddings": "token_type",
    "transformer_encoder": "encoder",
    "eeg_proj": "eeg.project",
    "layernorm": "eeg.norm",
    "classifier": "classifier",
}
_SELECTION_NAMES = {
    "amil": {
        "amil_value_proj": "visual.pooling.value",
        "amil_weight_proj": "visual.pooling.score",
    },
    "attention_topk": {
        "topk_value_proj": "visual.score.scorer.value",
        "topk_weight_proj": "visual.score.scorer.score",
        "topk_dimension_recover": "visual.score.recover",
    },
    "attention_weighted_topk": {
        "topk_value_proj": "visual.score.scorer.value",
        "topk_weight_proj": "visual.score.scorer.score",
    },
}
_BIAS = "encoder.layers.{}.blocks.0.attention.self.relative_position_bias_table"
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_FUSION_NAMES = {"mlp": {"mlp_up": "visual.mlp.up", "mlp_down": "visual.mlp.down"}}


def load(
    state_dict: Mapping[str, Tensor],
    *,
    selection: str,
    fusion: str,
    num_select: int = 3,
    num_heads: int = 12,
    dropout: float = 0.2,
    backbone_config: PretrainedConfig | None = None,
) -> MilmerForEmotionClassification:
    """A model with the weights of a checkpoint of the authors' code, in evaluation mode.

    Sizes are read off the tensors. A missing ``cls_token`` (training on a GPU leaves it out) is
    zero. The model takes face tokens and ``swin_model.*`` is left out; with ``backbone_config``,
    see :func:`backbone_config_of`, it becomes the model's backbone and pictures are taken too.
    Raises :class:`MilmerError` where a tensor is missing or does not fit.
    """
    state = {k.removeprefix("module."): v for k, v in state_dict.items()}
    try:
        width, samples = state["eeg_proj.weight"].shape
        layers = {k.split(".")[2] for k in state if k.startswith("transformer_encoder.layers.")}
        tokens = state["topk_weight_proj.weight"].shape[1] // width
        config = MilmerConfig(
            options={
                "selection": selection,
                "fusion": fusion,
                "num_select": num_select,
                "num_heads": num_heads,
                "scorer": "published",
                "selection_gradient": "none",
                "eeg_encoder": "published",
                "channel_embeddings": False,
                "train_cls": False,
                "hidden_size": width,
                "num_layers": len(layers),
                "feed_forward": state["transformer_encoder.layers.0.linear1.weight"].shape[0],
                "num_queries": state["query_tokens"].shape[1],
                "dropout": dropout,
            },
            num_samples=samples,
            num_instances=state["instance_weights"].shape[1],
            num_tokens=tokens,
            token_dim=width,
            num_labels=state["classifier.weight"].shape[0],
            backbone_config=backbone_config.to_dict() if backbone_config else None,
        )
        ours = _renamed(state, selection, fusion, width)
    except KeyError as error:
        raise MilmerError(f"checkpoint: no tensor {error}; not one of the authors' code") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "options"
        raise MilmerError(f"checkpoint: {where}: {first['msg']}") from error
    with torch.device("meta"):  # the scorer's 1,416 M parameters need no random values first
        model = MilmerForEmotionClassification(config)
    model.to_empty(device="cpu")
    ours.setdefault("cls", torch.zeros_like(model.cls))
    if backbone_config is not None and model.backbone is not None:
        model.backbone.swin = _backbone(state, backbone_config)
        ours |= {f"backbone.swin.{k}": v for k, v in model.backbone.swin.state_dict().items()}
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:40])
        raise MilmerError(f"checkpoint: does not fit {selection} and {fusion}: {reason}") from error
    return model.eval()


def convert(
    checkpoint: Path,
    out: Path,
    *,
    selection: str,
    fusion: str,
    num_select: int = 3,
    num_heads: int = 12,
    backbone: str | None = None,
) -> None:
    """Write a checkpoint file of the authors' code as a model folder in Hugging Face format.

    Its backbone comes along where the checkpoint holds one; ``backbone`` names a model of the same
    shape, which a SwinV2's tensors do not tell. Nothing in the file is run.
    """
    storage.require_replaceable(out)
    state = _tensors(checkpoint)
    held = any(_backbone_key(key) for key in state)
    known = backbone_config_of(state, backbone) if held else None
    model = load(
        state,
        selection=selection,
        fusion=fusion,
        num_select=num_select,
        num_heads=num_heads,
        backbone_config=known,
    )
    with storage.replacing_folder(out) as folder:
        model.save_pretrained(folder)
        if known is not None:
            size = {"height": known.image_size, "width": known.image_size}
            ViTImageProcessorPil(
                size=size, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
            ).save_pretrained(folder)


def backbone_config_of(
    state_dict: Mapping[str, Tensor], name: str | None = None
) -> PretrainedConfig:
    """The configuration of the backbone ``swin_model.*``: that of ``name``, or read off a Swin."""
    if name is not None:
        try:
            return AutoConfig.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise MilmerError(f"--backbone: {name} cannot be loaded ({reason})") from error
    swin = _backbone_state(state_dict)
    if any("logit_scale" in key for key in swin):
        raise MilmerError(
            "checkpoint: its backbone is a SwinV2, whose window no tensor tells; give --backbone, "
            "a model of the same shape such as microsoft/swinv2-tiny-patch4-window8-256"
        )
    try:
        embedding = swin["embeddings.patch_embeddings.projection.weight"]
        blocks = {tuple(key.split(".")[2:5:2]) for key in swin if ".blocks." in key}
        depths = Counter(int(stage) for stage, _ in blocks)
        tables = [swin[_BIAS.format(stage)] for stage in sorted(depths)]
    except KeyError as error:
        raise MilmerError(f"checkpoint: no tensor swin_model.{error.args[0]}") from error
    window = (math.isqrt(tables[0].shape[0]) + 1) // 2
    patch = embedding.shape[-1]
    return SwinConfig(
        # The last stage is one window wide in the checkpoints that the authors begin from.
        image_size=window * patch * 2 ** (len(depths) - 1),
        patch_size=patch,
        embed_dim=embedding.shape[0],
        depths=[depths[stage] for stage in sorted(depths)],
        num_heads=[table.shape[1] for table in tables],
        window_size=window,
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, on the CPU."""
    with storage.readable(path):
        try:
            held = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            reason = str(error).split(". ")[0].splitlines()[0]
            raise MilmerError(
                f"{path}: holds more than tensors, or is no checkpoint ({reason}); save the "
                "model's state_dict() with torch.save"
            ) from error
    for wrapping in ("state_dict", "model_state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(wrapping), Mapping):
            held = held[wrapping]
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise MilmerError(f"{path}: is not a state_dict, names with a tensor each")
    return dict(held)


def _backbone_key(key: str) -> str | None:
    _, found, rest = key.partition("swin_model.")
    return rest if found else None


def _backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {rest: value for key, value in state.items() if (rest := _backbone_key(key))}


def _backbone(state: Mapping[str, Tensor], config: PretrainedConfig) -> PreTrainedModel:
    """The backbone in a checkpoint, through transformers' own loading: it renames old tensors."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = {k: v.contiguous() for k, v in _backbone_state(state).items()}
        save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        config.save_pretrained(folder)
        model, info = AutoModel.from_pretrained(
            folder, add_pooling_layer=False, output_loading_info=True
        )
    wrong = sorted([*info["missing_keys"], *(str(k[0]) for k in info["mismatched_keys"])])
    if wrong:
        raise MilmerError(
            f"checkpoint: its backbone has no fitting {wrong[0]}, nor {len(wrong) - 1} more; give "
            "--backbone, a model of the same shape"
        )
    return model


def _renamed(
    state: Mapping[str, Tensor], selection: str, fusion: str, width: int
) -> dict[str, Tensor]:
    names = _NAMES | _SELECTION_NAMES.get(selection, {}) | _FUSION_NAMES.get(fusion, {})
    ours = {}
    for key, value in state.items():
        for old, new in names.items():
            if key.startswith(old + "."):
                ours[new + key.removeprefix(old)] = value
    if "cls_token" in state:
        ours["cls"] = state["cls_token"]
    if selection == "softmax":
        ours["visual.score.weight"] = state["instance_weights"]
    if fusion == "cross_attention":
        ours["visual.attend.queries"] = state["query_tokens"]
        for kind in ("weight", "bias"):
            whole = state[f"cross_attention.in_proj_{kind}"]
            for i, name in enumerate(("query", "key", "value")):
                ours[f"visual.attend.{name}.{kind}"] = whole[i * width : (i + 1) * width]
            ours[f"visual.attend.out.{kind}"] = state[f"cross_attention.out_proj.{kind}"]
    return ours
