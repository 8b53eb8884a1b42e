"""``participant_ratings.csv``: the only map between the two orders of trials.

Face videos and original recordings are numbered by **trial**, the order of presentation, which
differs between subjects; preprocessed EEG is sorted by **experiment_id**, the stimulus.
"""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from milmer.data.options import subject_name
from milmer.errors import MilmerError
from milmer.limits import require_size

LABEL_SCALES = ["valence", "arousal", "dominance", "liking"]
"""The ratings that EEG files repeat as labels, in the order of their columns there."""

_COLUMNS = ["Participant_id", "Trial", "Experiment_id", *(s.capitalize() for s in LABEL_SCALES)]
_OPTIONAL = ["Start_time", "Familiarity"]
_TOLERANCE = 0.005  # ratings have two decimals


def read_ratings(path: Path) -> pd.DataFrame:
    """Read the ratings: one row a trial, sorted by subject and experiment_id.

    Columns ``subject, trial, experiment_id, start_time, valence, arousal, dominance, liking,
    familiarity``; ratings are 1 to 9, familiarity 1 to 5 and null where it was not asked for.
    ``start_time`` is as in the file, in a unit that :mod:`milmer.deap.onsets` infers. Raises
    :class:`MilmerError` where the file cannot be read, or a value is missing or out of range.
    """
    require_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without index_col the first column is the index where a row has a comma too many.
            raw = pd.read_csv(path, index_col=False)
    except (ValueError, OSError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MilmerError(
            f"not a readable CSV file ({reason})", where=path, remedy="copy it again"
        ) from error
    raw.columns = [str(c).strip().capitalize() for c in raw.columns]
    missing = [c for c in _COLUMNS if c not in raw.columns]
    if missing:
        raise MilmerError(
            f"no column {missing[0]}; expected {', '.join(_COLUMNS)}",
            where=path,
            remedy="copy it again",
        )
    doubled = raw.columns[raw.columns.duplicated()]
    if len(doubled):
        raise MilmerError(
            f"the column {doubled[0]} is there twice", where=path, remedy="keep one of them"
        )
    if raw.empty:
        raise MilmerError("holds no rows", where=path, remedy="copy it again")
    for column in _OPTIONAL:
        if column not in raw.columns:
            raw[column] = np.nan
    numbers = raw[[*_COLUMNS, *_OPTIONAL]].apply(pd.to_numeric, errors="coerce")
    bad = numbers[_COLUMNS].isna().any(axis=1) | ~np.isfinite(numbers[_COLUMNS]).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise MilmerError(
            "a value is missing or not a number",
            where=f"{path}: line {row + 2}",
            remedy="copy the file again",
        )
    ratings = pd.DataFrame({"subject": [_subject(path, v) for v in numbers["Participant_id"]]})
    for column in ("Trial", "Experiment_id"):
        whole = (numbers[column] == numbers[column].round()) & numbers[column].between(1, 999)
        if not whole.all():
            raise MilmerError(
                f"{column} holds values that are not whole numbers from 1 on",
                where=path,
                remedy="copy it again",
            )
        ratings[column.lower()] = numbers[column].astype("int32")
    ratings["start_time"] = numbers["Start_time"].astype("float64")
    for scale in LABEL_SCALES:
        ratings[scale] = numbers[scale.capitalize()].astype("float64")
        if not ratings[scale].between(1, 9).all():
            raise MilmerError(
                f"{scale} holds a rating outside 1 to 9", where=path, remedy="copy it again"
            )
    ratings["familiarity"] = numbers["Familiarity"].astype("float64")
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


def _subject(path: Path, value: float) -> str:
    try:
        return subject_name(int(value) if value == int(value) else value)
    except ValueError as error:
        raise MilmerError(str(error), where=f"{path}: Participant_id") from error
