"""What a network is built from, as it stands in the ``config.json`` of a model's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from milmer.model.options import ModelOptions

OPTIONS_VERSION = 1
"""Goes up where the default of an option in an older ``config.json`` is not today's."""

QUADRANTS = ("0", "1", "2", "3")

CODE_FILE = "modeling_milmer.py"
CODE = '''\
"""Milmer's classes for transformers (``trust_remote_code``); milmer itself has to be installed."""

from milmer.prediction.huggingface import *  # noqa: F403
'''
"""The content of the file beside ``config.json``, for others: nothing here ever runs it."""

AUTO_MAP = {
    "AutoConfig": "modeling_milmer.MilmerConfig",
    "AutoModel": "modeling_milmer.MilmerForEmotionClassification",
    "AutoProcessor": "modeling_milmer.MilmerProcessor",
}


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that :class:`~milmer.model.network.MilmerNetwork` is built from.

    ``model`` is the section of that name. An EEG segment is (``num_channels``, ``num_samples``) at
    ``sfreq`` Hz, a bag of face tokens (``num_instances``, ``num_tokens``, ``token_dim``): N, T and
    D. ``backbone_config`` is the configuration of the backbone if the model holds one and trains
    it, and null if tokens come from elsewhere. ``labels`` are the names of the classes.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    num_channels: int = 32
    num_samples: int = 384
    sfreq: float = 128.0
    num_instances: int = 10
    num_tokens: int = 49
    token_dim: int = 768
    backbone_config: dict[str, Any] | None = None
    labels: tuple[str, ...] = QUADRANTS

    @property
    def num_labels(self) -> int:
        """The number of classes."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``config.json``, as transformers reads it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        options, labels = plain.pop("model"), plain.pop("labels")
        return plain | {
            "architectures": ["MilmerForEmotionClassification"],
            "auto_map": AUTO_MAP,
            "backbone_config": without_path(self.backbone_config),
            "dtype": "float32",
            "id2label": {str(i): name for i, name in enumerate(labels)},
            "label2id": {name: i for i, name in enumerate(labels)},
            "model_type": "milmer",
            "options": options.model_dump(mode="json"),
            "options_version": OPTIONS_VERSION,
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """The content of a ``config.json``; raises ValueError or TypeError where it is none."""
        shapes = {f.name for f in fields(cls)} - {"model", "labels"}
        names = config.get("id2label") or dict(enumerate(QUADRANTS))
        labels = {int(number): str(name) for number, name in names.items()}
        if config.get("num_labels", len(labels)) != len(labels):
            raise ValueError(f"num_labels is {config['num_labels']}, id2label has {len(labels)}")
        return cls(
            read_options(config.get("options"), config.get("options_version", 0)),
            labels=tuple(labels[number] for number in range(len(labels))),
            **{name: value for name, value in config.items() if name in shapes},
        )


def read_options(options: Mapping[str, Any] | None, version: int) -> ModelOptions:
    """The section ``model`` of a ``config.json`` whose options have this ``version``."""
    if version > OPTIONS_VERSION:
        raise ValueError(f"options_version is {version}; this milmer reads {OPTIONS_VERSION}")
    older = {"linear_path": False} if version < 1 else {}
    return ModelOptions.model_validate(older | dict(options or {}))


def without_path(backbone: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A backbone's configuration without where it lay: a model's folder is shared."""
    if backbone is None:
        return None
    return {key: value for key, value in backbone.items() if key != "_name_or_path"}
