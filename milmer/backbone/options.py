"""The section ``backbone``: the Swin transformer that makes tokens of face crops."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from milmer.options import Options, execution

LOCAL = "a local directory"
"""Stands for a directory's path in the options of a stage: no path goes into a result."""


class SwinOptions(Options):
    """A Swin transformer, and how it computes."""

    name: str = Field(
        "MahmoudWSegni/swin-tiny-patch4-window7-224-finetuned-face-emotion-v12",
        description="A directory in Hugging Face format, or a model's name on the hub.",
    )
    revision: str | None = Field(None, description="Commit or tag on the hub; null is the newest.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="`auto` is bfloat16 where the device computes fast with it, else float32.",
    )
    threads: int = Field(2, ge=1, description="CPU threads; another number changes last digits.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")

    def without_path(self) -> Self:
        """The same, where a directory is known by its weights and not by where it lies."""
        here = Path(self.name).is_dir()
        return self.updated({"name": LOCAL, "revision": None}) if here else self


class FrozenOptions(SwinOptions):
    """A Swin transformer that makes tokens and learns nothing."""

    batch_size: int = Field(32, ge=1, description="Frames that go through the backbone at once.")


class PretrainOptions(Options):
    """How the backbone learns emotions from pictures of faces before it makes tokens."""

    images: str | None = Field(
        None,
        description="Folder of class folders with pictures (FER-2013, RAF-DB, AffectNet), or of "
        "train, val and test with class folders in each; null takes the backbone as it is.",
    )
    epochs: int = Field(20, ge=1, description="Passes over the training pictures, at most.")
    batch_size: int = Field(32, ge=1, description="Pictures a step.")
    lr: float = Field(5e-5, gt=0, description="Highest learning rate of AdamW.")
    warmup: float = Field(
        0.1, ge=0, lt=1, description="Share of the steps in which the rate rises; then a cosine."
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share of each class held out, where there is no folder val."
    )
    patience: int = Field(
        3, ge=1, description="Epochs without a better macro-F1 on the held-out part before it ends."
    )
    class_weights: bool = Field(
        True, description="Let a rare class count as much in the loss as a common one."
    )
    seed: int = Field(0, ge=0, description="Draws the held-out part, the head, order and flips.")
    checkpoint_minutes: float = execution(
        5.0, ge=0, description="An interrupted run goes on from a state at most this old."
    )


class BackboneOptions(FrozenOptions):
    """The Swin transformer that makes tokens of face crops."""

    finetune: bool = Field(
        False,
        description="Train it with the model, from face crops, as published; false caches tokens.",
    )
    pretrain: PretrainOptions = Field(
        PretrainOptions(),
        description="How it first learns emotions from pictures; see docs/pretraining.md.",
    )


class TokensOptions(Options):
    """What the stage ``tokens`` depends on, and ``train`` where it trains the backbone too."""

    backbone: FrozenOptions = FrozenOptions()
    use_borrowed_boxes: bool = False


class PretrainStageOptions(Options):
    """What the stage ``pretrain`` depends on."""

    backbone: SwinOptions = SwinOptions()
    pretrain: PretrainOptions = PretrainOptions()

    def without_paths(self) -> Self:
        """The same, where pictures and backbone are known by content, not by where they lie."""
        return self.updated(
            {"backbone": self.backbone.without_path(), "pretrain": {"images": LOCAL}}
        )
