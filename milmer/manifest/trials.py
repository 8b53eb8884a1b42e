"""Stage ``trials`` of a manifest: one table a subject, like that of a copy of DEAP.

Columns beyond DEAP's: ``stimulus`` (its name), ``label``, ``face``, those on the video's clock.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from milmer import storage
from milmer.errors import MilmerError
from milmer.manifest.shared import VIDEO_STEP, Span, shared_groups
from milmer.manifest.table import RATING_COLUMNS, Manifest, Row, read_manifest
from milmer.options import Options
from milmer.readers.digests import eeg_digests, samples_digest
from milmer.readers.eeg import EEGFile

_log = logging.getLogger(__name__)


class ManifestTrialsOptions(Options):
    """What the stage ``trials`` of a manifest depends on: a digest of the subject's rows."""

    rows: str = Field(min_length=1)


def make_manifest_trials(
    manifest: Path, subject: str, options: ManifestTrialsOptions, out: Path
) -> None:
    """Write the trials of ``subject``: one row a trial, by session, then stimulus, then trial.

    Without sessions that is the order of DEAP's tables: the same data give the same splits.
    Columns: ``subject``, ``session`` (null where the subject has none), ``trial`` (unique within
    the subject), ``trial_name`` (the lab's own number), ``experiment_id``, ``group`` (what no split
    divides), the five ratings (NaN where not rated), ``eeg_file, eeg_start, eeg_seconds, eeg_stop,
    video_file`` (paths relative to the manifest's folder, null where there is none),
    ``video_start`` and ``video_stop`` (in s in the video), ``video_rate`` (s of the EEG that a
    second of video lasts), ``video_times`` (the table of when each frame is shown, or null),
    ``face`` (which of several people in the video it is), ``eeg_digest`` and ``video_digest`` (of
    the samples), ``stimulus`` and ``label``. Raises :class:`MilmerError` where the rows are not
    those of ``options``, or where a row does not fit its recording.
    """
    described = read_manifest(manifest)
    if described.digest(subject) != options.rows:
        raise MilmerError(
            f"the rows of {subject} have changed while the workflow ran",
            where=manifest,
            remedy="run snakemake again",
        )
    shown = described.of(subject)
    visits = list(dict.fromkeys(row.session for row in shown))
    rows = sorted(shown, key=lambda r: (visits.index(r.session), r.experiment_id, r.trial))
    opened: dict[str, EEGFile] = {}
    spans = [span_of(described, row, opened) for row in rows]
    table = pd.DataFrame(
        {
            "subject": subject,
            "session": _texts([(row.session or "") if any(visits) else None for row in rows]),
            "trial": np.array([row.trial for row in rows], np.int32),
            "trial_name": _texts([row.name for row in rows]),
            "experiment_id": np.array([row.experiment_id for row in rows], np.int32),
        }
    )
    for scale in RATING_COLUMNS:
        table[scale] = np.array([row.ratings.get(scale, np.nan) for row in rows], float)
    table["eeg_file"] = _texts([described.relative(row.eeg_file) for row in rows])
    table["eeg_start"] = [start for start, _ in spans]
    table["eeg_seconds"] = [seconds for _, seconds in spans]
    table["eeg_stop"] = table["eeg_start"] + table["eeg_seconds"]
    table["video_file"] = _texts([described.relative(row.video_file) for row in rows])
    clocks = [video_clock(described, row, span[0]) for row, span in zip(rows, spans, strict=True)]
    table["video_start"] = [clock["video_start"] for clock in clocks]
    table["video_rate"] = [clock["video_rate"] for clock in clocks]
    table["video_times"] = _texts([clock["video_times"] for clock in clocks])
    table["face"] = _texts([row.face for row in rows])
    table["stimulus"] = [row.stimulus for row in rows]
    table["label"] = _texts([row.label for row in rows])
    stops = table["video_start"] + table["eeg_seconds"] / table["video_rate"]
    table["video_stop"] = stops.where(table["video_times"].isna())
    for kind in ("eeg", "video"):
        table[f"{kind}_digest"] = _texts([_digest(described, row, f"{kind}_file") for row in rows])
    table.insert(5, "group", _texts(trial_groups(described, rows, spans, opened)))
    _warn(subject, table)
    files = sorted(table["eeg_file"].dropna().unique())
    inputs = eeg_digests(described.folder, files) | {"rows": options.rows}
    provenance = storage.provenance("trials", __name__, options.result(), inputs)
    storage.write_table(out, table, provenance)


def span_of(manifest: Manifest, row: Row, files: dict[str, EEGFile]) -> tuple[float, float]:
    """Start and length in s of a trial in its recording; NaN where it has no EEG.

    ``files`` are the open recordings, to which it adds. Raises :class:`MilmerError` where a
    recording cannot be read or ends before the trial does.
    """
    if row.eeg_file is None:
        return np.nan, np.nan
    if row.eeg_file not in files:
        files[row.eeg_file] = EEGFile(manifest.at(row.eeg_file), any_montage=True)
    file, start = files[row.eeg_file], row.eeg_start or 0.0
    if start >= file.seconds:
        raise manifest.error(
            row, f"eeg_start {start:g} s lies beyond the end of {row.eeg_file} ({file.seconds:g} s)"
        )
    if row.eeg_stop is None:
        return start, file.seconds - start
    try:
        return start, file.within(row.eeg_stop) - start
    except MilmerError as error:
        raise manifest.error(
            row,
            f"eeg_stop {row.eeg_stop:g} s lies beyond the end of {row.eeg_file} "
            f"({file.seconds:g} s)",
        ) from error


def video_clock(manifest: Manifest, row: Row, eeg_start: float) -> dict[str, Any]:
    """The columns about the clock of a row's video, whose trial starts at ``eeg_start`` s."""
    if row.video_file is None:
        return {"video_start": np.nan, "video_rate": np.nan, "video_times": None}
    rate, start = row.video_rate or 1.0, row.video_start or 0.0
    if row.video_offset is not None:
        start = (np.nan_to_num(eeg_start) - row.video_offset) / rate
    times = manifest.relative(row.video_times)
    return {"video_start": start, "video_rate": rate, "video_times": times}


def trial_groups(
    manifest: Manifest,
    rows: list[Row],
    spans: list[tuple[float, float]],
    files: dict[str, EEGFile],
) -> list[str | None]:
    """The group of each of a subject's rows, None where it is alone in it.

    ``spans`` and ``files`` are those of :func:`span_of`. Raises :class:`MilmerError` as
    :func:`~milmer.manifest.shared.shared_groups`.
    """
    taken = []
    for i, (row, (start, seconds)) in enumerate(zip(rows, spans, strict=True)):
        if (digest := _digest(manifest, row, "eeg_file")) and seconds > 0:
            step = 1 / files[row.eeg_file or ""].sfreq
            taken.append(Span(i, digest, start, start + seconds, step))
        if (digest := _digest(manifest, row, "video_file")) and seconds > 0:
            clock = video_clock(manifest, row, start)
            begin, length = clock["video_start"], seconds / clock["video_rate"]
            if clock["video_times"] is not None:  # of the frames by the EEG's clock
                begin, length = start, seconds
            taken.append(Span(i, digest, begin, begin + length, VIDEO_STEP))
    return shared_groups(manifest, rows, taken)


def _digest(manifest: Manifest, row: Row, column: str) -> str | None:
    name = getattr(row, column)
    path = manifest.at(name) if name is not None else None
    return samples_digest(path) if path is not None and path.exists() else None


def _warn(subject: str, table: pd.DataFrame) -> None:
    for column, what in (("eeg_file", "EEG"), ("video_file", "face video")):
        without = sorted(table.loc[table[column].isna(), "trial"])
        if 0 < len(without) < len(table) or (without and column == "eeg_file"):
            _log.warning("%s: no %s of %d trials: %s", subject, what, len(without), without)


def _texts(values: list[str | None]) -> pd.Series:
    return pd.Series(values, dtype=pd.StringDtype())
