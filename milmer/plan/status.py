"""What of a working directory's results is done, running, or missing, by stage and subject."""

import contextlib
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milmer.errors import MilmerError
from milmer.plain_text import escaped
from milmer.plan import Plan, resume, snakemake_state

_TIMED = 50  # jobs of a stage whose times are read
WORDS = ("done", "running", "interrupted", "missing")


@dataclass
class StageStatus:
    """A stage's outputs in each state, by the subject or fold that they are about."""

    name: str
    done: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float | None = None
    """Median time of a job that is done."""

    @property
    def left(self) -> float | None:
        """Seconds until all is done, at as many jobs at a time as now; None where not known."""
        waiting = len(self.running) + len(self.interrupted) + len(self.missing)
        if self.seconds is None or not waiting:
            return None
        return waiting * self.seconds / max(len(self.running), 1)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        units = {word: getattr(self, word) for word in WORDS}
        return {"stage": self.name, "seconds": self.seconds, "left": self.left} | units


@dataclass
class Status:
    """Whether a run is going on, and what each stage has."""

    process: int | None
    stages: list[StageStatus]
    failure: str | None = None
    unknown: str | None = None
    """Why nobody can tell whether jobs of the last run are running, as if they were."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        stages = [stage.as_json() for stage in self.stages]
        about = {"process": self.process, "failure": self.failure, "unknown": self.unknown}
        return {**about, "stages": stages}

    def screen(self) -> str:
        """A line a stage, for people."""
        width = max(len(stage.name) for stage in self.stages)
        lines = [self._heading()]
        for stage in self.stages:
            total = sum(len(getattr(stage, word)) for word in WORDS)
            line = f"{stage.name:<{width}}  {len(stage.done):>4} of {total:<4}"
            if stage.left is not None:
                line += f"  {_span(stage.left)} left"
            for word in WORDS[1:]:
                if left := getattr(stage, word):
                    line += f"  {word}: {_shortened(left)}"
            lines.append(line.rstrip())
        if self.failure is not None:
            lines.append(f"Last failure: {escaped(self.failure)}")
        return "\n".join(lines)

    def _heading(self) -> str:
        if self.process is not None:
            return f"A run is going on (process {self.process})."
        if self.unknown is not None:
            return f"{self.unknown}: what is called running may have ended."
        if any(stage.interrupted for stage in self.stages):
            return "No run is going on; the last was cut short: milmer resume goes on with it."
        if any(stage.missing for stage in self.stages):
            return "No run is going on, and some is missing: milmer resume makes it."
        return "All is there. Whether it is up to date: milmer resume --dry-run."


def status(directory: Path) -> Status:
    """The state of a working directory, under the configuration of the last run there."""
    run = resume.last_run(directory)
    begun = snakemake_state.incomplete(directory)
    process, unknown = resume.running(directory), None
    try:
        running = process is not None or bool(snakemake_state.cluster_jobs(directory))
    except MilmerError as error:
        running, unknown = True, error.problem
    stages: dict[str, StageStatus] = {}
    times: dict[str, list[float]] = {}
    with contextlib.chdir(directory):  # the dataset's folder may be relative to it
        plan = Plan.read(run.config)
    for name, unit, path in plan.targets():
        stage = stages.setdefault(name, StageStatus(name))
        if path in begun:
            (stage.running if running else stage.interrupted).append(unit)
        elif not (directory / path).exists():
            stage.missing.append(unit)
        else:
            stage.done.append(unit)
            known = times.setdefault(name, [])
            if len(known) < _TIMED and (time := snakemake_state.seconds(directory, path)):
                known.append(time)
    for name, known in times.items():
        stages[name].seconds = statistics.median(known) if known else None
    failure = snakemake_state.last_failure(directory)
    return Status(process, list(stages.values()), failure, unknown)


def _span(seconds: float) -> str:
    """Some time, rounded for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _shortened(units: Iterable[str], most: int = 8) -> str:
    units = list(units)
    more = f" and {len(units) - most} more" if len(units) > most else ""
    return " ".join(units[:most]) + more
