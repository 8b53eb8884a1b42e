"""The section ``model``: what the Milmer model is made of."""

from typing import Literal

from pydantic import Field, model_validator

from milmer.options import Options

Modality = Literal["eeg", "face"]


class ModelOptions(Options):
    """What the Milmer model is made of."""

    modalities: list[Modality] = Field(
        ["eeg", "face"], min_length=1, description="[eeg, face], or either of them alone."
    )
    selection: Literal[
        "none",
        "softmax",
        "amil",
        "attention_topk",
        "attention_weighted_topk",
        "all",
        "random",
        "evenly_spaced",
    ] = Field(
        "attention_weighted_topk",
        description="How instances are selected; the last three are controls that learn nothing.",
    )
    scorer: Literal["gated", "low_rank", "published"] = Field(
        "gated", description="Network that scores an instance; `published` has 1,416 M parameters."
    )
    selection_gradient: Literal["subset", "unit_gain", "none"] = Field(
        "subset", description="How the scorer learns; with `none`, as published, it does not."
    )
    num_instances: int | None = Field(
        None,
        ge=1,
        description="Instances per bag, evenly spaced among the cached faces.instances; null uses "
        "all.",
    )
    instance_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Probability that a training step of `subset` leaves out a selected instance, "
        "so that the scorer learns what each of them is worth.",
    )
    num_select: int = Field(3, ge=1, description="Number K of instances selected from a bag.")
    fusion: Literal["cross_attention", "mlp", "none"] = Field(
        "cross_attention", description="How the selected instances become visual tokens."
    )
    num_queries: int = Field(147, ge=1, description="Learned queries of `cross_attention`.")
    eeg_encoder: Literal["log_power", "published"] = Field(
        "log_power",
        description="`log_power` in learned frequency bands, or `published`, which does not see "
        "amplitudes.",
    )
    eeg_dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the time that a training step of `log_power` ignores.",
    )
    linear_path: bool = Field(
        True,
        description="Begin with shrinkage LDA of the EEG's log power and the faces' mean token, "
        "which stays part of the model; false, as published, does without.",
    )
    channel_embeddings: bool = Field(
        True, description="Mark each EEG token with its channel; false, as published, does not."
    )
    train_cls: bool = Field(
        True,
        description="Train the CLS token; false keeps it at zero, as the published code does on a "
        "GPU.",
    )
    hidden_size: int = Field(768, ge=8, description="Width of the fusion transformer.")
    num_heads: int = Field(12, ge=1, description="Attention heads; must divide hidden_size.")
    num_layers: int = Field(2, ge=1, description="Layers of the fusion transformer.")
    feed_forward: int = Field(2048, ge=8, description="Width of a layer's feed-forward network.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout in attention and layers.")
    head_dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")

    @model_validator(mode="after")
    def _consistent(self) -> "ModelOptions":
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: must divide hidden_size, which is {self.hidden_size}")
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError("modalities: each may be listed only once")
        return self
