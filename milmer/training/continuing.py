"""Continuing from a trained model: what a new run takes over from it, and what it may not know.

A model of all other subjects learns one more person, or a model of another dataset begins on this
one. The guard of splits holds for it too: what the model before was trained on may not be what the
fold tests. Its folder says so by digests of recordings, which name nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import Field

from milmer import storage
from milmer.contracts.facts import Facts, require
from milmer.errors import MilmerError
from milmer.limits import read_json
from milmer.model.configuration import without_path
from milmer.model.network import MilmerNetwork
from milmer.model.trained import load_trained
from milmer.training.recipe import FILE

_SHORT = 12  # hexadecimal digits of a digest
_BY_CHANNEL = ("eeg.gate.weight", "eeg.channel.weight")
_FITTED = ("linear.", "eeg.scale", "eeg.mean", "eeg.std")
_RECORDED = ("trials", "eeg", "video")  # inputs of segments and faces that are of a person


class _Run(Facts):
    fold: str
    trained_on: list[str] | None = Field(None)


class _Recipe(Facts):
    eeg: dict[str, Any] | None
    face: dict[str, Any] | None
    run: _Run | None


@dataclass(frozen=True)
class Start:
    """A trained model that a run continues from; ``recipe`` is what its inputs were made with.

    ``trained_on`` are digests of recordings, None where the model does not say; ``split`` is the
    digest of the split that it was trained on.
    """

    network: MilmerNetwork
    weights: Path
    recipe: Mapping[str, Any]
    trained_on: frozenset[str] | None
    split: str | None

    @torch.no_grad()
    def give(self, network: MilmerNetwork, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Copy what fits into ``network``, whose inputs are made with ``recipe``.

        What is fitted to each training part is not copied: the scale of the EEG, and the linear
        path with the head that begins at zero beside it. New are a head for other classes, what
        looks at tokens of another backbone, filters of another rate and embeddings of channels
        that the model before did not have. Returns what happened, as plain values.
        """
        ours, theirs = network.config, self.network.config
        fitted = _FITTED if network.linear is None else (*_FITTED, "classifier.")
        unfit = list(fitted)
        if ours.labels != theirs.labels:
            unfit.append("classifier.")
        if _of_faces(recipe, network) != _of_faces(self.recipe, self.network):
            unfit.append("visual.")
        if ours.sfreq != theirs.sfreq:
            unfit.append("eeg.filters")
        before, source = _channels(self.recipe), self.network.state_dict()
        kept = [(i, before.index(c)) for i, c in enumerate(_channels(recipe)) if c in before]
        state = network.state_dict()
        taken = set()
        for name, tensor in state.items():
            value = source.get(name)
            if value is None or name.startswith(tuple(unfit)):
                continue
            if name in _BY_CHANNEL and value.shape[1:] == tensor.shape[1:]:
                for here, there in kept:
                    tensor[here] = value[there]
                taken |= {name} if len(kept) == len(tensor) else set()
            elif value.shape == tensor.shape:
                tensor.copy_(value)
                taken.add(name)
        new = {name for name in state.keys() - taken if not name.startswith(fitted)}
        return {
            "weights": storage.digest(self.weights)[:_SHORT],
            "fold": self.split,
            "taken": len(taken),
            "new": sorted({".".join(name.split(".")[:2]) for name in new}),
            "checked": self.trained_on is not None,
        }


def read_start(folder: Path, table: pd.DataFrame, files: Sequence[Path], split: Path) -> Start:
    """The model in the folder of a run, or in a model's own, to go on with on ``split``.

    ``table`` are the rows of the split and ``files`` what they were read from. Raises
    :class:`MilmerError` where the model cannot be loaded, or was trained on recordings of the
    subjects that are tested; one of the same split was not trained on what that tests.
    """
    folder = folder / "model" if (folder / "model").is_dir() else folder
    try:
        network = load_trained(folder)
        plain: dict[str, Any] = {"eeg": None, "face": None, "run": None}
        if (path := folder / FILE).is_file():
            plain = read_json(path)
            require(_Recipe, plain, path)
    except MilmerError as error:
        raise error.within("training.init") from error
    run = plain["run"] or {}
    known = run.get("trained_on")
    start = Start(
        network=network,
        weights=folder / "model.safetensors",
        recipe=plain,
        trained_on=None if known is None else frozenset(known),
        split=run.get("fold"),
    )
    seen = _recorded(table, files, "test").intersection(known or ())
    if seen and start.split != storage.digest(split)[:_SHORT]:
        raise MilmerError(
            f"was trained on recordings of subjects that this fold tests ({min(seen)}…)",
            where=f"training.init: {folder}",
            remedy="continue from one that was not, such as the fold of loso that tests them",
        )
    return start


def trained_on(table: pd.DataFrame, files: Sequence[Path], start: Start | None) -> list[str]:
    """Digests of what a model was trained on: here, and before it was ``start``."""
    before = frozenset() if start is None else start.trained_on or frozenset()
    return sorted(_recorded(table, files, "train", "val") | before)


def _recorded(table: pd.DataFrame, files: Sequence[Path], *parts: str) -> set[str]:
    """Digests of what was recorded of the subjects in these parts of a split.

    They are of recordings as they came, so that it does not matter how these were prepared or what
    the subjects are called.
    """
    subjects, digests = set(table.loc[table["part"].isin(parts), "subject"]), set()
    for path in files:
        if path.stem in subjects:
            provenance = storage.read_provenance(path)
            inputs = provenance["upstream"].get("faces", provenance)["inputs"]  # faces: of tokens
            digests |= {d[:_SHORT] for name, d in inputs.items() if name.startswith(_RECORDED)}
    return digests


def _channels(recipe: Mapping[str, Any]) -> list[str]:
    return list((recipe["eeg"] or {}).get("channels", []))


def _of_faces(recipe: Mapping[str, Any], network: MilmerNetwork) -> tuple[Any, Any]:
    """What tokens come from: a backbone's weights, or the shape of one that the model holds."""
    fingerprint = (recipe["face"] or {}).get("fingerprint")
    return fingerprint, without_path(network.config.backbone_config)
