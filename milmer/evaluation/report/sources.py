"""Reading what the report shows: the tables, the runs, and facts about the data that they used.

No recording is read, and of the face crops only which frames contain a face.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.arrays import attribute
from milmer.contracts.explanation import EXPLANATION
from milmer.contracts.faces import FACES
from milmer.contracts.run import HISTORY, PREDICTIONS
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tables import Table
from milmer.contracts.trials import TRIALS
from milmer.evaluation.model_card import stage_options
from milmer.evaluation.options import TABLES
from milmer.evaluation.report.options import ReportStageOptions
from milmer.evaluation.runs import read_metrics

_KEY = ["experiment", "protocol"]
_NAMES = {
    "folds": "fold seed level tested accuracy macro_f1 majority best_baseline baseline_name epoch "
    "without_valid_face warnings",
    "subjects": "level subject accuracy majority",
    "summary": "level metric mean sd low high subjects majority chance chance_balanced "
    "best_baseline baseline_name ece select leaky permuted",
    "inflation": "honest above_reference low_reference high_reference above_chosen_honestly "
    "low_chosen_honestly high_chosen_honestly",
    "ablation": "changes",
    "tests": "against level metric subjects difference low high d p p_holm needed note",
    "calibration": "confidence accuracy count ece",
    "confusion": "level label predicted count",
}
"""Columns of the tables that the page reads by name, besides those of its key."""

_TEXTS = {*_KEY, "fold", "level", "subject", "metric", "select", "against", "label", "predicted"}
_FLAGS = {"leaky", "permuted", "honest"}

_LEVEL = 0.05  # of what stands out
_ROUNDING = 1e-6  # of a loss
_LISTED = 5  # names in a sentence


def caveats(*, leaky: bool, on_test: bool = False, permuted: bool) -> list[str]:
    """What has to be said wherever a number is shown, in the page's words."""
    words = {"leaky": leaky, "epoch chosen on test": on_test, "ratings permuted": permuted}
    return [text for text, applies in words.items() if applies]


def baseline_title(name: str) -> str:
    """How a baseline is called in text, such as `band power LDA`."""
    return name.replace("_", " ").replace(" lda", " LDA")


@dataclass(frozen=True)
class Group:
    """The runs of an experiment under a protocol.

    ``predictions`` and ``history`` have a column ``run`` (fold and seed); ``metrics`` maps a run to
    the content of its ``metrics.json``.
    """

    experiment: str
    protocol: str
    leaky: bool
    predictions: pd.DataFrame
    history: pd.DataFrame
    metrics: Mapping[str, Mapping[str, Any]]

    @property
    def title(self) -> str:
        """The title of its panels."""
        runs = self.metrics.values()
        permuted = any(metrics["permuted"] for metrics in runs)
        on_test = any(metrics["select"] == "best_on_test" for metrics in runs)
        words = ", ".join(caveats(leaky=self.leaky, on_test=on_test, permuted=permuted))
        return f"{self.experiment}, {self.protocol}" + (f" ({words})" if words else "")

    @property
    def labels(self) -> list[str]:
        """The names of the classes."""
        return next(iter(self.metrics.values()))["labels"]


@dataclass(frozen=True)
class Importance:
    """By how much the cross-entropy increases when something is exchanged among segments.

    ``increase`` (run, name) is the mean over repeats, in nats, of each run: a fold and a seed.
    """

    names: list[str]
    increase: np.ndarray

    @property
    def mean(self) -> dict[str, float]:
        """The mean over runs by name."""
        return dict(zip(self.names, self.increase.mean(0).tolist(), strict=True))

    @property
    def error(self) -> dict[str, float]:
        """Its standard error over runs; NaN of a single run."""
        runs = len(self.increase)
        errors = self.increase.std(0, ddof=1) / runs**0.5 if runs > 1 else self.increase[0] * np.nan
        return dict(zip(self.names, errors.tolist(), strict=True))

    @property
    def outstanding(self) -> list[str]:
        """What stands out, the largest first: above 0 over runs by a one-sided t test.

        At 5 %, Bonferroni-corrected for the number of names.
        """
        runs, count = self.increase.shape
        if runs < 2:
            return []
        from scipy.stats import t  # takes longer to read than the page without it

        limit = float(t.isf(_LEVEL / count, runs - 1))
        mean, error = self.mean, self.error
        names = [name for name in self.names if mean[name] > max(limit * error[name], _ROUNDING)]
        return sorted(names, key=lambda name: -mean[name])

    @property
    def text(self) -> str:
        """What stands out and by which rule, in a sentence or two."""
        runs, count = self.increase.shape
        if runs < 2:
            return (
                f"One run: whether anything stands out cannot be told. Largest: {self._listed()}."
            )
        rule = f"one-sided t test over {runs} runs, 5\N{NO-BREAK SPACE}%, "
        rule += f"Bonferroni-corrected for {count}"
        if not (names := self.outstanding):
            return f"Nothing stands out ({rule}). Largest: {self._listed()}."
        return f"Stand out ({rule}): {self._listed(names)}."

    def _listed(self, names: Sequence[str] = ()) -> str:
        mean, error = self.mean, self.error
        first = names or sorted(self.names, key=lambda name: -mean[name])[:_LISTED]
        text = ", ".join(
            f"{name} {mean[name]:.3f}" + (f" ± {error[name]:.3f}" if error[name] >= 0 else "")
            for name in first[:_LISTED]
        )
        more = len(first) - _LISTED
        return text + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Cleaning:
    """What :mod:`milmer.eeg.cleaning` found under a variant of ``eeg``, by subject."""

    variant: str
    channels: list[str]
    subjects: dict[str, dict[str, Any]]

    @property
    def positions(self) -> dict[str, list[float]] | None:
        """Where the first subject's file has the channels; None where the 10–20 system says it."""
        return next((about.get("positions") for about in self.subjects.values()), None)


@dataclass
class Results:
    """A folder of results; ``options`` name the files to read, and ``inputs`` their digests."""

    folder: Path
    options: ReportStageOptions
    inputs: dict[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """Read the small files, so that a missing one is reported before anything is drawn."""
        _ = self.tables, self.trials, self.cleaning, self.frames

    # ---------------------------------------------------------------- tables

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        folder = self.folder / "tables"
        return {
            name: self._table(folder / f"{name}.parquet", "tables", _columns(name))
            for name in TABLES
        }

    @cached_property
    def conclusions(self) -> str:
        """The conclusions in Markdown."""
        path = self.folder / "tables" / "conclusions.md"
        with storage.read_errors(path):
            text = path.read_text(encoding="utf-8")
        self._seen(path)
        return text

    # ------------------------------------------------------------------ runs

    @cached_property
    def groups(self) -> list[Group]:
        """All runs by experiment and protocol, in the order of the configuration."""
        return [
            group
            for name, experiment in self.options.experiments.items()
            for protocol, folds in experiment.folds.items()
            if (group := self._group(name, protocol, folds)) is not None
        ]

    def _group(self, experiment: str, protocol: str, folds: list[str]) -> Group | None:
        """The runs of an experiment under a protocol; None if all were skipped."""
        predictions, history, metrics = [], [], {}
        for fold in folds:
            for seed in self.options.seeds:
                run = f"{fold}/seed{seed}"
                folder = self.folder / "runs" / experiment / protocol / run
                about = read_metrics(folder / "metrics.json")
                self._seen(folder / "metrics.json")
                if "skipped" in about:
                    continue
                metrics[run] = about
                table = self._table(folder / "predictions.parquet", PREDICTIONS)
                predictions.append(table.assign(run=run))
                table = self._table(folder / "history.parquet", HISTORY)
                history.append(table.assign(run=run))
        if not metrics:
            return None
        leaky = any(entry["leaky"] for entry in metrics.values())
        joined = [pd.concat(tables, ignore_index=True) for tables in (predictions, history)]
        return Group(experiment, protocol, leaky, *joined, metrics)

    def options_of(self, experiment: str) -> dict[str, Any]:
        """Options of an experiment's training and of the stages before it, which all runs share."""
        groups = [group for group in self.groups if group.experiment == experiment]
        if not groups:
            return {}
        return stage_options(next(iter(groups[0].metrics.values()))["provenance"])

    def subjects(self, group: Group) -> pd.DataFrame:
        """Columns ``subject, accuracy, majority``: accuracies by segment, one row per subject."""
        table = self._of(group, "subjects")
        columns = ["subject", "accuracy", "majority"]
        return table.loc[table["level"] == "segment", columns].sort_values(
            "subject", ignore_index=True
        )

    def confusion(self, group: Group) -> np.ndarray:
        """Counts (label, predicted) of test segments."""
        table, size = self._of(group, "confusion"), len(group.labels)
        counts = np.zeros((size, size), int)
        place = {name: i for i, name in enumerate(group.labels)}
        for row in table[table["level"] == "segment"].itertuples():
            counts[place[row.label], place[row.predicted]] += int(row.count)
        return counts

    def calibration(self, group: Group) -> pd.DataFrame:
        """Bins of test segments by confidence: ``confidence`` (mean), ``accuracy``, ``count``."""
        table = self._of(group, "calibration")
        return table.loc[table["count"] > 0, ["confidence", "accuracy", "count"]]

    def _of(self, group: Group, name: str) -> pd.DataFrame:
        table = self.tables[name]
        return table[(table[_KEY] == [group.experiment, group.protocol]).all(axis=1)]

    # ------------------------------------------------------------------ data

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The tables of trials of all subjects."""
        folder = self.folder / "trials"
        tables = [self._table(folder / f"{s}.parquet", TRIALS) for s in self.options.subjects]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    @cached_property
    def cleaning(self) -> list[Cleaning]:
        """What cleaning found, for each variant of ``eeg`` that experiments use."""
        return [self._cleaning(variant) for variant in self.options.variants("eeg")]

    def _cleaning(self, variant: str) -> Cleaning:
        channels, subjects = [], {}
        for subject in self.options.subjects:
            path = self.folder / "segments" / variant / f"{subject}.h5"
            with storage.open_h5(path, SEGMENTS) as file:
                channels, report = (attribute(file, n, path) for n in ("channels", "cleaned"))
                words, counts = np.unique(file["rejected"][()], return_counts=True)
                rejected = {w.decode(): int(n) for w, n in zip(words, counts, strict=True) if w}
                subjects[subject] = report | {"segments": len(file["position"])}
                subjects[subject]["rejected_segments"] = rejected
            self._seen(path)
        return Cleaning(variant, channels, subjects)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """Per variant of ``faces`` and subject: frames, those with a face, segments without any.

        Also frames that show several faces, and switches from one track to another.
        """
        rows = []
        for variant in self.options.variants("faces"):
            for subject in self.filmed:
                path = self.faces_file(variant, subject)
                with storage.open_h5(path, FACES) as file:
                    detected, bag = file["detected"][()], file["bag"][()]
                    crowd = [file[f"clip_{name}"][()].sum() for name in ("several", "switches")]
                self._seen(path)
                seen = detected[np.maximum(bag, 0)] & (bag >= 0) if len(detected) else bag >= 0
                counts = len(detected), detected.sum(), (~seen.any(1)).sum(), *crowd
                rows.append((variant, subject, *counts))
        columns = ["faces", "subject", "frames", "with_a_face", "segments_without_a_face"]
        columns += ["several_faces", "switches"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def filmed(self) -> list[str]:
        """Subjects with face video."""
        seen = self.trials.loc[self.trials["video_file"].notna(), "subject"].unique()
        return [s for s in self.options.subjects if s in seen]

    def faces_file(self, variant: str, subject: str) -> Path:
        """The file of a subject's face crops."""
        return self.folder / "faces" / variant / f"{subject}.h5"

    # ----------------------------------------------------------- explanations

    def importance(self, group: Group, kind: str) -> Importance | None:
        """Of each ``channel``, ``instance`` or ``part``; None where no run has any."""
        runs, names = [], []
        for path in self._explained(group):
            with storage.open_h5(path, EXPLANATION) as file:
                if file[kind].size:
                    runs.append(file[kind][()].mean(0))
                    attributes = {"channel": "channels", "part": "parts"}
                    names = (
                        attribute(file, attributes[kind], path)
                        if kind in attributes
                        else [f"instance {i}" for i in range(len(runs[0]))]
                    )
            self._seen(path)
        return Importance(names, np.stack(runs).astype(float)) if runs else None

    def attention(self, group: Group) -> np.ndarray | None:
        """The map of attention (height, width), averaged over the runs that have one."""
        maps = []
        for path in self._explained(group):
            with storage.open_h5(path, EXPLANATION) as file:
                if file["attention"].size:
                    maps.append(file["attention"][()])
            self._seen(path)
        return np.mean(maps, axis=0) if maps else None

    def logit_shares(self, group: Group) -> dict[str, float]:
        """Where the logits come from, averaged over the runs; empty where none was explained."""
        shares = []
        for path in self._explained(group):
            with storage.open_h5(path, EXPLANATION) as file:
                shares.append(attribute(file, "logit_shares", path, dict))
        parts = pd.DataFrame([share for share in shares if share])
        return {str(name): float(share) for name, share in parts.mean().items()}

    def _explained(self, group: Group) -> Iterator[Path]:
        folder = self.folder / "explanations" / group.experiment / group.protocol
        for run in group.metrics:
            if (path := folder / f"{run}.h5").is_file():
                yield path

    # ---------------------------------------------------------------- reading

    def _table(
        self, path: Path, contract: Table | str, columns: dict[str, str] | None = None
    ) -> pd.DataFrame:
        table = storage.read_table(path, contract, columns)
        self._seen(path)
        return table

    def _seen(self, path: Path) -> None:
        self.inputs[path.relative_to(self.folder).as_posix()] = storage.digest(path)


def _columns(table: str) -> dict[str, str]:
    """The columns that the page reads of a table, with their kinds."""
    if table not in _NAMES:
        return {}
    names = [*_KEY, *_NAMES[table].split(), "caveat"]
    kinds = {name: "number?" for name in names} | {"note": "text?", "warnings": "text?"}
    kinds |= {"caveat": "text?", "baseline_name": "text?"}
    kinds |= dict.fromkeys(_TEXTS, "text") | dict.fromkeys(_FLAGS, "boolean") | {"changes": "text?"}
    return {name: kinds[name] for name in names}
