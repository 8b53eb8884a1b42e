"""The network as one of Hugging Face's models: same tensors, same ``config.json``, same logits."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from milmer.model.configuration import (
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

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As the base class does; a folder that says no version of its options has the oldest."""
        return super().from_dict({"options_version": 0} | config_dict, **kwargs)

    @property
    def model(self) -> ModelOptions:
        """The section ``model``, validated."""
        return ModelOptions.model_validate(self.options)

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


class MilmerForEmotionClassification(PreTrainedModel):
    """Emotion classes from EEG and a bag of faces, as pictures or as a backbone's tokens."""

    config_class = MilmerConfig
    base_model_prefix = "milmer"
    main_input_name = "eeg"
    # This model has the network's parts, on which the network's methods work.
    _inputs, linear_features = MilmerNetwork._inputs, MilmerNetwork.linear_features

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

    def _init_weights(self, module: nn.Module) -> None:
        # The modules' own initialisation is PyTorch's, as in the published code.
        pass

    def forward(
        self,
        eeg: Tensor | None = None,
        face_tokens: Tensor | None = None,
        pixel_values: Tensor | None = None,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MilmerOutput:
        """Classify segments; arguments as in :class:`~milmer.model.network.MilmerNetwork`.

        ``labels`` int64 (batch,) are class numbers.
        """
        output = MilmerNetwork.forward(
            cast(MilmerNetwork, self), eeg, face_tokens, pixel_values, valid
        )
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(output.logits.float(), labels)
        return MilmerOutput(loss=loss, **output._asdict())


AutoConfig.register("milmer", MilmerConfig, exist_ok=True)
AutoModel.register(MilmerConfig, MilmerForEmotionClassification, exist_ok=True)
