"""EEG of a new recording, prepared like the training data, one segment after the other.

Trials of the training data were cleaned and filtered as a whole. So is a new recording that is no
longer than the longest of them; a longer one is prepared in blocks of that length, with what the
filters need on both sides, so that memory does not grow with it. The removal of eye artefacts is
fitted once per recording, on up to 20 blocks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from milmer.data.recording import Recording
from milmer.data.segmentation import Segment
from milmer.deap import bdf
from milmer.deap.layout import GENEVA, SFREQ
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.recordings import EOG_ROWS
from milmer.eeg.artefacts import Removal
from milmer.eeg.cleaning import chosen_method, fitted_removal
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.rejection import unusable_trials
from milmer.eeg.segments import cut_segments, margin_of
from milmer.errors import MilmerError
from milmer.prediction.recipe import PREPROCESSED, EEGRecipe
from milmer.readers.amplitude import require_plausible_amplitude, sampled
from milmer.readers.channels import Positions
from milmer.readers.eeg import EEGFile, Missing, MissingChannels, channel_name
from milmer.readers.parts import Mark, Part, Signal, read_with_margins
from milmer.readers.resampling import resampled_trial

FITTED_BLOCKS = 20


class ArrayEEG:
    """A recording in memory: ``data`` (channel, sample) and ``eog`` (2, sample) or None, in µV."""

    bads: Sequence[str] = ()
    positions: Positions | None = None

    def __init__(self, data: np.ndarray, sfreq: float, eog: np.ndarray | None = None):
        self.data, self.sfreq, self.eog = np.asarray(data, np.float64), float(sfreq), eog
        self.seconds = self.data.shape[1] / self.sfreq

    def part(self, start: float) -> Part:
        """The whole recording."""
        return Part(0.0, 0.0, self.seconds)

    def gaps_in(self, start: float, stop: float) -> list[tuple[float, float]]:
        """None."""
        return []

    def marks_in(self, start: float, stop: float) -> list[Mark]:
        """None."""
        return []

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
    """Segments that are prepared together: ``count`` of them from number ``first`` on.

    ``start`` and ``seconds`` say which part of the stretch they are cut from, in s.
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
        preparation: EEGRecipe,
        eog: Sequence[Sequence[str]] | None,
        start: float,
        seconds: float,
    ):
        self._name, self._signal, self._eog = name, signal, eog
        self._rate, self._channels = preparation.sfreq, tuple(preparation.channels)
        self._options = _options(preparation.options, eog is not None)
        self._trial_seconds = preparation.trial_seconds
        self._start, self._seconds = start, seconds

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments of ``grid``, float32 (channel, sample), in their order.

        None for one that is rejected; raises :class:`MilmerError` if all are.
        """
        blocks = self._blocks(grid)
        removal = self._fit_removal(blocks) if len(blocks) > 1 else None
        usable, detail = False, ""
        for block in blocks:
            segments = [
                Segment(0, i, s.start - block.start)
                for i, s in enumerate(grid[block.first : block.first + block.count])
            ]
            recording = self._recording(block)
            try:
                eeg, rejected, cleaned = cut_segments(recording, segments, self._options, removal)
            except MilmerError as error:
                raise self._block_error(error, block) from error
            usable = usable or not all(rejected)
            for row in cleaned.get("rejected", ()):
                detail = f"{row['why']} ({row['detail']})"
            if block is blocks[-1] and not usable:
                raise self._block_error(MilmerError(f"cannot be used: {detail}"), block)
            yield from unrejected(eeg, rejected)

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
        start, signal = self._start + block.start, self._signal
        eeg, eog, before = read_with_margins(
            signal, start, block.seconds, self._rate, margin_of(self._options), self._eog
        )
        span = (start, start + block.seconds)
        return Recording(
            {0: eeg},
            None if eog is None else {0: eog},
            referenced=False,
            channels=self._channels,
            sfreq=self._rate,
            baseline=before,
            gaps={0: signal.gaps_in(*span)},
            marks={0: signal.marks_in(*span)},
            bads={0: signal.bads},
            positions=signal.positions,
        )

    def _fit_removal(self, blocks: Sequence[_Block]) -> Removal | None:
        if chosen_method({}, False, self._options.eeg) == "none":
            return None
        count = min(FITTED_BLOCKS, len(blocks))
        chosen = np.linspace(0, len(blocks) - 1, count).round().astype(int)
        parts = {int(i): self._recording(blocks[i]) for i in chosen}
        eeg = {i: part.eeg[0] for i, part in parts.items() if not unusable_trials(part, True)}
        eog = {i: part.eog[0] for i, part in parts.items() if part.eog is not None}
        try:
            return fitted_removal(
                eeg,
                eog or None,
                list(self._channels),
                self._rate,
                False,
                self._options.eeg,
                dict.fromkeys(eeg, self._signal.bads),
                self._signal.positions,
            )[0]
        except MilmerError as error:
            raise self._block_error(error, blocks[0]) from error

    def _block_error(self, error: MilmerError, block: _Block) -> MilmerError:
        """The stage's error for users of ``milmer predict``, who have no trials and no options."""
        start = self._start + block.start
        return MilmerError(
            error.problem,
            where=f"{self._name}: EEG from {start:g} to {start + block.seconds:g} s",
            remedy="leave out that part (--start, --stop)",
        )


def is_preprocessed(path: Path) -> bool:
    """Whether it is a preprocessed file of DEAP; an array has a description beside it."""
    return path.suffix[1:].lower() in PREPROCESSED and not path.with_suffix(".json").is_file()


class TrialEEG:
    """One trial of a preprocessed file; ``seconds`` is its length after the baseline."""

    def __init__(self, path: Path, number: int, preparation: EEGRecipe):
        content = read_preprocessed(path)
        if not 1 <= number <= len(content.eeg):
            raise MilmerError(
                f"contains trials 1 to {len(content.eeg)}, not {number}",
                where=path,
                remedy="choose one of them (--trial)",
            )
        picks = chosen_channels(str(path), GENEVA, preparation.channels)
        if preparation.sfreq != SFREQ:
            raise MilmerError(
                f"preprocessed at {SFREQ:g} Hz, but the model requires {preparation.sfreq:g} Hz",
                where=path,
                remedy="give the original recording",
            )
        self.seconds, self._path, self._options = content.seconds, path, preparation.options
        self._recording = Recording(
            {number: content.eeg[number - 1][picks]},
            {number: content.peripheral[number - 1, EOG_ROWS]},
            referenced=True,
            channels=tuple(preparation.channels),
            sfreq=SFREQ,
        )

    def segments(self, grid: Sequence[Segment]) -> Iterator[np.ndarray | None]:
        """The segments of ``grid``, float32 (channel, sample), in their order; None if rejected."""
        (number,) = self._recording.eeg
        segments = [s._replace(trial=number) for s in grid]
        try:
            eeg, rejected, _ = cut_segments(self._recording, segments, self._options)
        except MilmerError as error:
            raise error.within(self._path) from None
        yield from unrejected(eeg, rejected)


def unrejected(eeg: np.ndarray, rejected: np.ndarray) -> Iterator[np.ndarray | None]:
    """The segments (channel, sample) of ``eeg``, None where they are rejected."""
    yield from (None if why else segment for segment, why in zip(eeg, rejected, strict=True))


def chosen_channels(name: str, channels: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Indices of the ``wanted`` channels among the ``channels`` of the recording ``name``."""
    place = {channel_name(channel).lower(): i for i, channel in enumerate(channels)}
    absent = [channel for channel in wanted if channel.lower() not in place]
    if absent:
        raise MilmerError(
            f"no channel {', '.join(absent)}",
            where=name,
            remedy="the model requires the channels that it was trained on",
        )
    return [place[channel.lower()] for channel in wanted]


def open_signal(
    path: Path, preparation: EEGRecipe, missing: Missing, use_eog: bool
) -> tuple[Signal, Sequence[Sequence[str]] | None, list[str]]:
    """A continuous recording, the names of its EOG channels if they are needed, and remarks.

    Raises :class:`MilmerError` where it lacks channels that the model requires, or where it is no
    EEG in µV.
    """
    try:
        file = EEGFile(path, preparation.channels, missing)
    except MissingChannels as error:
        hint = ", --missing-channels interpolate interpolates up to a quarter of them"
        raise error.instead(
            "the model requires the channels that it was trained on"
            + (hint if missing == "refuse" else "")
        ) from None
    require_rate(str(path), file.sfreq, preparation)
    require_plausible_amplitude(sampled(file), file.sfreq, path)
    pairs, required = _eog_of(preparation)
    if not use_eog or pairs is None:
        return file, None, [] if pairs is None or not required else [_WITHOUT_EOG]
    try:
        file.require([name for pair in pairs for name in pair])
    except MissingChannels as error:
        if required:
            raise error.instead(
                "eye artefacts were removed from the training data by these channels; give "
                "--without-eog to predict without removing them"
            ) from None
        return file, None, []
    return file, pairs, []


_WITHOUT_EOG = (
    "Eye artefacts were removed from the training data but not from this recording, which has no "
    "EOG."
)


def require_rate(name: str, sfreq: float, preparation: EEGRecipe) -> None:
    """Refuse EEG with a lower sampling rate than the model's."""
    if sfreq < preparation.sfreq - 1e-6:
        raise MilmerError(
            f"sampled at {sfreq:g} Hz, but the model requires {preparation.sfreq:g} Hz or more",
            where=name,
        )


def kind_notes(preparation: EEGRecipe, preprocessed: bool) -> list[str]:
    """Remarks on a recording of another kind than the training data."""
    trained = preparation.source in PREPROCESSED
    if trained == preprocessed:
        return []
    if preparation.options.eeg.layout == "as_published":
        raise MilmerError(
            "the model's EEG is in the published layout, which requires preprocessed files",
            where="eeg.layout",
            remedy="give a .dat or .mat of DEAP and --trial",
        )
    kinds = {True: "preprocessed by DEAP's owners", False: "an original recording"}
    return [
        f"The training data was {kinds[trained]} and this is {kinds[preprocessed]}: the two differ "
        "although Milmer prepares them alike."
    ]


def _eog_of(preparation: EEGRecipe) -> tuple[Sequence[Sequence[str]] | None, bool]:
    """Names of hEOG and vEOG in a recording, and whether it must have them."""
    if preparation.options.eeg.artefacts == "none":
        return None, False
    recording = preparation.options.recording
    if recording is None:
        return list(bdf.EOG_ELECTRODES.values()), preparation.artefacts != "none"
    if recording.heog is None or recording.veog is None:
        return None, False
    return [recording.heog, recording.veog], True


def _options(options: SegmentsOptions, with_eog: bool) -> SegmentsOptions:
    """The stage's options; without EOG eye artefacts are not removed."""
    return options if with_eog else options.updated({"eeg": {"artefacts": "none"}})
