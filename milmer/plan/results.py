"""The part of the plan after training: scores, baselines, explanations, tables, report."""

import hashlib
import json
from pathlib import Path
from typing import Any

from milmer import drawing
from milmer.config import Experiment
from milmer.evaluation import report
from milmer.evaluation.baseline_options import BaselinesOptions, Inputs, baselines_of
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

    def baseline_names(self) -> list[str]:
        """The baselines of what experiments look at."""
        every = [self._inputs(name) for name in self._experiments.by_name]
        return list(dict.fromkeys(name for name, _ in baselines_of(every)))

    def baseline_keys(self) -> list[tuple[str, str]]:
        """Labels and protocol of each job: those of experiments that have a baseline."""
        return [
            (labels, protocol)
            for labels, protocols in self._experiments.folds_by_labels().items()
            for protocol in protocols
            if any(baselines_of(self._inputs_under(labels, protocol)))
        ]

    def baselines(self) -> list[str]:
        """The files of all baselines."""
        return [
            paths.baseline(n, *key) for key in self.baseline_keys() for n in self.baseline_names()
        ]

    def baseline_inputs(self, wildcards: Any) -> dict[str, list[str]]:
        """What baselines read: all folds of a protocol, and EEG and faces of all subjects."""
        labels, protocol = wildcards.labels, wildcards.protocol
        seen = self._inputs_under(labels, protocol)
        return {
            "splits": [paths.split(labels, protocol, f) for f in self._folds(labels, protocol)],
            "segments": [
                paths.segments(eeg, s)
                for eeg in dict.fromkeys(inputs.eeg for inputs in seen if inputs.eeg)
                for s in self._dataset.subjects
            ],
            "tokens": [
                paths.tokens(*tokens.split("/"), s)
                for tokens in dict.fromkeys(inputs.tokens for inputs in seen if inputs.tokens)
                for s in self._dataset.with_video
            ],
        }

    def baseline_json(self, wildcards: Any) -> str:
        """Options of the stage ``baseline``."""
        return BaselinesOptions(
            folds=self._folds(wildcards.labels, wildcards.protocol),
            names=self.baseline_names(),
            inputs=self._inputs_under(wildcards.labels, wildcards.protocol),
        ).result_json()

    def _inputs_under(self, labels: str, protocol: str) -> list[Inputs]:
        """What the experiments with these labels under a protocol look at, each once."""
        return list(
            dict.fromkeys(
                self._inputs(name)
                for name, experiment in self._experiments.by_name.items()
                if experiment.labels == labels and protocol in experiment.protocols
            )
        )

    def _inputs(self, name: str) -> Inputs:
        """What an experiment looks at; tokens of another's where it trains the backbone too."""
        experiment = self._experiments[name]
        tokens = ""
        if experiment.needs_faces:
            every = [e for e in self._experiments.by_name.values() if e.needs_faces]
            frozen = [e for e in [experiment, *every] if not e.finetune]
            tokens = f"{frozen[0].faces}/{frozen[0].backbone}" if frozen else ""
        return Inputs(experiment.eeg if experiment.needs_eeg else "", tokens)

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
        """What controls read: what baselines do, and the trials."""
        trials = [paths.trials(s) for s in self._dataset.subjects]
        return self.baseline_inputs(wildcards) | {"trials": trials}

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
            name: self._experiment_summary(name)
            | {"labels": experiment.labels, "inputs": self._inputs(name)}
            for name, experiment in self._experiments.by_name.items()
        }
        options = {
            "report": self._config.report.narrowed_to(SummaryOptions).result(),
            "experiments": experiments,
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
