"""Exact reruns: what each edit of the code and each changed option reruns, and that no more does.

The tables below say it in the words of the pipeline, and not of the code that is tested: a module
belongs to stages, an option too, and `FOLLOWS` says what each stage's files go into. A module or a
key that no table names fails, so that whoever adds one says here what it reruns.

The finished run was not computed: `tests/workflow/test_snakemake.py` asserts that what Snakemake
records of it is what it records of a real one.
"""

import ast
import copy
import functools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from milmer.config import Config, ExperimentOptions
from milmer.fingerprints import closure
from milmer.options import is_section
from tests.workflow.forking import Job, Snakemake
from tests.workflow.runner import REPOSITORY

EXPERIMENTS = {
    "milmer": {},
    "eeg_only": None,
    "face_only": None,
    "published_frozen": None,
    "tuned": {
        "backbone": "tuned",
        "protocols": ["trial"],
        "model": {"num_select": 2, "dropout": 0.1},
    },
    "fer": {"backbone": "fer", "protocols": ["trial"]},
}
"""One on cached tokens, one that trains its backbone, one that pre-trains its own."""

CONFIG = {
    "dataset": {"root": "deap", "subjects": [1]},
    "backbone": {"name": "swin"},
    "protocols": {"names": ["trial", "segment"], "folds": 2},
    "variants": {
        "backbone": {
            "tuned": {"finetune": True},
            "fer": {"name": "on/the-hub", "pretrain": {"images": "images"}},
        },
    },
    "experiments": EXPERIMENTS,
}

FOLLOWS = {
    "trials": "segments faces split controls report",
    "segments/default": "train explain baseline controls report",
    "faces/default": "tokens train/tuned explain/tuned report",
    "pretrain/fer": "tokens/fer",
    "tokens/default": "train/milmer explain/milmer baseline controls",
    "tokens/fer": "train/fer explain/fer baseline/trial controls/trial",
    "split/default": "train explain baseline controls",
    "train/milmer": "evaluate/milmer explain/milmer tables report",
    "train/tuned": "evaluate/tuned explain/tuned tables report",
    "train/fer": "evaluate/fer explain/fer tables report",
    "evaluate/milmer": "tables report",
    "evaluate/tuned": "tables report",
    "evaluate/fer": "tables report",
    **dict.fromkeys(("baseline/trial", "baseline/segment"), "tables"),
    **dict.fromkeys(("controls/trial", "controls/segment"), "tables"),
    "explain/milmer": "report",
    "explain/tuned": "report",
    "explain/fer": "report",
    "tables": "report",
    "report": "",
}
"""What reads the files of a kind of job. A kind is a rule and what it takes: a variant, or for what
is trained its experiment. A rule alone stands for all its kinds."""

ALL = "trials segments faces pretrain tokens split train baseline controls evaluate explain"
ALL += " tables report"
MODEL = "train explain"  # what a model learns and what it goes by come from the same code

MODULES = {
    # The whole package: what any stage stands on, or none.
    "milmer/*.py": "",
    "milmer/__init__.py": ALL,
    "milmer/plain_text.py": ALL,
    "milmer/errors.py": ALL,
    "milmer/limits.py": ALL,
    "milmer/options.py": ALL,
    "milmer/claims.py": ALL,
    "milmer/contracts/__init__.py": ALL,
    "milmer/contracts/arrays.py": ALL,
    "milmer/contracts/facts.py": ALL,
    "milmer/contracts/tables.py": ALL,
    "milmer/contracts/trials.py": "trials segments faces split controls report",
    "milmer/contracts/segments.py": "segments train baseline controls evaluate explain report",
    "milmer/contracts/faces.py": "faces tokens train explain report",
    "milmer/contracts/tokens.py": "train baseline controls explain tokens",
    "milmer/contracts/split.py": "split train baseline controls explain evaluate tables report",
    "milmer/contracts/run.py": "evaluate explain tables report",
    "milmer/contracts/baseline.py": "tables report",
    "milmer/contracts/explanation.py": "explain report",
    "milmer/storage.py": ALL,
    "milmer/folders.py": "pretrain train tables report",
    "milmer/planned.py": ALL,
    "milmer/fingerprints.py": ALL,  # a file's provenance names the code
    "milmer/runtime/*.py": "pretrain tokens train explain",
    "milmer/runtime/__init__.py": "faces pretrain tokens train explain",
    "milmer/runtime/checkpoints.py": "pretrain train",
    "milmer/runtime/losses.py": "pretrain train",
    "milmer/runtime/ownership.py": "",
    "milmer/runtime/progress.py": "faces pretrain tokens train explain",
    "milmer/runtime/stopping.py": "pretrain train",
    "milmer/metrics/__init__.py": "pretrain train baseline controls evaluate tables report",
    "milmer/metrics/calibration.py": "evaluate tables report",
    "milmer/metrics/epoch_score.py": "pretrain train evaluate report",
    "milmer/metrics/scores.py": "baseline evaluate tables report",
    "milmer/metrics/relabelled_lda.py": "controls",
    "milmer/metrics/shrinkage_lda.py": "train baseline controls",
    "milmer/metrics/statistics.py": "tables",
    "milmer/drawing/*": "report",
    "milmer/data/__init__.py": "trials segments faces split train baseline controls evaluate"
    " explain",
    "milmer/data/dataset.py": "",
    "milmer/data/labels.py": "split",
    "milmer/data/options.py": "trials segments split",
    "milmer/data/place.py": "faces",
    "milmer/data/recording.py": "trials segments",
    "milmer/data/segmentation.py": "segments faces split train baseline controls evaluate explain",
    "milmer/readers/__init__.py": "trials segments faces pretrain tokens train explain report",
    "milmer/readers/amplitude.py": "segments",
    "milmer/readers/arrays.py": "trials segments",
    "milmer/readers/claims.py": "trials segments",
    "milmer/readers/pictures.py": "pretrain tokens train explain report",
    "milmer/readers/bids.py": "trials segments",
    "milmer/readers/cells.py": "trials segments faces",
    "milmer/readers/channels.py": "trials segments report",
    "milmer/readers/digests.py": "segments",
    "milmer/readers/descriptions.py": "trials segments",
    "milmer/readers/edf.py": "trials segments",
    "milmer/readers/eeg.py": "trials segments",
    "milmer/readers/eeglab.py": "trials segments",
    "milmer/readers/kinds.py": "trials segments",
    "milmer/readers/matlab.py": "trials segments",
    "milmer/readers/names.py": "trials segments",
    "milmer/readers/parts.py": "trials segments",
    "milmer/readers/resampling.py": "trials segments",
    "milmer/readers/seekable_video.py": "faces",
    "milmer/readers/sidecars.py": "trials segments",
    "milmer/readers/sources.py": "trials segments",
    "milmer/readers/time_axis.py": "faces",
    "milmer/readers/units.py": "trials segments",
    "milmer/readers/xdf.py": "trials segments",
    "milmer/readers/video.py": "faces",
    "milmer/cli/*.py": "",
    "milmer/plan/*.py": "",
    "milmer/check/*.py": "",
    "milmer/deap/*.py": "trials segments",
    "milmer/deap/onsets.py": "trials",
    "milmer/deap/ratings.py": "trials",
    "milmer/deap/trials.py": "trials",
    "milmer/deap/recordings.py": "segments",
    "milmer/deap/dataset.py": "",
    "milmer/synthetic/*.py": "",
    # A copy of DEAP is run here; what a manifest reruns is asserted below.
    "milmer/manifest/*.py": "",
    "milmer/eeg/*.py": "segments",
    "milmer/eeg/__init__.py": "segments train explain",
    "milmer/eeg/alignment.py": MODEL,
    "milmer/faces/*.py": "faces",
    "milmer/faces/__init__.py": "faces tokens train explain report",
    "milmer/faces/bags.py": "tokens train explain report",
    "milmer/faces/contact_sheet.py": "",
    "milmer/faces/published_detector.py": "",
    "milmer/faces/face_detection_*": "",  # other weights are refused before any job
    "milmer/backbone/*.py": "pretrain tokens train explain",
    "milmer/backbone/fetching.py": "",
    "milmer/backbone/class_folders.py": "pretrain",
    "milmer/backbone/pretraining.py": "pretrain",
    "milmer/backbone/tokens.py": "tokens",
    "milmer/model/*.py": MODEL,
    "milmer/prediction/*": "",  # no stage: a person's command
    "milmer/model/published.py": "",
    "milmer/model/huggingface.py": "",
    "milmer/model/state_dicts.py": "",  # of other programs
    "milmer/splits/*.py": "split train baseline controls explain",
    "milmer/splits/__init__.py": "split train baseline controls explain evaluate tables report",
    "milmer/splits/protocols.py": "split train baseline controls explain evaluate tables report",
    "milmer/splits/folds.py": "",
    "milmer/splits/options.py": "split",
    "milmer/splits/rows.py": "train baseline controls explain",
    "milmer/splits/splits.py": "split",
    "milmer/training/*.py": "train",
    "milmer/training/__init__.py": f"{MODEL} evaluate",
    "milmer/training/fold_data.py": MODEL,
    "milmer/training/options.py": MODEL,
    "milmer/training/recipe.py": "train evaluate",
    "milmer/evaluation/*.py": "tables",
    "milmer/evaluation/__init__.py": "baseline controls evaluate explain tables report",
    "milmer/evaluation/options.py": "tables report",
    "milmer/evaluation/features.py": "baseline controls",
    "milmer/evaluation/baselines.py": "baseline",
    "milmer/evaluation/baseline_options.py": "baseline tables report",
    "milmer/evaluation/controls.py": "controls",
    "milmer/evaluation/control_options.py": "controls report",
    "milmer/evaluation/labellings.py": "controls",
    "milmer/evaluation/evaluate*.py": "evaluate",
    "milmer/evaluation/explain.py": "explain",
    "milmer/evaluation/importance.py": "explain",
    "milmer/evaluation/explain_options.py": "explain report",
    "milmer/evaluation/calibration.py": "tables",
    "milmer/evaluation/caveats.py": "evaluate tables report",
    "milmer/evaluation/formats.py": "tables report",
    "milmer/evaluation/model_card.py": "evaluate report",
    "milmer/evaluation/runs.py": "tables report",
    "milmer/evaluation/screen.py": "",
    "milmer/evaluation/report/*": "report",
}
"""Stages that can run a module's code, or read a file that lies among the code, by pattern.

The last pattern that fits a path holds: a package first, then its exceptions. `*` does not cross
a `/`.
"""


MANIFEST = {"dataset.manifest": "m.csv", "dataset.subjects": ["s01"]}

KEYS = {
    "preset": ("published", "segments +faces/default split -explain"),
    "dataset.root": ("deap2", ""),  # the same files elsewhere
    "dataset.source": ("mat", "trials"),
    "dataset.kind": ("manifest", "trials", MANIFEST),
    # Of a copy of DEAP the keys of a manifest are of no account.
    "dataset.manifest": ("m.csv", ""),
    "dataset.channels": (["Fz", "Cz", "Pz", "Oz"], ""),
    "dataset.missing_channels": ("interpolate", ""),
    "dataset.heog": (["EXG1", "EXG2"], "", {"dataset.veog": ["EXG3"]}),
    "dataset.veog": (["EXG3", "EXG4"], "", {"dataset.heog": ["EXG1"]}),
    "dataset.sfreq": (256.0, ""),
    "dataset.subjects": ([1, 2], "trials"),  # of s02 alone, see below
    "labels.scheme": ("valence", "split"),
    "labels.classes": (
        ["joy", "rage"],
        "trials",
        {"labels.scheme": "label", "dataset.kind": "manifest", **MANIFEST},
    ),
    "labels.threshold": (4.5, "split"),
    "labels.ties": ("low", "split"),
    "labels.permuted": (True, "split -explain -controls"),
    "segmentation.seconds": (2.0, "segments faces split"),
    "segmentation.overlap": (
        0.5,
        "segments faces split -baseline/segment -controls/segment",
        {"protocols.names": ["trial"]},
    ),
    "eeg.bad_channels": ("keep", "segments"),
    "eeg.artefacts": ("ica", "segments"),
    "eeg.eog_correlation": (0.5, "segments"),
    "eeg.reference": ("as_recorded", "segments"),
    "eeg.notch": (50.0, "segments"),
    "eeg.band": ([4.0, 45.0], "segments"),
    "eeg.baseline": ("zscore", "segments"),
    "eeg.layout": ("as_published", "segments", {"eeg.bad_channels": "keep"}),
    "eeg.alignment": ("euclidean", "train"),
    "eeg.reject.bad_channels": (0.1, "segments"),
    "eeg.reject.amplitude": (150.0, "segments"),
    "eeg.reject.flat": (1.0, "segments"),
    "eeg.reject.marks": (False, "segments"),
    "faces.instances": (5, "faces"),
    "faces.detector": ("haar", "faces"),
    "faces.detector_model": ("yunet.onnx", ""),  # the same file as Milmer's
    "faces.min_score": (0.5, "faces"),
    "faces.choice": ("largest", "faces"),
    "faces.hold": (2.0, "faces"),
    "faces.smoothing": (0.5, "faces"),
    "faces.min_coverage": (0.9, "faces"),
    "faces.margin": (0.2, "faces"),
    "faces.size": (128, "faces"),
    "faces.quality": (90, "faces"),
    "faces.use_borrowed_boxes": (True, "tokens train/tuned"),
    "faces.detection_size": (512, "faces"),
    "faces.second_detection_size": (960, "faces"),
    "faces.video_stream": (1, "faces"),
    "faces.threads": (1, ""),
    "backbone.name": ("other", "tokens/default train/tuned"),
    "backbone.revision": ("abc", "pretrain"),  # of a backbone on the hub alone
    "backbone.dtype": ("float32", "pretrain tokens train/tuned"),
    "backbone.threads": (1, "pretrain tokens train/tuned"),
    "backbone.device": ("cpu", ""),
    "backbone.batch_size": (16, "tokens train/tuned"),
    "backbone.pool": (4, "tokens train/tuned"),
    "backbone.finetune": (True, "train/milmer train/fer baseline controls"),
    "backbone.pretrain.images": (
        "images",
        "+pretrain/default +pretrain/tuned tokens/default train/tuned",
    ),
    "backbone.pretrain.epochs": (5, "pretrain"),
    "backbone.pretrain.batch_size": (16, "pretrain"),
    "backbone.pretrain.lr": (1e-3, "pretrain"),
    "backbone.pretrain.warmup": (0.2, "pretrain"),
    "backbone.pretrain.weight_decay": (0.1, "pretrain"),
    "backbone.pretrain.validation": (0.2, "pretrain"),
    "backbone.pretrain.patience": (5, "pretrain"),
    "backbone.pretrain.class_weights": (False, "pretrain"),
    "backbone.pretrain.seed": (1, "pretrain"),
    "backbone.pretrain.checkpoint_minutes": (1.0, ""),
    "model.modalities": (["eeg"], "train baseline controls"),
    "model.selection": ("softmax", "train"),
    "model.scorer": ("low_rank", "train"),
    "model.selection_gradient": ("unit_gain", "train"),
    "model.num_instances": (5, "train"),
    "model.instance_dropout": (0.1, "train"),
    "model.num_select": (4, "train/milmer train/fer"),  # tuned has its own
    "model.fusion": ("mlp", "train"),
    "model.num_queries": (8, "train"),
    "model.eeg_encoder": ("published", "train"),
    "model.eeg_dropout": (0.1, "train"),
    "model.channel_embeddings": (False, "train"),
    "model.linear_path": (False, "train"),
    "model.train_cls": (False, "train"),
    "model.hidden_size": (384, "train"),
    "model.num_heads": (6, "train"),
    "model.num_layers": (1, "train"),
    "model.feed_forward": (512, "train"),
    "model.dropout": (0.3, "train/milmer train/fer"),
    "model.head_dropout": (0.2, "train"),
    "training.init": ("swin", "train"),  # its content, wherever it lies
    "training.epochs": (5, "train"),
    "training.batch_size": (7, "train"),
    "training.lr": (1e-3, "train"),
    "training.lrf": (0.5, "train"),
    "training.weight_decay": (0.1, "train"),
    "training.select": ("last", "train"),
    "training.patience": (5, "train"),
    "training.refit": (True, "train"),
    "training.precision": ("float32", "train"),
    "training.threads": (1, "train"),
    "training.device": ("cpu", ""),
    "training.jobs_per_gpu": (2, ""),
    "training.checkpoint_minutes": (5.0, ""),
    "protocols.names": (["trial"], "tables"),
    # Of the protocol trial alone, see below.
    "protocols.folds": (3, "split -baseline/segment -controls/segment"),
    "protocols.validation": (0.3, "split"),
    "protocols.repeats": (2, "train"),
    "protocols.seed": (1, "split"),
    "variants.labels": ({"other": {"threshold": 4.5}}, ""),  # what no experiment takes is not made
    "variants.eeg": ({"other": {"notch": 50}}, ""),
    "variants.faces": ({"other": {"instances": 5}}, ""),
    "variants.backbone": (
        CONFIG["variants"]["backbone"] | {"tuned": {"finetune": True, "batch_size": 16}},
        "train/tuned",
    ),
    "experiments.milmer.preset": (
        "published",
        "+segments/as_published +split/as_published +faces/as_published"
        " +baseline/as_published-segment +controls/as_published-segment"
        " train/milmer baseline/trial controls/trial"
        " -explain/milmer",
    ),
    "experiments.milmer.model": ({"num_select": 2}, "train/milmer"),
    "experiments.milmer.training": ({"epochs": 5}, "train/milmer"),
    "experiments.milmer.labels": (
        "permuted",
        "+split/permuted +baseline/permuted-trial +baseline/permuted-segment train/milmer"
        " -explain/milmer",
    ),
    "experiments.milmer.eeg": (
        "as_published",
        "+segments/as_published train/milmer baseline controls",
    ),
    "experiments.milmer.faces": (
        "other",
        "+faces/other +tokens/other-default train/milmer baseline controls",
        {"variants.faces": {"other": {"instances": 5}}},
    ),
    "experiments.milmer.backbone": ("fer", "train/milmer baseline controls"),
    "experiments.milmer.grid": (
        {"model.num_select": [2, 4]},
        "+train/milmer-num_select-2 +train/milmer-num_select-4"
        " +evaluate/milmer-num_select-2 +evaluate/milmer-num_select-4"
        " +explain/milmer-num_select-2 +explain/milmer-num_select-4 tables",
    ),
    "experiments.milmer.protocols": (["trial"], "tables"),
    "experiments.milmer.validation": (
        0,
        "train/milmer",
        {"experiments.milmer.training": {"select": "last"}},
    ),
    "report.control_draws": (50, "controls"),
    "report.confidence": (0.9, "tables"),
    "report.resamples": (500, "tables"),
    "report.seed": (1, "controls"),
    "report.faces": ("blurred", "report"),
    "report.explain": (32, "explain"),
}
"""For each key another value and the jobs that begin to rerun, whatever follows them included.

`+kind` adds one that is new, with nothing that follows; `-rule` takes out what is not wanted any
more. A third entry holds what the value needs beside it.
"""

KINDS = {
    "segments": "{eeg}",
    "faces": "{faces}",
    "pretrain": "{backbone}",
    "tokens": "{faces}-{backbone}",
    "split": "{labels}",
    "train": "{experiment}",
    "evaluate": "{experiment}",
    "baseline": "{labels}-{protocol}",
    "controls": "{labels}-{protocol}",
    "explain": "{experiment}",
}


def kind(job: Job) -> str:
    taken = KINDS.get(job.rule, "").format(**job.wildcards).removeprefix("default-")
    return f"{job.rule}/{taken}" if taken else job.rule


def meant(words: str) -> set[str]:
    """Kinds of job that words of the tables name."""
    known = {
        word: {k for k in FOLLOWS if k == word or k.startswith(f"{word}/")}
        for word in words.split()
    }
    assert all(known.values()), known
    return set().union(*known.values())


def expected(words: str) -> set[str]:
    """The kinds that begin and all that follow, and what is added and taken out."""
    split = {sign: " ".join(w[1:] for w in words.split() if w[0] == sign) for sign in "+-"}
    waiting = list(meant(" ".join(w for w in words.split() if w[0] not in split)))
    found: set[str] = set()
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += meant(FOLLOWS[one])
    return (found | set(split["+"].split())) - meant(split["-"])


def stages_of(path: str) -> str | None:
    """What the table of modules says of a path."""
    parts = path.split("/")
    said = None
    for pattern, stages in MODULES.items():
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted)):
            said = stages
    return said


def code_files(package: Path) -> list[str]:
    """All files below a package but what Python keeps beside them, relative to its parent."""
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return sorted(p.relative_to(package.parent).as_posix() for p in files)


def keys(model: type, path: str = "") -> Iterator[str]:
    """The paths of all keys of a section; of experiments those of one of them."""
    for name, field in model.model_fields.items():
        if is_section(field.annotation):
            yield from keys(field.annotation, f"{path}{name}.")
        elif name == "experiments":
            yield from keys(ExperimentOptions, "experiments.milmer.")
        else:
            yield f"{path}{name}"


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with other values by path."""
    made = copy.deepcopy(dict(config))
    for path, value in changes.items():
        *sections, key = path.split(".")
        section = made
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return made


LABELS = ("joy", "rage")


def add_subject(root: Path, subject: str, clips: int = 2) -> None:
    """The files of a subject by their names: a dry run looks at no more."""
    for suffix in ("dat", "mat"):
        file = root / f"data_preprocessed_{suffix}" / f"{subject}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(subject)
    for trial in range(1, clips + 1):
        clip = root / "face_video" / subject / f"{subject}_trial{trial:02}.avi"
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_text(f"{subject} {trial}")


class Work:
    """A finished run of a copy of the project, and what to change in both for a while."""

    def __init__(self, snakemake: Snakemake, config: Mapping[str, Any]):
        self.snakemake, self.config = snakemake, config
        self.project, self.folder = snakemake.project, snakemake.folder
        self.write(config)
        snakemake.finish()
        assert snakemake.to_run() == []
        self.jobs = set(snakemake.to_run("--forceall"))

    def write(self, config: Mapping[str, Any]) -> None:
        (self.folder / "mine.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def rerun(self, *arguments: str) -> set[Job]:
        return set(self.snakemake.to_run(*arguments))

    def kinds(self, *arguments: str) -> set[str]:
        return {kind(job) for job in self.rerun(*arguments)}

    def dry_run(self) -> str:
        return self.snakemake("--dry-run")

    def remove(self, subject: str) -> None:
        for path in [*(self.folder / "deap").rglob(f"{subject}*")]:
            if path.is_file():
                path.unlink()

    @contextmanager
    def configured(self, changes: Mapping[str, Any]) -> Iterator[None]:
        self.write(changed(self.config, changes))
        try:
            yield
        finally:
            self.write(self.config)

    @contextmanager
    def edited(self, edits: Mapping[Path, Callable[[bytes], bytes]]) -> Iterator[None]:
        """Files with another content, put back with their times."""
        before = {path: (path.read_bytes(), path.stat()) for path in edits}
        try:
            for path, edit in edits.items():
                path.write_bytes(edit(before[path][0]))
            yield
        finally:
            for path, (content, stat) in before.items():
                path.write_bytes(content)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in ("milmer", "rules", "workflow"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=unwanted)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def inputs(folder: Path, subjects: Iterable[str]) -> None:
    """All that a run starts from: a dataset, two backbones, pictures and a detector."""
    for subject in subjects:
        add_subject(folder / "deap", subject)
    files = ["deap/metadata_csv/participant_ratings.csv", "images/a/1.png", "images/b/1.png"]
    for backbone in ("swin", "other"):
        for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
            files.append(f"{backbone}/{name}")
    shutil.copy(
        REPOSITORY / "milmer/faces/face_detection_yunet_2023mar.onnx", folder / "yunet.onnx"
    )
    for name in [*files, "blaze.tflite"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    shutil.copytree(folder / "deap", folder / "deap2")
    write_rows(folder, {subject: 10.0 for subject in subjects})


def write_rows(folder: Path, ends: Mapping[str, float], labels: tuple[str, str] = LABELS) -> None:
    """A manifest of two trials a subject, of the copy's files, the first of which ends there."""
    lines = ["subject,trial,stimulus,eeg_file,eeg_stop,video_file,valence,arousal,label"]
    for subject, end in ends.items():
        eeg = f"deap/data_preprocessed_dat/{subject}.dat"
        for trial, label in enumerate(labels, 1):
            video = f"deap/face_video/{subject}/{subject}_trial0{trial}.avi"
            video = video if (folder / video).is_file() else ""
            stop = end if trial == 1 else ""
            lines.append(f"{subject},{trial},{trial},{eeg},{stop},{video},3,7,{label}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def work(project, tmp_path_factory) -> Iterator[Work]:
    folder = tmp_path_factory.mktemp("work")
    inputs(folder, ["s01", "s02"])
    with Snakemake(project, folder) as snakemake:
        yield Work(snakemake, CONFIG)


def test_the_run_has_each_rule_and_each_kind(work):
    assert {kind(job) for job in work.jobs} == set(FOLLOWS)
    assert meant(ALL) == set(FOLLOWS)


# ------------------------------------------------------------------------------------------- code

FILES = code_files(REPOSITORY / "milmer")


STAGES = {
    "trials": ["milmer.deap.trials"],
    "segments": ["milmer.eeg.segments", "milmer.deap.recordings"],
    "faces": ["milmer.faces.crops"],
    "pretrain": ["milmer.backbone.pretraining"],
    "tokens": ["milmer.backbone.tokens"],
    "split": ["milmer.splits.splits"],
    "train": ["milmer.training.loop"],
    "baseline": ["milmer.evaluation.baselines"],
    "controls": ["milmer.evaluation.controls"],
    "evaluate": ["milmer.evaluation.evaluate"],
    "explain": ["milmer.evaluation.explain"],
    "tables": ["milmer.evaluation.tables"],
    "report": ["milmer.evaluation.report.page"],
}
"""The modules of which each rule carries the fingerprint, of a copy of DEAP."""

EDITED = {stages_of(path): path for path in FILES if path.endswith(".py")}
"""A module of each combination of stages, whose edit Snakemake is asked about."""


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith(".py")])
def test_the_fingerprints_that_hold_a_module_are_those_of_its_stages(path):
    stages = stages_of(path)
    assert stages is not None, f"{path}: say in MODULES which stages run it"
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert {rule for rule in STAGES if module in closure_of(rule)} == set(stages.split())


@functools.cache
def closure_of(rule: str) -> dict[str, str]:
    return closure(*STAGES[rule])


def test_each_rule_carries_the_fingerprint_of_its_stage():
    text = "\n".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    carried = dict(
        re.findall(r"^rule (\w+):(?:(?!^rule ).)*?PLAN\.code\((.*?)\)", text, re.M | re.S)
    )
    of_deap = {"PLAN.dataset.trials_module": STAGES["trials"][0]}
    of_deap["PLAN.dataset.recordings_module"] = STAGES["segments"][1]
    named = {
        rule: [of_deap.get(module, module.strip('"')) for module in modules.split(", ")]
        for rule, modules in carried.items()
    }
    assert named == STAGES


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path in EDITED.values() or not path.endswith((".py", ".onnx"))],
)
def test_an_edit_reruns_the_stages_of_its_module_and_what_follows(work, path):
    stages = stages_of(path)
    assert stages is not None, f"{path}: say in MODULES which stages run it"
    addition = b"\nADDED = 1\n" if path.endswith(".py") else b" "
    with work.edited({work.project / path: lambda content: content + addition}):
        found = work.rerun()
    assert {kind(job) for job in found} == expected(stages)
    # All jobs of a kind, and none that was not there before.
    assert found == {job for job in work.jobs if kind(job) in expected(stages)}


PROSE = {
    "a card's sentence": (
        "evaluation/model_card.py",
        b"Not for diagnosis or treatment",
        b"Not for treatment",
    ),
    "an option's description": ("model/options.py", b'description="', b'description="Here: '),
    "a score": (
        "metrics/scores.py",
        b'_weighted(truth, guess, "f1")',
        b'_weighted(truth, guess, "recall")',
    ),
    "the report": ("evaluation/report/page.html", b"<h1>Milmer</h1>", b"<h1>Report</h1>"),
    "an error's remedy": (
        "runtime/checkpoints.py",
        b'remedy="move it away"',
        b'remedy="try less"',
    ),
    "another dataset's reader": ("manifest/recordings.py", b"def _require_alike(", b"def _alike("),
}
"""Edits of what people read, of numbers that are only reported, and of other readers."""


@pytest.mark.parametrize("what", PROSE)
def test_nothing_expensive_hangs_on_prose(work, what):
    path, before, after = PROSE[what]
    content = (work.project / "milmer" / path).read_bytes()
    assert before in content
    with work.edited({work.project / "milmer" / path: lambda text: text.replace(before, after)}):
        rules = {kind.partition("/")[0] for kind in work.kinds()}
    assert not rules & {"segments", "faces", "pretrain", "tokens", "train"}


def test_each_line_of_the_table_of_modules_is_about_a_file():
    for pattern in MODULES:
        assert any(fnmatchcase(path, pattern) for path in FILES), f"{pattern}: no such file"


def test_an_edit_of_a_rules_command_reruns_it_and_what_follows(work):
    def edit(content: bytes) -> bytes:
        assert b"milmer --log {log} split " in content
        return content.replace(b"milmer --log {log} split ", b"milmer --log {log}  split ")

    with work.edited({work.project / "rules/training.smk": edit}):
        assert work.kinds() == expected("split")


def otherwise_written(source: bytes) -> bytes:
    """The same code in other lines, without comments, with another text in each docstring."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for one in node.body if isinstance(getattr(node, "body", None), list) else []:
            match one:
                case ast.Expr(value=ast.Constant(value=str())):
                    one.value.value = "Other words."
    return b"# A comment.\n\n\n" + ast.unparse(tree).encode()


def test_comments_docstrings_and_formatting_rerun_nothing(work):
    python = [work.project / path for path in FILES if path.endswith(".py")]
    with work.edited(dict.fromkeys(python, otherwise_written)):
        edited = (work.project / "milmer/training/loop.py").read_text()
        assert "Other words." in edited
        assert (
            edited.splitlines() != (REPOSITORY / "milmer/training/loop.py").read_text().splitlines()
        )
        assert work.kinds() == set()


def test_a_new_option_of_the_report_reruns_the_report_alone(work):
    def edit(content: bytes) -> bytes:
        first = b"    explain: int = Field("
        assert first in content
        return content.replace(first, b'    colour: str = Field("blue")\n' + first)

    options = work.project / "milmer/evaluation/report/options.py"
    with work.edited({options: edit}):
        assert work.kinds() == expected("report")
        with work.configured({"report.colour": "red"}):
            assert work.kinds() == expected("report")


# ------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize("key", list(keys(Config)))
def test_a_changed_key_reruns_its_stages_and_what_follows(work, key):
    assert key in KEYS, f"{key}: say in KEYS what it reruns"
    value, words, *beside = KEYS[key]
    with work.configured({key: value} | (beside[0] if beside else {})):
        assert work.kinds() == expected(words)


def test_each_line_of_the_table_of_keys_is_about_a_key():
    assert not set(KEYS) - set(keys(Config))


def test_more_folds_rerun_no_protocol_that_has_none(work):
    with work.configured({"protocols.folds": 3}):
        protocols = {job.wildcards["protocol"] for job in work.rerun() if job.rule == "split"}
    assert protocols == {"trial"}


def reordered(value: Any) -> Any:
    """The same with the keys of each mapping in the other order."""
    if not isinstance(value, dict):
        return value
    return {key: reordered(value[key]) for key in reversed(value)}


def test_the_order_of_keys_and_how_they_are_written_rerun_nothing(work):
    # But the order of experiments, which is that of the tables' rows.
    other = reordered(CONFIG) | {"experiments": {k: reordered(v) for k, v in EXPERIMENTS.items()}}
    assert list(other["experiments"]["tuned"]["model"]) == ["dropout", "num_select"]
    text = yaml.safe_dump(other, sort_keys=False, default_flow_style=True, indent=8)
    assert text != yaml.safe_dump(CONFIG, sort_keys=False)
    with work.edited({work.folder / "mine.yaml": lambda _: f"# A comment.\n{text}".encode()}):
        assert work.kinds() == set()


def reversed_file(content: bytes) -> bytes:
    """A YAML file's sections in the other order, its comments gone."""
    return yaml.safe_dump(reordered(yaml.safe_load(content)), sort_keys=False).encode()


def test_the_order_and_comments_of_the_projects_own_configuration_rerun_nothing(work):
    with work.edited({work.project / "config.yaml": reversed_file}):
        assert work.kinds() == set()


def test_how_a_run_is_started_reruns_nothing(work):
    for given in (["--cores=1"], ["--cores=8"], ["--resources", "gpu=2"], ["--forcerun=all"]):
        assert work.kinds(*given) == set()
    everything = {"backbone.device": "cpu", "training.device": "cpu", "faces.threads": 4}
    with work.configured(everything):
        assert work.kinds() == set()


def test_the_project_and_the_results_can_move(work, tmp_path):
    shutil.copytree(work.project, tmp_path / "project")
    shutil.copytree(work.folder, tmp_path / "work", ignore=shutil.ignore_patterns("locks"))
    with Snakemake(tmp_path / "project", tmp_path / "work") as snakemake:
        assert snakemake.to_run() == []


# -------------------------------------------------------------------------------------------- files

FILES_READ = {
    "deap/metadata_csv/participant_ratings.csv": "trials",
    "deap/data_preprocessed_dat/s01.dat": "trials",
    "deap/face_video/s01/s01_trial01.avi": "trials faces",
    "swin/config.json": "tokens/default train/tuned",
    "swin/model.safetensors": "tokens/default train/tuned",
    "images/a/1.png": "pretrain",
    "results/trials/s01.parquet": "segments faces split report",
    "results/segments/default/s01.h5": "train explain baseline controls report",
    "results/backbones/fer/model.safetensors": "tokens/fer",
    "results/runs/milmer/trial/s01-k0/seed0/predictions.parquet": "evaluate/milmer explain/milmer"
    " tables report",
}
"""Files that stages read, and what begins to rerun where their content changes."""


@pytest.mark.parametrize("path", FILES_READ)
def test_a_file_that_is_touched_reruns_nothing_and_one_that_changes_what_reads_it(work, path):
    with work.edited({work.folder / path: lambda content: content}):
        assert (work.folder / path).stat().st_mtime > (work.folder / "mine.yaml").stat().st_mtime
        assert work.kinds() == set()
    with work.edited({work.folder / path: lambda content: content + b"more"}):
        assert work.kinds() == expected(FILES_READ[path])


def test_a_large_file_counts_by_its_content_too(work):
    clip = work.folder / "deap/face_video/s01/s01_trial01.avi"
    with work.edited({clip: lambda _: bytes(1_100_000)}):
        assert work.kinds() == expected("trials faces")


def test_a_dataset_and_a_backbone_that_moved_rerun_nothing(work):
    shutil.copytree(work.folder / "deap", work.folder / "elsewhere/copy")
    shutil.copytree(work.folder / "swin", work.folder / "elsewhere/net")
    places = {"dataset.root": "elsewhere/copy", "backbone.name": "elsewhere/net"}
    with work.configured(places):
        assert work.kinds() == set()
        recording = work.folder / "elsewhere/copy/data_preprocessed_dat/s01.dat"
        with work.edited({recording: lambda content: content + b"x"}):
            found = work.rerun()
    assert {kind(job) for job in found} == expected("trials")
    shutil.rmtree(work.folder / "elsewhere")


def test_another_clip_reruns_the_trials_that_name_it(work):
    clip = work.folder / "deap/face_video/s01/s01_trial03.avi"
    clip.write_text("new")
    try:
        assert work.kinds() == expected("trials")
    finally:
        clip.unlink()


# ----------------------------------------------------------------------------------------- subjects


@pytest.fixture(scope="module")
def subjects(project, tmp_path_factory) -> Iterator[Work]:
    """A finished run under all protocols of s01 to s03, and s05 without video."""
    folder = tmp_path_factory.mktemp("subjects")
    inputs(folder, ["s01", "s02", "s03"])
    add_subject(folder / "deap", "s05", clips=0)
    config = {
        "dataset": {"root": "deap"},
        "backbone": {"name": "swin"},
        "protocols": {"names": ["segment", "trial", "loso", "stimulus"], "folds": 2},
        "experiments": dict.fromkeys(["face_only", "published_frozen"]),
    }
    with Snakemake(project, folder) as snakemake:
        yield Work(snakemake, config)


def is_about(job: Job, subject: str | None, filmed: bool = True) -> bool:
    """Whether a job makes a file of a subject, or one that pools over subjects.

    Without a video the subject is in no run of the experiment on faces, so that those which are
    trained within a subject need no evaluation again.
    """
    own = job.wildcards.get("subject") or job.wildcards.get("fold", "").partition("-")[0]
    pools = job.rule in POOLED or job.wildcards.get("protocol") in POOLING
    if job.rule == "evaluate":
        pools |= filmed or job.wildcards["experiment"] == "eeg_only"
    return pools or own == subject


POOLING = ("loso", "stimulus")
POOLED = ("baseline", "controls", "tables", "report")  # over subjects, under any protocol
RULES_OF_A_SUBJECT = set(ALL.split()) - {"pretrain"}


@pytest.mark.parametrize("clips", [2, 0], ids=["with video", "without video"])
def test_a_subject_more_reruns_its_own_and_what_pools_over_subjects(subjects, clips):
    add_subject(subjects.folder / "deap", "s04", clips)
    try:
        found, all_jobs = subjects.rerun(), subjects.rerun("--forceall")
    finally:
        subjects.remove("s04")
    assert found == {job for job in all_jobs if is_about(job, "s04", clips > 0)}
    assert {job.rule for job in found if "s04" in str(job)} >= {"trials", "segments"}
    # Its own and the pooled, and of each other subject's own files none is made again.
    assert {job.wildcards["protocol"] for job in found if job.rule == "train"} == (
        {"segment", "trial", "loso", "stimulus"}
    )
    assert {job.rule for job in found} == RULES_OF_A_SUBJECT - (set() if clips else NEED_VIDEO)


NEED_VIDEO = {"faces", "tokens"}


@pytest.mark.parametrize("subject", ["s03", "s05"], ids=["with video", "without video"])
def test_a_subject_less_reruns_what_pools_over_subjects_alone(subjects, subject):
    left = [s for s in ("s01", "s02", "s03", "s05") if s != subject]
    with subjects.configured({"dataset.subjects": left}):
        found, wanted = subjects.rerun(), subjects.rerun("--forceall")
    assert found == {job for job in wanted if is_about(job, None, subject == "s03")}
    pooled = [job.wildcards.get("protocol") for job in found
              if job.rule not in (*POOLED, "evaluate")]  # fmt: skip
    protocols = {None, *pooled}
    assert protocols == {None, *POOLING}
    assert {job.rule for job in found} == {
        "split",
        "train",
        "evaluate",
        "baseline",
        "controls",
        "explain",
        "tables",
        "report",
    }


def test_a_subjects_new_recording_reruns_its_own_and_what_pools_over_subjects(subjects):
    recording = subjects.folder / "deap/data_preprocessed_dat/s02.dat"
    with subjects.edited({recording: lambda content: content + b"more"}):
        assert subjects.rerun() == {job for job in subjects.jobs if is_about(job, "s02")}


def test_subjects_listed_by_name_are_the_same_subjects(subjects):
    with subjects.configured({"dataset.subjects": [5, 3, "s02", "s01"]}):
        assert subjects.rerun() == set()


# ----------------------------------------------------------------------------------------- manifest


@pytest.fixture(scope="module")
def own(project, tmp_path_factory) -> Iterator[Work]:
    """A finished run of a manifest of s01 to s03 with classes by name."""
    folder = tmp_path_factory.mktemp("own")
    inputs(folder, ["s01", "s02", "s03"])
    config = {
        "dataset": {"kind": "manifest", "manifest": "m.csv"},
        "labels": {"scheme": "label"},
        "backbone": {"name": "swin"},
        "protocols": {"names": ["segment", "trial", "loso", "stimulus"], "folds": 2},
        "experiments": dict.fromkeys(["face_only", "published_frozen"]),
    }
    with Snakemake(project, folder) as snakemake:
        yield Work(snakemake, config)


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        ("manifest/table", "trials"),
        ("manifest/trials", "trials"),
        ("readers/eeg", "trials"),
        ("readers/sidecars", "trials"),
        ("manifest/recordings", "segments"),
        ("manifest/dataset", ""),
        ("manifest/bids", ""),
        ("deap/trials", ""),
        ("deap/recordings", ""),
    ],
)
def test_an_edit_of_the_manifests_reader_reruns_what_it_reads(own, path, rules):
    file = own.project / f"milmer/{path}.py"
    with own.edited({file: lambda content: content + b"\nADDED = 1\n"}):
        found = {job.rule for job in own.rerun()}
    assert found == {name.partition("/")[0] for name in expected(rules)} - {"pretrain"}


@pytest.mark.parametrize(
    ("key", "value", "rules"),
    [
        ("dataset.channels", ["Fz", "Cz", "Pz", "Oz"], "segments"),
        ("dataset.missing_channels", "interpolate", "segments"),
        ("dataset.sfreq", 256.0, "segments"),
        ("labels.classes", ["rage", "joy"], "split"),
        ("labels.classes", ["joy", "rage"], ""),  # as they are found
        ("dataset.root", "deap2", ""),
        ("dataset.source", "bdf", ""),
    ],
)
def test_keys_of_a_manifest_rerun_what_reads_them(own, key, value, rules):
    with own.configured({key: value}):
        found = {job.rule for job in own.rerun()}
    assert found == {name.partition("/")[0] for name in expected(rules)} - {"pretrain"}


def test_a_row_that_changes_reruns_its_subject_and_what_pools_over_subjects(own):
    rows = own.folder / "m.csv"
    before = rows.read_bytes()
    try:
        rows.write_bytes(before)  # another time
        assert own.rerun() == set()
        rows.write_bytes(b"\n".join([before.splitlines()[0], *before.splitlines()[:0:-1]]))
        assert own.rerun() == set()  # in another order
        write_rows(own.folder, {"s01": 10.0, "s02": 9.0, "s03": 10.0})
        assert own.rerun() == {job for job in own.jobs if is_about(job, "s02")}
    finally:
        rows.write_bytes(before)


def test_a_subject_more_in_the_manifest_reruns_its_own_and_what_pools_over_subjects(own):
    rows = own.folder / "m.csv"
    before = rows.read_bytes()
    add_subject(own.folder / "deap", "s04")
    try:
        write_rows(own.folder, dict.fromkeys(("s01", "s02", "s03", "s04"), 10.0))
        found, all_jobs = own.rerun(), own.rerun("--forceall")
        assert found == {job for job in all_jobs if is_about(job, "s04")}
    finally:
        rows.write_bytes(before)
        own.remove("s04")


def test_another_class_reruns_the_splits_of_all(own):
    rows = own.folder / "m.csv"
    before = rows.read_bytes()
    try:
        rows.write_bytes(before + b"s03,3,3,deap/data_preprocessed_dat/s03.dat,,,3,7,fear\n")
        found = own.rerun()
        assert {job for job in own.jobs if job.rule == "split"} <= found
        assert {job.wildcards["subject"] for job in found if job.rule == "trials"} == {"s03"}
    finally:
        rows.write_bytes(before)
