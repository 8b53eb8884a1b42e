"""The state of an interrupted training, from which it goes on.

It is a sibling of the result's folder that no rule declares, because Snakemake deletes declared
outputs before a job starts. Its key, of options, inputs and code, says whether it still fits.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from milmer import storage
from milmer.errors import MilmerError, Stopped


class ResumeState:
    """Saves and finds the state of one run; a state of another key is ignored."""

    def __init__(self, run: Path, provenance: dict[str, Any], minutes: float):
        self._path = run.with_name(f".{run.name}.resume.pt")
        self._key = storage.key(provenance)
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state to go on from; none where there is none, or none that fits."""
        if self._path.is_dir():
            raise MilmerError(
                "a folder lies where the run's state is kept",
                where=self._path,
                remedy="move it away",
            )
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:
            # Whatever is wrong with the file, the run can begin anew.
            return None
        return state if isinstance(state, dict) and state.get("key") == self._key else None

    def save_if_due(self, make: Any, now: bool = False) -> None:
        """Save what ``make()`` returns, if the last state is older than it may be, or ``now``."""
        if now or time.monotonic() - self._saved >= self._seconds:
            # By way of memory: PyTorch's own writer tells of a full disk in a way of its own.
            content = io.BytesIO()
            torch.save(make() | {"key": self._key}, content)
            with storage.replacing(self._path) as partial:
                partial.write_bytes(content.getbuffer())
            self._saved = time.monotonic()

    def after_step(
        self, make: Any, step: int, where: str, stop_requested: Callable[[], bool]
    ) -> None:
        """Save where it is due; where asked to stop, save and raise :class:`Stopped`."""
        stopping = stop_requested()
        self.save_if_due(make, now=stopping)
        if stopping:
            raise Stopped(
                f"asked to stop at step {step}",
                where=where,
                remedy="the same command goes on from there",
            )

    def remove(self) -> None:
        """The run is complete: forget the state."""
        self._path.unlink(missing_ok=True)
