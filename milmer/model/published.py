"""Checkpoints of the authors' code: their weights under our names, giving the same logits."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PretrainedConfig,
    SwinConfig,
    ViTImageProcessorPil,
)

from milmer import folders
from milmer.backbone.loading import encoder_with
from milmer.backbone.model_folder import MOST, loading_errors, require_config
from milmer.data.labels import QUADRANTS
from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.model.state_dicts import read_state_dict

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
_BLOCK = re.compile(r"encoder\.layers\.(\d)\.blocks\.(\d+)\.")
_BIAS = "encoder.layers.{}.blocks.0.attention.self.relative_position_bias_table"
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_FUSION_NAMES = {"mlp": {"mlp_up": "visual.mlp.up", "mlp_down": "visual.mlp.down"}}
_OF_FUSION = {"cross_attention": "query_tokens", "mlp": "mlp_up.weight"}  # saved with it alone
_FAMILIES = ("swin", "swinv2")
_MOST_LAYERS = 100  # of a transformer; theirs has 2, a large Swin 24
_FIRST_RELEASE = "attention_V.weight"  # the scorer's name in January 2025
_AS_TRAINED = "give selection, fusion and num_heads as it was trained with"
_THEIR_TRAINING = "give a state_dict that their training saved"
_SAME_SHAPE = "give --backbone, a model of the same shape"


def from_state_dict(
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
    zero. By default the model takes face tokens and ignores ``swin_model.*``; with
    ``backbone_config``, see :func:`backbone_config_of`, that becomes the model's backbone, and the
    model takes pictures too. Raises :class:`MilmerError` if a tensor is missing or does not fit,
    and for the first release (January 2025), which never looks at the EEG.
    """
    state = {k.removeprefix("module."): v for k, v in state_dict.items()}
    _require_usable(state)
    try:
        width, samples = _shape(state, "eeg_proj.weight", 2)
        layers = {k.split(".")[2] for k in state if k.startswith("transformer_encoder.layers.")}
        _require_few(len(layers), "layers")
        tokens = _shape(state, "topk_weight_proj.weight", 2)[1] // width
        queries = {}
        if "query_tokens" in state:
            queries["num_queries"] = _shape(state, "query_tokens", 3)[1]
        classes = _shape(state, "classifier.weight", 2)[0]
        config = MilmerConfig(
            options={
                "selection": selection,
                "fusion": fusion,
                "num_select": num_select,
                "num_heads": num_heads,
                "scorer": "published",
                "selection_gradient": "none",
                "eeg_encoder": "published",
                "linear_path": False,
                "channel_embeddings": False,
                "train_cls": False,
                "hidden_size": width,
                "num_layers": len(layers),
                "feed_forward": _shape(state, "transformer_encoder.layers.0.linear1.weight", 2)[0],
                "dropout": dropout,
                **queries,
            },
            num_samples=samples,
            num_instances=_shape(state, "instance_weights", 2)[1],
            num_tokens=tokens,
            token_dim=width,
            **_class_names(classes),
            backbone_config=backbone_config.to_dict() if backbone_config else None,
        )
        _require_fusion(state, selection, fusion)
        ours = _renamed(state, selection, fusion, width, num_select)
    except KeyError as error:
        raise MilmerError(
            f"no tensor {error}, so it is not one of the authors' code",
            where="checkpoint",
            remedy=_THEIR_TRAINING,
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or "options"
        raise MilmerError(
            first["msg"], where=f"checkpoint: {option}", remedy=_AS_TRAINED
        ) from error
    with torch.device("meta"):  # do not draw random values for the scorer's 1,416 M parameters
        model = MilmerForEmotionClassification(config)
    for name, value in model.named_parameters():  # before memory of these sizes is asked for
        fits = name == "cls" or name.startswith("backbone.") or name in ours
        if not fits or (name in ours and ours[name].shape != value.shape):
            raise MilmerError(
                f"does not fit {selection} and {fusion}: no fitting tensor for {name}",
                where="checkpoint",
                remedy=_AS_TRAINED,
            )
    if model.backbone is not None:
        needed = sum(parameter.numel() for parameter in model.backbone.parameters())
        if needed > (count := sum(value.numel() for value in _backbone_state(state).values())):
            raise MilmerError(
                f"its backbone has no fitting tensors: {count:,} weights of {needed:,}",
                where="checkpoint",
                remedy=_SAME_SHAPE,
            )
    model.to_empty(device="cpu")
    ours.setdefault("cls", torch.zeros_like(model.cls))
    if backbone_config is not None and model.backbone is not None:
        model.backbone.swin = _backbone(state, backbone_config)
        ours |= {f"backbone.swin.{k}": v for k, v in model.backbone.swin.state_dict().items()}
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:40])
        raise MilmerError(
            f"does not fit {selection} and {fusion}: {reason}",
            where="checkpoint",
            remedy=_AS_TRAINED,
        ) from error
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

    The backbone is included if the checkpoint holds one; ``backbone`` names a model of the same
    shape, which the tensors of a SwinV2 do not tell. No code in the file is run. Raises
    :class:`MilmerError` if the file is not such a checkpoint or the options do not fit.
    """
    inputs = [checkpoint, *map(Path, filter(None, [backbone]))]
    folders.require_replaceable(out, "convert", inputs)
    state = read_state_dict(checkpoint)
    has_backbone = any(_backbone_key(key) for key in state)
    backbone_config = backbone_config_of(state, backbone) if has_backbone else None
    model = from_state_dict(
        state,
        selection=selection,
        fusion=fusion,
        num_select=num_select,
        num_heads=num_heads,
        backbone_config=backbone_config,
    )
    with folders.replacing_folder(out, "convert") as folder:
        model.save_pretrained(folder)
        if backbone_config is not None:
            size = {"height": backbone_config.image_size, "width": backbone_config.image_size}
            ViTImageProcessorPil(
                size=size, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
            ).save_pretrained(folder)


def backbone_config_of(
    state_dict: Mapping[str, Tensor], name: str | None = None
) -> PretrainedConfig:
    """The configuration of the backbone ``swin_model.*``: that of ``name``, or read off a Swin.

    Raises :class:`MilmerError` if ``name`` cannot be loaded, or the tensors do not tell it.
    """
    if name is not None:
        remedy = "give a directory in Hugging Face format, or a name on the hub while online"
        with loading_errors(f"{name} cannot be loaded", "--backbone", remedy):
            if Path(name).is_dir():
                require_config(Path(name), _FAMILIES)
            return AutoConfig.from_pretrained(name, trust_remote_code=False)
    swin = _backbone_state(state_dict)
    if any("logit_scale" in key for key in swin):
        raise MilmerError(
            "its backbone is a SwinV2, whose window no tensor tells",
            where="checkpoint",
            remedy=f"{_SAME_SHAPE} such as microsoft/swinv2-tiny-patch4-window8-256",
        )
    try:
        width, _, _, patch = _shape(swin, "embeddings.patch_embeddings.projection.weight", 4)
        blocks = {match.groups() for key in swin if (match := _BLOCK.match(key))}
        _require_few(len(blocks), "blocks of its backbone")
        depths = Counter(stage for stage, _ in blocks)
        tables = [_shape(swin, _BIAS.format(stage), 2) for stage in sorted(depths)]
        window = (math.isqrt(tables[0][0]) + 1) // 2
    except (KeyError, IndexError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else "encoder.layers.0.blocks.0"
        raise MilmerError(
            f"no tensor swin_model.{missing}", where="checkpoint", remedy=_SAME_SHAPE
        ) from error
    # In the checkpoints that the authors begin from, the last stage is one window wide.
    sizes = {"image_size": window * patch * 2 ** (len(depths) - 1), "window_size": window}
    for name, most in MOST.items():
        if sizes[name] > most:
            problem = f"its backbone has the {name} {shortened(sizes[name])}; at most {most}"
            raise MilmerError(problem, where="checkpoint", remedy=_SAME_SHAPE)
    return SwinConfig(
        **sizes,
        patch_size=patch,
        embed_dim=width,
        depths=[depths[stage] for stage in sorted(depths)],
        num_heads=[table[1] for table in tables],
    )


def _backbone_key(key: str) -> str | None:
    """The name of a tensor within the backbone; None if it is not the backbone's."""
    _, separator, name = key.partition("swin_model.")
    return name if separator else None


def _backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for key, value in state.items() if (name := _backbone_key(key))}


def _backbone(state: Mapping[str, Tensor], config: PretrainedConfig) -> nn.Module:
    """The backbone in a checkpoint, of whatever version of transformers."""
    with loading_errors("its backbone cannot be loaded", "checkpoint", _SAME_SHAPE):
        model, info = encoder_with(config, _backbone_state(state))
    wrong = sorted(map(str, info["missing_keys"]))
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise MilmerError(
            f"its backbone has no fitting {wrong[0]}{more}",
            where="checkpoint",
            remedy=_SAME_SHAPE,
        )
    return model


def _require_usable(state: Mapping[str, Tensor]) -> None:
    """Refuse the first release, and values that are not finite numbers."""
    if _FIRST_RELEASE in state:
        raise MilmerError(
            "saved by the first release of January 2025, which classifies an image token: it never "
            "looks at the EEG",
            where="checkpoint",
            remedy="train with a later release of the authors' code",
        )
    for name, value in state.items():
        if value.is_complex() or (
            value.is_floating_point()
            and value.numel()
            and not torch.stack(value.aminmax()).isfinite().all()  # of a NaN both are NaN
        ):
            raise MilmerError(
                f"{name} holds values that are not finite numbers",
                where="checkpoint",
                remedy=_THEIR_TRAINING,
            )


def _require_fusion(state: Mapping[str, Tensor], selection: str, fusion: str) -> None:
    """Refuse another fusion than that whose tensors a checkpoint holds: it holds no other's."""
    trained = [name for name, key in _OF_FUSION.items() if key in state] or ["none"]
    if fusion not in trained and len(trained) == 1:
        raise MilmerError(
            f"does not fit {selection} and {fusion}: its fusion is {trained[0]}",
            where="checkpoint",
            remedy=f"give --fusion {trained[0]}",
        )


def _require_few(count: int, what: str) -> None:
    if count > _MOST_LAYERS:
        raise MilmerError(
            f"{count:,} {what}, so it is not one of the authors' code",
            where="checkpoint",
            remedy=_THEIR_TRAINING,
        )


def _shape(state: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    shape = tuple(state[name].shape)
    if len(shape) != axes or 0 in shape:
        raise MilmerError(
            f"{name} has the shape {list(shape)}, so it is not one of the authors' code",
            where="checkpoint",
            remedy=_THEIR_TRAINING,
        )
    return shape


def _class_names(classes: int) -> dict[str, Any]:
    """The authors' names of four classes; of another number nothing is known."""
    if classes != len(QUADRANTS):
        return {"num_labels": classes}
    return {
        "id2label": dict(enumerate(QUADRANTS)),
        "label2id": {name: i for i, name in enumerate(QUADRANTS)},
    }


def _ranked_as_topk(weights: Tensor, num_select: int) -> Tensor:
    """``weights`` (1, instance), of which the ``num_select`` largest are those of `torch.topk`.

    Untrained weights are equal, and `torch.topk` then chooses in an order of its own, while ours
    takes the first. Those that it chooses are raised by as little as float32 can tell apart.
    """
    num_select = min(num_select, weights.shape[1])
    chosen = weights.softmax(dim=1).topk(num_select, dim=1).indices[0].tolist()
    ranked = weights.float().clone()
    floor = ranked.index_fill(1, torch.tensor(chosen), -torch.inf).max()  # of those not chosen
    for i in reversed(chosen):
        above = torch.nextafter(floor, torch.tensor(torch.inf))
        ranked[0, i] = floor = torch.maximum(ranked[0, i], above)
    return ranked


def _renamed(
    state: Mapping[str, Tensor], selection: str, fusion: str, width: int, num_select: int
) -> dict[str, Tensor]:
    """The checkpoint's tensors of this selection and fusion, under our names."""
    names = _NAMES | _SELECTION_NAMES.get(selection, {}) | _FUSION_NAMES.get(fusion, {})
    ours = {}
    for key, value in state.items():
        for old, new in names.items():
            if key.startswith(old + "."):
                ours[new + key.removeprefix(old)] = value
    if "cls_token" in state:
        ours["cls"] = state["cls_token"]
    if selection == "softmax":
        ours["visual.score.weight"] = _ranked_as_topk(state["instance_weights"], num_select)
    if fusion == "cross_attention":
        ours["visual.attend.queries"] = state["query_tokens"]
        for kind in ("weight", "bias"):
            whole = state[f"cross_attention.in_proj_{kind}"]
            for i, name in enumerate(("query", "key", "value")):
                ours[f"visual.attend.{name}.{kind}"] = whole[i * width : (i + 1) * width]
            ours[f"visual.attend.out.{kind}"] = state[f"cross_attention.out_proj.{kind}"]
    return ours
