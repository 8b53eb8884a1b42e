"""Checkpoints of a pre-training, from which an interrupted run resumes.

``transformers.Trainer`` writes them as folders, file by file, into a sibling of the result that no
rule declares, because Snakemake deletes declared outputs before a job starts. A seal in a folder
says that it is complete, and to which options, inputs and code it belongs.
"""

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milmer import folders, storage

_SEAL = "seal.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint: after how many ``epochs``, and whether training had ``ended`` there."""

    path: Path
    epochs: int
    ended: bool


class Checkpoints:
    """The checkpoints of one run that writes ``out`` with this ``provenance``."""

    def __init__(self, out: Path, provenance: dict[str, Any]):
        self.folder = out.absolute().with_name(f".{out.name}.resume")
        self._key = storage.key(provenance)

    def seal(self, step: int, epochs: int, ended: bool) -> None:
        """Mark the checkpoint of ``step`` as complete."""
        path = self.folder / f"checkpoint-{step}"
        folders.use_umask(path)
        seal = {"key": self._key, "epochs": epochs, "ended": ended, "files": _digests(path)}
        storage.write_json(path / _SEAL, seal)

    def last(self) -> Checkpoint | None:
        """The newest checkpoint of this run that is complete, and whose best one is; None if none.

        Checkpoints that are incomplete or belong to another run are removed.
        """
        seals = {path: self._seal_of(path) for path in self.folder.glob("checkpoint-*")}
        complete = {path: seal for path, seal in seals.items() if seal}
        for path in sorted(complete, key=lambda p: int(p.name.split("-")[1]), reverse=True):
            best = json.loads((path / "trainer_state.json").read_text())["best_model_checkpoint"]
            if best is None or Path(best) in complete:
                return Checkpoint(path, complete[path]["epochs"], complete[path]["ended"])
            shutil.rmtree(path)
        self.remove()
        return None

    def remove(self) -> None:
        """Delete all checkpoints."""
        for path in self.folder.glob("checkpoint-*"):
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # where something else lies in it
            self.folder.rmdir()

    def _seal_of(self, path: Path) -> dict[str, Any] | None:
        """The seal of a complete checkpoint of this run; any other is removed."""
        try:
            seal = json.loads((path / _SEAL).read_text())
            if (seal["key"], seal["files"]) == (self._key, _digests(path)):
                return seal
        except (OSError, ValueError, KeyError, TypeError):
            pass
        shutil.rmtree(path, ignore_errors=True)
        return None


def _digests(path: Path) -> dict[str, str]:
    return {p.name: storage.digest(p) for p in sorted(path.iterdir()) if p.name != _SEAL}
