"""The target of ``milmer check``: a copy of DEAP, a manifest, or a configuration that names one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milmer.config import Config, load_config
from milmer.config_files import read_yaml, workflow_config
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.options import read_options

_YAML, _TABLES = (".yaml", ".yml"), (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Target:
    """What is checked: a dataset, with its labels and all else where a configuration says it."""

    dataset: DatasetOptions
    labels: LabelsOptions | None = None
    user: dict[str, Any] | None = None
    config: Config | None = None


def read_target(path: Path, source: str) -> Target:
    """The dataset at ``path``, or the configuration, merged as the workflow merges it.

    Paths in a configuration are relative to the working directory, as in a run. ``source`` is the
    kind of EEG to read from a copy of DEAP.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*_YAML, *_TABLES):
        config = load_config(workflow_config({}))
        return Target(_dataset(root=str(path), source=source), config=config)
    if suffix in _TABLES:
        return Target(_dataset(kind="manifest", manifest=str(path)))
    user = workflow_config(read_yaml(path))
    if source != "auto":
        user["dataset"] = {**(user.get("dataset") or {}), "source": source}
    config = load_config(user)
    return Target(config.dataset, config.labels, user, config)


def _dataset(**options: str) -> DatasetOptions:
    return read_options(DatasetOptions, json.dumps(options))
