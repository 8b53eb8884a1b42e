"""What there is to do: the configuration and a dataset's files as targets, inputs and options.

The Snakefile asks this object and holds no logic itself. It is made anew whenever the Snakefile is
parsed, also by each cluster job, so that it lists folders and reads nothing.
"""

import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from milmer.backbone.options import BackboneOptions
from milmer.config import Config, Experiment, load
from milmer.deap.layout import Copy, no_eeg, ratings_file, scan
from milmer.errors import MilmerError
from milmer.evaluation import report
from milmer.evaluation.options import (
    READABLE,
    TABLES,
    BandPowerOptions,
    ExplainOptions,
    SummaryOptions,
)
from milmer.source import fingerprint
from milmer.training.folds import LEAKY, WITHIN_SUBJECT, fold_names, fold_subjects
from milmer.training.options import TrainingOptions


class Aside:
    """A rule's param that says how and not what: Snakemake reruns nothing where it changes.

    Snakemake compares params of Python's own types only. In a shell command it stands quoted.
    """

    def __init__(self, *words: object):
        self._text = " ".join(shlex.quote(str(word)) for word in words)

    def __str__(self) -> str:
        return self._text


class Plan:
    """Targets, inputs and options of all rules; paths are relative to the working directory."""

    NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
    BASELINES = "results/baselines/default"
    """Those on the EEG as configured, which the tables read."""

    def __init__(self, config: Config, copy: Copy):
        self.config = config
        self._copy = copy
        wanted = config.dataset.subjects
        found = copy.subjects
        if wanted != "all" and (absent := sorted(set(wanted) - set(found))):
            raise MilmerError(
                f"dataset.subjects: {copy.root} holds no recording of {', '.join(absent)}"
            )
        self._source = copy.source(config.dataset.source, found if wanted == "all" else wanted)
        with_eeg = copy.eeg.get(self._source, {})
        self.subjects = [s for s in found if s in with_eeg and (wanted == "all" or s in wanted)]
        if not self.subjects:
            raise no_eeg(copy, self._source)
        if wanted != "all" and (absent := sorted(set(wanted) - set(self.subjects))):
            raise MilmerError(
                f"dataset.subjects: {copy.root} holds no .{self._source} file of "
                f"{', '.join(absent)}"
            )
        self.ratings = str(ratings_file(copy))
        self.with_video = [s for s in self.subjects if copy.videos.get(s)]
        self.warnings: list[str] = []
        self._experiments: dict[str, Experiment] = {}
        for name in config.experiments:
            if (experiment := self._possible(config.experiment(name))) is not None:
                self._experiments[name] = experiment
        if not self._experiments:
            raise MilmerError(f"experiments: none can be run: {'; '.join(self.warnings)}")

    @classmethod
    def read(cls, user: Mapping[str, Any]) -> "Plan":
        """The plan of a configuration as Snakemake merged it; errors are for people."""
        config = load(user)
        return cls(config, scan(config.dataset.root))

    # ------------------------------------------------------------------ data

    @property
    def root(self) -> Aside:
        """The dataset's folder; what lies in it counts by the inputs."""
        return Aside(self.config.dataset.root)

    @property
    def trials_options(self) -> str:
        """Options of the stage ``trials``."""
        return json.dumps({"source": self._source})

    def eeg_files(self, subject: str) -> str:
        """The subject's EEG file."""
        return str(self._copy.eeg[self._source][subject])

    def video_files(self, subject: str) -> list[str]:
        """The subject's clips, by trial."""
        return [str(p) for _, p in sorted(self._copy.videos.get(subject, {}).items())]

    def video_names(self, subject: str) -> str:
        """Which trials have a clip: a trigger for the table of trials, which names them."""
        return json.dumps(sorted(self._copy.videos.get(subject, {})))

    def detector_model(self, wildcards: Any) -> Aside:
        """The option that says where the detector's model file lies."""
        files = self.detector_files(wildcards.faces)
        return Aside(*(["--detector-model", files[0]] if files else []))

    def face_threads(self, wildcards: Any) -> int:
        """Threads of one job that crops faces."""
        return self.config.variant("faces", wildcards.faces).threads

    def detector_files(self, faces: str) -> list[str]:
        """The detector's model file, where it is given by path."""
        options = self.config.variant("faces", faces)
        given = options.detector != "haar" and options.detector_model
        return [options.detector_model] if given else []

    def backbone(self, wildcards: Any) -> BackboneOptions:
        """The backbone of a variant."""
        return self.config.variant("backbone", wildcards.backbone)

    def start_files(self, variant: str) -> list[str]:
        """Files of a variant of the backbone as configured, where it is a directory."""
        folder = Path(self.config.variant("backbone", variant).name)
        return [str(p) for p in sorted(folder.glob("*")) if p.is_file()] if folder.is_dir() else []

    def backbone_files(self, variant: str) -> list[str]:
        """Files of the backbone that faces go through, a directory's or pre-trained here."""
        if not self.config.variant("backbone", variant).pretrain.images:
            return self.start_files(variant)
        names = ("config.json", "model.safetensors", "preprocessor_config.json")
        return [f"{self._pretrained(variant)}/{name}" for name in names]

    def backbone_name(self, variant: str) -> Aside:
        """Where that backbone lies, or its name on the hub."""
        return Aside(self._backbone_at(variant))

    def pictures(self, wildcards: Any) -> str:
        """Names and sizes of the files to pre-train on, as a digest: too many to be inputs.

        Called for a job alone, so that only what pre-trains lists the folder.
        """
        return _listing(self.backbone(wildcards).pretrain.images)

    def _backbone_at(self, variant: str) -> str:
        options = self.config.variant("backbone", variant)
        return self._pretrained(variant) if options.pretrain.images else options.name

    @staticmethod
    def _pretrained(variant: str) -> str:
        return f"results/backbones/{variant}"

    # -------------------------------------------------------------- training

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

    def finetuned_name(self, wildcards: Any) -> Aside:
        """The option that says where it lies."""
        variant = self.finetuned(wildcards)
        return Aside(*(["--backbone", self._backbone_at(variant)] if variant else []))

    def train_memory(self, wildcards: Any) -> int:
        """MB of memory of a training job."""
        return 12_000 if self.finetuned(wildcards) else 4000

    def group(self, wildcards: Any) -> str | None:
        """Small training jobs, which may share one job of a cluster: those on one subject's data."""
        small = wildcards.protocol in WITHIN_SUBJECT and not self.finetuned(wildcards)
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

    # ---------------------------------------------------------------- tables

    def runs(self) -> list[str]:
        """The files of all runs that the tables read."""
        return [
            f"results/runs/{run}/{file}"
            for name in self._experiments
            for _, run in self._runs_of(name)
            for file in ("metrics.json", "predictions.parquet")
        ]

    def explanations(self) -> list[str]:
        """The files that tell what models go by, of honest runs; of others it means nothing."""
        return [
            f"results/explanations/{run}.h5"
            for name, experiment in self._experiments.items()
            if self.config.report.explain and self._is_honest(experiment)
            for protocol, run in self._runs_of(name)
            if protocol not in LEAKY
        ]

    def _is_honest(self, experiment: Experiment) -> bool:
        labels = self.config.variant("labels", experiment.labels)
        return experiment.training.select != "best_on_test" and not labels.permuted

    def explain_json(self, wildcards: Any) -> str:
        """Options of the stage ``explain``."""
        asked = {
            "segments": self.config.report.explain,
            "threads": self.training(wildcards).threads,
        }
        return ExplainOptions(**asked).result_json()

    def baselines(self) -> list[str]:
        """The baselines' files that the tables read: one for each fold of any experiment."""
        return [
            f"{self.BASELINES}/{labels}/{protocol}/{fold}.parquet"
            for labels, protocols in self._baselines().items()
            for protocol, folds in protocols.items()
            for fold in folds
        ]

    def baseline_segments(self, wildcards: Any) -> list[str]:
        """The EEG segments that a baseline reads."""
        return [f"results/segments/{wildcards.eeg}/{s}.h5" for s in self.fold_subjects(wildcards)]

    @staticmethod
    def baseline_json() -> str:
        """Options of the stage ``baseline``."""
        return BandPowerOptions().result_json()

    def tables(self, folder: str) -> list[str]:
        """All tables below ``folder``."""
        names = [f"{table}.{kind}" for table in TABLES for kind in ("parquet", "csv")]
        names += [f"{table}.{kind}" for table in READABLE for kind in ("md", "tex")]
        return [f"{folder}/{name}" for name in [*names, "conclusions.md"]]

    def tables_json(self) -> str:
        """Options of the stage ``tables``."""
        experiments = {
            name: self._told(name) | {"labels": experiment.labels}
            for name, experiment in self._experiments.items()
        }
        options = {
            "report": self.config.report.only(SummaryOptions).result(),
            "experiments": experiments,
            "baselines": self._baselines(),
            "seeds": self._seeds,
        }
        return json.dumps(options, separators=(",", ":"))

    # ---------------------------------------------------------------- report

    def shown(self) -> list[str]:
        """What the report reads beside the tables: the runs, what explains them, and their data."""
        runs = [run for name in self._experiments for _, run in self._runs_of(name)]
        histories = [f"results/runs/{run}/history.parquet" for run in runs]
        trials = [f"results/trials/{s}.parquet" for s in self.subjects]
        takers = self._experiments.values()
        eeg = dict.fromkeys(e.eeg for e in takers if e.needs_eeg)
        faces = dict.fromkeys(e.faces for e in takers if e.needs_faces)
        segments = [f"results/segments/{v}/{s}.h5" for v in eeg for s in self.subjects]
        crops = [f"results/faces/{v}/{s}.h5" for v in faces for s in self.with_video]
        return [*self.runs(), *histories, *self.explanations(), *trials, *segments, *crops]

    def report_json(self) -> str:
        """Options of the stage ``report``."""
        experiments = {
            name: self._told(name)
            | {
                "eeg": experiment.eeg if experiment.needs_eeg else None,
                "faces": experiment.faces if experiment.needs_faces else None,
            }
            for name, experiment in self._experiments.items()
        }
        options = {
            "report": self.config.report.result(),
            "experiments": experiments,
            "seeds": self._seeds,
            "subjects": self.subjects,
            "source": self._source,
        }
        return json.dumps(options, separators=(",", ":"))

    @staticmethod
    def page_files() -> str:
        """A digest of the page's template, style and script, which are no modules."""
        folder = Path(report.__file__).parent
        files = sorted(p for p in folder.iterdir() if p.suffix in (".html", ".css", ".js"))
        return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()

    # --------------------------------------------------------------- helpers

    @staticmethod
    def listed(option: str, paths: Iterable[str]) -> str:
        """``--option PATH`` for each path."""
        return " ".join(f"{option} {shlex.quote(str(path))}" for path in paths)

    @staticmethod
    @functools.cache
    def code(module: str) -> str:
        """Fingerprints of the modules that a stage can import."""
        return fingerprint(module)

    @staticmethod
    def gpus(device: str) -> int:
        """GPUs that one job asks for: one where the configuration may use one and there is one."""
        if device == "cpu":
            return 0
        return int(device.startswith("cuda") or _gpus_here() > 0)

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

    def _told(self, name: str) -> dict[str, Any]:
        """What tables and report are told of an experiment."""
        changes = self.config.experiments[name].model_dump(exclude_unset=True)
        return {"folds": self._folds(self._experiments[name]), "changes": changes}

    def _baselines(self) -> dict[str, dict[str, list[str]]]:
        """Folds by labels and protocol: all that an experiment has, each once."""
        found: dict[str, dict[str, dict[str, None]]] = {}
        for experiment in self._experiments.values():
            for protocol, folds in self._folds(experiment).items():
                known = found.setdefault(experiment.labels, {}).setdefault(protocol, {})
                known |= dict.fromkeys(folds)
        return {
            labels: {protocol: sorted(folds) for protocol, folds in protocols.items()}
            for labels, protocols in found.items()
        }

    def _possible(self, experiment: Experiment) -> Experiment | None:
        """What of an experiment the dataset allows; what it does not is told in ``warnings``."""
        where, subjects = f"experiments.{experiment.name}", self._tested(experiment)
        if not subjects:
            self.warnings.append(f"{where} is left out: {self._copy.root} holds no face video")
            return None
        scrambled = self.config.variant("eeg", experiment.eeg).layout == "as_published"
        if experiment.needs_eeg and scrambled and self._source == "bdf":
            self.warnings.append(
                f"{where} is left out: eeg.layout as_published is that of preprocessed files, and "
                "dataset.source is bdf"
            )
            return None
        images = self.config.variant("backbone", experiment.backbone).pretrain.images
        if experiment.needs_faces and images and not Path(images).is_dir():
            raise MilmerError(f"backbone.pretrain.images: no such folder: {images}")
        protocols = experiment.protocols
        if len(subjects) < 2:
            protocols = [p for p in protocols if p in WITHIN_SUBJECT]
            for protocol in set(experiment.protocols) - set(protocols):
                self.warnings.append(
                    f"{where}: protocol {protocol} is left out: it needs two subjects, there is "
                    f"{subjects[0]} alone"
                )
        return experiment.but({"protocols": protocols}) if protocols else None


@functools.cache
def _listing(folder: str) -> str:
    total, start = hashlib.sha256(), os.path.normpath(folder)
    for path, folders, names in os.walk(start, followlinks=True):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(path, name)
            with suppress(OSError):  # of a link to nothing
                total.update(f"{file.removeprefix(start)} {os.path.getsize(file)}\n".encode())
    return total.hexdigest()


@functools.cache
def _gpus_here() -> int:
    """NVIDIA GPUs of this machine, without importing torch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in found.stdout.splitlines())
