"""DEAP's original recordings: continuous BioSemi files (.bdf) of 512 Hz.

They are read as what a preprocessed file holds: 32 EEG channels in Geneva order and two of EOG at
128 Hz, trial by trial with the 3 s before the music video. Channels are picked by name, because the
two laboratories recorded them in different orders. The rest of DEAP's preprocessing (average
reference, EOG removal; Koelstra et al. 2012) belongs to the stage ``segments``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from milmer.data.recording import BASELINE_SECONDS
from milmer.deap.layout import GENEVA, SFREQ
from milmer.errors import MilmerError
from milmer.readers.edf import BIOSEMI, damaged, require_whole
from milmer.readers.resampling import resampled_trial

if TYPE_CHECKING:
    import mne

VIDEO_STARTS, EXPERIMENT_STARTS = 4, 1
"""Status codes; the others are 2 synchronisation, 3 and 5 fixation, 7 the end."""

EOG_ELECTRODES = {"hEOG": ("EXG1", "EXG2"), "vEOG": ("EXG3", "EXG4")}
"""Electrodes of the two bipolar EOG channels of the preprocessed files: first minus second."""

_CODES = range(1, 8)
_CODE = 0xFF  # the bits of a word that hold the code
_NAMELESS = re.compile(r"-?\d*")  # how MNE names channels without a name
_BROKEN_OFF = 0.5  # s by which a trial that broke off is shorter than the others, at least


@dataclass(frozen=True)
class Markers:
    """The events of a recording: ``time`` (event,) in s, ``code`` (event,), and its length in s.

    ``named``: whether the status channel has its name; ``spare``: further channels without one;
    ``upper_bits``: whether its words carry more than the code.
    """

    time: np.ndarray
    code: np.ndarray
    seconds: float
    named: bool = True
    spare: int = 0
    upper_bits: bool = False

    @property
    def begin(self) -> float:
        """Where the experiment starts, in s."""
        starts = self.time[self.code == EXPERIMENT_STARTS]
        return float(starts[0]) if len(starts) else 0.0

    @property
    def onsets(self) -> np.ndarray:
        """Where music videos start, in s (onset,)."""
        return self.time[self.code == VIDEO_STARTS]

    @property
    def lengths(self) -> np.ndarray:
        """How long each music video lasts in s (onset,): until the next marker.

        All have the median length, to a tenth of a second, except one that broke off.
        """
        onsets = self.onsets
        after = np.searchsorted(self.time, onsets, side="right")
        ends = np.append(self.time, self.seconds)[after]
        lengths = np.minimum(ends, self.seconds) - onsets
        usual = np.round(np.median(lengths), 1) if len(lengths) else 0.0
        return np.where(lengths < usual - _BROKEN_OFF, lengths, usual)


def read_markers(path: Path) -> Markers:
    """Read the events of a recording.

    The low byte of the status channel is the code; the upper bits mean other things. In some
    recordings that channel has no name, and some have another channel without a name: the one
    whose values are codes is read. Raises :class:`MilmerError` where there is none.
    """
    raw = _open(path)
    named = {i: name.lower() == "status" for i, name in enumerate(raw.ch_names)}
    candidates = [i for i, name in enumerate(raw.ch_names) if named[i] or _NAMELESS.fullmatch(name)]
    if not candidates:
        raise MilmerError(
            "no markers: there is no channel Status and none without a name",
            where=path,
            remedy="copy it again, or set dataset.source to dat or mat",
        )
    raw = _open(path, candidates)
    words = _data(path, raw, candidates, 0, raw.n_times).astype(np.int64)  # (channel, sample)
    events = [_events(row) for row in words]
    best = max(range(len(events)), key=lambda i: (events[i][1] == VIDEO_STARTS).sum())
    (sample, code), sfreq = events[best], raw.info["sfreq"]
    return Markers(
        sample / sfreq,
        code,
        raw.n_times / sfreq,
        named=named[candidates[best]],
        spare=sum(not named[i] for i in candidates if i != candidates[best]),
        upper_bits=bool((words[best] & ~_CODE).any()),
    )


def read_trials(
    path: Path, starts: Mapping[int, float], seconds: Mapping[int, float]
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray] | None]:
    """EEG (32, sample) and EOG (2, sample) of each trial in µV at 128 Hz, without their means.

    ``starts`` and ``seconds`` say where the music video of each experiment_id starts and how long
    it lasts, in s; 3 s of baseline come before it. EEG is in Geneva order, EOG is hEOG and vEOG, or
    None where the recording lacks their electrodes. Trials are read one by one, so memory does not
    grow with the length of the recording. Raises :class:`MilmerError` where the file is damaged or
    lacks a channel of DEAP's EEG.
    """
    raw = _open(path)
    place = {name.lower(): i for i, name in enumerate(raw.ch_names)}
    missing = [name for name in GENEVA if name.lower() not in place]
    if missing:
        raise MilmerError(
            f"not a recording of DEAP: no channel {', '.join(missing)}",
            where=path,
            remedy="copy DEAP's file again",
        )
    electrodes = [name for pair in EOG_ELECTRODES.values() for name in pair]
    with_eog = all(name.lower() in place for name in electrodes)
    picks = [place[name.lower()] for name in GENEVA + electrodes * with_eog]
    eeg, eog = {}, {}
    for experiment_id, start in starts.items():
        trial = _trial(path, raw, picks, start - BASELINE_SECONDS, seconds[experiment_id])
        eeg[experiment_id] = trial[: len(GENEVA)]
        eog[experiment_id] = trial[len(GENEVA) :: 2] - trial[len(GENEVA) + 1 :: 2]
    return eeg, eog if with_eog else None


def _trial(
    path: Path, raw: "mne.io.BaseRaw", picks: list[int], start: float, seconds: float
) -> np.ndarray:
    """A trial from ``start`` s in the recording, at 128 Hz: (channel, sample) in µV."""

    def read(first: int, stop: int) -> np.ndarray:
        return _data(path, raw, picks, first, stop) * 1e6

    return resampled_trial(
        read, raw.n_times, raw.info["sfreq"], SFREQ, start, BASELINE_SECONDS + seconds
    )


def _events(status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples at which a code begins in the words int64 (sample,), and these codes."""
    code = status & _CODE
    begins = np.flatnonzero((np.diff(code, prepend=0) != 0) & np.isin(code, _CODES))
    return begins, code[begins]


def _open(path: Path, status: list[int] | None = None) -> "mne.io.BaseRaw":
    """Open a recording without reading its samples; ``status`` channels are read as whole words."""
    import mne

    _require_whole(path)
    try:
        return mne.io.read_raw_bdf(path, preload=False, stim_channel=status, verbose="error")
    except Exception as error:  # a damaged header can raise anything
        raise damaged(path, error) from error


def _data(path: Path, raw: "mne.io.BaseRaw", picks: list[int], start: int, stop: int) -> np.ndarray:
    """Samples (channel, sample) in V, or the words of status channels."""
    try:
        return raw.get_data(picks=picks, start=start, stop=stop, verbose="error")
    except Exception as error:
        raise damaged(path, error) from error


def _require_whole(path: Path) -> None:
    """Refuse files that are not BDF, or shorter than their header says."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise damaged(path, error) from error
    if head != BIOSEMI:
        raise MilmerError("not a BioSemi recording (BDF)", where=path, remedy="copy it again")
    require_whole(path)
