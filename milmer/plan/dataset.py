"""The dataset's part of the plan: subjects, files of EEG and video, detectors and backbones."""

import functools
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from milmer.backbone.options import BackboneOptions
from milmer.config import Config
from milmer.deap.layout import Copy, no_eeg, ratings_file
from milmer.errors import MilmerError
from milmer.plan.aside import Aside


class DatasetPlan:
    """Inputs and options of the stages before training."""

    def __init__(self, config: Config, copy: Copy):
        self.config = config
        self._copy = copy
        wanted = config.dataset.subjects
        found = copy.subjects
        if wanted != "all" and (absent := sorted(set(wanted) - set(found))):
            raise MilmerError(
                f"dataset.subjects: {copy.root} holds no recording of {', '.join(absent)}"
            )
        self._source = copy.source(config.dataset.source, found if wanted == "all" else wanted)
        with_eeg = copy.eeg.get(self._source, {})
        self.subjects = [s for s in found if s in with_eeg and (wanted == "all" or s in wanted)]
        if not self.subjects:
            raise no_eeg(copy, self._source)
        if wanted != "all" and (absent := sorted(set(wanted) - set(self.subjects))):
            raise MilmerError(
                f"dataset.subjects: {copy.root} holds no .{self._source} file of "
                f"{', '.join(absent)}"
            )
        self.ratings = str(ratings_file(copy))
        self.with_video = [s for s in self.subjects if copy.videos.get(s)]

    @property
    def root(self) -> Aside:
        """The dataset's folder; what lies in it counts by the inputs."""
        return Aside(self.config.dataset.root)

    @property
    def trials_options(self) -> str:
        """Options of the stage ``trials``."""
        return json.dumps({"source": self._source})

    def eeg_files(self, subject: str) -> str:
        """The subject's EEG file."""
        return str(self._copy.eeg[self._source][subject])

    def video_files(self, subject: str) -> list[str]:
        """The subject's clips, by trial."""
        return [str(p) for _, p in sorted(self._copy.videos.get(subject, {}).items())]

    def video_names(self, subject: str) -> str:
        """Which trials have a clip: a trigger for the table of trials, which names them."""
        return json.dumps(sorted(self._copy.videos.get(subject, {})))

    def detector_model(self, wildcards: Any) -> Aside:
        """The option that says where the detector's model file lies."""
        options = self.config.variant("faces", wildcards.faces)
        given = options.detector != "haar" and options.detector_model
        return Aside(*(["--detector-model", options.detector_model] if given else []))

    def face_threads(self, wildcards: Any) -> int:
        """Threads of one job that crops faces."""
        return self.config.variant("faces", wildcards.faces).threads

    def detector_files(self, faces: str) -> list[str]:
        """The detector's model file, where its content counts.

        YuNet's is checked by its digest, so that it is the same wherever it comes from.
        """
        options = self.config.variant("faces", faces)
        given = options.detector == "mediapipe" and options.detector_model
        return [options.detector_model] if given else []

    def backbone(self, wildcards: Any) -> BackboneOptions:
        """The backbone of a variant."""
        return self.config.variant("backbone", wildcards.backbone)

    def start_files(self, variant: str) -> list[str]:
        """Files of a variant of the backbone as configured, where it is a directory."""
        folder = Path(self.config.variant("backbone", variant).name)
        return [str(p) for p in sorted(folder.glob("*")) if p.is_file()] if folder.is_dir() else []

    def backbone_files(self, variant: str) -> list[str]:
        """Files of the backbone that faces go through, a directory's or pre-trained here."""
        if not self.config.variant("backbone", variant).pretrain.images:
            return self.start_files(variant)
        names = ("config.json", "model.safetensors", "preprocessor_config.json")
        return [f"{self._pretrained(variant)}/{name}" for name in names]

    def backbone_name(self, variant: str) -> Aside:
        """Where that backbone lies, or its name on the hub."""
        return Aside(self._backbone_at(variant))

    def pictures(self, wildcards: Any) -> str:
        """Names and sizes of the files to pre-train on, as a digest: too many to be inputs.

        Called for a job alone, so that only what pre-trains lists the folder.
        """
        return _listing(self.backbone(wildcards).pretrain.images)

    def _backbone_at(self, variant: str) -> str:
        options = self.config.variant("backbone", variant)
        return self._pretrained(variant) if options.pretrain.images else options.name

    @staticmethod
    def _pretrained(variant: str) -> str:
        return f"results/backbones/{variant}"


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
