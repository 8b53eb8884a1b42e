"""The network as one of Hugging Face's models: same tensors, same ``config.json``, same logits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from milmer.model.configuration import (
    AUTO_MAP,
    CODE,
    CODE_FILE,
    OPTIONS_VERSION,
    QUADRANTS,
    NetworkConfig,
    read_options,
    without_path,
)
from milmer.model.network import MilmerNetwork
from milmer.model.options import ModelOptions


class MilmerConfig(PretrainedConfig):
    """Everything that :class:`MilmerForEmotionClassification` is built from.

    ``options`` are the section ``model`` as plain values; all else is as in
    :class:`~milmer.model.configuration.NetworkConfig`.
    """

    model_type = "milmer"

    def __init__(
        self,
        options: dict | None = None,
        num_channels: int = 32,
        num_samples: int = 384,
        sfreq: float = 128.0,
        num_instances: int = 10,
        num_tokens: int = 49,
        token_dim: int = 768,
        backbone_config: dict | None = None,
        options_version: int = OPTIONS_VERSION,
        **kwargs,
    ):
        self.options = read_options(options, options_version).model_dump(mode="json")
        self.options_version = OPTIONS_VERSION
        self.num_channels = num_channels
        self.num_samples = num_samples
        self.sfreq = sfreq
        self.num_instances = num_instances
        self.num_tokens = num_tokens
        self.token_dim = token_dim
        self.backbone_config = without_path(backbone_config)
        if "id2label" not in kwargs:
            kwargs.setdefault("num_labels", len(QUADRANTS))
        super().__init__(**kwargs)
        self.auto_map = dict(AUTO_MAP)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As the base class does, with the file that ``auto_map`` names beside it."""
        super().save_pretrained(save_directory, *args, **kwargs)
        Path(save_directory, CODE_FILE).write_text(CODE, encoding="utf-8")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As the base class does; a folder that says no version of its options has the oldest."""
        return super().from_dict({"options_version": 0} | config_dict, **kwargs)

    @property
    def model(self) -> ModelOptions:
        """The section ``model``, validated."""
        return ModelOptions.model_validate(self.options)

    @property
    def hidden_size(self) -> int:
        """Width of the transformer; this and the next two as other models of Hugging Face."""
        return self.model.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the transformer."""
        return self.model.num_layers

    @property
    def num_attention_heads(self) -> int:
        """Its attention heads."""
        return self.model.num_heads

    @property
    def network(self) -> NetworkConfig:
        """The same for :class:`~milmer.model.network.MilmerNetwork`."""
        names = cast(dict[int, str], self.id2label)
        return NetworkConfig(
            self.model,
            self.num_channels,
            self.num_samples,
            self.sfreq,
            self.num_instances,
            self.num_tokens,
            self.token_dim,
            self.backbone_config,
            tuple(names[number] for number in range(len(names))),
        )


@dataclass
class MilmerOutput(ModelOutput):
    """What the model returns.

    ``loss`` is the cross-entropy, null without labels; the rest is as in
    :class:`~milmer.model.network.NetworkOutput`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    scores: Tensor | None = None
    selected: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class MilmerForEmotionClassification(PreTrainedModel):
    """Emotion classes from EEG and a bag of faces, as pictures or as a backbone's tokens."""

    config_class = MilmerConfig
    base_model_prefix = "milmer"
    main_input_name = "eeg"
    supports_gradient_checkpointing = True
    # This model has the network's parts, on which the network's methods work.
    _inputs, linear_features = MilmerNetwork._inputs, MilmerNetwork.linear_features
    encode, classify = MilmerNetwork.encode, MilmerNetwork.classify

    def __init__(self, config: MilmerConfig):
        super().__init__(config)
        network = MilmerNetwork(config.network)
        # The network's parts become this model's own, so that tensors have the same names.
        self.eeg = self.visual = self.backbone = self.linear = None
        for name, part in network.named_children():
            setattr(self, name, part)
        self.cls = network.cls
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As the base class does, but with the weights copied into memory.

        There they are aligned, like those of a model that was never saved. Mapped from the file
        they need not be, and a matrix product may then differ in its last bit.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the tensors of ``module`` itself that were not loaded, as if it were new."""
        reset: Callable[[], None] | None
        if module is self:
            reset = partial(MilmerNetwork.reset_parameters, cast(MilmerNetwork, self))
        elif isinstance(module, nn.MultiheadAttention):
            reset = module._reset_parameters
        else:
            reset = getattr(module, "reset_parameters", None)
        if reset is None:
            return
        tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        loaded = [(t, t.clone()) for t in tensors if getattr(t, "_is_hf_initialized", False)]
        reset()
        if isinstance(module, NonDynamicallyQuantizableLinear):  # of PyTorch's attention
            nn.init.zeros_(module.bias)
        for tensor, value in loaded:
            tensor.copy_(value)

    @can_return_tuple
    def forward(
        self,
        eeg: Tensor | None = None,
        face_tokens: Tensor | None = None,
        pixel_values: Tensor | None = None,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **_: Any,
    ) -> MilmerOutput:
        """Classify segments; arguments as in :class:`~milmer.model.network.MilmerNetwork`.

        ``labels`` int64 (batch,) are class numbers. The others, and ``return_dict``, are as in all
        models of transformers; by default they are those of the configuration.
        """
        with_states, with_attentions = (
            bool(default if asked is None else asked)
            for asked, default in (
                (output_hidden_states, self.config.output_hidden_states),
                (output_attentions, self.config.output_attentions),
            )
        )
        output = MilmerNetwork.forward(
            cast(MilmerNetwork, self),
            eeg,
            face_tokens,
            pixel_values,
            valid,
            details=with_states or with_attentions,
        )
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(output.logits.float(), labels)
        return MilmerOutput(
            loss=loss,
            logits=output.logits,
            scores=output.scores,
            selected=output.selected,
            hidden_states=output.hidden_states if with_states else None,
            attentions=output.attentions if with_attentions else None,
        )


AutoConfig.register("milmer", MilmerConfig, exist_ok=True)
AutoModel.register(MilmerConfig, MilmerForEmotionClassification, exist_ok=True)
