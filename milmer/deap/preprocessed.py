"""Reads DEAP's preprocessed EEG, .dat (a pickle written by Python 2) or .mat."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from milmer.data.recording import BASELINE_SECONDS
from milmer.deap import pickles
from milmer.deap.layout import GENEVA, PERIPHERAL, SFREQ
from milmer.errors import MilmerError
from milmer.limits import require_file
from milmer.readers import matlab

NAMES = ("data", "labels")


@dataclass(frozen=True)
class Preprocessed:
    """The content of a preprocessed file, in the order of experiment_id.

    ``eeg`` is (trial, channel, sample) in µV at ``sfreq`` Hz, beginning with the 3 s baseline,
    channels in Geneva order; ``peripheral`` (trial, channel, sample) are channels 33 to 40;
    ``labels`` (trial, 4) are valence, arousal, dominance and liking.
    """

    eeg: np.ndarray
    peripheral: np.ndarray
    labels: np.ndarray
    sfreq: float = SFREQ

    @property
    def seconds(self) -> float:
        """Length of each trial after its baseline in s."""
        return self.eeg.shape[-1] / self.sfreq - BASELINE_SECONDS


def read_preprocessed(path: Path) -> Preprocessed:
    """Read a ``.dat`` or ``.mat`` file.

    Raises :class:`MilmerError` where the file is missing, damaged, not DEAP's or asks for more than
    arrays.
    """
    require_file(path)
    try:
        reader = pickles if path.suffix.lower() == ".dat" else matlab
        content = reader.read_arrays(path, NAMES)
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except MilmerError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise MilmerError(
            f"is damaged or cut off and cannot be read ({type(error).__name__}: {str(error)[:80]})",
            where=path,
            remedy="copy it again",
        ) from error
    return _checked(path, content)


def _checked(path: Path, content: dict[str, np.ndarray | None]) -> Preprocessed:
    def wrong(problem: str) -> MilmerError:
        return MilmerError(
            f"not a preprocessed file of DEAP: {problem}", where=path, remedy="copy it again"
        )

    if set(content) != set(NAMES):
        raise wrong("holds no 'data' and 'labels'")
    data, labels = (content[name] for name in NAMES)
    for name, array, ndim in (("data", data, 3), ("labels", labels, 2)):
        if array is None:
            raise wrong(f"{name} is not an array of numbers")
        if array.ndim != ndim:
            raise wrong(f"{name} has {array.ndim} dimensions, expected {ndim}")
    channels, samples = len(GENEVA) + len(PERIPHERAL), int(BASELINE_SECONDS * SFREQ)
    if not len(data) or data.shape[1] != channels or data.shape[2] <= samples:
        raise wrong(f"data is {data.shape}, expected trials x {channels} x more than {samples}")
    if labels.shape[0] != data.shape[0] or labels.shape[1] < 4:
        raise wrong(f"labels are {labels.shape}, expected {data.shape[0]} x 4")
    eeg = data[:, : len(GENEVA)]
    return Preprocessed(eeg, data[:, len(GENEVA) :], labels.astype(np.float64))
