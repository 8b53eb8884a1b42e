"""The target of ``milmer check``: a copy of DEAP, a manifest, or a configuration that names one."""

import json
from pathlib import Path

from milmer.config import load_config
from milmer.config_files import read_yaml
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.options import read_options

_YAML, _TABLES = (".yaml", ".yml"), (".csv", ".tsv", ".parquet")


def read_target(path: Path, source: str) -> tuple[DatasetOptions, LabelsOptions | None]:
    """The dataset at ``path``, and the labels if a configuration sets them.

    Of a configuration the sections ``dataset`` and ``labels`` are read; paths in it are relative to
    the working directory, as in a run. ``source`` is the kind of EEG to read from a copy of DEAP.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*_YAML, *_TABLES):
        return _dataset(root=str(path), source=source), None
    if suffix in _TABLES:
        return _dataset(kind="manifest", manifest=str(path)), None
    user = read_yaml(path)
    config = load_config({name: user[name] for name in ("dataset", "labels") if name in user})
    dataset = config.dataset if source == "auto" else config.dataset.updated({"source": source})
    return dataset, config.labels


def _dataset(**options: str) -> DatasetOptions:
    return read_options(DatasetOptions, json.dumps(options))
