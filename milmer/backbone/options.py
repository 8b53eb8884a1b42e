"""The section ``backbone``: the vision encoder that encodes face crops as tokens."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from milmer.errors import MilmerError
from milmer.options import FilePath, Options, execution

LOCAL = "a local directory"
"""Stands for a directory's path in a stage's options: no path goes into a result."""


def _number(value: Any) -> Any:
    """A number also where it came as text, as `snakemake --config` passes it."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class EncoderOptions(Options):
    """A vision encoder and how it computes."""

    name: FilePath = Field(
        "MahmoudWSegni/swin-tiny-patch4-window7-224-finetuned-face-emotion-v12",
        description="A directory in Hugging Face format, or the name of a model on the hub: a "
        "Swin or any other image model with patch tokens or a feature map.",
    )
    revision: str | None = Field(
        None,
        description="Commit or tag on the hub, which pins the weights; null is the newest, whose "
        "commit the log names.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="`auto` is bfloat16 if the device is fast at it, else float32.",
    )
    threads: int = Field(
        2, ge=1, description="CPU threads; another number changes the last digits."
    )
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")

    def require_folder(self) -> bool:
        """Whether ``name`` is a folder; refuses one that is none and is no name on the hub."""
        if Path(self.name).is_dir():
            return True
        if "/" not in self.name or self.name.startswith((".", "/")):
            raise MilmerError(f"no such folder: {self.name}", where="backbone.name")
        return False

    def without_path(self) -> Self:
        """The same options, with ``name`` hidden if it is a directory: its weights identify it."""
        is_directory = Path(self.name).is_dir()
        return self.updated({"name": LOCAL, "revision": None}) if is_directory else self


class FrozenOptions(EncoderOptions):
    """A vision encoder as the source of tokens."""

    batch_size: int = Field(32, ge=1, description="Frames that are encoded at once.")
    pool: Annotated[Literal["none", 7, 4, 1], BeforeValidator(_number)] = Field(
        "none",
        description="Average the encoder's grid of tokens to this many in each direction; `none` "
        "keeps them all, 49 of a Swin-T and 256 of a DINOv2.",
    )


class PretrainOptions(Options):
    """How the backbone learns emotions from pictures of faces before it encodes any crop."""

    images: FilePath | None = Field(
        None,
        description="Folder of class folders with pictures (FER-2013, RAF-DB, AffectNet), or of "
        "folders train, val and test with class folders in each; null uses the backbone as it is.",
    )
    epochs: int = Field(20, ge=1, description="Maximum number of passes over the training part.")
    batch_size: int = Field(32, ge=1, description="Pictures per step.")
    lr: float = Field(5e-5, gt=0, description="Peak learning rate of AdamW.")
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the steps in which the learning rate rises, before it falls along a "
        "cosine.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share of each class to hold out if there is no folder val."
    )
    patience: int = Field(
        3,
        ge=1,
        description="Epochs without a better macro-F1 on the held-out part after which training "
        "stops.",
    )
    class_weights: bool = Field(
        True, description="Weight the loss so that a rare class counts as much as a common one."
    )
    seed: int = Field(
        0, ge=0, description="Seed of the held-out part, the new head, the order and the flips."
    )
    checkpoint_minutes: float = execution(5.0, ge=0, description="Minutes between checkpoints.")


class BackboneOptions(FrozenOptions):
    """The vision encoder that encodes face crops as tokens."""

    finetune: bool = Field(
        False,
        description="Train the backbone with the model, from face crops, as published; false "
        "encodes the crops once, as cached tokens.",
    )
    pretrain: PretrainOptions = Field(
        PretrainOptions(),
        description="How the backbone first learns emotions from pictures; see "
        "docs/pretraining.md.",
    )


class TokensOptions(Options):
    """What the stage ``tokens`` depends on, and ``train`` if it trains the backbone too."""

    backbone: FrozenOptions = FrozenOptions()
    use_borrowed_boxes: bool = False


class PretrainStageOptions(Options):
    """What the stage ``pretrain`` depends on."""

    backbone: EncoderOptions = EncoderOptions()
    pretrain: PretrainOptions = PretrainOptions()

    def without_paths(self) -> Self:
        """The same options without paths: pictures and backbone are identified by content."""
        return self.updated(
            {"backbone": self.backbone.without_path(), "pretrain": {"images": LOCAL}}
        )
