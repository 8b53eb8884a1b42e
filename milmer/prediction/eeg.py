"""EEG of a new recording, prepared as the training data was, one segment after the other.

A trial of the training data was cleaned and filtered as a whole. So is a new recording that is no
longer than they were; a longer one in blocks of that length, each with 3 s more on both sides, so
that memory does not grow with it. What takes out eye artefacts is fitted once a recording, on up
to 20 of the blocks.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.data.segmentation import Segment
from milmer.deap import bdf
from milmer.deap.layout import GENEVA, SFREQ
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.recordings import EOG_ROWS
from milmer.eeg.artefacts import Removal
from milmer.eeg.cleaning import TooManyBadChannels, chosen_method, clean, fitted_removal
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import cut_segments
from milmer.errors import MilmerError
from milmer.manifest.recordings import lead_of
from milmer.prediction.recipe import PREPROCESSED, RememberedEEG
from milmer.readers.eeg import EEGFile, Missing, channel_name
from milmer.readers.resampling import resampled_trial

FITTED_BLOCKS = 20


class Signal(Protocol):
    """A continuous recording: of a file, or in memory."""

    sfreq: float
    seconds: float

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """EEG (channel, sample) in µV, less means."""

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """A channel of EOG (sample,) in µV."""


class ArrayEEG:
    """A recording in memory: ``data`` (channel, sample) in µV; ``eog`` hEOG and vEOG, or None."""

    def __init__(self, data: np.ndarray, sfreq: float, eog: np.ndarray | None = None):
        self.data, self.sfreq, self.eog = np.asarray(data, np.float64), float(sfreq), eog
        self.seconds = self.data.shape[1] / self.sfreq

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """EEG (channel, sample) in µV, less means."""
        return self._cut(self.data, start, seconds, sfreq)

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """hEOG or vEOG (sample,) in µV, whichever of the two ``pair`` names."""
        row = list(bdf.EOG_ELECTRODES).index(pair[0])
        return self._cut(np.asarray(self.eog, np.float64)[row : row + 1], start, seconds, sfreq)[0]

    def _cut(self, x: np.ndarray, start: float, seconds: float, sfreq: float) -> np.ndarray:
        def read(first: int, stop: int) -> np.ndarray:
            return x[:, first:stop]

        return resampled_trial(read, x.shape[1], self.sfreq, sfreq, start, seconds)


class _Block(NamedTuple):
    """Segments that are prepared together: ``count`` from ``first`` on; both in s of the stretch:
    where they start, and how long the part is that they are cut from.
    """

    first: int
    count: int
    start: float
    seconds: float


class ContinuousEEG:
    """A stretch of a continuous recording, from ``start`` s on, ``seconds`` long."""

    def __init__(
        self,
        name: str,
        signal: Signal,
        known: RememberedEEG,
        eog: Sequence[Sequence[str]] | None,
        start: float,
        seconds: float,
    ):
        self._name, self._signal, self._eog = name, signal, eog
        self._rate, self._channels = known.sfreq, tuple(known.channels)
        self._options = _options(known.options, eog is not None)
        self._trial_seconds, self._start, self._seconds = known.trial_seconds, start, seconds

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments of ``grid``, float32 (channel, sample), in their order.

        None in a block in which too many channels are bad; refused where there is no other.
        """
        blocks = self._blocks(grid)
        removal = self._fitted(blocks) if len(blocks) > 1 else None
        good = 0
        for block in blocks:
            segments = [
                Segment(0, i, s.start - block.start)
                for i, s in enumerate(grid[block.first : block.first + block.count])
            ]
            try:
                yield from cut_segments(self._recording(block), segments, self._options, removal)[0]
                good += 1
            except TooManyBadChannels as error:
                if block is blocks[-1] and not good:
                    raise self._told(error, block) from error
                yield from [None] * block.count
            except MilmerError as error:
                raise self._told(error, block) from error

    def _blocks(self, grid: Sequence[Segment]) -> list[_Block]:
        length = self._options.segmentation.seconds
        step = length - self._options.segmentation.overlap
        if self._seconds < self._trial_seconds + step:
            return [_Block(0, len(grid), 0.0, self._seconds)]
        size = max(1, int((self._trial_seconds - length) / step + 1e-6) + 1)
        blocks = []
        for first in range(0, len(grid), size):
            part = grid[first : first + size]
            blocks.append(
                _Block(first, len(part), part[0].start, part[-1].start - part[0].start + length)
            )
        return blocks

    def _recording(self, block: _Block) -> Recording:
        begin = self._start + block.start
        lead = lead_of(begin, self._rate)
        end = self._start + self._seconds
        trail = min(BASELINE_SECONDS, max(0.0, end - begin - block.seconds))
        span = (begin - lead, lead + block.seconds + trail, self._rate)
        eog = None
        if self._eog is not None:
            eog = {0: np.stack([self._signal.bipolar(pair, *span) for pair in self._eog])}
        return Recording(
            {0: self._signal.trial(*span)},
            eog,
            referenced=False,
            channels=self._channels,
            sfreq=self._rate,
            baseline=lead,
        )

    def _fitted(self, blocks: Sequence[_Block]) -> Removal | None:
        if chosen_method(False, self._options.eeg) == "none":
            return None
        count = min(FITTED_BLOCKS, len(blocks))
        chosen = np.linspace(0, len(blocks) - 1, count).round().astype(int)
        parts = {int(i): self._recording(blocks[i]) for i in chosen}
        parts = {i: part for i, part in parts.items() if self._good(part)} or parts
        eeg = {i: part.eeg[0] for i, part in parts.items()}
        eog = {i: part.eog[0] for i, part in parts.items() if part.eog is not None}
        try:
            return fitted_removal(
                eeg, eog or None, list(self._channels), self._rate, False, self._options.eeg
            )[0]
        except MilmerError as error:
            raise self._told(error, blocks[0]) from error

    def _good(self, part: Recording) -> bool:
        """Whether its bad channels can be made from the others."""
        plain = self._options.eeg.updated({"artefacts": "none"})
        try:
            clean(part.eeg, None, list(self._channels), self._rate, False, plain)
        except TooManyBadChannels:
            return False
        return True

    def _told(self, error: MilmerError, block: _Block) -> MilmerError:
        """The stage's error in the words of who predicts."""
        begin = self._start + block.start
        where = f"EEG from {begin:g} to {begin + block.seconds:g} s"
        said = re.sub(r"EEG of experiment_id \d+|experiment_id \d+", where, str(error))
        said = re.sub(r"; (leave|set) .*", "; leave that part out (--start, --stop)", said)
        return MilmerError(f"{self._name}: {said}")


class TrialEEG:
    """One trial of a preprocessed file, of ``seconds`` after its baseline."""

    def __init__(self, path: Path, number: int, known: RememberedEEG):
        content = read_preprocessed(path)
        if not 1 <= number <= len(content.eeg):
            raise MilmerError(f"{path}: holds trials 1 to {len(content.eeg)}, not {number}")
        picks = chosen_channels(str(path), GENEVA, known.channels)
        if known.sfreq != SFREQ:
            raise MilmerError(
                f"{path}: preprocessed at {SFREQ:g} Hz; the model looks at {known.sfreq:g} Hz"
            )
        self.seconds, self._path, self._options = content.seconds, path, known.options
        self._recording = Recording(
            {number: content.eeg[number - 1][picks]},
            {number: content.peripheral[number - 1, EOG_ROWS]},
            referenced=True,
            channels=tuple(known.channels),
            sfreq=SFREQ,
        )

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray]:
        """The segments of ``grid``, float32 (channel, sample), in their order."""
        (number,) = self._recording.eeg
        own = [s._replace(experiment_id=number) for s in grid]
        try:
            yield from cut_segments(self._recording, own, self._options)[0]
        except MilmerError as error:
            raise MilmerError(f"{self._path}: {error}") from error


def chosen_channels(name: str, held: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where the ``wanted`` channels stand among those that a recording holds."""
    place = {channel_name(one).lower(): i for i, one in enumerate(held)}
    absent = [one for one in wanted if one.lower() not in place]
    if absent:
        raise MilmerError(f"{name}: no channel {', '.join(absent)}, which the model looks at")
    return [place[one.lower()] for one in wanted]


def open_signal(
    path: Path, known: RememberedEEG, missing: Missing, use_eog: bool
) -> tuple[Signal, Sequence[Sequence[str]] | None, list[str]]:
    """A continuous recording, the names of its EOG channels if they are needed, and remarks.

    Raises :class:`MilmerError` where it lacks what the model looks at.
    """
    try:
        file = EEGFile(path, known.channels, missing)
    except MilmerError as error:
        head, found, _ = str(error).partition("; change dataset.channels")
        if not found:
            raise
        raise MilmerError(
            f"{head}; the model was trained on these channels, --missing-channels interpolate "
            "makes up to a quarter of them from the others"
        ) from error
    require_rate(str(path), file.sfreq, known)
    pairs, required = _eog_of(known)
    if not use_eog or pairs is None:
        return file, None, [] if pairs is None or not required else [_WITHOUT_EOG]
    try:
        file.require([name for pair in pairs for name in pair])
    except MilmerError as error:
        if required:
            head = str(error).partition(" (dataset.heog")[0]
            raise MilmerError(
                f"{head}; with them eye artefacts were removed from the training data, "
                "--without-eog goes on without"
            ) from error
        return file, None, []
    return file, pairs, []


_WITHOUT_EOG = (
    "Eye artefacts were removed from the training data and not from this recording, which has no "
    "EOG."
)


def require_rate(name: str, sfreq: float, known: RememberedEEG) -> None:
    """Refuse EEG that is sampled more slowly than what the model looks at."""
    if sfreq < known.sfreq - 1e-6:
        raise MilmerError(
            f"{name}: sampled at {sfreq:g} Hz; the model looks at EEG of {known.sfreq:g} Hz, which "
            "cannot be made of it"
        )


def unlike(known: RememberedEEG, preprocessed: bool) -> list[str]:
    """What is to be said where the recording is of another kind than the training data."""
    trained = known.source in PREPROCESSED
    if trained == preprocessed:
        return []
    if known.options.eeg.layout == "as_published":
        raise MilmerError(
            "the model's EEG is laid out as published, which preprocessed files alone can be: give "
            "a .dat or .mat of DEAP and --trial"
        )
    kinds = {True: "preprocessed by DEAP's owners", False: "an original recording"}
    return [
        f"The training data was {kinds[trained]} and this is {kinds[preprocessed]}: it is prepared "
        "alike, and still not the same."
    ]


def _eog_of(known: RememberedEEG) -> tuple[Sequence[Sequence[str]] | None, bool]:
    """Names of hEOG and vEOG of a recording, and whether it has to have them."""
    if known.options.eeg.artefacts == "none":
        return None, False
    recording = known.options.recording
    if recording is None:
        return list(bdf.EOG_ELECTRODES.values()), known.artefacts != "none"
    if recording.heog is None or recording.veog is None:
        return None, False
    return [recording.heog, recording.veog], True


def _options(options: SegmentsOptions, with_eog: bool) -> SegmentsOptions:
    """The stage's options, without the removal of eye artefacts where there is no EOG."""
    return options if with_eog else options.updated({"eeg": {"artefacts": "none"}})
