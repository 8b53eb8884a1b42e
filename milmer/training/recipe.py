"""What a model's inputs were made with, kept beside the model for recordings of the future.

All of it stands in the provenance of the files that it was trained on.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from milmer import storage
from milmer.contracts.arrays import attribute
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.split import SPLIT
from milmer.data.segmentation import SegmentationOptions
from milmer.options import read_options

FILE = "milmer_processor.json"
"""The file in a model's folder, which ``milmer.prediction`` reads."""

FORMAT = 3
_DIGITS = 16  # of a digest
_ATTRIBUTES = ("channels", "sfreq", "cleaned")
_Recipe = TypeVar("_Recipe")


def training_recipe(
    segments: Sequence[Path],
    faces: Sequence[Path],
    use_borrowed_boxes: bool | None,
    alignment: str = "none",
) -> dict[str, Any]:
    """What the subjects' ``segments`` and tokens or face crops (``faces``) were made with.

    As plain JSON values ``eeg`` and ``face``, each null where the model does not look at it.
    ``use_borrowed_boxes`` is that of a model that holds its backbone and looks at crops, else None.
    Raises :class:`~milmer.errors.MilmerError` where subjects differ.
    """
    eeg = _same("preprocessing of the EEG", segments, _eeg)
    return {
        "format": FORMAT,
        "eeg": eeg and eeg | {"alignment": alignment},
        "face": _same("preprocessing of faces", faces, lambda p: _face(p, use_borrowed_boxes)),
    }


def seen_content(split: Path, **kinds: bool) -> list[list[list[Any]]]:
    """Which recordings are in the parts of a split, a list a subject; no subject is named.

    An entry is the first digits of the content digest of the ``eeg`` or ``video``, the stimulus
    where the times of the file begin anew with each trial, the part, and start and stop in s.
    """
    table = storage.read_table(split, SPLIT)
    grid = storage.read_provenance(split)["options"]["segmentation"]
    seconds, hop = grid["seconds"], grid["seconds"] - grid["overlap"]
    subjects = []
    for _, trials in table.groupby("subject", sort=False):
        entries: list[list[Any]] = []
        for kind in (k for k, used in kinds.items() if used and f"{k}_digest" in table):
            known = trials[trials[f"{kind}_digest"].notna()]
            for (_, part), rows in known.groupby(["trial", "part"], sort=False):
                first = rows.iloc[0]
                begin, stimulus = float(first.get(f"{kind}_start", np.nan)), None
                if begin != begin:  # null: each trial of the file has times of its own
                    begin, stimulus = 0.0, int(first["experiment_id"])
                content = [first[f"{kind}_digest"][:_DIGITS], stimulus, part]
                for start in (begin + hop * np.sort(rows["position"].to_numpy())).tolist():
                    if entries and entries[-1][:3] == content and start <= entries[-1][4] + 1e-6:
                        entries[-1][4] = start + seconds
                    else:
                        entries.append([*content, start, start + seconds])
        subjects.append(entries)
    return sorted(subjects, key=str)  # not in the order of their names


def shared_facts(facts: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A run's facts as they lie in its model's folder, which is shared: no person is named.

    The fold, which may have a subject's name, is told by the content digest of its split: whoever
    has the split can say which it is.
    """
    return {**facts, "fold": provenance["inputs"]["split"][:12]}


def _same(what: str, paths: Sequence[Path], read: Callable[[Path], _Recipe]) -> _Recipe | None:
    """What ``read`` says of all files; ``trial_seconds`` alone may differ, the largest counts."""
    recipes = [read(path) for path in paths]
    if not recipes:
        return None
    seconds = [recipe.pop("trial_seconds", None) for recipe in recipes]
    for path, recipe in zip(paths, recipes, strict=True):
        storage.require_same(what, (paths[0], recipes[0]), (path, recipe))
    return recipes[0] | ({} if seconds[0] is None else {"trial_seconds": max(seconds)})


def _eeg(path: Path) -> dict[str, Any]:
    provenance = storage.read_provenance(path)
    with storage.open_h5(path, SEGMENTS) as file:
        channels, sfreq, cleaned = (attribute(file, n, path) for n in _ATTRIBUTES)
        segmentation = read_options(
            SegmentationOptions, provenance["options"]["segmentation"], str(path)
        )
        last_start = float(file["start"][()].max())
    return {
        "channels": channels,
        "sfreq": sfreq,
        "trial_seconds": last_start + segmentation.seconds,
        "options": provenance["options"],
        "source": _source(provenance),
        "artefacts": cleaned.get("artefacts", "none"),
    }


def _source(provenance: dict[str, Any]) -> str:
    """``dat``, ``mat`` or ``bdf`` of DEAP, or ``manifest``."""
    if provenance["options"].get("recording") is not None:
        return "manifest"
    return provenance["upstream"]["trials"]["options"].get("source", "dat")


def _face(path: Path, use_borrowed_boxes: bool | None) -> dict[str, Any]:
    provenance = storage.read_provenance(path)
    crops, backbone, fingerprint = provenance, None, None
    if use_borrowed_boxes is None:
        crops = provenance["upstream"]["faces"]
        backbone, fingerprint = provenance["options"]["backbone"], provenance["inputs"]["backbone"]
        use_borrowed_boxes = provenance["options"]["use_borrowed_boxes"]
    return {
        "options": crops["options"],
        "detector_model": crops["inputs"].get("detector_model"),
        "use_borrowed_boxes": use_borrowed_boxes,
        "backbone": backbone,
        "fingerprint": fingerprint,
    }
