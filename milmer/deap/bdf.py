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

import numpy as np

from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.deap.layout import GENEVA, SFREQ
from milmer.errors import MilmerError
from milmer.limits import require_file
from milmer.readers.edf import BIOSEMI, EDFFile, Signal, damaged
from milmer.readers.eeg import EEGFile, MissingChannels
from milmer.readers.parts import read_with_margins

VIDEO_STARTS, EXPERIMENT_STARTS = 4, 1
"""Status codes; the others are 2 synchronisation, 3 and 5 fixation, 7 the end."""

EOG_ELECTRODES = {"hEOG": ("EXG1", "EXG2"), "vEOG": ("EXG3", "EXG4")}
"""Electrodes of the two bipolar EOG channels of the preprocessed files: first minus second."""

_CODES = range(1, 8)
_CODE = 0xFF  # the bits of a word that hold the code
_NAMELESS = re.compile(r"-?\d*")
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
    _require_bdf(path)
    file = EDFFile(path)
    # Some recorders name channels by their number, or by a minus sign and it.
    candidates = [s for s in file.signals if _is_status(s) or _NAMELESS.fullmatch(s.label)]
    if not candidates:
        raise MilmerError(
            "no markers: there is no channel Status and none without a name",
            where=path,
            remedy="copy it again, or set dataset.source to dat or mat",
        )
    words = [file.stored([s], 0, file.samples(s))[0] for s in candidates]  # each (sample,)
    events = [_events(row) for row in words]
    best = max(range(len(events)), key=lambda i: (events[i][1] == VIDEO_STARTS).sum())
    (sample, code), rate = events[best], file.rate(candidates[best])
    return Markers(
        file.time(sample / rate),
        code,
        file.parts[-1].stop,
        named=_is_status(candidates[best]),
        spare=sum(not _is_status(s) for i, s in enumerate(candidates) if i != best),
        upper_bits=bool((words[best] & ~_CODE).any()),
    )


def read_trials(
    path: Path,
    starts: Mapping[int, float],
    seconds: Mapping[int, float],
    margin: int = int(BASELINE_SECONDS),
) -> Recording:
    """EEG (32, sample) and EOG (2, sample) of each trial in µV at 128 Hz, without their means.

    ``starts`` and ``seconds`` say where the music video of each trial starts and how long
    it lasts, in s; up to ``margin`` s are read before and after it. EEG is in Geneva order, EOG is
    hEOG and vEOG, or None where the recording lacks their electrodes. Trials are read one by one,
    so memory does not grow with the length of the recording. Raises :class:`MilmerError` where the
    file is damaged or lacks a channel of DEAP's EEG.
    """
    _require_bdf(path)
    try:
        file = EEGFile(path, GENEVA)
    except MissingChannels as error:
        raise MilmerError(
            f"not a recording of DEAP: {error.problem.partition(';')[0]}",
            where=path,
            remedy="copy DEAP's file again",
        ) from error
    with_eog = all(file.has(name) for pair in EOG_ELECTRODES.values() for name in pair)
    pairs = list(EOG_ELECTRODES.values()) if with_eog else None
    eeg, eog, before, gaps, marks = {}, {}, {}, {}, {}
    for trial, start in starts.items():
        video = start, start + seconds[trial]
        gaps[trial], marks[trial] = file.gaps_in(*video), file.marks_in(*video)
        eeg[trial], eog[trial], before[trial] = read_with_margins(
            file, start, seconds[trial], SFREQ, margin, pairs
        )
    return Recording(
        eeg,
        eog if with_eog else None,
        referenced=False,
        channels=tuple(GENEVA),
        sfreq=SFREQ,
        baseline=before,
        gaps=gaps,
        marks=marks,
    )


def _is_status(signal: Signal) -> bool:
    return signal.label.lower() == "status"


def _events(status: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples at which a code begins in the words int64 (sample,), and these codes."""
    code = status & _CODE
    begins = np.flatnonzero((np.diff(code, prepend=0) != 0) & np.isin(code, _CODES))
    return begins, code[begins]


def _require_bdf(path: Path) -> None:
    try:
        require_file(path)
        with open(path, "rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise damaged(path, error) from error
    if head != BIOSEMI:
        raise MilmerError("not a BioSemi recording (BDF)", where=path, remedy="copy it again")
