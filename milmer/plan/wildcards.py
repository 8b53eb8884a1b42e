"""Paths that Snakemake would take for patterns: it reads ``{`` and ``}`` in a file's name so."""

import os
from collections.abc import Iterable, Iterator

from milmer.config import Config, VariantsOptions
from milmer.errors import MilmerError
from milmer.plan.dataset import DatasetPlan


def require_plain_options(config: Config) -> None:
    """Refuse braces in the working directory and in the paths of the configuration."""
    _require_plain("the working directory", [os.getcwd()])
    for key, path in _options(config):
        _require_plain(key, [path])


def require_plain_files(plan: DatasetPlan) -> None:
    """Refuse braces in the names of files that jobs read."""
    dataset, config = plan.dataset, plan.config
    where = f"a file of {dataset.place}"
    _require_plain(where, dataset.trials_files())
    for subject in dataset.subjects:
        _require_plain(where, dataset.eeg_files(subject))
        _require_plain(where, dataset.video_files(subject))
    for name in ("default", *config.variants.backbone):
        _require_plain("a file of backbone.name", plan.start_files(name))


def _options(config: Config) -> Iterator[tuple[str, str | None]]:
    yield "dataset.root", config.dataset.root
    yield "dataset.manifest", config.dataset.manifest
    for kind in VariantsOptions.model_fields:
        for name in ("default", *getattr(config.variants, kind)):
            where = kind if name == "default" else f"variants.{kind}.{name}"
            options = config.variant(kind, name)
            if kind == "faces":
                yield f"{where}.detector_model", options.detector_model
            elif kind == "backbone":
                yield f"{where}.name", options.name
                yield f"{where}.pretrain.images", options.pretrain.images


def _require_plain(where: str, paths: Iterable[str | None]) -> None:
    for path in paths:
        if path and {"{", "}"} & set(path):
            raise MilmerError(
                f"{path} holds a brace, which Snakemake takes for a wildcard",
                where=where,
                remedy="rename it, or link to it by another name",
            )
