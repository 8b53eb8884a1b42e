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
from milmer.manifest.table import RATING_COLUMNS, Manifest, Row, read_manifest
from milmer.options import Options
from milmer.readers.digests import eeg_digests
from milmer.readers.eeg import EEGFile

_log = logging.getLogger(__name__)


class ManifestTrialsOptions(Options):
    """What the stage ``trials`` of a manifest depends on: a digest of the subject's rows."""

    rows: str = Field(min_length=1)


def make_manifest_trials(
    manifest: Path, subject: str, options: ManifestTrialsOptions, out: Path
) -> None:
    """Write the trials of ``subject``: one row a trial, in the order of presentation.

    Columns: ``subject, trial, experiment_id``, the five ratings (NaN where not rated),
    ``eeg_file, eeg_start, eeg_seconds, video_file`` (paths relative to the manifest's folder, null
    where there is none), ``video_start`` (time in s in the video at which the trial starts),
    ``video_rate`` (s of the EEG that a second of video lasts), ``video_times`` (the table of when
    each frame is shown, or null), ``face`` (which of several people in the video it is),
    ``stimulus`` and ``label``. Raises :class:`MilmerError` where the rows are not those of
    ``options``, or where a row does not fit its recording.
    """
    described = read_manifest(manifest)
    if described.digest(subject) != options.rows:
        raise MilmerError(
            f"the rows of {subject} have changed while the workflow ran",
            where=manifest,
            remedy="run snakemake again",
        )
    rows = described.of(subject)
    spans = trial_spans(described, rows)
    table = pd.DataFrame(
        {
            "subject": subject,
            "trial": np.array([row.trial for row in rows], np.int32),
            "experiment_id": np.array([row.experiment_id for row in rows], np.int32),
        }
    )
    for scale in RATING_COLUMNS:
        table[scale] = np.array([row.ratings.get(scale, np.nan) for row in rows], float)
    table["eeg_file"] = _texts([described.relative(row.eeg_file) for row in rows])
    table["eeg_start"] = [start for start, _ in spans]
    table["eeg_seconds"] = [seconds for _, seconds in spans]
    table["video_file"] = _texts([described.relative(row.video_file) for row in rows])
    clocks = [video_clock(described, row, span[0]) for row, span in zip(rows, spans, strict=True)]
    table["video_start"] = [clock["video_start"] for clock in clocks]
    table["video_rate"] = [clock["video_rate"] for clock in clocks]
    table["video_times"] = _texts([clock["video_times"] for clock in clocks])
    table["face"] = _texts([row.face for row in rows])
    table["stimulus"] = [row.stimulus for row in rows]
    table["label"] = _texts([row.label for row in rows])
    _warn(subject, table)
    files = sorted(table["eeg_file"].dropna().unique())
    inputs = eeg_digests(described.folder, files) | {"rows": options.rows}
    provenance = storage.provenance("trials", __name__, options.result(), inputs)
    storage.write_table(out, table, provenance)


def trial_spans(manifest: Manifest, rows: list[Row]) -> list[tuple[float, float]]:
    """Start and length in s of each trial in its recording; NaN where it has no EEG.

    Raises :class:`MilmerError` where a recording cannot be read or ends before a trial does.
    """
    files: dict[str, EEGFile] = {}
    return [span_of(manifest, row, files) for row in rows]


def span_of(manifest: Manifest, row: Row, files: dict[str, EEGFile]) -> tuple[float, float]:
    """The same of one trial; ``files`` are the open recordings, to which it adds."""
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


def _warn(subject: str, table: pd.DataFrame) -> None:
    for column, what in (("eeg_file", "EEG"), ("video_file", "face video")):
        without = sorted(table.loc[table[column].isna(), "trial"])
        if 0 < len(without) < len(table) or (without and column == "eeg_file"):
            _log.warning("%s: no %s of %d trials: %s", subject, what, len(without), without)


def _texts(values: list[str | None]) -> pd.Series:
    return pd.Series(values, dtype=pd.StringDtype())
