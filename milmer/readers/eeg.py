"""EEG of any supported format: chosen channels in a chosen order, in µV.

Times are those of the recording's own clock, which goes on where it pauses. Each channel is read at
its own rate and in its own unit. Names are matched regardless of case and of what recorders add to
them; see :mod:`milmer.readers.names`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from milmer.data.options import FEWEST_CHANNELS
from milmer.errors import MilmerError
from milmer.plain_text import first_unseen
from milmer.readers.channels import MOST_INTERPOLATED, interpolation, placed_names
from milmer.readers.edf import RATES
from milmer.readers.names import NOT_EEG, REFERENCES, channel_name, file_names
from milmer.readers.parts import Mark, Part, gaps_of, part_at
from milmer.readers.resampling import resampled_trial
from milmer.readers.sources import open_source
from milmer.readers.units import microvolts

Missing = Literal["refuse", "interpolate"]

_NO_GAP = 1e-3  # s
_log = logging.getLogger(__name__)


class MissingChannels(MilmerError):
    """A recording lacks channels that are needed."""


@dataclass(frozen=True)
class EEG:
    """A stretch of a recording: ``data`` float64 (channel, sample) in µV at ``sfreq`` Hz."""

    data: np.ndarray
    channels: tuple[str, ...]
    sfreq: float


def read_eeg(
    path: Path,
    channels: Sequence[str] | None = None,
    missing: Missing = "refuse",
    start: float | None = None,
    stop: float | None = None,
    sfreq: float | None = None,
) -> EEG:
    """Read ``channels`` from ``start`` to ``stop`` s of a recording, each without its mean.

    ``channels`` are names in the order of the result, or None for all EEG channels in the file's
    order; ``missing`` says what to do where the file lacks some. ``start`` and ``stop`` default to
    the file's beginning and end, ``sfreq`` in Hz to its rate. Raises :class:`MilmerError` where the
    file cannot be read, lacks channels (see :class:`MissingChannels`) or ends before ``stop``.
    """
    file = EEGFile(path, channels, missing)
    first = start or 0.0
    last = file.seconds if stop is None else file.within(stop)
    rate = sfreq or file.sfreq
    return EEG(file.trial(first, last - first, rate), file.channels, rate)


class EEGFile:
    """A recording whose samples are read when they are needed.

    ``channels`` are the names of the channels that :meth:`trial` returns, written as in the 10–05
    system where they belong to it; ``sfreq`` in Hz is theirs, ``seconds`` where the recording ends.
    ``parts`` are its stretches without a gap, ``gaps`` lie between them as (start, stop) in s;
    ``marks`` are its annotations ``BAD…``, ``bads`` those of ``channels`` that it calls bad;
    ``dropped`` says why channels are not read, ``unclear`` which have no known unit. With
    ``any_montage`` channels are not checked.
    """

    def __init__(
        self,
        path: Path,
        channels: Sequence[str] | None = None,
        missing: Missing = "refuse",
        any_montage: bool = False,
    ):
        self.path = path
        self._source = open_source(path)
        self.parts: list[Part] = self._source.parts
        self.gaps = gaps_of(self.parts)
        self.seconds = self.parts[-1].stop
        self.marks = [m for m in self._source.marks if m.description.lower().startswith("bad")]
        self.sfreq = max(self._source.rates)
        self._names, self._placed = file_names(self._source.labels)
        self._matrix: np.ndarray | None = None
        self.channels: tuple[str, ...] = ()
        self.dropped: dict[str, str] = {}
        if any_montage:
            return
        if channels is None:
            self._picks = self._eeg_channels()
            self.channels = tuple(self._names[i] for i in self._picks)
        else:
            self.channels = tuple(channel_name(name) for name in channels)
            self._picks = self._wanted(channels, missing)
        _require_montage(path, self.channels)
        self._require_rates()
        self._report()
        bads = {self._names[self._source.labels.index(label)] for label in self._source.bads}
        self.bads = tuple(name for name in self.channels if name in bads)

    def within(self, stop: float) -> float:
        """``stop`` in s, no later than the recording's end.

        Raises :class:`MilmerError` where it lies more than a sample beyond the end.
        """
        if stop > self.seconds + max(1.0 / self.sfreq, 1e-3):
            raise MilmerError(f"ends at {self.seconds:g} s, before {stop:g} s", where=self.path)
        return min(stop, self.seconds)

    def part(self, start: float) -> Part:
        """The stretch without a gap that holds ``start`` in s."""
        return part_at(self.parts, start)

    def gaps_in(self, start: float, stop: float) -> list[tuple[float, float]]:
        """The gaps between ``start`` and ``stop`` s, in s from ``start`` on."""
        return [
            (a - start, b - start)
            for a, b in self.gaps
            if a < stop - _NO_GAP and b > start + _NO_GAP
        ]

    def marks_in(self, start: float, stop: float) -> list[Mark]:
        """The marks that overlap ``start`` to ``stop`` s, in s from ``start`` on."""
        return [
            Mark(a - start, b - start, text) for a, b, text in self.marks if a < stop and b >= start
        ]

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """``seconds`` from ``start`` s on, without means: (channel, sample), µV, ``sfreq`` Hz.

        All of it comes from the part that holds ``start``, whose last sample is repeated after its
        end.
        """
        x = self._trial(self._picks, start, seconds, sfreq)
        return x if self._matrix is None else self._matrix @ x

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """The same of two channels, first minus second, or of one bipolar channel: (sample,)."""
        x = self._trial(self.require(pair), start, seconds, sfreq)
        return x[0] - x[1] if len(x) > 1 else x[0]

    def has(self, name: str) -> bool:
        """Whether the recording has a channel of that name."""
        return self._place(name) is not None

    @property
    def eog_candidates(self) -> list[str]:
        """Channels that the file calls EOG, in their kind or their name."""
        pairs = zip(self._source.labels, self._source.kinds, strict=True)
        return [label for label, kind in pairs if kind == "eog" or "eog" in label.lower()]

    def require(self, names: Sequence[str]) -> list[int]:
        """Rows of these EOG channels; raises :class:`MissingChannels` where one is absent."""
        picks = [self._place(name) for name in names]
        absent = [name for name, place in zip(names, picks, strict=True) if place is None]
        if absent:
            raise MissingChannels(
                f"no channel {', '.join(absent)}; the file has {_listed(self._source.labels)}",
                where=self.path,
                remedy="change dataset.heog and dataset.veog, or set both to null",
            )
        return [place for place in picks if place is not None]

    @property
    def positions(self) -> Mapping[str, Sequence[float]] | None:
        """Where ``channels`` are, by name; None where that is what the 10–05 system says.

        The file's own positions count where it has them for all of these, or where its names are
        not of that system.
        """
        source = self._source
        places = {
            name: source.positions[label]
            for name, label in zip(self._names, source.labels, strict=True)
            if label in source.positions
        }
        if not any(self._placed) or all(name in places for name in self.channels):
            return places
        return None

    def _trial(self, picks: list[int], start: float, seconds: float, sfreq: float) -> np.ndarray:
        part = self.part(start)
        x = np.empty((len(picks), round(seconds * sfreq)))  # (channel, sample)
        rates = [self._source.rates[i] for i in picks]
        for rate in dict.fromkeys(rates):
            rows = [row for row, other in enumerate(rates) if other == rate]
            first = round(part.offset * rate)

            def read(begin: int, stop: int, rows=rows, rate=rate, first=first) -> np.ndarray:
                return self._microvolts([picks[i] for i in rows], first + begin, first + stop, rate)

            samples = round(part.seconds * rate)
            x[rows] = resampled_trial(read, samples, rate, sfreq, start - part.start, seconds)
        return x

    def _microvolts(self, picks: list[int], first: int, stop: int, rate: float) -> np.ndarray:
        x = self._source.read(picks, first, stop)
        if x.shape[1] != stop - first:
            raise MilmerError("cut off or damaged", where=self.path, remedy="copy it again")
        return x

    # ------------------------------------------------------------------- channels

    def _place(self, wanted: str) -> int | None:
        """Row of a channel of that name, compared as it is written first."""
        written = [label.strip().lower() for label in self._source.labels]
        names = [name.lower() for name in self._names]
        for name, among in ((wanted.strip(), written), (channel_name(wanted), names)):
            rows = [i for i, other in enumerate(among) if other == name.lower()]
            if len(rows) > 1:
                first, second = (self._source.labels[i] for i in rows[:2])
                raise MilmerError(
                    f"{first} and {second} both are {wanted}",
                    where=self.path,
                    remedy="name one in dataset.channels as the file writes it",
                )
            if rows:
                return rows[0]
        return None

    def _eeg_channels(self) -> list[int]:
        labels, names = self._source.labels, self._names
        picks = []
        for i, (label, kind) in enumerate(zip(labels, self._source.kinds, strict=True)):
            if kind != "eeg":
                self.dropped[label] = f"the file says that it is {kind}"
            elif NOT_EEG.search(label.strip()):
                self.dropped[label] = "its name is not one of EEG"
            elif self._placed[i] and names[i] in REFERENCES:
                self.dropped[label] = "an electrode at the ear"
            else:
                picks.append(i)
        placed = [i for i in picks if self._placed[i]]
        if len(placed) >= FEWEST_CHANNELS:  # else a cap with names of its own
            others = {i: labels[i] for i in picks if i not in placed}
            self.dropped |= dict.fromkeys(others.values(), "its name has no place on the scalp")
            picks = placed
        if problem := first_unseen([names[i] for i in picks], "channel"):
            raise MilmerError(problem, where=self.path, remedy="name others in dataset.channels")
        for row, i in enumerate(picks):
            twice = next((j for j in picks[:row] if names[j] == names[i]), None)
            if twice is not None:
                raise MilmerError(
                    f"two channels are {names[i]}: {labels[twice]} and {labels[i]}",
                    where=self.path,
                    remedy="name one in dataset.channels",
                )
        return picks

    def _wanted(self, channels: Sequence[str], missing: Missing) -> list[int]:
        """Rows of the channels to read; sets the matrix that interpolates missing ones."""
        rows = [self._place(name) for name in channels]
        absent = [name for name, row in zip(self.channels, rows, strict=True) if row is None]
        taken = [row for row in rows if row is not None]
        twice = next((row for i, row in enumerate(taken) if row in taken[:i]), None)
        if twice is not None:
            raise MilmerError(
                f"dataset.channels names {self._source.labels[twice]} twice", where=self.path
            )
        if not absent:
            return taken
        lack = f"no channel {', '.join(absent)}"
        if missing == "refuse":
            raise MissingChannels(
                f"{lack}; the file has {_listed(self._source.labels)}",
                where=self.path,
                remedy="change dataset.channels, or set dataset.missing_channels to interpolate",
            )
        if len(absent) > MOST_INTERPOLATED * len(channels):
            raise MissingChannels(
                f"{lack}: {len(absent)} of {len(channels)}, too many to interpolate",
                where=self.path,
                remedy="list fewer in dataset.channels",
            )
        # All EEG channels of the file with a position help, not only the wanted ones.
        places = placed_names().values()
        others = [
            i
            for i, name in enumerate(self._names)
            if i not in taken
            and self._source.kinds[i] == "eeg"
            and name in places
            and self._placed[i]
            and name not in (*self.channels, *REFERENCES)
        ]
        names = [name for name, row in zip(self.channels, rows, strict=True) if row is not None]
        names += [self._names[i] for i in others]
        try:
            whole = interpolation((*names, *absent), tuple(absent))
        except MilmerError as error:
            raise MissingChannels(
                f"{lack}, and it is not known where on the head to interpolate it",
                where=self.path,
                remedy="leave it out of dataset.channels",
            ) from error
        order = [[*names, *absent].index(name) for name in self.channels]
        self._matrix = whole[order][:, : len(names)]  # (channel, source)
        _log.warning("%s: %s interpolated from the other channels", self.path, ", ".join(absent))
        return [*taken, *others]

    def _require_rates(self) -> None:
        """Set the rate to that of most channels; refuse one at which no EEG is sampled."""
        rates = [self._source.rates[i] for i in self._picks]
        for i, rate in zip(self._picks, rates, strict=True):
            if not RATES[0] <= rate <= RATES[1]:
                raise MilmerError(
                    f"channel {self._source.labels[i]} is sampled at {rate:g} Hz",
                    where=self.path,
                    remedy="name those with EEG in dataset.channels",
                )
        self.sfreq = max(rates, key=rates.count)

    def _report(self) -> None:
        """Log which channels are read and which are not, and those whose unit is not known."""
        labels, units = self._source.labels, self._source.units
        self.unclear = tuple(
            f"{labels[i]} ({units[i] or 'none'})"
            for i in self._picks
            if microvolts(units[i]) is None
        )
        if self.unclear:
            _log.warning(
                "%s: no known unit, numbers are taken for µV: %s", self.path, _listed(self.unclear)
            )
        left_out = [f"{label} ({why})" for label, why in self.dropped.items()]
        _log.info(
            "%s: reads %s; leaves out %s",
            self.path,
            _listed([labels[i] for i in self._picks], 1000),
            _listed(left_out, 1000) or "none",
        )


def _require_montage(path: Path, channels: Sequence[str]) -> None:
    if len(channels) < FEWEST_CHANNELS:
        names = _listed(channels) if channels else "none"
        raise MilmerError(
            f"{len(channels)} EEG channels ({names}), at least {FEWEST_CHANNELS} are needed",
            where=path,
            remedy="name them in dataset.channels if there are more",
        )


def _listed(names: Sequence[str], most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
