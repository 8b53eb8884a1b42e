"""Opens a recording of any kind: its channels as the file describes them, and its samples in µV."""

import importlib.util
import itertools
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from milmer.errors import MilmerError
from milmer.limits import require_file
from milmer.readers import eeglab
from milmer.readers.arrays import SUFFIXES, cut, open_array
from milmer.readers.bids import ChannelFacts, bids_sidecars, channel_facts
from milmer.readers.channels import Positions
from milmer.readers.claims import require_plausible, require_plausible_header
from milmer.readers.edf import EDFFile, damaged, is_edf
from milmer.readers.kinds import is_known_to_mne, unsupported
from milmer.readers.parts import Mark, Part
from milmer.readers.sidecars import require_beside
from milmer.readers.units import microvolts
from milmer.readers.xdf import read_xdf

if TYPE_CHECKING:
    import mne

# What MNE says of names, dates and annotations changes no sample.
_OF_NO_DATA = re.compile(r"naming convention|meas(urement)?[_ ]date|annotation|birthday|head size")
# Where pieces of a recording lie side by side, as EEGLAB, MNE and BrainVision say it.
_BOUNDARY = re.compile(r"boundary|edge boundary|bad boundary|new segment/.*|bad_acq_skip", re.I)
_KNOWN_TO_MNE = ("V", "mV", "µV", "uV", "nV")  # it makes V of these, and of no other
_log = logging.getLogger(__name__)


@dataclass
class Source:
    """A recording whose samples are read when they are needed.

    ``labels``, ``kinds`` (MNE's types), ``units`` as they are written and ``rates`` in Hz are by
    channel. ``read(channels, first, stop)`` returns samples (channel, sample) in µV of channels of
    one rate, numbered over ``parts``. ``bads`` are labels of channels that the file calls bad.
    """

    labels: list[str]
    kinds: list[str]
    units: list[str]
    rates: list[float]
    parts: list[Part]
    read: Callable[[Sequence[int], int, int], np.ndarray]
    bads: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    positions: Positions = field(default_factory=dict)


def open_source(path: Path) -> Source:
    """Open a recording without reading its samples, with what BIDS says of its channels.

    Raises :class:`MilmerError` where it, or a sidecar, cannot be read.
    """
    source = _open(path)
    sidecars = bids_sidecars(path)
    for sidecar in sidecars:
        require_beside(path, sidecar)
    return _described(source, channel_facts(path, source.labels)) if sidecars else source


def _described(source: Source, facts: ChannelFacts) -> Source:
    """A recording with these ``facts``; a unit counts where the file's own is not clear."""
    factors, units = np.ones(len(source.labels)), list(source.units)
    for i, label in enumerate(source.labels):
        factor = microvolts(facts.units.get(label, ""))
        if microvolts(units[i]) is None and label in facts.units and factor is not None:
            units[i], factors[i] = facts.units[label], factor

    def read(channels: Sequence[int], first: int, stop: int) -> np.ndarray:
        return source.read(channels, first, stop) * factors[list(channels), None]

    return replace(
        source,
        kinds=[facts.kinds.get(n, k) for n, k in zip(source.labels, source.kinds, strict=True)],
        units=units,
        read=read,
        bads=list(dict.fromkeys([*source.bads, *facts.bads])),
        positions={**source.positions, **facts.positions},
    )


def _open(path: Path) -> Source:
    require_file(path)
    if path.is_dir():
        return _open_with_mne(path)
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
        return _open_edf(path)
    if path.suffix.lower() in SUFFIXES:
        return _open_array(path)
    if path.suffix.lower() == ".xdf":
        return _open_xdf(path)
    if path.suffix.lower() in (".edf", ".bdf"):
        raise MilmerError("not an EDF or BDF file", where=path, remedy="copy it again")
    return _open_with_mne(path)


def _open_edf(path: Path) -> Source:
    file = EDFFile(path)
    signals = file.signals
    factors = [microvolts(signal.unit) or 1.0 for signal in signals]

    def read(channels: Sequence[int], first: int, stop: int) -> np.ndarray:
        x = file.read([signals[i] for i in channels], first, stop)
        x *= np.array([[factors[i]] for i in channels])
        return x

    return Source(
        [signal.label for signal in signals],
        ["stim" if s.label.lower() == "status" else "eeg" for s in signals],
        [signal.unit for signal in signals],
        [file.rate(signal) for signal in signals],
        file.parts,
        read,
        marks=file.annotations,
    )


def _open_array(path: Path) -> Source:
    array, description = open_array(path)
    labels, rate = description.channels or [], description.sfreq or 0.0
    factor = microvolts(description.unit or "")
    trials = array.shape[2] if len(array.shape) == 3 else 1
    seconds = array.shape[0 if len(array.shape) == 3 else 1] / rate  # of a trial
    # Trials are put one behind the other, and nothing is read across their ends.
    parts = [Part(i * seconds, i * seconds, seconds) for i in range(trials)]

    def read(channels: Sequence[int], first: int, stop: int) -> np.ndarray:
        try:
            return cut(array, list(channels), first, stop) * (factor or 1.0)
        except (OSError, ValueError) as error:  # damaged chunks of HDF5
            raise damaged(path, error) from error

    count = len(labels)
    units = [description.unit or ""] * count
    return Source(labels, ["eeg"] * count, units, [rate] * count, parts, read)


def _open_xdf(path: Path) -> Source:
    stream = read_xdf(path)
    factors = np.array([microvolts(unit) or 1.0 for unit in stream.units])

    def read(channels: Sequence[int], first: int, stop: int) -> np.ndarray:
        picks = list(channels)
        return stream.data[first:stop, picks].T * factors[picks, None]

    rates = [stream.sfreq] * len(stream.labels)
    return Source(stream.labels, stream.kinds, stream.units, rates, stream.parts, read)


def _open_with_mne(path: Path) -> Source:
    import mne

    if not is_known_to_mne(path):
        raise unsupported(
            path, f"is no kind of EEG file that is read ({path.suffix or 'no suffix'})"
        )
    if path.suffix.lower() == ".mff" and importlib.util.find_spec("mffpy") is None:
        raise MilmerError(
            "is a recording of EGI, which MNE reads with mffpy",
            where=path,
            remedy="pip install mffpy",
        )
    try:
        require_plausible_header(path)
        with mne_warnings(path):
            raw = mne.io.read_raw(path, preload=False, verbose="warning")
    except MilmerError:
        raise
    except Exception as error:  # a damaged header can raise anything
        if path.suffix.lower() == ".set" and eeglab.trials(path) > 1:
            raise unsupported(path, "holds epochs") from error
        raise damaged(path, error) from error
    require_plausible(raw, path)
    if not raw.n_times:
        raise MilmerError("holds no samples", where=path, remedy="copy it again")
    rate = float(raw.info["sfreq"])
    written = getattr(raw, "_orig_units", None) or {}  # BrainVision's, as the header has them
    units = [written.get(name) or "µV" for name in raw.ch_names]
    kinds = raw.get_channel_types()
    factors = np.full(len(units), 1e6)
    for i, unit in enumerate(units):
        if path.suffix.lower() in (".vhdr", ".ahdr") and unit not in _KNOWN_TO_MNE:
            factors[i] = microvolts(unit) or 1.0
            if kinds[i] == "misc" and microvolts(unit):
                kinds[i] = "eeg"

    def read(channels: Sequence[int], first: int, stop: int) -> np.ndarray:
        try:
            with mne_warnings(path):
                x = raw.get_data(picks=list(channels), start=first, stop=stop, verbose="warning")
        except Exception as error:  # damaged bytes can raise anything
            raise damaged(path, error) from error
        return x * factors[channels, None]

    marks = _marks(raw)
    at = {mark for mark in marks if _BOUNDARY.fullmatch(mark.description)}
    labels = _labels(raw.ch_names)
    places = {
        label: tuple(map(float, channel["loc"][:3]))
        for label, channel in zip(labels, raw.info["chs"], strict=True)
        if np.isfinite(channel["loc"][:3]).all() and channel["loc"][:3].any()
    }
    return Source(
        labels,
        kinds,
        units,
        [rate] * len(labels),
        _parts(raw.n_times / rate, at),
        read,
        [labels[raw.ch_names.index(name)] for name in raw.info["bads"]],
        [mark for mark in marks if mark not in at],
        places,
    )


def _marks(raw: "mne.io.BaseRaw") -> list[Mark]:
    """The annotations, in s after the first sample."""
    annotations = raw.annotations
    begin = raw.first_time if annotations.orig_time is not None else 0.0
    starts = annotations.onset - begin
    seconds = np.nan_to_num(annotations.duration)  # EEGLAB's boundaries may last NaN
    return [
        Mark(float(a), float(a + b), str(text))
        for a, b, text in zip(starts, seconds, annotations.description, strict=True)
    ]


def _parts(seconds: float, boundaries: set[Mark]) -> list[Part]:
    """The stretches between the ``boundaries`` of a recording that is stored without gaps."""
    edges = {0.0, seconds}
    for mark in boundaries:
        # What was not acquired is stored as zeros, for as long as the mark lasts.
        skipped = mark.description.lower() == "bad_acq_skip"
        edges |= {mark.start, mark.stop} if skipped else {mark.start}
    inside = sorted(edge for edge in edges if 0 <= edge <= seconds)
    skips = [m for m in boundaries if m.description.lower() == "bad_acq_skip"]
    return [
        Part(start, start, stop - start)
        for start, stop in itertools.pairwise(inside)
        if stop - start > 1e-3 and not any(m.start <= start and stop <= m.stop for m in skips)
    ] or [Part(0.0, 0.0, seconds)]


def _labels(names: Sequence[str]) -> list[str]:
    """The labels of the file: MNE numbers those that it finds twice, ``Cz-0`` and ``Cz-1``."""
    stems = [re.sub(r"-\d+$", "", name) for name in names]
    return [
        stem if f"{stem}-0" in names and f"{stem}-1" in names else name
        for name, stem in zip(names, stems, strict=True)
    ]


def _silent(record: logging.LogRecord) -> bool:
    return False


@contextmanager
def mne_warnings(path: Path) -> Iterator[None]:
    """Log what MNE warns of: about samples as a warning, about dates and names as information."""
    logger = logging.getLogger("mne")
    logger.addFilter(_silent)  # it says the same twice
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.removeFilter(_silent)
    for text in dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught):
        level = logging.INFO if _OF_NO_DATA.search(text.lower()) else logging.WARNING
        _log.log(level, "%s: MNE: %s", path, text)
