"""The configuration: sections, preset, variants, experiments.

Imported by the command line and the Snakefile, never by a stage: stages get their options as JSON.
Precedence is defaults < preset < what the user sets.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from milmer.backbone.options import (
    LOCAL,
    BackboneOptions,
    EncoderOptions,
    FrozenOptions,
    PretrainStageOptions,
    TokensOptions,
)
from milmer.config_files import merged
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.data.segmentation import SegmentationOptions
from milmer.eeg.options import AlignedEEGOptions, EEGOptions, SegmentsOptions
from milmer.errors import MilmerError
from milmer.evaluation.baseline_options import BASELINES
from milmer.evaluation.report.options import ReportOptions
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.limits import require_few_experiments, require_written_out, shortened
from milmer.model.options import ModelOptions
from milmer.options import Options, options_error
from milmer.splits.options import ProtocolsOptions, SplitOptions
from milmer.splits.protocols import PROTOCOLS, ProtocolName
from milmer.training.options import TrainingOptions

PRESETS: dict[str, dict[str, Any]] = {
    "published": {
        "labels": {"ties": "as_published"},
        # Complete, so that it is valid with any other cleaning in the section itself.
        "eeg": {
            "layout": "as_published",
            "artefacts": "none",
            "bad_channels": "keep",
            "notch": None,
            "baseline": "none",
        },
        # The first face that the detector reports, as it is.
        "faces": {"choice": "first", "smoothing": 0.0, "second_detection_size": None},
        "backbone": {"finetune": True},
        "model": {
            "selection_gradient": "none",
            "eeg_encoder": "published",
            "linear_path": False,
            "channel_embeddings": False,
            "train_cls": False,
        },
        "training": {"select": "best_on_test"},
        "protocols": {"names": ["segment"], "validation": 0},
    },
}
"""What a preset sets, by section: the rows of the README's table of differences."""

BUILT_IN_VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    # Complete, so that it is valid with any other scheme and threshold in the section itself.
    "labels": {
        "as_published": {"scheme": "quadrant", "threshold": 5.0, "ties": "as_published"},
        "permuted": {"permuted": True},
    },
    "eeg": {"as_published": PRESETS["published"]["eeg"]},
    "faces": {"as_published": PRESETS["published"]["faces"]},
    "backbone": {"as_published": PRESETS["published"]["backbone"]},
}

Name = str
Validated = TypeVar("Validated")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class VariantsOptions(Options):
    """Other settings of sections, by name."""

    labels: dict[Name, dict[str, Any]] = Field({}, description="Other settings of `labels`.")
    eeg: dict[Name, dict[str, Any]] = Field({}, description="Other settings of `eeg`.")
    faces: dict[Name, dict[str, Any]] = Field({}, description="Other settings of `faces`.")
    backbone: dict[Name, dict[str, Any]] = Field({}, description="Other settings of `backbone`.")


class ExperimentOptions(Options):
    """A named variant of the configuration: a row of the tables."""

    preset: Literal["published"] | None = Field(None, description="Start from a preset.")
    model: dict[str, Any] = Field({}, description="Options of `model` that differ.")
    training: dict[str, Any] = Field({}, description="Options of `training` that differ.")
    labels: Name | None = Field(None, description="A variant of `labels`.")
    eeg: Name | None = Field(None, description="A variant of `eeg`.")
    faces: Name | None = Field(None, description="A variant of `faces`.")
    backbone: Name | None = Field(None, description="A variant of `backbone`.")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {},
        description="Lists of values by key (model.*, training.*, or a section's variants): a row "
        "for each combination.",
    )
    protocols: list[ProtocolName] | None = Field(
        None,
        description="Only these protocols; null takes protocols.names, or those of the preset.",
    )
    validation: Literal[0] | None = Field(
        None,
        description="0 also trains on the validation part; requires select last or best_on_test.",
    )


class Config(Options):
    """The whole configuration: defaults, preset and the user's keys merged."""

    preset: Literal["published"] | None = Field(
        None, description="`published` does everything as the authors' code does."
    )
    dataset: DatasetOptions = DatasetOptions()
    labels: LabelsOptions = LabelsOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    eeg: AlignedEEGOptions = AlignedEEGOptions()
    faces: FacesOptions = FacesOptions()
    backbone: BackboneOptions = BackboneOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()
    protocols: ProtocolsOptions = ProtocolsOptions()
    variants: VariantsOptions = VariantsOptions()
    experiments: dict[Name, ExperimentOptions] = Field(
        {"milmer": ExperimentOptions()},
        min_length=1,
        description="Rows of the tables. Set an experiment to null to drop it.",
    )
    report: ReportOptions = ReportOptions()

    @classmethod
    def section_at(cls, path: str) -> type[Options] | None:
        """The model of the keys right below ``path``, also in an experiment or a variant."""
        section, *below = path.split(".")
        if section == "experiments" and below:
            return cls.section_at(".".join(below[1:])) if below[1:] else ExperimentOptions
        if section == "variants" and below:
            return super().section_at(".".join([below[0], *below[2:]]))
        return super().section_at(path)

    def variant(self, kind: str, name: str) -> Options:
        """The section ``kind`` as configured (``default``) or as the variant ``name``."""
        section = getattr(self, kind)
        if name == "default":
            return section
        changes = BUILT_IN_VARIANTS.get(kind, {}) | getattr(self.variants, kind)
        if name not in changes:
            raise MilmerError(
                f"there is no variant {name!r} of {kind}",
                where="config",
                remedy=f"variants.{kind} has {', '.join(['default', *changes])}",
            )
        return _validated(f"variants.{kind}.{name}", lambda: section.updated(changes[name]))

    def experiment(self, name: str) -> "Experiment":
        """The experiment ``name`` with all its options resolved."""
        settings = self.experiments[name]
        where = f"experiments.{name}"
        preset = PRESETS[settings.preset] if settings.preset else {}
        model = _validated(
            f"{where}.model", lambda: self.model.updated(preset.get("model", {}) | settings.model)
        )
        training = _validated(
            f"{where}.training",
            lambda: self.training.updated(preset.get("training", {}) | settings.training),
        )
        variants = {
            kind: getattr(settings, kind)
            or ("as_published" if settings.preset and kind in BUILT_IN_VARIANTS else "default")
            for kind in ("labels", "eeg", "faces", "backbone")
        }
        for kind, variant in variants.items():
            self.variant(kind, variant)
        if "jobs_per_gpu" in settings.training:
            raise MilmerError(
                "cannot be set per experiment",
                where=f"config: {where}.training.jobs_per_gpu",
                remedy="set training.jobs_per_gpu",
            )
        validation = settings.validation is None and not settings.preset
        if training.select == "validation" and not (validation and self.protocols.validation):
            raise MilmerError(
                "select: validation needs a validation part",
                where=f"config: {where}",
                remedy="set protocols.validation, or training.select to last",
            )
        protocols = preset.get("protocols", {}).get("names") or self.protocols.names
        experiment = Experiment(
            name=name,
            model=model,
            training=training,
            finetune="face" in model.modalities
            and self.variant("backbone", variants["backbone"]).finetune,
            protocols=list(settings.protocols or protocols),
            validation=validation,
            **variants,
        )
        self._require_apart(experiment)
        return experiment

    def _require_apart(self, experiment: "Experiment") -> None:
        """Refuse overlapping segments where they make no sense or leak even more."""
        if not self.segmentation.overlap:
            return
        published = self.variant("eeg", experiment.eeg).layout == "as_published"
        leaky = [name for name in experiment.protocols if PROTOCOLS[name].leaky]
        for refused, reason in (
            (leaky, f"the protocol {', '.join(leaky)}, which would split them"),
            (experiment.needs_eeg and published, "eeg.layout as_published"),
        ):
            if refused:
                raise MilmerError(
                    f"is not allowed with {reason}",
                    where="config: segmentation.overlap",
                    remedy=f"set it to 0, or drop or change experiments.{experiment.name}",
                )

    # ------------------------------------------------------ what each stage gets

    def segments_json(self, eeg: str) -> str:
        """Options of the stage ``segments``."""
        return SegmentsOptions(
            eeg=self.variant("eeg", eeg).narrowed_to(EEGOptions),
            segmentation=self.segmentation,
            recording=self.dataset.recording,
        ).result_json()

    def faces_json(self, faces: str) -> str:
        """Options of the stage ``faces``."""
        return FaceStageOptions(
            faces=self.variant("faces", faces), segmentation=self.segmentation
        ).result_json()

    def tokens_options(self, faces: str, backbone: str) -> TokensOptions:
        """Options of the stage ``tokens``.

        Weights in a folder, also pre-trained ones, are identified by their content, not their path.
        """
        options = self.variant("backbone", backbone)
        frozen = options.narrowed_to(FrozenOptions)
        if options.pretrain.images:
            frozen = frozen.updated({"name": LOCAL, "revision": None})
        return TokensOptions(
            backbone=frozen.without_path(),
            use_borrowed_boxes=self.variant("faces", faces).use_borrowed_boxes,
        )

    def tokens_json(self, faces: str, backbone: str) -> str:
        """:meth:`tokens_options` as JSON."""
        return self.tokens_options(faces, backbone).result_json()

    def pretrain_json(self, backbone: str) -> str:
        """Options of the stage ``pretrain``."""
        options = self.variant("backbone", backbone)
        stage = PretrainStageOptions(
            backbone=options.narrowed_to(EncoderOptions), pretrain=options.pretrain
        )
        return stage.without_paths().result_json()

    def split_json(self, labels: str, protocol: str, classes: list[str] | None = None) -> str:
        """Options of the stage ``split``; the number of folds only where the protocol uses it.

        ``classes`` are the dataset's names of classes.
        """
        folds = {"folds": self.protocols.folds} if PROTOCOLS[protocol].numbered else {}
        return SplitOptions(
            labels=self.variant("labels", labels).with_classes(classes),
            segmentation=self.segmentation,
            validation=self.protocols.validation,
            seed=self.protocols.seed,
            **folds,
        ).result_json()


class Experiment(Options):
    """A resolved experiment: its options and the variants that it uses."""

    name: str
    model: ModelOptions
    training: TrainingOptions
    finetune: bool
    labels: str
    eeg: str
    faces: str
    backbone: str
    protocols: list[str]
    validation: bool

    @property
    def needs_faces(self) -> bool:
        """Whether the model uses faces."""
        return "face" in self.model.modalities

    @property
    def needs_eeg(self) -> bool:
        """Whether the model uses EEG."""
        return "eeg" in self.model.modalities


def load_config(user: Mapping[str, Any]) -> Config:
    """Merge defaults, preset and the user's keys.

    Raises :class:`MilmerError` with the path of the first wrong key, its value, what is allowed
    and the nearest valid key.
    """
    require_written_out(user, "config")
    user = _without_nulls(user)
    preset = user.get("preset")
    base = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    config = _validated("", lambda: Config.model_validate(merged(base, user)))
    config = config.model_copy(update={"experiments": _expanded(config.experiments)})
    variants = [(k, n) for k in VariantsOptions.model_fields for n in getattr(config.variants, k)]
    for name in [*config.experiments, *(name for _, name in variants)]:
        if not _NAME.fullmatch(name):
            raise MilmerError(
                "is not a valid name",
                where=f"config: {shortened(name)}",
                remedy="use letters, digits, _ and -, first a letter or digit",
            )
    for name, baseline in itertools.product(config.experiments, BASELINES):
        if name == baseline or name.startswith(f"{baseline}-"):
            raise MilmerError(
                f"{baseline} is the name of a baseline in the tables",
                where=f"config: experiments.{name}",
                remedy="give the experiment another name",
            )
    for kind, name in variants:
        if name == "default":
            raise MilmerError(
                f"is the section {kind} itself",
                where=f"config: variants.{kind}.default",
                remedy="change it there, or give the variant another name",
            )
        config.variant(kind, name)
    for name in config.experiments:
        config.experiment(name)
    return config


def _expanded(experiments: Mapping[Name, ExperimentOptions]) -> dict[Name, ExperimentOptions]:
    """Experiments, with each grid replaced by the experiments that it stands for."""
    counts = (math.prod(map(len, settings.grid.values())) for settings in experiments.values())
    require_few_experiments(sum(counts))
    rows: dict[Name, ExperimentOptions] = {}
    for name, settings in experiments.items():
        plain = settings.model_dump(exclude_unset=True, exclude={"grid"})
        for values in itertools.product(*settings.grid.values()):
            point = dict(zip(settings.grid, values, strict=True))
            row = "-".join([name, *(_slug(k, v, name) for k, v in point.items())])
            if row in rows or (point and row in experiments):
                raise MilmerError(
                    f"gives {row} twice",
                    where=f"config: experiments.{name}.grid",
                    remedy="list each value once, or rename the other experiment",
                )
            rows[row] = ExperimentOptions.model_validate(_at_point(name, plain, point))
    return rows


def _at_point(name: str, plain: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a grid's experiment at ``point``, its values by key."""
    settings = dict(plain)
    for key, value in point.items():
        section, _, option = key.partition(".")
        if section in ("model", "training") and option:
            settings[section] = settings.get(section, {}) | {option: value}
        elif key in VariantsOptions.model_fields and isinstance(value, str):
            settings[key] = value
        else:
            raise MilmerError(
                "is not a key with a list of values",
                where=f"config: experiments.{name}.grid.{key}",
                remedy="use model.OPTION, training.OPTION, or names of variants of "
                f"{', '.join(VariantsOptions.model_fields)}",
            )
    return settings


def _slug(key: str, value: Any, name: Name) -> str:
    """A grid's key and value in a row's name: num_select-5, or 5 in an experiment num_select."""
    text = "_".join(map(str, value)) if isinstance(value, list) else str(value)
    text = re.sub("[^A-Za-z0-9_]+", "_", text)
    option = key.rpartition(".")[2]
    return text if option == name else f"{option}-{text}"


def _without_nulls(user: Mapping[str, Any]) -> dict[str, Any]:
    """Drop experiments and variants that are null."""
    user = dict(user)
    variants = user.get("variants")
    named = [(user, "experiments")]
    if isinstance(variants, Mapping):
        user["variants"] = dict(variants)
        named += [(user["variants"], kind) for kind in variants]
    for holder, key in named:
        if isinstance(holder.get(key), Mapping):
            holder[key] = {k: v for k, v in holder[key].items() if v not in (None, "null")}
    return user


def _validated(path: str, make: Callable[[], Validated]) -> Validated:
    try:
        return make()
    except ValidationError as error:
        raise options_error(Config, error, "config", path) from error
