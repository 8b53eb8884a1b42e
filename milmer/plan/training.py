"""Training's part of the plan: the files, options and resources of each run."""

import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from milmer.backbone.options import LOCAL
from milmer.errors import MilmerError
from milmer.plan import paths
from milmer.plan.dataset import DatasetPlan
from milmer.plan.experiments import Experiments
from milmer.plan.untracked import Untracked
from milmer.runtime.gpus import visible_gpus
from milmer.splits.folds import fold_subjects
from milmer.splits.protocols import PROTOCOLS, fold_subject
from milmer.training.options import TrainingOptions

RECIPE = "milmer_processor.json"
_RUN = re.compile(
    r"results/runs/(?P<experiment>[^/]+)/(?P<protocol>[^/]+)/(?P<fold>[^/]+)/seed(?P<seed>\d+)"
)
# How a site wants GPUs to be asked for: resources, and the variables that hold them.
_SITE = {
    "slurm_partition": "MILMER_GPU_PARTITION",
    "gres": "MILMER_GPU_GRES",
    "gpu_model": "MILMER_GPU_MODEL",
}


class TrainingPlan:
    """Inputs, options and resources of splits and of training jobs."""

    protocol_pattern = "|".join(PROTOCOLS)
    """A regular expression that names of protocols match."""

    def __init__(self, experiments: Experiments, data: DatasetPlan):
        self._experiments, self._data = experiments, data
        self._config, self._dataset = experiments.config, experiments.dataset

    @property
    def fold_pattern(self) -> str:
        """A regular expression that names of folds match."""
        subject = self._dataset.subject_pattern
        return rf"{subject}|{subject}-k\d+|k\d+"

    def options(self, wildcards: Any) -> TrainingOptions:
        """How an experiment is trained."""
        return self._experiments[wildcards.experiment].training

    def fold_subjects(self, wildcards: Any) -> list[str]:
        """Subjects that a fold's split reads."""
        return fold_subjects(wildcards.protocol, wildcards.fold, self._dataset.subjects)

    def split_json(self, wildcards: Any) -> str:
        """Options of the stage ``split``."""
        classes = self._dataset.classes
        return self._config.split_json(wildcards.labels, wildcards.protocol, classes)

    def split(self, wildcards: Any) -> str:
        """The split of a run."""
        labels = self._experiments[wildcards.experiment].labels
        return paths.split(labels, wildcards.protocol, wildcards.fold)

    def segments(self, wildcards: Any) -> list[str]:
        """The EEG segments that a run reads."""
        experiment = self._experiments[wildcards.experiment]
        subjects = self.fold_subjects(wildcards) if experiment.needs_eeg else []
        return [paths.segments(experiment.eeg, s) for s in subjects]

    def tokens(self, wildcards: Any) -> list[str]:
        """The tokens that a run reads: those of its subjects with video."""
        experiment = self._experiments[wildcards.experiment]
        subjects = [] if experiment.finetune else self._filmed(wildcards)
        return [paths.tokens(experiment.faces, experiment.backbone, s) for s in subjects]

    def faces(self, wildcards: Any) -> list[str]:
        """The face crops that a run reads which trains the backbone too."""
        experiment = self._experiments[wildcards.experiment]
        subjects = self._filmed(wildcards) if experiment.finetune else []
        return [paths.faces(experiment.faces, s) for s in subjects]

    def inputs(self, wildcards: Any) -> dict[str, str | list[str]]:
        """A run's split and its subjects' files, by the names that rules give them."""
        return {
            "split": self.split(wildcards),
            "segments": self.segments(wildcards),
            "tokens": self.tokens(wildcards),
            "faces": self.faces(wildcards),
        }

    def backbone(self, wildcards: Any) -> str | None:
        """The variant of the backbone that a run trains, if any."""
        experiment = self._experiments[wildcards.experiment]
        return experiment.backbone if experiment.finetune else None

    def pretrained_files(self, wildcards: Any) -> list[str]:
        """Its files, where it is pre-trained here."""
        variant = self.backbone(wildcards)
        return self._data.pretrained_files(variant) if variant else []

    def own_files(self, wildcards: Any) -> list[str]:
        """Its files, where it is a directory that is used as it is."""
        variant = self.backbone(wildcards)
        return self._data.own_files(variant) if variant else []

    def init_place(self, wildcards: Any) -> str | None:
        """The model's folder that a run continues from, if any; raises :class:`MilmerError`."""
        place = self.options(wildcards).init
        if place is None:
            return None
        where = f"experiments.{wildcards.experiment}: training.init"
        names = {"fold": wildcards.fold, "seed": wildcards.seed}
        if subject := fold_subject(wildcards.protocol, wildcards.fold):
            names["subject"] = subject
        try:
            folder = os.path.normpath(place.format_map(names))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise MilmerError(
                f"{place} cannot be filled in for {wildcards.protocol} {wildcards.fold}",
                where=where,
                remedy="use {subject}, {fold} and {seed}; folds of stimulus have no subject",
            ) from error
        folder = folder.removesuffix("/model")
        if not (run := _RUN.fullmatch(folder)):
            if not Path(folder).is_dir():
                raise MilmerError(f"no such folder: {folder}", where=where)
            return f"{folder}/model" if Path(folder, "model").is_dir() else folder
        key = (run["experiment"], run["protocol"], run["fold"], int(run["seed"]))
        own = (wildcards.experiment, wildcards.protocol)
        if key[:2] == own or key not in self._runs:
            raise MilmerError(
                f"{folder} is no run of another experiment or protocol of this configuration",
                where=where,
                remedy="name one that is, or copy its folder model/ out of results/",
            )
        return f"{folder}/model"

    @cached_property
    def _runs(self) -> set[tuple[str, str, str, int]]:
        return {tuple(run) for run in self._experiments.all_runs()}

    def init_files(self, wildcards: Any, made_here: bool) -> list[str]:
        """The files of that model, if it is one of the runs here or not, as asked."""
        place = self.init_place(wildcards)
        if place is None or place.startswith("results/runs/") != made_here:
            return []
        files = [f"{place}/{name}" for name in ("config.json", RECIPE, "model.safetensors")]
        return files if made_here else [file for file in files if Path(file).is_file()]

    def train_json(self, name: str) -> str:
        """Options of the stage ``train`` for an experiment."""
        experiment = self._experiments[name]
        init = {"init": LOCAL} if experiment.training.init else {}
        options = {
            "model": experiment.model.result(),
            "training": experiment.training.updated(init).result(),
            "validation": experiment.validation,
        }
        alignment = self._config.variant("eeg", experiment.eeg).alignment
        if experiment.needs_eeg and alignment != "none":
            options["alignment"] = alignment
        if experiment.finetune:
            backbone = self._config.tokens_options(experiment.faces, experiment.backbone)
            options["finetune"] = backbone.result()
        return json.dumps(options, sort_keys=True, separators=(",", ":"))

    # ------------------------------------------------------- how, which changes no result

    def arguments(self, wildcards: Any) -> Untracked:
        """The arguments of a training job that cannot change its result."""
        options, variant = self.options(wildcards), self.backbone(wildcards)
        init = self.init_place(wildcards)
        return Untracked(
            *self._device(options.device),
            *("--checkpoint-minutes", options.checkpoint_minutes),
            *(["--backbone", self._data.backbone_place(variant)] if variant else []),
            *(["--init", init] if init else []),
        )

    def memory(self, wildcards: Any) -> int:
        """MB of memory of a training job."""
        return 12_000 if self.backbone(wildcards) else 4000

    def group(self, wildcards: Any) -> str | None:
        """The group of small training jobs, those on one subject; they may share a job."""
        within = PROTOCOLS[wildcards.protocol].within_subject
        return "small_folds" if within and not self.backbone(wildcards) else None

    @property
    def gpu_resource_names(self) -> list[str]:
        """Resources of Snakemake by which a job that may use a GPU asks for one."""
        return ["gpu", *(name for name, variable in _SITE.items() if os.environ.get(variable))]

    def gpu_resources(self, device: str, on_cluster: bool) -> dict[str, int | str | None]:
        """What a job on ``device`` asks for: a GPU where it may use one and there is one.

        A cluster's login node has none to look at: there a job asks for one unless it is to use the
        CPU, in the words of the site (:data:`_SITE`).
        """
        if device == "cpu" or not on_cluster:
            found = on_cluster or device.startswith("cuda") or bool(visible_gpus())
            partition = os.environ.get("SBATCH_PARTITION") if on_cluster else None
            return {"gpu": int(device != "cpu" and found), "slurm_partition": partition}
        site = {name: os.environ.get(variable) for name, variable in _SITE.items()}
        return {"gpu": 0 if site["gres"] else 1, **site}

    @property
    def gpu_places(self) -> int:
        """Jobs that the GPUs of this machine take at once."""
        return len(visible_gpus()) * self._config.training.jobs_per_gpu

    def device(self, device: str) -> Untracked:
        """The arguments that say on which device a job computes and how many share a GPU."""
        return Untracked(*self._device(device))

    def _device(self, device: str) -> list[object]:
        return ["--device", device, "--jobs-per-gpu", self._config.training.jobs_per_gpu]

    def _filmed(self, wildcards: Any) -> list[str]:
        """Subjects of a run whose faces it looks at."""
        if not self._experiments[wildcards.experiment].needs_faces:
            return []
        return [s for s in self.fold_subjects(wildcards) if s in self._dataset.with_video]
