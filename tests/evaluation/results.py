"""Made-up results of any size: all files that the report reads, without anything being trained."""

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.explanation import EXPLANATION
from milmer.contracts.faces import FACES, FOUND
from milmer.contracts.segments import SEGMENTS
from milmer.deap.layout import GENEVA
from milmer.evaluation.report.options import ReportStageOptions
from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from milmer.metrics.scores import baselines, measure
from milmer.splits.folds import fold_names
from tests.asymmetric import complete_trials
from tests.evaluation.made_up import LABELS

CHANNELS = tuple(GENEVA)
EXPERIMENTS = {
    "milmer": {"eeg": "default", "faces": "default"},
    "eeg_only": {"eeg": "default", "changes": {"model": {"modalities": ["eeg"]}}},
    "published_frozen": {"eeg": "as_published", "faces": "default", "changes": {"preset": "p"}},
}
TRIALS, SEGMENTS_A_TRIAL, INSTANCES, CHOSEN = 10, 4, 10, 3
_STRENGTH = {"segment": 2.5, "trial": 0.7, "loso": 0.2, "stimulus": 0.4}


def made(stage: str) -> dict:
    """Provenance of a file that nobody made."""
    return {"stage": stage, "options": {}, "inputs": {}, "upstream": {}}


def make_results(
    folder: Path,
    count: int,
    protocols: tuple[str, ...] = ("trial", "segment"),
    folds: int = 2,
    experiments: dict | None = None,
    **options,
) -> ReportStageOptions:
    """Fill ``folder`` with the results of ``count`` subjects; the options of the report on them."""
    subjects = [f"s{i:02d}" for i in range(1, count + 1)]
    shown = {
        name: {**about, "folds": {p: fold_names(p, subjects, folds) for p in protocols}}
        for name, about in (experiments or EXPERIMENTS).items()
    }
    for name, about in shown.items():
        for protocol, names in about["folds"].items():
            for fold in names:
                _run(folder / "runs", name, protocol, fold, subjects, "faces" in about)
                if protocol == "trial":
                    _explanation(folder, name, protocol, fold, "faces" in about)
    for i, subject in enumerate(subjects):
        _trials(folder, subject, without_video=[3] if i == 0 else [])
        for variant in {about["eeg"] for about in shown.values() if "eeg" in about}:
            _segments(folder, variant, subject)
        _faces(folder, subject)
    changes = {n: {k: a[k] for k in ("folds", "changes") if k in a} for n, a in shown.items()}
    summarised = TablesOptions(experiments=changes, report={"resamples": 200})
    make_tables(folder / "runs", summarised, folder / "tables")
    return ReportStageOptions.model_validate(
        {"experiments": shown, "subjects": subjects, "source": "bdf", **options}
    )


def _run(runs, experiment, protocol, fold, subjects, with_faces):
    rng = np.random.default_rng([*f"{experiment} {protocol} {fold}".encode()])
    subject = fold.partition("-")[0] if fold.startswith("s") else subjects[0]
    first = 100 * int(fold.rpartition("k")[2]) if "k" in fold else 0
    label = np.repeat(rng.permutation(np.arange(TRIALS) % 4), SEGMENTS_A_TRIAL)
    logits = rng.normal(size=(len(label), 4)) + _STRENGTH[protocol] * np.eye(4)[label]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = rng.normal(size=(len(label), INSTANCES)) + np.linspace(-0.5, 0.5, INSTANCES)
    chosen = np.sort(np.argsort(-scores, axis=1)[:, :CHOSEN], axis=1)
    table = pd.DataFrame(
        {
            "subject": subject,
            "trial": first + np.repeat(np.arange(1, TRIALS + 1), SEGMENTS_A_TRIAL),
            "position": np.tile(np.arange(SEGMENTS_A_TRIAL), TRIALS),
            "label": label,
        }
        | {f"p_{name}": p[:, i] for i, name in enumerate(LABELS)}
    )
    nothing = [None] * len(table)
    table["chosen"] = list(chosen.astype(float)) if with_faces else nothing
    table["scores"] = list(scores) if with_faces else nothing
    epochs = np.arange(20)
    history = pd.DataFrame(
        {"epoch": epochs, "train_loss": np.exp(-epochs / 8) + rng.random(20) / 5}
    )
    history["val_macro_f1"] = 0.25 + 0.02 * epochs + rng.random(20) / 10
    out = runs / experiment / protocol / fold / "seed0"
    storage.write_table(out / "predictions.parquet", table, made("predictions"))
    storage.write_table(out / "history.parquet", history, made("history"))
    facts = {"labels": LABELS, "epoch": int(rng.integers(20)), "select": "validation"}
    facts |= {"leaky": protocol == "segment", "selected_on_test": False, "permuted": False}
    facts["shares"] = [0.2, 0.2, 0.2, 0.4]
    facts |= {"warnings": ["no trial of HALV in train"] if fold == "s01-k0" else []}
    facts |= {"without_valid_face": {"test": 2} if with_faces and subject == "s01" else {}}
    facts |= {"rejected": {"test": 3} if experiment == "eeg_only" and subject == "s02" else {}}
    facts |= measure(table, LABELS) | baselines(np.array([0.2, 0.2, 0.2, 0.4]), table, LABELS)
    segments = {"options": {"eeg": {"band": [1, 50]}}, "inputs": {}, "upstream": {}}
    facts["provenance"] = {"options": {"seed": 0, "model": {"n": 3}}, "inputs": {}}
    facts["provenance"]["upstream"] = {"segments_s01": segments}
    storage.write_json(out / "metrics.json", facts)


def _explanation(folder, experiment, protocol, fold, with_faces):
    rng = np.random.default_rng([*f"{experiment} {fold}".encode()])
    path = folder / "explanations" / experiment / protocol / fold / "seed0.h5"
    attention = rng.random((7, 7)) if with_faces else np.empty((0, 0))
    with storage.new_h5(path, EXPLANATION, made("explain")) as file:
        rise = rng.random(len(CHANNELS)) / 20 + np.isin(CHANNELS, ["F3", "F4"]) * 0.2
        file["channel"] = np.stack([rise, rise + 0.01]).astype(np.float32)
        file["instance"] = rng.normal(0, 0.1, (2, INSTANCES if with_faces else 0)).astype("float32")
        file["part"] = np.array([[0.5, 0.01], [0.7, 0.03]], np.float32) + (fold == "s02-k0") / 10
        file.attrs["parts"] = json.dumps(["eeg", "linear_eeg"])
        file["attention"] = (attention / max(attention.sum(), 1)).astype(np.float32)
        file.attrs["channels"] = json.dumps(CHANNELS)
        # Another in each fold.
        eeg = 0.5 + 0.1 * (fold == "s01-k0")
        file.attrs["logit_shares"] = json.dumps({"linear_eeg": eeg, "frames": 1 - eeg})


def _trials(folder, subject, without_video):
    numbers = np.arange(1, TRIALS + 1)
    table = pd.DataFrame({"subject": subject, "trial": numbers, "experiment_id": numbers[::-1]})
    table["eeg_file"], table["eeg_seconds"] = f"{subject}.bdf", 12.0
    there = [None if t in without_video else f"{subject}_trial{t:02d}.avi" for t in numbers]
    storage.write_table(
        folder / "trials" / f"{subject}.parquet",
        complete_trials(table.assign(video_file=there)),
        made("trials"),
    )


def _segments(folder, variant, subject):
    rng = np.random.default_rng([*subject.encode()])
    count = TRIALS * SEGMENTS_A_TRIAL
    bad = {"channel": "T7", "why": "flat", "trials": [2, 5], "done": "interpolated"}
    cleaned = {"bad_channels": [bad] if subject in ("s01", "s02") else [], "average_reference": []}
    by_channel = {c: float(v) for c, v in zip(CHANNELS, rng.random(len(CHANNELS)), strict=True)}
    if variant == "default":
        cleaned |= {"artefacts": "eog_regression", "removed_variance": by_channel}
        cleaned |= {"coefficients": {"hEOG": by_channel, "vEOG": by_channel}}
    else:
        removed = {"index": 0, "r": {"hEOG": 0.1, "vEOG": 0.9}, "variance": 0.2, "map": by_channel}
        cleaned |= {"artefacts": "ica", "components": 31, "converged": True, "removed": [removed]}
    with storage.new_h5(
        folder / "segments" / variant / f"{subject}.h5", SEGMENTS, made("segments")
    ) as file:
        file["eeg"] = np.zeros((count, len(CHANNELS), 2), np.float32)
        file["trial"] = np.repeat(np.arange(1, TRIALS + 1, dtype=np.int32), SEGMENTS_A_TRIAL)
        file["experiment_id"] = TRIALS + 1 - file["trial"][()]
        file["position"] = np.tile(np.arange(SEGMENTS_A_TRIAL, dtype=np.int32), TRIALS)
        file["start"] = np.zeros(count, np.float32)
        file["rejected"] = np.zeros(count, "S16")
        file.attrs["channels"] = json.dumps(CHANNELS)
        file.attrs["cleaned"], file.attrs["sfreq"] = json.dumps(cleaned), 128.0


def _faces(folder, subject):
    """All bags show the same frames, each a face of its own brightness with a mark in it."""
    count = TRIALS * SEGMENTS_A_TRIAL
    with storage.new_h5(
        folder / "faces" / "default" / f"{subject}.h5", FACES, made("faces")
    ) as file:
        file.create_dataset("image", (INSTANCES,), h5py.vlen_dtype(np.uint8), maxshape=(None,))
        for i in range(INSTANCES):
            picture = np.full((224, 224, 3), 60 + 15 * i, np.uint8)
            cv2.putText(picture, subject, (20, 130), cv2.FONT_HERSHEY_SIMPLEX, 3, (255,) * 3, 8)
            file["image"][i] = cv2.imencode(".jpg", picture)[1].ravel()
        file["box"] = np.zeros((INSTANCES, 4), np.float32)
        file["score"] = np.ones(INSTANCES, np.float32)
        file["detected"] = np.arange(INSTANCES) > 0
        file["faces_seen"] = np.full(INSTANCES, 2, np.int32)
        file["track"] = np.arange(INSTANCES, dtype=np.int32)
        for i, name in enumerate(FOUND, 1):  # of two clips
            file[f"clip_{name}"] = np.array([i, 10 * i], np.int32)
        file["time"] = np.arange(INSTANCES, dtype=np.float32)
        bag = np.tile(np.arange(INSTANCES, dtype=np.int32), (count, 1))
        bag[-2:] = -1
        file["bag"] = bag
        file["trial"] = np.repeat(np.arange(1, TRIALS + 1, dtype=np.int32), SEGMENTS_A_TRIAL)
        file["position"] = np.tile(np.arange(SEGMENTS_A_TRIAL, dtype=np.int32), TRIALS)
