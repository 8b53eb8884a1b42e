"""The plan as a whole, with what is made of all runs: baselines, tables, explanations, report."""

import functools
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from milmer import drawing
from milmer.config import Experiment, load_config
from milmer.evaluation import report
from milmer.evaluation.baseline_options import BASELINES, VARIANT
from milmer.evaluation.evaluate_options import EvaluateOptions
from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.options import READABLE, TABLES, SummaryOptions
from milmer.evaluation.report.figures import FIGURES
from milmer.fingerprints import fingerprint
from milmer.plan.dataset import open_dataset
from milmer.plan.training import TrainingPlan
from milmer.splits.protocols import PROTOCOLS


class Plan(TrainingPlan):
    """Targets, inputs and options of all rules; paths are relative to the working directory."""

    NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
    baseline_pattern = "|".join(BASELINES)
    """What names of baselines look like."""

    @classmethod
    def read(cls, user: Mapping[str, Any]) -> "Plan":
        """The plan of a configuration as Snakemake merged it; errors are for people."""
        config = load_config(user)
        return cls(config, open_dataset(config.dataset))

    def targets(self) -> Iterator[tuple[str, str, str]]:
        """What a complete run makes: stage with variant, subject or fold, and a file for each."""
        takers = self._experiments.values()
        for s in self.subjects:
            yield "trials", s, f"results/trials/{s}.parquet"
        for eeg in dict.fromkeys([VARIANT, *(e.eeg for e in takers if e.needs_eeg)]):
            for s in self.subjects:
                yield f"segments {eeg}", s, f"results/segments/{eeg}/{s}.h5"
        for faces in dict.fromkeys(e.faces for e in takers if e.needs_faces):
            for s in self.with_video:
                yield f"faces {faces}", s, f"results/faces/{faces}/{s}.h5"
        cached = dict.fromkeys(
            (e.faces, e.backbone) for e in takers if e.needs_faces and not e.finetune
        )
        used = dict.fromkeys(e.backbone for e in takers if e.needs_faces)
        for backbone in used:
            if self.config.variant("backbone", backbone).pretrain.images:
                yield "pretrain", backbone, f"{self._pretrained(backbone)}/metrics.json"
        for faces, backbone in cached:
            for s in self.with_video:
                path = f"results/tokens/{faces}/{backbone}/{s}.h5"
                yield f"tokens {faces} {backbone}", s, path
        for labels, protocols in self._baselines().items():
            for protocol, folds in protocols.items():
                for fold in folds:
                    path = f"results/splits/{labels}/{protocol}/{fold}.parquet"
                    yield f"split {labels} {protocol}", fold, path
        for name in self._experiments:
            for protocol, run in self._runs_of(name):
                unit = "/".join(run.split("/")[2:]).removesuffix("/seed0")
                yield f"train {name} {protocol}", unit, f"results/runs/{run}/predictions.parquet"
            for protocol in self._folds(self._experiments[name]):
                path = f"results/runs/{name}/{protocol}/evaluation.parquet"
                yield f"evaluate {name}", protocol, path
        for path in self.explanations():
            _, _, name, protocol, *unit = path.removesuffix(".h5").split("/")
            yield f"explain {name} {protocol}", "/".join(unit).removesuffix("/seed0"), path
        for path in self.baselines():
            _, _, name, _, labels, protocol, fold = path.removesuffix(".parquet").split("/")
            yield f"baseline {name} {labels} {protocol}", fold, path
        yield "tables", "all", "results/tables/summary.parquet"
        yield "report", "all", "results/report/index.html"

    def runs(self) -> list[str]:
        """The predictions of all runs."""
        return [
            f"results/runs/{run}/predictions.parquet"
            for name in self._experiments
            for _, run in self._runs_of(name)
        ]

    def evaluations(self) -> list[str]:
        """What says that runs were evaluated: a file an experiment and protocol."""
        return [
            f"results/runs/{name}/{protocol}/evaluation.parquet"
            for name, experiment in self._experiments.items()
            for protocol in self._folds(experiment)
        ]

    def evaluated_files(self, wildcards: Any) -> list[str]:
        """The files of the runs that one job evaluates."""
        return [
            f"results/runs/{run}/{table}.parquet"
            for protocol, run in self._runs_of(wildcards.experiment)
            if protocol == wildcards.protocol
            for table in ("predictions", "validation", "history")
        ]

    def evaluate_json(self, wildcards: Any) -> str:
        """Options of the stage ``evaluate``."""
        folds = self._folds(self._experiments[wildcards.experiment])[wildcards.protocol]
        return EvaluateOptions(folds=folds, seeds=self._seeds).result_json()

    def explanations(self) -> list[str]:
        """The files that tell what models go by, of honest runs; of others it means nothing."""
        return [
            f"results/explanations/{run}.h5"
            for name, experiment in self._experiments.items()
            if self.config.report.explain and self._is_honest(experiment)
            for protocol, run in self._runs_of(name)
            if not PROTOCOLS[protocol].leaky
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
            f"results/baselines/{name}/{VARIANT}/{labels}/{protocol}/{fold}.parquet"
            for name in BASELINES
            for labels, protocols in self._baselines().items()
            for protocol, folds in protocols.items()
            for fold in folds
        ]

    def baseline_segments(self, wildcards: Any) -> list[str]:
        """What a baseline reads of its subjects: their EEG segments."""
        folder = {"eeg": f"results/segments/{wildcards.eeg}"}[
            BASELINES[wildcards.baseline].modality
        ]
        return [f"{folder}/{s}.h5" for s in self.fold_subjects(wildcards)]

    @staticmethod
    def baseline_json(wildcards: Any) -> str:
        """Options of the stage ``baseline``."""
        return BASELINES[wildcards.baseline].options.result_json()

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
            "report": self.config.report.narrowed_to(SummaryOptions).result(),
            "experiments": experiments,
            "baselines": self._baselines(),
            "seeds": self._seeds,
        }
        return json.dumps(options, separators=(",", ":"))

    def report_inputs(self) -> list[str]:
        """What the report reads beside the tables: the runs, what explains them, and their data."""
        runs = [run for name in self._experiments for _, run in self._runs_of(name)]
        histories = [f"results/runs/{run}/history.parquet" for run in runs]
        trials = [f"results/trials/{s}.parquet" for s in self.subjects]
        takers = self._experiments.values()
        eeg = dict.fromkeys(e.eeg for e in takers if e.needs_eeg)
        faces = dict.fromkeys(e.faces for e in takers if e.needs_faces)
        segments = [f"results/segments/{v}/{s}.h5" for v in eeg for s in self.subjects]
        crops = [f"results/faces/{v}/{s}.h5" for v in faces for s in self.with_video]
        return [
            *self.runs(),
            *self.evaluations(),
            *histories,
            *self.explanations(),
            *trials,
            *segments,
            *crops,
        ]

    @property
    def figures(self) -> dict[str, str]:
        """Categories of the report's figures in Snakemake's own report, by name."""
        return {name: section.category for name, section in FIGURES.items()}

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
            "source": self.dataset.source,
        }
        return json.dumps(options, separators=(",", ":"))

    @staticmethod
    def page_files() -> str:
        """A digest of the page's template, style and script, which are no modules."""
        folders = (Path(package.__file__).parent for package in (drawing, report))
        files = [
            path
            for folder in folders
            for path in sorted(folder.iterdir())
            if path.suffix in (".html", ".css", ".js")
        ]
        return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()

    def _told(self, name: str) -> dict[str, Any]:
        """What tables and report are told of an experiment."""
        given = self.config.experiments[name].model_dump(exclude_unset=True)
        # In which order a user wrote them down changes nothing.
        changes = {
            k: dict(sorted(v.items())) if isinstance(v, dict) else v for k, v in given.items()
        }
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

    @staticmethod
    def file_arguments(given: Any, *names: str) -> str:
        """``--NAME PATH`` for each file among a job's inputs of these names."""
        files = ((name, path) for name in names for path in getattr(given, name))
        return " ".join(f"--{name} {shlex.quote(str(path))}" for name, path in files)

    @staticmethod
    @functools.cache
    def code(*modules: str) -> str:
        """Fingerprints of the modules that a stage, and what it is handed, can import."""
        return fingerprint(*modules)
