"""The section ``backbone``: the Swin transformer that makes tokens of face crops."""

from typing import Any, Literal

from pydantic import Field

from milmer.options import Options, execution

LOCAL = "a local directory"
"""Stands for a directory's path in the options of the stage: no path goes into a result."""


class BackboneOptions(Options):
    """The Swin transformer that makes tokens of face crops."""

    name: str = Field(
        "MahmoudWSegni/swin-tiny-patch4-window7-224-finetuned-face-emotion-v12",
        description="A directory in Hugging Face format, or a model's name on the hub.",
    )
    revision: str | None = Field(None, description="Commit or tag on the hub; null is the newest.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="`auto` is bfloat16 where the device computes fast with it, else float32.",
    )
    batch_size: int = Field(32, ge=1, description="Frames that go through the backbone at once.")
    threads: int = Field(2, ge=1, description="CPU threads; another number changes last digits.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")
    finetune: bool = Field(
        False,
        description="Train it with the model, from face crops, as published; false caches tokens.",
    )


class TokensOptions(Options):
    """What the stage ``tokens`` depends on, and ``train`` where it trains the backbone too."""

    backbone: BackboneOptions = BackboneOptions()
    use_borrowed_boxes: bool = False

    def result(self) -> dict[str, Any]:
        """All but which of the two stages it is for."""
        known = super().result()
        known["backbone"].pop("finetune")
        return known
