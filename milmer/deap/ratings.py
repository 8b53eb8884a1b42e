"""``participant_ratings.csv``: the only map between the two orders of trials.

Face videos and original recordings are numbered by **trial**, the order of presentation, which
differs between subjects; preprocessed EEG is sorted by **experiment_id**, the stimulus.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.data.options import subject_name
from milmer.errors import MilmerError
from milmer.limits import shortened
from milmer.readers.cells import Cells, read_cells

LABEL_SCALES = ["valence", "arousal", "dominance", "liking"]
"""The ratings that EEG files repeat as labels, in the order of their columns there."""

_COLUMNS = ["Participant_id", "Trial", "Experiment_id", *(s.capitalize() for s in LABEL_SCALES)]
_TOLERANCE = 0.005  # ratings have two decimals


def read_ratings(path: Path) -> pd.DataFrame:
    """Read the ratings: one row a trial, sorted by subject and experiment_id.

    Columns ``subject, trial, experiment_id, start_time, valence, arousal, dominance, liking,
    familiarity``; ratings are 1 to 9, familiarity 1 to 5 and null where it was not asked for.
    ``start_time`` is as in the file, in a unit that :mod:`milmer.deap.onsets` infers. Raises
    :class:`MilmerError` where the file cannot be read, or a value is missing or out of range.
    """
    table = read_cells(path)
    missing = [c for c in _COLUMNS if c.lower() not in table.columns]
    if missing:
        raise MilmerError(
            f"no column {missing[0]}; expected {', '.join(_COLUMNS)}",
            where=path,
            remedy="copy it again",
        )
    if not table.rows:
        raise MilmerError("holds no rows", where=path, remedy="copy it again")
    ratings = pd.DataFrame([_row(table, line, cells) for line, cells in table.rows])
    for column in ("trial", "experiment_id"):
        twice = ratings[ratings.duplicated(["subject", column])]
        if len(twice):
            row = twice.iloc[0]
            raise MilmerError(
                f"{row.subject} has {column} {row[column]} twice",
                where=path,
                remedy="keep one of them",
            )
    return ratings.sort_values(["subject", "experiment_id"], ignore_index=True)


def _row(table: Cells, line: int, cells: Mapping[str, str]) -> dict[str, object]:
    """The values of a row; raises :class:`MilmerError` with the line and column of a wrong one."""

    def value(column: str, most: int, whole: bool = False) -> float:
        text = cells[column.lower()]
        number = table.number(text)
        if not 1 <= number <= most or (whole and number != int(number)):
            kind = "whole number" if whole else "number"
            raise MilmerError(
                f"{shortened(text)} is not a {kind} from 1 to {most}",
                where=f"{table.path}: line {line}: {column}",
                remedy="copy the file again",
            )
        return int(number) if whole else number

    try:
        subject = subject_name(cells["participant_id"].removesuffix(".0"))
    except ValueError as error:
        where = f"{table.path}: line {line}: Participant_id"
        raise MilmerError(str(error), where=where) from error
    return {
        "subject": subject,
        "trial": np.int32(value("Trial", 999, whole=True)),
        "experiment_id": np.int32(value("Experiment_id", 999, whole=True)),
        "start_time": table.number(cells.get("start_time", "")),
        **{scale: value(scale.capitalize(), 9) for scale in LABEL_SCALES},
        "familiarity": table.number(cells.get("familiarity", "")),
    }


def ratings_of(subject: str, ratings: pd.DataFrame, path: Path) -> pd.DataFrame:
    """One subject's rows of the ``ratings`` in ``path``; refused where there are none."""
    rows = ratings[ratings["subject"] == subject].reset_index(drop=True)
    if rows.empty:
        raise MilmerError(
            f"no ratings of {subject}", where=path, remedy="leave it out of dataset.subjects"
        )
    return rows


def check_labels(subject: str, ratings: pd.DataFrame, labels: np.ndarray, path: Path) -> None:
    """Refuse an EEG file whose labels are not the ratings of its subject.

    ``ratings`` are one subject's rows; row e-1 of ``labels`` (trial, 4) belongs to experiment_id e.
    Raises :class:`MilmerError` on a mismatch: EEG and faces would be paired wrongly.
    """
    if ratings["experiment_id"].max() > len(labels):
        raise MilmerError(
            f"{subject} holds {len(labels)} trials, the ratings name "
            f"experiment_id {ratings['experiment_id'].max()}",
            where=path,
            remedy="check that both are from the same copy of DEAP",
        )
    rated = ratings[LABEL_SCALES].to_numpy()  # (trial, 4)
    in_file = labels[ratings["experiment_id"].to_numpy() - 1, :4]  # (trial, 4)
    wrong = np.flatnonzero(~(np.abs(rated - in_file) <= _TOLERANCE).all(axis=1))
    if len(wrong):
        row = wrong[0]
        raise MilmerError(
            f"labels of {subject} disagree with participant_ratings.csv in {len(wrong)} of "
            f"{len(rated)} trials, first at experiment_id {ratings['experiment_id'].iloc[row]} "
            f"({_numbers(in_file[row])} in the file, {_numbers(rated[row])} rated); EEG and faces "
            "would be paired wrongly",
            where=path,
            remedy="check that both are from the same copy of DEAP",
        )


def _numbers(values: np.ndarray) -> str:
    return "/".join(f"{v:g}" for v in values)
