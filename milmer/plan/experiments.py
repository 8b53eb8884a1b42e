"""Which experiments the dataset allows, and their folds and runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from milmer.config import Config, Experiment
from milmer.data.dataset import Dataset
from milmer.errors import MilmerError
from milmer.splits.folds import fold_names
from milmer.splits.protocols import PROTOCOLS


class RunKey(NamedTuple):
    """One run: a fold of an experiment under a protocol, with a seed."""

    experiment: str
    protocol: str
    fold: str
    seed: int

    @property
    def unit(self) -> str:
        """Its fold, with the seed where that is not the first."""
        return f"{self.fold}/seed{self.seed}" if self.seed else self.fold


class Experiments:
    """The experiments of a configuration that a dataset allows.

    ``warnings`` says what it does not allow. Raises :class:`MilmerError` where nothing is left.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        self.warnings: list[str] = list(dataset.notes)
        self.by_name: dict[str, Experiment] = {}
        for name in config.experiments:
            if (experiment := self._possible(config.experiment(name))) is not None:
                self.by_name[name] = experiment
        if not self.by_name:
            raise MilmerError(f"none can be run: {'; '.join(self.warnings)}", where="experiments")

    def __getitem__(self, name: str) -> Experiment:
        return self.by_name[name]

    @property
    def seeds(self) -> list[int]:
        """The seed of each repeat."""
        protocols = self.config.protocols
        return [protocols.seed + n for n in range(protocols.repeats)]

    def folds(self, name: str) -> dict[str, list[str]]:
        """Folds by protocol."""
        experiment = self.by_name[name]
        return {p: self._fold_names(p, self._tested(experiment)) for p in experiment.protocols}

    def _fold_names(self, protocol: str, subjects: list[str]) -> list[str]:
        folds, dataset = self.config.protocols.folds, self.dataset
        return fold_names(protocol, subjects, folds, dataset.sessions, dataset.held_out_with)

    def runs(self, name: str) -> Iterator[RunKey]:
        """All runs of an experiment."""
        for protocol, folds in self.folds(name).items():
            for fold in folds:
                for seed in self.seeds:
                    yield RunKey(name, protocol, fold, seed)

    def all_runs(self) -> list[RunKey]:
        """The runs of all experiments."""
        return [run for name in self.by_name for run in self.runs(name)]

    def folds_by_labels(self) -> dict[str, dict[str, list[str]]]:
        """Folds by labels and protocol: all that an experiment has, each once."""
        folds: dict[str, dict[str, dict[str, None]]] = {}
        for name, experiment in self.by_name.items():
            protocols = folds.setdefault(experiment.labels, {})
            for protocol, names in self.folds(name).items():
                protocols[protocol] = protocols.get(protocol, {}) | dict.fromkeys(names)
        return {
            labels: {protocol: sorted(names) for protocol, names in protocols.items()}
            for labels, protocols in folds.items()
        }

    def eeg_variants(self) -> list[str]:
        """Variants of ``eeg`` that experiments look at, each once."""
        return list(dict.fromkeys(e.eeg for e in self.by_name.values() if e.needs_eeg))

    def faces_variants(self) -> list[str]:
        """Variants of ``faces`` that experiments look at, each once."""
        return list(dict.fromkeys(e.faces for e in self.by_name.values() if e.needs_faces))

    def _tested(self, experiment: Experiment) -> list[str]:
        return self.dataset.with_video if experiment.needs_faces else self.dataset.subjects

    def _possible(self, experiment: Experiment) -> Experiment | None:
        """What of an experiment the dataset allows."""
        where, subjects = f"experiments.{experiment.name}", self._tested(experiment)
        if (reason := self._obstacle(experiment, subjects)) is not None:
            self.warnings.append(f"{where} is left out: {reason}")
            return None
        images = self.config.variant("backbone", experiment.backbone).pretrain.images
        if experiment.needs_faces and images and not Path(images).is_dir():
            raise MilmerError(f"no such folder: {images}", where="backbone.pretrain.images")
        self._require_enough_instances(experiment, where)
        protocols = []
        for protocol in experiment.protocols:
            if (lack := self._lacking(protocol, subjects)) is None:
                protocols.append(protocol)
            else:
                self.warnings.append(f"{where}: protocol {protocol} is left out: {lack}")
        return experiment.updated({"protocols": protocols}) if protocols else None

    def _lacking(self, protocol: str, subjects: list[str]) -> str | None:
        """What a protocol needs that the subjects do not have; None where they have it."""
        row = PROTOCOLS[protocol]
        if not row.within_subject and len(subjects) < 2:
            return f"it needs two subjects, there is {subjects[0]} alone"
        if row.leaves_subject_out and len(self._fold_names(protocol, subjects)) < 2:
            return "groups tie all subjects to each other"
        if row.by_session and not self._fold_names(protocol, subjects):
            return "it needs a subject with two sessions (column session of a manifest)"
        return None

    def _require_enough_instances(self, experiment: Experiment, where: str) -> None:
        """Refuse to select more instances than a bag has: the name would tell what is not so."""
        model = experiment.model
        bag = model.num_instances or self.config.variant("faces", experiment.faces).instances
        selects = experiment.needs_faces and model.selection not in ("none", "all")
        if selects and model.num_select > bag:
            raise MilmerError(
                f"{model.num_select} instances are to be selected from bags of {bag}",
                where=f"{where}.model.num_select",
                remedy="lower it, or raise faces.instances",
            )

    def _obstacle(self, experiment: Experiment, subjects: list[str]) -> str | None:
        """Why the dataset does not allow an experiment; None where it does."""
        if not subjects:
            return f"{self.dataset.place} holds no face video"
        labels = self.config.variant("labels", experiment.labels)
        if (lack := self.dataset.lacks(labels)) is not None:
            return lack
        scrambled = self.config.variant("eeg", experiment.eeg).layout == "as_published"
        if experiment.needs_eeg and scrambled and not self.dataset.preprocessed:
            return (
                "eeg.layout as_published is that of preprocessed files, and dataset.source is "
                f"{self.dataset.source}"
            )
        return None
