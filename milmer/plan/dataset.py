"""The dataset's part of the plan: subjects, files of EEG and video, detectors and backbones."""

import functools
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from milmer.backbone.options import BackboneOptions
from milmer.config import Config
from milmer.data.dataset import Dataset
from milmer.data.options import DatasetOptions
from milmer.deap.dataset import DeapDataset
from milmer.deap.layout import scan
from milmer.manifest.dataset import ManifestDataset
from milmer.manifest.table import read_manifest
from milmer.plan import paths
from milmer.plan.untracked import Untracked


def open_dataset(options: DatasetOptions) -> Dataset:
    """The dataset that the section ``dataset`` describes; errors are for people."""
    if options.kind == "manifest":
        return ManifestDataset(read_manifest(options.manifest), options)
    return DeapDataset(scan(options.root), options)


class DatasetPlan:
    """Inputs and options of the stages before training."""

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset

    @property
    def root(self) -> Untracked:
        """The dataset's folder; what lies in it counts by the inputs."""
        return Untracked(self.dataset.root)

    @property
    def manifest(self) -> Untracked:
        """The option that says where a manifest is; its rows count by themselves."""
        return Untracked(*self.dataset.trials_arguments())

    def detector_model(self, wildcards: Any) -> Untracked:
        """The option that says where the detector's model file lies."""
        options = self.config.variant("faces", wildcards.faces)
        own_file = options.detector != "haar" and options.detector_model
        return Untracked(*(["--detector-model", options.detector_model] if own_file else []))

    def face_threads(self, wildcards: Any) -> int:
        """Threads of one job that crops faces."""
        return self.config.variant("faces", wildcards.faces).threads

    def detector_files(self, faces: str) -> list[str]:
        """The detector's model file, where its content counts.

        YuNet's is checked by its digest, so that it is the same wherever it comes from.
        """
        options = self.config.variant("faces", faces)
        own_file = options.detector == "mediapipe" and options.detector_model
        return [options.detector_model] if own_file else []

    def backbone(self, wildcards: Any) -> BackboneOptions:
        """The backbone of a variant."""
        return self.config.variant("backbone", wildcards.backbone)

    def start_files(self, variant: str) -> list[str]:
        """Files of a variant of the backbone as configured, where it is a directory."""
        folder = Path(self.config.variant("backbone", variant).name)
        return [str(p) for p in sorted(folder.glob("*")) if p.is_file()] if folder.is_dir() else []

    def pretrained_files(self, variant: str) -> list[str]:
        """Files of the backbone that faces go through, where it is pre-trained here."""
        if not self.config.variant("backbone", variant).pretrain.images:
            return []
        names = ("config.json", "model.safetensors", "preprocessor_config.json")
        return [f"{paths.backbone(variant)}/{name}" for name in names]

    def own_files(self, variant: str) -> list[str]:
        """The same, where it is a directory that is used as it is."""
        return [] if self.pretrained_files(variant) else self.start_files(variant)

    def backbone_name(self, variant: str) -> Untracked:
        """Where that backbone lies, or its name on the hub."""
        return Untracked(self.backbone_place(variant))

    def pictures(self, wildcards: Any) -> str:
        """Names and sizes of the files to pre-train on, as a digest: too many to be inputs.

        Called for a job alone, so that only what pre-trains lists the folder.
        """
        return _listing(self.backbone(wildcards).pretrain.images)

    def backbone_place(self, variant: str) -> str:
        """The folder of the backbone that faces go through, or its name on the hub."""
        options = self.config.variant("backbone", variant)
        return paths.backbone(variant) if options.pretrain.images else options.name


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
