"""The states of an interrupted pre-training, from which it goes on.

``transformers.Trainer`` writes them as folders, file by file, into a sibling of the result that no
rule declares, because Snakemake deletes declared outputs before a job starts. A seal in a folder
says that it is whole and which options, inputs and code it belongs to.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milmer import storage

_SEAL = "seal.json"


@dataclass(frozen=True)
class Checkpoint:
    """A state to go on from: after how many epochs, and whether no more were to follow."""

    path: Path
    epochs: int
    ended: bool


class Checkpoints:
    """The states of one run, below ``folder``."""

    def __init__(self, out: Path, made: dict[str, Any]):
        self.folder = out.absolute().with_name(f".{out.name}.resume")
        self._key = storage.key(made)

    def seal(self, step: int, epochs: int, ended: bool) -> None:
        """The state of ``step`` is written: make it known."""
        path = self.folder / f"checkpoint-{step}"
        what = {"key": self._key, "epochs": epochs, "ended": ended, "files": _digests(path)}
        storage.write_json(path / _SEAL, what)

    def last(self) -> Checkpoint | None:
        """The newest state that is whole and fits, as its best is; the others are removed."""
        found = {path: self._seal_of(path) for path in self.folder.glob("checkpoint-*")}
        whole = {path: seal for path, seal in found.items() if seal}
        for path in sorted(whole, key=lambda p: int(p.name.split("-")[1]), reverse=True):
            best = json.loads((path / "trainer_state.json").read_text())["best_model_checkpoint"]
            if best is None or Path(best) in whole:
                return Checkpoint(path, whole[path]["epochs"], whole[path]["ended"])
            shutil.rmtree(path)
        self.remove()
        return None

    def remove(self) -> None:
        """Forget all states."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _seal_of(self, path: Path) -> dict[str, Any] | None:
        """The seal of a whole state of this run; anything else is removed."""
        try:
            seal = json.loads((path / _SEAL).read_text())
            if (seal["key"], seal["files"]) == (self._key, _digests(path)):
                return seal
        except (OSError, ValueError, KeyError):
            pass
        shutil.rmtree(path, ignore_errors=True)
        return None


def _digests(path: Path) -> dict[str, str]:
    return {p.name: storage.digest(p) for p in sorted(path.iterdir()) if p.name != _SEAL}
