"""The plan as a whole: what there is to do, from the configuration and the dataset's files."""

import functools
import os
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Self

from milmer.config import Config, load_config
from milmer.data.dataset import Dataset
from milmer.errors import MilmerError
from milmer.fingerprints import fingerprint
from milmer.plan import paths
from milmer.plan.dataset import DatasetPlan, open_dataset
from milmer.plan.experiments import Experiments
from milmer.plan.results import ResultsPlan
from milmer.plan.training import TrainingPlan


class Plan:
    """Targets, inputs and options of all rules; paths are relative to the working directory.

    ``data`` is the part before training, ``training`` that of splits and runs, ``results`` the part
    after it.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.experiments = Experiments(config, dataset)
        self.data = DatasetPlan(config, dataset)
        self.training = TrainingPlan(self.experiments, self.data)
        self.results = ResultsPlan(self.experiments, self.training)

    @classmethod
    def read(cls, user: Mapping[str, Any]) -> Self:
        """The plan of a configuration as Snakemake merged it; errors are for people."""
        config = load_config(user)
        if {"{", "}"} & set(working := os.getcwd()):
            raise MilmerError(
                f"{working} holds a brace, which Snakemake takes for a wildcard",
                where="the working directory",
                remedy="rename it, or link to it by another name",
            )
        return cls(config, open_dataset(config.dataset))

    @property
    def warnings(self) -> list[str]:
        """What the dataset does not allow."""
        return self.experiments.warnings

    def targets(self) -> Iterator[tuple[str, str, str]]:
        """What a complete run makes: stage with variant, subject or fold, and a file for each."""
        yield from self._data_targets()
        for labels, protocols in self.experiments.folds_by_labels().items():
            for protocol, folds in protocols.items():
                for fold in folds:
                    yield f"split {labels} {protocol}", fold, paths.split(labels, protocol, fold)
        for name in self.experiments.by_name:
            for run in self.experiments.runs(name):
                path = f"{paths.run(*run)}/predictions.parquet"
                yield f"train {name} {run.protocol}", run.unit, path
            for protocol in self.experiments.folds(name):
                yield f"evaluate {name}", protocol, paths.evaluation(name, protocol)
        for run in self.results.explained_runs():
            path = paths.explanation(*run)
            yield f"explain {run.experiment} {run.protocol}", run.unit, path
        for labels, protocol in self.results.baseline_keys():
            name = self.results.baseline_names()[0]  # all are made by one job
            yield f"baseline {labels}", protocol, paths.baseline(name, labels, protocol)
        for labels, protocol in self.results.control_keys():
            yield f"controls {labels}", protocol, paths.controls(labels, protocol)
        yield "tables", "all", f"{paths.TABLES}/summary.parquet"
        yield "report", "all", paths.REPORT

    def _data_targets(self) -> Iterator[tuple[str, str, str]]:
        subjects, with_video = self.dataset.subjects, self.dataset.with_video
        experiments = [e for e in self.experiments.by_name.values() if e.needs_faces]
        for s in subjects:
            yield "trials", s, paths.trials(s)
        for eeg in self.experiments.eeg_variants():
            for s in subjects:
                yield f"segments {eeg}", s, paths.segments(eeg, s)
        for faces in self.experiments.faces_variants():
            for s in with_video:
                yield f"faces {faces}", s, paths.faces(faces, s)
        for backbone in dict.fromkeys(e.backbone for e in experiments):
            if self.config.variant("backbone", backbone).pretrain.images:
                yield "pretrain", backbone, f"{paths.backbone(backbone)}/metrics.json"
        for faces, backbone in dict.fromkeys(
            (e.faces, e.backbone) for e in experiments if not e.finetune
        ):
            for s in with_video:
                yield f"tokens {faces} {backbone}", s, paths.tokens(faces, backbone, s)

    @staticmethod
    def file_arguments(inputs: Any, *names: str) -> str:
        """``--NAME PATH`` for each file among a job's inputs of these names."""
        files = ((name, path) for name in names for path in getattr(inputs, name))
        return " ".join(f"--{name} {shlex.quote(str(path))}" for name, path in files)

    @staticmethod
    @functools.cache
    def code(*modules: str) -> str:
        """Fingerprints of the modules that a stage, and what it is handed, can import."""
        return fingerprint(*modules)
