"""The model's configuration in Hugging Face's form."""

from transformers import PretrainedConfig

from milmer.model.options import ModelOptions


class MilmerConfig(PretrainedConfig):
    """Everything that :class:`~milmer.model.modeling.MilmerForEmotionClassification` is built from.

    Args:
        options: the section ``model``, as plain values; see :class:`ModelOptions`.
        num_channels, num_samples: shape of an EEG segment.
        sfreq: its sampling rate in Hz.
        num_instances, num_tokens, token_dim: shape of a bag of face tokens: N, T and D.
        backbone_config: the configuration of the backbone if the model holds one and trains it;
            null if tokens come from elsewhere.
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
        **kwargs,
    ):
        self.options = ModelOptions.model_validate(options or {}).model_dump(mode="json")
        self.num_channels = num_channels
        self.num_samples = num_samples
        self.sfreq = sfreq
        self.num_instances = num_instances
        self.num_tokens = num_tokens
        self.token_dim = token_dim
        # Not where it lay: a model's folder is shared.
        self.backbone_config = backbone_config and {
            key: value for key, value in backbone_config.items() if key != "_name_or_path"
        }
        if "id2label" not in kwargs:
            kwargs.setdefault("num_labels", 4)  # the quadrants of valence and arousal
        super().__init__(**kwargs)

    @property
    def model(self) -> ModelOptions:
        """The section ``model``, validated."""
        return ModelOptions.model_validate(self.options)
