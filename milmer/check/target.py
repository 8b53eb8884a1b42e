"""What ``milmer check`` is to look at: a folder, a manifest, or what a configuration says."""

import json
from pathlib import Path

import yaml

from milmer.config import load_config
from milmer.data.options import DatasetOptions, LabelsOptions
from milmer.errors import MilmerError
from milmer.options import read_options


def asked(path: Path, source: str) -> tuple[DatasetOptions, LabelsOptions | None]:
    """The dataset at ``path``, and the labels where a configuration says them.

    Of a configuration its sections ``dataset`` and ``labels`` count; paths in it are relative to
    the working directory, as in a run.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (".yaml", ".yml", ".csv", ".tsv", ".parquet"):
        return _options({"root": str(path), "source": source}), None
    if suffix in (".yaml", ".yml"):
        try:
            user = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise MilmerError(f"{path}: {error}") from error
        if not isinstance(user, dict):
            raise MilmerError(f"{path}: holds no sections; write them as in config.yaml")
        config = load_config({name: user[name] for name in ("dataset", "labels") if name in user})
        dataset = config.dataset if source == "auto" else config.dataset.updated({"source": source})
        return dataset, config.labels
    return _options({"kind": "manifest", "manifest": str(path)}), None


def _options(given: dict[str, str]) -> DatasetOptions:
    return read_options(DatasetOptions, json.dumps(given))
