"""Training's part of the plan: experiments, folds and runs, and what each run reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from milmer.config import Config, Experiment
from milmer.data.dataset import Dataset
from milmer.errors import MilmerError
from milmer.plan.dataset import DatasetPlan
from milmer.plan.untracked import Untracked
from milmer.runtime.gpus import visible_gpus
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.protocols import PROTOCOLS
from milmer.training.options import TrainingOptions


class TrainingPlan(DatasetPlan):
    """Experiments that the dataset allows, their runs, and inputs and options of each."""

    def __init__(self, config: Config, dataset: Dataset):
        super().__init__(config, dataset)
        self.warnings: list[str] = list(dataset.notes)
        self._experiments: dict[str, Experiment] = {}
        for name in config.experiments:
            if (experiment := self._possible(config.experiment(name))) is not None:
                self._experiments[name] = experiment
        if not self._experiments:
            raise MilmerError(f"experiments: none can be run: {'; '.join(self.warnings)}")

    def training(self, wildcards: Any) -> TrainingOptions:
        """How an experiment is trained."""
        return self._experiments[wildcards.experiment].training

    def fold_subjects(self, wildcards: Any) -> list[str]:
        """Subjects that a fold's split reads."""
        return fold_subjects(wildcards.protocol, wildcards.fold, self.subjects)

    def split_of(self, wildcards: Any) -> str:
        """The split of a run."""
        labels = self._experiments[wildcards.experiment].labels
        return f"results/splits/{labels}/{wildcards.protocol}/{wildcards.fold}.parquet"

    def segments_of(self, wildcards: Any) -> list[str]:
        """The EEG segments that a run reads."""
        experiment = self._experiments[wildcards.experiment]
        subjects = self.fold_subjects(wildcards) if experiment.needs_eeg else []
        return [f"results/segments/{experiment.eeg}/{s}.h5" for s in subjects]

    def data_of(self, wildcards: Any) -> dict[str, str | list[str]]:
        """A run's split and its subjects' files, by the names that rules give them."""
        return {
            "split": self.split_of(wildcards),
            "segments": self.segments_of(wildcards),
            "tokens": self.tokens_of(wildcards),
            "faces": self.faces_of(wildcards),
        }

    def tokens_of(self, wildcards: Any) -> list[str]:
        """The tokens that a run reads: those of its subjects with video."""
        experiment = self._experiments[wildcards.experiment]
        folder = f"results/tokens/{experiment.faces}/{experiment.backbone}"
        return [] if experiment.finetune else self._faces_below(folder, wildcards)

    def faces_of(self, wildcards: Any) -> list[str]:
        """The face crops that a run reads which trains the backbone too."""
        experiment = self._experiments[wildcards.experiment]
        folder = f"results/faces/{experiment.faces}"
        return self._faces_below(folder, wildcards) if experiment.finetune else []

    def finetuned(self, wildcards: Any) -> str | None:
        """The variant of the backbone that a run trains, if any."""
        experiment = self._experiments[wildcards.experiment]
        return experiment.backbone if experiment.finetune else None

    def finetuned_files(self, wildcards: Any) -> list[str]:
        """Its files, where it is a directory."""
        variant = self.finetuned(wildcards)
        return self.backbone_files(variant) if variant else []

    def how_to_train(self, wildcards: Any) -> Untracked:
        """The options of a training job that cannot change its result."""
        how, variant = self.training(wildcards), self.finetuned(wildcards)
        return Untracked(
            *self._device(how.device),
            *("--checkpoint-minutes", how.checkpoint_minutes),
            *(["--backbone", self._backbone_at(variant)] if variant else []),
        )

    def train_memory(self, wildcards: Any) -> int:
        """MB of memory of a training job."""
        return 12_000 if self.finetuned(wildcards) else 4000

    def gpus(self, device: str) -> int:
        """GPUs that one job asks for: one where the configuration may use one and there is one."""
        if device == "cpu":
            return 0
        return int(device.startswith("cuda") or bool(visible_gpus()))

    @property
    def gpu_places(self) -> int:
        """Jobs that the GPUs of this machine take at once."""
        return len(visible_gpus()) * self.config.training.jobs_per_gpu

    def device(self, device: str) -> Untracked:
        """The options that say on which device a job computes and how many share a GPU."""
        return Untracked(*self._device(device))

    def _device(self, device: str) -> list[object]:
        return ["--device", device, "--jobs-per-gpu", self.config.training.jobs_per_gpu]

    def group(self, wildcards: Any) -> str | None:
        """The group of small training jobs, those on one subject; they may share a job."""
        within = PROTOCOLS[wildcards.protocol].within_subject
        small = within and not self.finetuned(wildcards)
        return "small_folds" if small else None

    def train_json(self, name: str) -> str:
        """Options of the stage ``train`` for an experiment."""
        experiment = self._experiments[name]
        options = {
            "model": experiment.model.result(),
            "training": experiment.training.result(),
            "validation": experiment.validation,
        }
        if experiment.finetune:
            backbone = self.config.tokens_options(experiment.faces, experiment.backbone)
            options["finetune"] = backbone.result()
        return json.dumps(options, sort_keys=True, separators=(",", ":"))

    def _faces_below(self, folder: str, wildcards: Any) -> list[str]:
        """Files about faces below ``folder`` that a run needs."""
        if not self._experiments[wildcards.experiment].needs_faces:
            return []
        subjects = self.fold_subjects(wildcards)
        return [f"{folder}/{s}.h5" for s in subjects if s in self.with_video]

    @property
    def _seeds(self) -> list[int]:
        protocols = self.config.protocols
        return [protocols.seed + n for n in range(protocols.repeats)]

    def _tested(self, experiment: Experiment) -> list[str]:
        return self.with_video if experiment.needs_faces else self.subjects

    def _folds(self, experiment: Experiment) -> dict[str, list[str]]:
        subjects, folds = self._tested(experiment), self.config.protocols.folds
        return {p: fold_names(p, subjects, folds) for p in experiment.protocols}

    def _runs_of(self, name: str) -> Iterator[tuple[str, str]]:
        """The protocol and the place, below a folder of runs, of each run of an experiment."""
        for protocol, folds in self._folds(self._experiments[name]).items():
            for fold in folds:
                for seed in self._seeds:
                    yield protocol, f"{name}/{protocol}/{fold}/seed{seed}"

    def _possible(self, experiment: Experiment) -> Experiment | None:
        """What of an experiment the dataset allows; what it does not is told in ``warnings``."""
        where, subjects = f"experiments.{experiment.name}", self._tested(experiment)
        if not subjects:
            self.warnings.append(f"{where} is left out: {self.dataset.place} holds no face video")
            return None
        if (
            lack := self.dataset.lacks(self.config.variant("labels", experiment.labels))
        ) is not None:
            self.warnings.append(f"{where} is left out: {lack}")
            return None
        scrambled = self.config.variant("eeg", experiment.eeg).layout == "as_published"
        if experiment.needs_eeg and scrambled and not self.dataset.preprocessed:
            self.warnings.append(
                f"{where} is left out: eeg.layout as_published is that of preprocessed files, and "
                f"dataset.source is {self.dataset.source}"
            )
            return None
        images = self.config.variant("backbone", experiment.backbone).pretrain.images
        if experiment.needs_faces and images and not Path(images).is_dir():
            raise MilmerError(f"backbone.pretrain.images: no such folder: {images}")
        protocols = experiment.protocols
        if len(subjects) < 2:
            protocols = [p for p in protocols if PROTOCOLS[p].within_subject]
            for protocol in set(experiment.protocols) - set(protocols):
                self.warnings.append(
                    f"{where}: protocol {protocol} is left out: it needs two subjects, there is "
                    f"{subjects[0]} alone"
                )
        return experiment.updated({"protocols": protocols}) if protocols else None
