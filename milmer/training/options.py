"""The section ``training``, and what the stage ``train`` depends on."""

from typing import Literal

from pydantic import Field, model_validator

from milmer.backbone.options import TokensOptions
from milmer.model.options import ModelOptions
from milmer.options import FilePath, Options, execution


class TrainingOptions(Options):
    """How one fold is trained."""

    init: FilePath | None = Field(
        None,
        description="A trained model to continue from: the folder of a run or of a model; null "
        "begins anew. `{subject}`, `{fold}` and `{seed}` stand for those of each run, as in "
        "`results/runs/milmer/loso/{subject}/seed{seed}`.",
    )
    epochs: int = Field(100, ge=1, description="Passes over the training part.")
    batch_size: int = Field(14, ge=1, description="Bags a step.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW at the start.")
    lrf: float = Field(
        0.1,
        gt=0,
        le=1,
        description="The rate decays along a cosine, one step an epoch, to lr * lrf.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    select: Literal["validation", "last", "best_on_test"] = Field(
        "validation",
        description="Epoch that is kept: the best macro-F1 on the validation part (with a linear "
        "path, none if none is better than before the first step), the last, or (as published) the "
        "best accuracy on the test part.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Training ends after that many epochs in a row of which none is better on the "
        "validation part than those before; null trains all epochs.",
    )
    refit: bool = Field(
        False,
        description="Once `validation` has chosen the epoch, train anew on the training and "
        "validation part, for as many steps.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="`auto` is bfloat16 mixed precision where the device is fast with it."
    )
    threads: int = Field(
        2, ge=1, description="CPU threads of a job; another number changes the last digits."
    )
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")
    jobs_per_gpu: int = execution(
        1,
        ge=1,
        description="Jobs that share a GPU: more for small folds. Cannot be set per experiment.",
    )
    checkpoint_minutes: float = execution(
        1.0, ge=0, description="Minutes between checkpoints, from which an interrupted run resumes."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TrainingOptions":
        if self.refit and self.select != "validation":
            raise ValueError("refit: requires select: validation")
        if self.patience is not None and self.select != "validation":
            raise ValueError("patience: requires select: validation")
        return self


class TrainOptions(Options):
    """What the stage ``train`` depends on.

    Without ``validation`` the validation part trains as well. ``finetune`` says which backbone is
    trained with the model, from face crops; null where tokens are cached. ``alignment`` is that of
    the EEG.
    """

    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()
    validation: bool = True
    alignment: Literal["none", "euclidean"] = "none"
    finetune: TokensOptions | None = None
