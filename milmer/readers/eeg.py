"""EEG of any format that MNE reads: chosen channels in a chosen order, in µV.

Names are compared without regard to case and to what recorders add to them: ``Fc5.`` of EDF files
and ``EEG Fp1-REF`` are FC5 and Fp1. Annotations and channels that are no EEG are not read.
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
from milmer.readers import channels as montage
from milmer.readers.edf import damaged, is_edf, require_whole
from milmer.readers.resampling import resampled_trial

if TYPE_CHECKING:
    import mne

Missing = Literal["refuse", "interpolate"]

_REFERENCE = re.compile(r"[-_ ](ref|le|re|ar|avg|av|car|org|linked|[am][12]|[am]1[am]2)$", re.I)
_MODALITY = re.compile(r"^eeg[ \-_:]+", re.I)
_NO_EEG = re.compile(
    r"eog|ecg|ekg|emg|gsr|eda|resp|temp|plet|ppg|spo2|sao2|pulse|status|trig|marker|event|annot|"
    r"acc|gyr|photo|^(exg|erg|aux|bip|dc|sti|ex)[ _-]?\d*$",
    re.I,
)
# MNE takes numbers in units that it does not know for volts: what makes µV of these.
_UNKNOWN_UNIT, _NANOVOLT = 1.0, 1e-3
_MICROVOLT = 1e6
_log = logging.getLogger(__name__)


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
    """Read ``channels`` from ``start`` to ``stop`` s of a recording, each less its mean.

    ``channels`` are names in the order that is wanted, or None for all EEG channels of the file
    in its order; ``missing`` says what is done where the file lacks some. ``start`` and ``stop``
    None are the file's beginning and end; ``sfreq`` None keeps its rate. Raises
    :class:`MilmerError` in one line where the file cannot be read, holds values that are not
    finite, lacks channels that it should have, or ends before ``stop``.
    """
    file = EEGFile(path, channels, missing)
    first = start or 0.0
    last = file.seconds if stop is None else file.within(stop)
    rate = sfreq or file.sfreq
    return EEG(file.trial(first, last - first, rate), file.channels, rate)


class EEGFile:
    """A recording whose samples are read when they are asked for.

    ``channels`` are the names of what :meth:`samples` gives, written as in the 10–05 system where
    they belong to it; ``sfreq`` in Hz and ``seconds`` are the file's. ``any_montage`` is for who
    asks for nothing but these: then channels are not looked at.
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
        """``stop`` in s, no later than the recording's end; refused where it lies beyond."""
        if stop > self.seconds + max(1.0 / self.sfreq, 1e-3):
            raise MilmerError(f"{self.path}: ends at {self.seconds:g} s, before {stop:g} s")
        return min(stop, self.seconds)

    def trial(self, start: float, seconds: float, sfreq: float) -> np.ndarray:
        """``seconds`` from ``start`` s on, less means: (channel, sample) in µV at ``sfreq`` Hz."""
        return self._trial(self._picks, self._matrix, start, seconds, sfreq)

    def bipolar(
        self, pair: Sequence[str], start: float, seconds: float, sfreq: float
    ) -> np.ndarray:
        """The same of two channels, first minus second, or of one that is bipolar: (sample,)."""
        x = self._trial(self.require(pair), None, start, seconds, sfreq)
        return x[0] - x[1] if len(x) > 1 else x[0]

    def require(self, names: Sequence[str]) -> list[int]:
        """Where these channels stand; raises :class:`MilmerError` where one is not there."""
        picks = [self._place(name) for name in names]
        absent = [name for name, place in zip(names, picks, strict=True) if place is None]
        if absent:
            raise MilmerError(
                f"{self.path}: no channel {', '.join(absent)} (dataset.heog, dataset.veog); the "
                f"file has {_listed(self._raw.ch_names)}"
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
        except Exception as error:  # damaged bytes fail in any way
            raise damaged(self.path, error) from error
        if x.shape[1] != stop - first:
            raise MilmerError(f"{self.path}: cut off or damaged; copy it again")
        finite = np.isfinite(x).all(axis=1)
        if not finite.all():
            name = self._raw.ch_names[picks[int(np.flatnonzero(~finite)[0])]]
            raise MilmerError(
                f"{self.path}: channel {name} holds values that are not finite between "
                f"{first / self.sfreq:g} and {stop / self.sfreq:g} s; leave the trial or the "
                "channel out"
            )
        return x * self._scale[picks, None]

    # ------------------------------------------------------------------- channels

    @cached_property
    def _names(self) -> list[str]:
        """Names of all channels as in the 10–05 system where they belong to it."""
        return [channel_name(name) for name in self._raw.ch_names]

    @cached_property
    def _scale(self) -> np.ndarray:
        """What makes µV of MNE's numbers: (channel,)."""
        units = getattr(self._raw, "_orig_units", None) or {}
        with open(self.path, "rb") as file:
            checked = is_edf(file.read(8))
        told = [units.get(name, "") if checked else "V" for name in self._raw.ch_names]
        scale = {"µV": _MICROVOLT, "uV": _MICROVOLT, "mV": _MICROVOLT, "V": _MICROVOLT}
        scale["nV"] = _NANOVOLT
        unknown = [told[i] not in scale for i in getattr(self, "_picks", [])]
        if any(unknown):
            _log.warning(
                "%s: %d EEG channels name no unit that is known; their numbers are taken for µV",
                self.path,
                sum(unknown),
            )
        return np.array([scale.get(unit, _UNKNOWN_UNIT) for unit in told])

    def _place(self, wanted: str) -> int | None:
        """Where a channel of that name stands; exactly as written first."""
        for spelt in (str.strip, _key):
            name = spelt(wanted).lower()
            found = [i for i, n in enumerate(self._raw.ch_names) if spelt(n).lower() == name]
            if len(found) > 1:
                raise MilmerError(
                    f"{self.path}: {self._raw.ch_names[found[0]]} and "
                    f"{self._raw.ch_names[found[1]]} both are {wanted}; name one in "
                    "dataset.channels as the file writes it"
                )
            if found:
                return found[0]
        return None

    def _eeg_channels(self) -> list[int]:
        kinds = self._raw.get_channel_types()
        eeg = [i for i, kind in enumerate(kinds) if kind == "eeg"]
        places = montage.placed_names().values()
        placed = [i for i in eeg if self._names[i] in places]
        if len(placed) < FEWEST_CHANNELS:  # a cap with names of its own
            placed = [i for i in eeg if not _NO_EEG.search(self._raw.ch_names[i].strip())]
        names = [self._names[i] for i in placed]
        twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
        if twice:
            raise MilmerError(
                f"{self.path}: two channels are {twice}; name one in dataset.channels"
            )
        return placed

    def _wanted(self, channels: Sequence[str], missing: Missing) -> list[int]:
        """Places of the channels to read, and the matrix that makes missing ones of them."""
        found = [self._place(name) for name in channels]
        absent = [name for name, place in zip(self.channels, found, strict=True) if place is None]
        if not absent:
            return [place for place in found if place is not None]
        where = f"{self.path}: no channel {', '.join(absent)}"
        if missing == "refuse":
            raise MilmerError(
                f"{where}; the file has {_listed(self._raw.ch_names)}; change dataset.channels, or "
                "set dataset.missing_channels to interpolate"
            )
        if len(absent) > montage.MOST_MADE * len(channels):
            raise MilmerError(
                f"{where}: {len(absent)} of {len(channels)}, too many to interpolate; list fewer "
                "in dataset.channels"
            )
        # All EEG channels of the file that have a place help, not the wanted ones alone.
        taken = {place for place in found if place is not None}
        places = montage.placed_names().values()
        kinds = self._raw.get_channel_types()
        others = [
            i
            for i, name in enumerate(self._names)
            if i not in taken and kinds[i] == "eeg" and name in places and name not in self.channels
        ]
        sources = [p for p in found if p is not None] + others
        names = [n for n, p in zip(self.channels, found, strict=True) if p is not None]
        names += [self._names[i] for i in others]
        try:
            whole = montage.interpolation((*names, *absent), tuple(absent))
        except MilmerError as error:
            raise MilmerError(
                f"{where}, and it is not known where on the head to put it"
            ) from error
        order = [[*names, *absent].index(name) for name in self.channels]
        self._matrix = whole[order][:, : len(names)]  # (channel, source)
        _log.warning("%s: %s made from the other channels", self.path, ", ".join(absent))
        return sources


def channel_name(name: str) -> str:
    """A channel's name as the 10–05 system writes it, else as it is without blanks around it."""
    places = montage.placed_names()
    plain = name.strip()
    return places.get(plain.lower()) or places.get(_key(name).lower()) or plain


def _key(name: str) -> str:
    """A name without what recorders add: dots, ``EEG`` in front, the reference behind."""
    return _REFERENCE.sub("", _MODALITY.sub("", name.strip()).rstrip(".")).strip()


def _require_montage(path: Path, channels: Sequence[str]) -> None:
    if len(channels) < FEWEST_CHANNELS:
        held = _listed(channels) if channels else "none"
        raise MilmerError(
            f"{path}: {len(channels)} EEG channels ({held}), at least {FEWEST_CHANNELS} are "
            "needed; name them in dataset.channels if there are more"
        )


def _listed(names: Sequence[str], most: int = 40) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _open(path: Path) -> "mne.io.BaseRaw":
    """Open a recording without reading its samples."""
    import mne

    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except FileNotFoundError as error:
        raise MilmerError(f"{path}: no such file") from error
    except OSError as error:
        raise MilmerError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise MilmerError(f"{path}: is empty (0 bytes); copy it again")
    if is_edf(head):
        require_whole(path)
    elif path.suffix.lower() in (".edf", ".bdf"):
        raise MilmerError(f"{path}: not an EDF or BDF file; copy it again")
    try:
        raw = mne.io.read_raw(path, preload=False, verbose="error")
    except Exception as error:  # a damaged header fails in any way that its bytes happen to spell
        raise damaged(path, error) from error
    if not raw.n_times:
        raise MilmerError(f"{path}: holds no samples; copy it again")
    return raw
