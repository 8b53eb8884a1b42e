"""EEG of any format that MNE reads: chosen channels in a chosen order, in µV.

Channel names are matched regardless of case and of what recorders add to them: ``Fc5.`` of EDF
files and ``EEG Fp1-REF`` are FC5 and Fp1. Annotations and other channels are not read.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from milmer.data.options import FEWEST_CHANNELS
from milmer.errors import MilmerError
from milmer.plain_text import first_unseen
from milmer.readers.channels import MOST_INTERPOLATED, interpolation, placed_names
from milmer.readers.claims import require_plausible, require_plausible_header
from milmer.readers.edf import damaged, is_edf, require_whole
from milmer.readers.resampling import resampled_trial

if TYPE_CHECKING:
    import mne

Missing = Literal["refuse", "interpolate"]

_REFERENCE = re.compile(r"[-_ ](ref|le|re|ar|avg|av|car|org|linked|[am][12]|[am]1[am]2)$", re.I)
_MODALITY = re.compile(r"^eeg[ \-_:]+", re.I)
_NOT_EEG = re.compile(
    r"eog|ecg|ekg|emg|gsr|eda|resp|temp|plet|ppg|spo2|sao2|pulse|status|trig|marker|event|annot|"
    r"acc|gyr|photo|^(exg|erg|aux|bip|dc|sti|ex)[ _-]?\d*$",
    re.I,
)
# Factors to µV: MNE takes numbers in units that it does not know for volts.
_UNKNOWN_UNIT, _NANOVOLT = 1.0, 1e-3
_MICROVOLT = 1e6
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
    file cannot be read, holds values that are not finite, lacks channels (see
    :class:`MissingChannels`) or ends before ``stop``.
    """
    file = EEGFile(path, channels, missing)
    first = start or 0.0
    last = file.seconds if stop is None else file.within(stop)
    rate = sfreq or file.sfreq
    return EEG(file.trial(first, last - first, rate), file.channels, rate)


class EEGFile:
    """A recording whose samples are read when they are needed.

    ``channels`` are the names of the channels that :meth:`trial` returns, written as in the 10–05
    system where they belong to it; ``sfreq`` in Hz and ``seconds`` are the file's. With
    ``any_montage`` only these two are available and channels are not checked.
    """

    def __init__(
        self,
        path: Path,
        channels: Sequence[str] | None = None,
        missing: Missing = "refuse",
        any_montage: bool = False,
    ):
        self.path = path
        self._raw = _open(path)
        self.sfreq = float(self._raw.info["sfreq"])
        self.seconds = self._raw.n_times / self.sfreq
        self._matrix: np.ndarray | None = None
        self.channels: tuple[str, ...] = ()
        if any_montage:
            return
        if channels is None:
            self._picks = self._eeg_channels()
            self.channels = tuple(self._names[i] for i in self._picks)
        else:
            self.channels = tuple(channel_name(name) for name in channels)
            self._picks = self._wanted(channels, missing)
        _require_montage(path, self.channels)

    def within(self, stop: float) -> float:
        """``stop`` in s, no later than the recording's end.

        Raises :class:`MilmerError` where it lies more than a sample beyond the end.
        """
        if stop > self.seconds + max(1.0 / self.sfreq, 1e-3):
            raise MilmerError(f"ends at {self.seconds:g} s, before {stop:g} s", where=self.path)
        return min(stop, self.seconds)

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """``seconds`` from ``start`` s on, without means: (channel, sample), µV, ``sfreq`` Hz."""
        return self._trial(self._picks, self._matrix, start, seconds, sfreq)

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """The same of two channels, first minus second, or of one bipolar channel: (sample,)."""
        x = self._trial(self.require(pair), None, start, seconds, sfreq)
        return x[0] - x[1] if len(x) > 1 else x[0]

    def require(self, names: Sequence[str]) -> list[int]:
        """Rows of these EOG channels; raises :class:`MissingChannels` where one is absent."""
        picks = [self._place(name) for name in names]
        absent = [name for name, place in zip(names, picks, strict=True) if place is None]
        if absent:
            raise MissingChannels(
                f"no channel {', '.join(absent)}; the file has {_listed(self._raw.ch_names)}",
                where=self.path,
                remedy="change dataset.heog and dataset.veog, or set both to null",
            )
        return [place for place in picks if place is not None]

    def _trial(
        self,
        picks: list[int],
        matrix: np.ndarray | None,
        start: float,
        seconds: float,
        sfreq: float,
    ) -> np.ndarray:
        def read(first: int, stop: int) -> np.ndarray:
            x = self._microvolts(picks, first, stop)
            return x if matrix is None else matrix @ x

        return resampled_trial(read, self._raw.n_times, self.sfreq, sfreq, start, seconds)

    def _microvolts(self, picks: list[int], first: int, stop: int) -> np.ndarray:
        try:
            x = self._raw.get_data(picks=picks, start=first, stop=stop, verbose="error")
        except Exception as error:  # damaged bytes can raise anything
            raise damaged(self.path, error) from error
        if x.shape[1] != stop - first:
            raise MilmerError("cut off or damaged", where=self.path, remedy="copy it again")
        finite = np.isfinite(x).all(axis=1)
        if not finite.all():
            name = self._raw.ch_names[picks[int(np.flatnonzero(~finite)[0])]]
            raise MilmerError(
                f"channel {name} holds values that are not finite between "
                f"{first / self.sfreq:g} and {stop / self.sfreq:g} s",
                where=self.path,
                remedy="leave out the trial or the channel",
            )
        return x * self._scale[picks, None]

    # ------------------------------------------------------------------- channels

    @cached_property
    def _names(self) -> list[str]:
        """Names of all channels, written as in the 10–05 system where they belong to it."""
        return [channel_name(name) for name in self._raw.ch_names]

    @cached_property
    def _scale(self) -> np.ndarray:
        """Factors from MNE's numbers to µV: (channel,)."""
        in_file = getattr(self._raw, "_orig_units", None) or {}
        with open(self.path, "rb") as file:
            checked = is_edf(file.read(8))
        units = [in_file.get(name, "") if checked else "V" for name in self._raw.ch_names]
        scale = {"µV": _MICROVOLT, "uV": _MICROVOLT, "mV": _MICROVOLT, "V": _MICROVOLT}
        scale["nV"] = _NANOVOLT
        unknown = [units[i] not in scale for i in getattr(self, "_picks", [])]
        if any(unknown):
            _log.warning(
                "%s: %d EEG channels have no known unit; their numbers are taken for µV",
                self.path,
                sum(unknown),
            )
        return np.array([scale.get(unit, _UNKNOWN_UNIT) for unit in units])

    def _place(self, wanted: str) -> int | None:
        """Row of a channel of that name, compared as it is written first."""
        for spelt in (str.strip, _key):
            name = spelt(wanted).lower()
            rows = [i for i, n in enumerate(self._raw.ch_names) if spelt(n).lower() == name]
            if len(rows) > 1:
                first, second = (self._raw.ch_names[i] for i in rows[:2])
                raise MilmerError(
                    f"{first} and {second} both are {wanted}",
                    where=self.path,
                    remedy="name one in dataset.channels as the file writes it",
                )
            if rows:
                return rows[0]
        return None

    def _eeg_channels(self) -> list[int]:
        kinds = self._raw.get_channel_types()
        eeg = [i for i, kind in enumerate(kinds) if kind == "eeg"]
        places = placed_names().values()
        placed = [i for i in eeg if self._names[i] in places]
        if len(placed) < FEWEST_CHANNELS:  # a cap with names of its own
            placed = [i for i in eeg if not _NOT_EEG.search(self._raw.ch_names[i].strip())]
        names = [self._names[i] for i in placed]
        if problem := first_unseen(names, "channel"):
            raise MilmerError(problem, where=self.path, remedy="name others in dataset.channels")
        twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
        if twice:
            raise MilmerError(
                f"two channels are {twice}",
                where=self.path,
                remedy="name one in dataset.channels",
            )
        return placed

    def _wanted(self, channels: Sequence[str], missing: Missing) -> list[int]:
        """Rows of the channels to read; sets the matrix that interpolates missing ones."""
        rows = [self._place(name) for name in channels]
        absent = [name for name, row in zip(self.channels, rows, strict=True) if row is None]
        taken = [row for row in rows if row is not None]
        if not absent:
            return taken
        lack = f"no channel {', '.join(absent)}"
        if missing == "refuse":
            raise MissingChannels(
                f"{lack}; the file has {_listed(self._raw.ch_names)}",
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
        kinds = self._raw.get_channel_types()
        others = [
            i
            for i, name in enumerate(self._names)
            if i not in taken and kinds[i] == "eeg" and name in places and name not in self.channels
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


def channel_name(name: str) -> str:
    """A channel's name as the 10–05 system writes it, else without the blanks around it."""
    places = placed_names()
    plain = name.strip()
    return places.get(plain.lower()) or places.get(_key(name).lower()) or plain


def _key(name: str) -> str:
    """A name without what recorders add: dots, a leading ``EEG``, the reference at the end."""
    return _REFERENCE.sub("", _MODALITY.sub("", name.strip()).rstrip(".")).strip()


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


def _open(path: Path) -> "mne.io.BaseRaw":
    """Open a recording without reading its samples."""
    import mne

    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe is never at its end
        raise MilmerError("is not a file", where=path)
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise MilmerError("no such file", where=path) from error
    except OSError as error:
        raise MilmerError(f"cannot be read ({error.strerror})", where=path) from error
    if not head:
        raise MilmerError("is empty (0 bytes)", where=path, remedy="copy it again")
    if is_edf(head):
        require_whole(path)
    elif path.suffix.lower() in (".edf", ".bdf"):
        raise MilmerError("not an EDF or BDF file", where=path, remedy="copy it again")
    try:
        require_plausible_header(path)
        raw = mne.io.read_raw(path, preload=False, verbose="error")
    except MilmerError:
        raise
    except Exception as error:  # a damaged header can raise anything
        raise damaged(path, error) from error
    require_plausible(raw, path)
    if not raw.n_times:
        raise MilmerError("holds no samples", where=path, remedy="copy it again")
    return raw
