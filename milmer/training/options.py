"""The sections ``labels``, ``protocols`` and ``training``."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from milmer.options import Options, execution
from milmer.segmentation import SegmentationOptions

Protocol = Literal["segment", "trial", "loso", "stimulus"]


class LabelsOptions(Options):
    """What is to be recognised."""

    scheme: Literal["quadrant", "valence", "arousal", "dominance", "liking", "label"] = Field(
        "quadrant",
        description="Four quadrants of valence and arousal, or one rating, low or high; `label` "
        "takes the names in a manifest's column label.",
    )
    classes: list[str] | None = Field(
        None,
        min_length=2,
        description="`scheme: label`: the names that are told apart, trials of others are left "
        "out; null takes all of the manifest, sorted.",
    )
    threshold: float | Literal["median"] = Field(
        5.0, description="Border of low and high; `median` is that of the training trials."
    )
    ties: Literal["high", "low", "drop", "as_published"] = Field(
        "high",
        description="A rating on the border; `as_published` is the authors' rule for quadrants.",
    )
    permuted: bool = Field(
        False,
        description="Trials of a subject exchange their ratings: a control in which there is "
        "nothing to learn.",
    )

    @property
    def scales(self) -> list[str]:
        """The ratings that the scheme looks at."""
        return {"quadrant": ["valence", "arousal"], "label": []}.get(self.scheme, [self.scheme])

    def with_classes(self, known: list[str] | None) -> "LabelsOptions":
        """With a dataset's names of classes, where they are asked for and none are given."""
        if self.scheme != "label" or self.classes or not known:
            return self
        return self.model_copy(update={"classes": known})

    def result(self) -> dict[str, Any]:
        """All that can change the result; ``classes`` only where there are some."""
        known = super().result()
        return {k: v for k, v in known.items() if k != "classes" or v is not None}

    @model_validator(mode="after")
    def _names(self) -> "LabelsOptions":
        if self.classes is not None and self.scheme != "label":
            raise ValueError("classes: goes with scheme label only")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: names one class twice")
        return self

    @model_validator(mode="after")
    def _published_rule(self) -> "LabelsOptions":
        if self.ties == "as_published" and (self.scheme != "quadrant" or self.threshold != 5):
            raise ValueError("ties: as_published goes with scheme quadrant and threshold 5 only")
        return self


class ProtocolsOptions(Options):
    """How data is split into training, validation and test parts."""

    names: list[Protocol] = Field(
        ["trial", "loso"],
        min_length=1,
        description="trial, loso, stimulus; `segment` is the published one, and leaks.",
    )
    folds: int = Field(5, ge=2, description="Folds of the protocols trial and stimulus.")
    validation: float = Field(
        0.2, ge=0, lt=1, description="Part of the training groups held out to choose the epoch."
    )
    repeats: int = Field(1, ge=1, description="Runs of each fold, with seeds seed, seed+1, …")
    seed: int = Field(0, ge=0, description="Draws the splits; also the first run's seed.")

    @field_validator("names")
    @classmethod
    def _once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError("names one protocol twice")
        return names


class SplitOptions(Options):
    """What the stage ``split`` depends on."""

    labels: LabelsOptions = LabelsOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    folds: int = ProtocolsOptions.model_fields["folds"]
    validation: float = ProtocolsOptions.model_fields["validation"]
    seed: int = ProtocolsOptions.model_fields["seed"]


class TrainingOptions(Options):
    """How one fold is trained."""

    epochs: int = Field(100, ge=1, description="Passes over the training part.")
    batch_size: int = Field(14, ge=1, description="Bags a step.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW at the start.")
    lrf: float = Field(
        0.1, gt=0, le=1, description="The rate falls along a cosine, an epoch a step, to lr * lrf."
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    select: Literal["validation", "last", "best_on_test"] = Field(
        "validation",
        description="Epoch that is kept: of the best macro-F1 on the validation part, the last, or "
        "(published, on an experiment's own account) the best on the test part.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="`auto` is bfloat16 mixed precision where the device is fast with it."
    )
    threads: int = Field(2, ge=1, description="CPU threads of one job; they change last digits.")
    device: str = execution("auto", description="auto, cpu, cuda or cuda:N.")
    jobs_per_gpu: int = execution(
        1, ge=1, description="Jobs that share a GPU: more for small folds. Not an experiment's own."
    )
    checkpoint_minutes: float = execution(
        1.0, ge=0, description="An interrupted run goes on from a state at most this old."
    )
