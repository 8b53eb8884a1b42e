"""Checkpoints of the authors' code: their weights under our names, with the same logits."""

from collections.abc import Mapping

import torch
from torch import Tensor

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
_FUSION_NAMES = {"mlp": {"mlp_up": "visual.mlp.up", "mlp_down": "visual.mlp.down"}}


def load(
    state_dict: Mapping[str, Tensor],
    *,
    selection: str,
    fusion: str,
    num_select: int = 3,
    num_heads: int = 12,
    dropout: float = 0.2,
) -> MilmerForEmotionClassification:
    """A model with the weights of a checkpoint of the authors' code, in evaluation mode.

    Sizes are read off the tensors. ``swin_model.*`` is left out, since the model takes face
    tokens; a missing ``cls_token`` (training on a GPU leaves it out) is zero.
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
        )
        ours = _renamed(state, selection, fusion, width)
    except KeyError as error:
        raise MilmerError(f"checkpoint: no tensor {error}; not one of the authors' code") from error
    model = MilmerForEmotionClassification(config)
    ours.setdefault("cls", torch.zeros_like(model.cls))
    model.load_state_dict(ours)
    return model.eval()


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
