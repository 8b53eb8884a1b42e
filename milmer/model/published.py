"""Checkpoints of the authors' code: their weights under our names, giving the same logits."""

import io
import math
import os
import pickle
import pickletools
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

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

from milmer import folders, storage
from milmer.backbone.loading import FAMILIES
from milmer.backbone.model_folder import loading_errors, require_config
from milmer.errors import MilmerError
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification

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
_AS_TRAINED = "give selection, fusion and num_heads as it was trained with"
_ALLOWED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch \w+Storage"
)
_SAME_SHAPE = "give --backbone, a model of the same shape"
_SAVE_STATE_DICT = "save the model's state_dict() with torch.save"


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
    model takes pictures too. Raises :class:`MilmerError` if a tensor is missing or does not fit.
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
        raise MilmerError(
            f"no tensor {error}, so it is not one of the authors' code",
            where="checkpoint",
            remedy="give a state_dict that their training saved",
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
    state = _tensors(checkpoint)
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
                require_config(Path(name), FAMILIES)
            return AutoConfig.from_pretrained(name, trust_remote_code=False)
    swin = _backbone_state(state_dict)
    if any("logit_scale" in key for key in swin):
        raise MilmerError(
            "its backbone is a SwinV2, whose window no tensor tells",
            where="checkpoint",
            remedy=f"{_SAME_SHAPE} such as microsoft/swinv2-tiny-patch4-window8-256",
        )
    try:
        embedding = swin["embeddings.patch_embeddings.projection.weight"]
        blocks = {tuple(key.split(".")[2:5:2]) for key in swin if ".blocks." in key}
        depths = Counter(int(stage) for stage, _ in blocks)
        tables = [swin[_BIAS.format(stage)] for stage in sorted(depths)]
    except KeyError as error:
        raise MilmerError(
            f"no tensor swin_model.{error.args[0]}", where="checkpoint", remedy=_SAME_SHAPE
        ) from error
    window = (math.isqrt(tables[0].shape[0]) + 1) // 2
    patch = embedding.shape[-1]
    return SwinConfig(
        # In the checkpoints that the authors begin from, the last stage is one window wide.
        image_size=window * patch * 2 ** (len(depths) - 1),
        patch_size=patch,
        embed_dim=embedding.shape[0],
        depths=[depths[stage] for stage in sorted(depths)],
        num_heads=[table.shape[1] for table in tables],
        window_size=window,
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, on the CPU."""
    with storage.read_errors(path):
        try:
            _require_tensors_only(path)
            state = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except OSError:
            raise
        except Exception as error:  # of any type: what the file asks for reaches far into torch
            reason = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
            raise MilmerError(
                f"holds more than tensors, or is no checkpoint ({reason})",
                where=path,
                remedy=_SAVE_STATE_DICT,
            ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise MilmerError(
            "is not a state_dict, a tensor by name", where=path, remedy=_SAVE_STATE_DICT
        )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > 2 * path.stat().st_size:  # twice: tensors may share their values
        raise MilmerError(
            f"its tensors claim {claimed:,} bytes, more than the file holds",
            where=path,
            remedy=_SAVE_STATE_DICT,
        )
    return dict(state)


def _require_tensors_only(path: Path) -> None:
    """Refuse a checkpoint that asks for anything but tensors, or is larger inside than outside.

    PyTorch's allow-list keeps code out; some of what it allows takes memory without limit.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
                sum(entry.file_size for entry in entries) > path.stat().st_size
            ):
                raise pickle.UnpicklingError("it is compressed")
            pickles = [e for e in entries if os.path.basename(e.filename) == "data.pkl"]
            for entry in pickles:
                _require_names(io.BytesIO(archive.read(entry)))
    else:
        with open(path, "rb") as file:
            for _ in range(5):  # PyTorch's number, version, machine, content, and storages
                _require_names(file)


def _require_names(file: BinaryIO) -> None:
    for opcode, name, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and not _ALLOWED.fullmatch(str(name)):
            raise pickle.UnpicklingError(f"it names {name}")


def _backbone_key(key: str) -> str | None:
    """The name of a tensor within the backbone; None if it is not the backbone's."""
    _, separator, name = key.partition("swin_model.")
    return name if separator else None


def _backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for key, value in state.items() if (name := _backbone_key(key))}


def _backbone(state: Mapping[str, Tensor], config: PretrainedConfig) -> PreTrainedModel:
    """The backbone in a checkpoint, loaded by transformers itself, which renames old tensors."""
    with tempfile.TemporaryDirectory() as folder:
        tensors = {k: v.contiguous() for k, v in _backbone_state(state).items()}
        save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        config.save_pretrained(folder)
        model, info = AutoModel.from_pretrained(
            folder,
            add_pooling_layer=False,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    wrong = sorted([*info["missing_keys"], *(str(k[0]) for k in info["mismatched_keys"])])
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise MilmerError(
            f"its backbone has no fitting {wrong[0]}{more}",
            where="checkpoint",
            remedy=_SAME_SHAPE,
        )
    return model


def _renamed(
    state: Mapping[str, Tensor], selection: str, fusion: str, width: int
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
        ours["visual.score.weight"] = state["instance_weights"]
    if fusion == "cross_attention":
        ours["visual.attend.queries"] = state["query_tokens"]
        for kind in ("weight", "bias"):
            whole = state[f"cross_attention.in_proj_{kind}"]
            for i, name in enumerate(("query", "key", "value")):
                ours[f"visual.attend.{name}.{kind}"] = whole[i * width : (i + 1) * width]
            ours[f"visual.attend.out.{kind}"] = state[f"cross_attention.out_proj.{kind}"]
    return ours
