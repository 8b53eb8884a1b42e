"""The part of the plan after training: scores, baselines, explanations, tables, report."""

import hashlib
import json
from pathlib import Path
from typing import Any

from milmer import drawing
from milmer.config import Experiment
from milmer.evaluation import report
from milmer.evaluation.baseline_options import BASELINES, VARIANT
from milmer.evaluation.control_options import ControlsOptions
from milmer.evaluation.evaluate_options import EvaluateOptions
from milmer.evaluation.explain_options import ExplainOptions
from milmer.evaluation.options import READABLE, TABLES, SummaryOptions
from milmer.evaluation.report.figures import FIGURES
from milmer.plan import paths
from milmer.plan.experiments import Experiments, RunKey
from milmer.plan.training import TrainingPlan
from milmer.splits.protocols import PROTOCOLS


class ResultsPlan:
    """Inputs and options of the stages after training."""

    baseline_pattern = "|".join(BASELINES)
    """A regular expression that names of baselines match."""

    def __init__(self, experiments: Experiments, training: TrainingPlan):
        self._experiments, self._training = experiments, training
        self._config, self._dataset = experiments.config, experiments.dataset

    # ----------------------------------------------------------------- runs

    def predictions(self) -> list[str]:
        """The predictions of all runs."""
        return [f"{paths.run(*run)}/predictions.parquet" for run in self._experiments.all_runs()]

    def evaluations(self) -> list[str]:
        """What says that runs were evaluated: a file an experiment and protocol."""
        return [
            paths.evaluation(name, protocol)
            for name in self._experiments.by_name
            for protocol in self._experiments.folds(name)
        ]

    def evaluated_files(self, wildcards: Any) -> list[str]:
        """The files of the runs that one job evaluates."""
        return [
            f"{paths.run(*run)}/{table}.parquet"
            for run in self._experiments.runs(wildcards.experiment)
            if run.protocol == wildcards.protocol
            for table in ("predictions", "validation", "history")
        ]

    def evaluate_json(self, wildcards: Any) -> str:
        """Options of the stage ``evaluate``."""
        folds = self._experiments.folds(wildcards.experiment)[wildcards.protocol]
        return EvaluateOptions(folds=folds, seeds=self._experiments.seeds).result_json()

    def explained_runs(self) -> list[RunKey]:
        """The runs that are explained: honest ones; of others an explanation means nothing."""
        if not self._config.report.explain:
            return []
        return [
            run
            for run in self._experiments.all_runs()
            if self._is_honest(self._experiments[run.experiment])
            and not PROTOCOLS[run.protocol].leaky
        ]

    def explanations(self) -> list[str]:
        """The files that say what models go by."""
        return [paths.explanation(*run) for run in self.explained_runs()]

    def explain_json(self, wildcards: Any) -> str:
        """Options of the stage ``explain``."""
        return ExplainOptions(
            segments=self._config.report.explain,
            threads=self._training.options(wildcards).threads,
        ).result_json()

    # ------------------------------------------------------------ baselines

    def baseline_keys(self) -> list[tuple[str, str, str, str, str]]:
        """All baselines that the tables read: one for each fold of any experiment."""
        return [
            (name, VARIANT, labels, protocol, fold)
            for name in BASELINES
            for labels, protocols in self._experiments.folds_by_labels().items()
            for protocol, folds in protocols.items()
            for fold in folds
        ]

    def baselines(self) -> list[str]:
        """Their files."""
        return [paths.baseline(*key) for key in self.baseline_keys()]

    def baseline_inputs(self, wildcards: Any) -> list[str]:
        """What a baseline reads of its subjects: their EEG segments."""
        path = {"eeg": paths.segments}[BASELINES[wildcards.baseline].modality]
        return [path(wildcards.eeg, s) for s in self._training.fold_subjects(wildcards)]

    @staticmethod
    def baseline_json(wildcards: Any) -> str:
        """Options of the stage ``baseline``."""
        return BASELINES[wildcards.baseline].options.result_json()

    # ------------------------------------------------------------- controls

    def control_keys(self) -> list[tuple[str, str]]:
        """Labels and protocol of each table of controls: those of experiments, but permuted ones'.

        Labels that are permuted already have nothing that could explain them.
        """
        return [
            (labels, protocol)
            for labels, protocols in self._experiments.folds_by_labels().items()
            for protocol in protocols
            if not self._config.variant("labels", labels).permuted
        ]

    def controls(self) -> list[str]:
        """Their files."""
        return [paths.controls(*key) for key in self.control_keys()]

    def control_inputs(self, wildcards: Any) -> dict[str, list[str]]:
        """What controls read: all folds of a protocol, and the trials, EEG and faces of them."""
        labels, protocol = wildcards.labels, wildcards.protocol
        subjects = self._dataset.subjects
        seen = [e for e in self._experiments.by_name.values() if e.needs_faces and not e.finetune]
        filmed = self._dataset.with_video if seen else []
        return {
            "splits": [paths.split(labels, protocol, f) for f in self._folds(labels, protocol)],
            "trials": [paths.trials(s) for s in subjects],
            "segments": [paths.segments(VARIANT, s) for s in subjects],
            "tokens": [paths.tokens(seen[0].faces, seen[0].backbone, s) for s in filmed],
        }

    def controls_json(self, wildcards: Any) -> str:
        """Options of the stage ``controls``."""
        report = self._config.report
        return ControlsOptions(
            folds=self._folds(wildcards.labels, wildcards.protocol),
            control_draws=report.control_draws,
            seed=report.seed,
        ).result_json()

    def _folds(self, labels: str, protocol: str) -> list[str]:
        return self._experiments.folds_by_labels()[labels][protocol]

    # ------------------------------------------------------ tables and report

    def tables(self) -> list[str]:
        """All tables."""
        names = [f"{table}.{kind}" for table in TABLES for kind in ("parquet", "csv")]
        names += [f"{table}.{kind}" for table in READABLE for kind in ("md", "tex")]
        return [f"{paths.TABLES}/{name}" for name in [*names, "conclusions.md"]]

    def tables_json(self) -> str:
        """Options of the stage ``tables``."""
        experiments = {
            name: self._experiment_summary(name) | {"labels": experiment.labels}
            for name, experiment in self._experiments.by_name.items()
        }
        options = {
            "report": self._config.report.narrowed_to(SummaryOptions).result(),
            "experiments": experiments,
            "baselines": self._experiments.folds_by_labels(),
            "controls": self.control_keys(),
            "seeds": self._experiments.seeds,
        }
        return json.dumps(options, separators=(",", ":"))

    def report_inputs(self) -> list[str]:
        """What the report reads beside the tables: the runs, what explains them, and their data."""
        experiments, subjects = self._experiments, self._dataset.subjects
        return [
            *self.predictions(),
            *self.evaluations(),
            *(f"{paths.run(*run)}/history.parquet" for run in experiments.all_runs()),
            *self.explanations(),
            *(paths.trials(s) for s in subjects),
            *(paths.segments(v, s) for v in experiments.eeg_variants() for s in subjects),
            *(
                paths.faces(v, s)
                for v in experiments.faces_variants()
                for s in self._dataset.with_video
            ),
        ]

    def report_json(self) -> str:
        """Options of the stage ``report``."""
        experiments = {
            name: self._experiment_summary(name)
            | {
                "eeg": experiment.eeg if experiment.needs_eeg else None,
                "faces": experiment.faces if experiment.needs_faces else None,
            }
            for name, experiment in self._experiments.by_name.items()
        }
        options = {
            "report": self._config.report.result(),
            "experiments": experiments,
            "seeds": self._experiments.seeds,
            "subjects": self._dataset.subjects,
            "source": self._dataset.source,
        }
        return json.dumps(options, separators=(",", ":"))

    @property
    def figures(self) -> dict[str, str]:
        """Categories of the report's figures in Snakemake's own report, by name."""
        return {name: section.category for name, section in FIGURES.items()}

    @staticmethod
    def page_files() -> str:
        """A digest of the page's templates, styles and script, which are no modules."""
        folders = (Path(package.__file__).parent for package in (drawing, report))
        files = [
            path
            for folder in folders
            for path in sorted(folder.iterdir())
            if path.suffix in (".html", ".css", ".js")
        ]
        return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()

    def _experiment_summary(self, name: str) -> dict[str, Any]:
        """An experiment for tables and report: its folds, and how it differs."""
        options = self._config.experiments[name].model_dump(exclude_unset=True)
        # In which order a user wrote them down changes nothing.
        changes = {
            k: dict(sorted(v.items())) if isinstance(v, dict) else v for k, v in options.items()
        }
        return {"folds": self._experiments.folds(name), "changes": changes}

    def _is_honest(self, experiment: Experiment) -> bool:
        labels = self._config.variant("labels", experiment.labels)
        return experiment.training.select != "best_on_test" and not labels.permuted
