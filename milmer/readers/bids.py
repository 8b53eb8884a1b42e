"""What the sidecars of an EEG-BIDS recording say of its channels (Pernet et al. 2019).

``channels.tsv`` gives types, status and units, ``electrodes.tsv`` positions. They are looked for
beside the recording, under its own name. Imports nothing heavy: the Snakefile uses it.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from milmer.errors import MilmerError
from milmer.limits import read_json
from milmer.readers.cells import Cells, read_cells

_ABSENT = ("", "n/a")
_KINDS = {"veog": "eog", "heog": "eog", "trig": "stim"}  # in MNE's words
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
# Systems with their origin between the ears, of which x points right and y to the front, or x to
# the front and y left.
_RIGHT = ("captrak", "elektaneuromag", "neuromag")
_FRONT = ("eeglab", "eeglab-hj", "ctf", "4dbti", "kityokogawa")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChannelFacts:
    """What is said of channels, by their label: kinds in MNE's words, units, x, y and z in m."""

    kinds: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    bads: list[str] = field(default_factory=list)
    positions: dict[str, tuple[float, float, float]] = field(default_factory=dict)


def bids_sidecars(path: Path) -> list[Path]:
    """The existing ``channels.tsv``, ``electrodes.tsv`` and ``coordsystem.json`` of a recording."""
    return [file for file in _sidecars(path).values() if file is not None]


def channel_facts(path: Path, labels: Sequence[str]) -> ChannelFacts:
    """What the sidecars of a recording say of its channels ``labels``.

    Raises :class:`MilmerError` where one cannot be read or names none of them.
    """
    files, facts = _sidecars(path), ChannelFacts()
    if files["channels"] is not None:
        for label, cells in _rows(read_cells(files["channels"]), labels).items():
            kind, unit = cells.get("type", "").lower(), cells.get("units", "")
            if kind not in _ABSENT:
                facts.kinds[label] = _KINDS.get(kind, kind)
            if unit not in _ABSENT:
                facts.units[label] = unit
            if cells.get("status", "").lower() == "bad":
                facts.bads.append(label)
    if files["electrodes"] is not None:
        facts.positions.update(_positions(files["electrodes"], files["coordsystem"], labels))
    return facts


def _sidecars(path: Path) -> dict[str, Path | None]:
    """The sidecars by kind; positions are of a session, whatever the task and run."""
    match = re.fullmatch(r"(sub-[^_]+(?:_ses-[^_]+)?)(?:_.+)?_eeg", path.stem)
    if match is None:
        return dict.fromkeys(("channels", "electrodes", "coordsystem"))
    channels = path.with_name(f"{path.stem.removesuffix('_eeg')}_channels.tsv")
    electrodes = next(iter(sorted(path.parent.glob(f"{match[1]}_*electrodes.tsv"))), None)
    system = electrodes and electrodes.with_name(
        electrodes.name.replace("electrodes.tsv", "coordsystem.json")
    )
    return {
        "channels": channels if channels.is_file() else None,
        "electrodes": electrodes,
        "coordsystem": system if system and system.is_file() else None,
    }


def _rows(table: Cells, labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """The cells about each channel of the recording."""
    by_name = {cells.get("name", ""): cells for _, cells in table.rows}
    rows = {label: by_name[label] for label in labels if label in by_name}
    if not rows:
        raise MilmerError(
            f"names no channel of its recording, which has {', '.join(labels[:8])} …",
            where=table.path,
            remedy="correct its column name, or remove the file",
        )
    return rows


def _positions(
    path: Path, coordinates: Path | None, labels: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    described = read_json(coordinates) if coordinates else {}
    system = str(described.get("EEGCoordinateSystem", "no system"))
    unit = str(described.get("EEGCoordinateUnits", "no unit"))
    if unit not in _METRES or system.lower() not in (*_RIGHT, *_FRONT):
        _log.warning(
            "%s: positions are not read; coordsystem.json says %s in %s", path, system, unit
        )
        return {}
    table, places = read_cells(path), {}
    for label, cells in _rows(table, labels).items():
        x, y, z = (_METRES[unit] * table.number(cells.get(axis, "")) for axis in "xyz")
        if math.isfinite(x + y + z):
            places[label] = (x, y, z) if system.lower() in _RIGHT else (-y, x, z)
    return places
