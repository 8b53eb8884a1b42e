"""Manifests that tests write: of the twin, of real recordings, of single rows."""

import csv
import os
from pathlib import Path

import pandas as pd

from milmer import storage
from milmer.deap.layout import GENEVA
from milmer.deap.trials import TrialsOptions, make_trials

BDF = {
    "channels": GENEVA,
    "heog": ["EXG1", "EXG2"],
    "veog": ["EXG3", "EXG4"],
}
"""What a user would set to read DEAP's original recordings through a manifest."""


def write_manifest(path: Path, rows: list[dict], delimiter: str = ",") -> Path:
    """Write ``rows`` with the columns of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def describe_twin(twin: Path, folder: Path) -> Path:
    """A manifest of a copy's .bdf files and clips, as its ratings and markers say."""
    rows = []
    for subject in ("s01", "s02"):
        made = folder / f"{subject}.parquet"
        make_trials(twin, subject, TrialsOptions(source="bdf"), made)
        table = storage.read_table(made, "trials").sort_values("trial")
        rows += [_row(row, twin, folder) for row in table.itertuples()]
    return write_manifest(folder / "manifest.csv", rows)


def _row(row: object, root: Path, folder: Path) -> dict:
    return {
        "subject": row.subject,
        "trial": row.trial,
        "stimulus": row.experiment_id,
        "eeg_file": os.path.relpath(root / row.eeg_file, folder),
        "eeg_start": row.eeg_start,
        "eeg_stop": row.eeg_start + row.eeg_seconds,
        "video_file": ""
        if pd.isna(row.video_file)
        else os.path.relpath(root / row.video_file, folder),
        "video_start": "" if pd.isna(row.video_file) else 0,
        **{scale: getattr(row, scale) for scale in ("valence", "arousal", "dominance", "liking")},
    }
