"""Stage ``trials``: one table a subject that joins ratings, EEG and face video.

Everything after it goes by this table and never by file names, so the two orders of trials meet
in one place.
"""

import logging
import os
from pathlib import Path

import pandas as pd
from pydantic import Field

from milmer import storage
from milmer.deap.layout import EEG_KINDS, ratings_file, scan
from milmer.deap.ratings import check_labels, read_ratings
from milmer.deap.readers import read_recording
from milmer.errors import MilmerError
from milmer.options import Options

_log = logging.getLogger(__name__)


class TrialsOptions(Options):
    """What the stage ``trials`` depends on."""

    source: str = Field("dat", pattern="^(dat|mat|bdf)$")


def make_trials(root: Path, subject: str, options: TrialsOptions, out: Path) -> None:
    """Write the trials of ``subject``: one row an experiment_id.

    Columns: ``subject, trial, experiment_id``, the five ratings, ``eeg_file, eeg_seconds,
    video_file`` (paths relative to ``root``, null where there is none). Raises
    :class:`MilmerError` where the subject is not in the ratings, or where the ratings are not
    those of the EEG file.
    """
    copy = scan(root)
    ratings_path = ratings_file(copy)
    ratings = read_ratings(ratings_path)
    trials = ratings[ratings["subject"] == subject].reset_index(drop=True)
    if trials.empty:
        raise MilmerError(f"{ratings_path}: no ratings of {subject}")
    inputs: dict[str, Path] = {"ratings": ratings_path}
    eeg = copy.eeg.get(options.source, {}).get(subject)
    trials["eeg_file"], trials["eeg_seconds"] = None, float("nan")
    if eeg is None:
        others = [kind for kind in EEG_KINDS if subject in copy.eeg.get(kind, {})]
        hint = f" (there is {others[0]}: see dataset.source)" if others else ""
        _log.warning("%s: no .%s file%s; its trials have no EEG", subject, options.source, hint)
    else:
        recording = read_recording(eeg)
        check_labels(subject, trials, recording.labels, eeg)
        trials["eeg_file"] = _relative(eeg, root)
        trials["eeg_seconds"] = recording.seconds
        inputs["eeg"] = eeg
    videos = copy.videos.get(subject, {})
    trials["video_file"] = [
        _relative(videos[t], root) if t in videos else None for t in trials["trial"]
    ]
    without = trials.loc[trials["video_file"].isna(), "trial"].tolist()
    if without:
        _log.warning("%s: no face video of %d trials: %s", subject, len(without), without)
    for column in ("eeg_file", "video_file"):
        trials[column] = trials[column].astype(pd.StringDtype())
    made = storage.provenance("trials", __name__, options.result(), inputs)
    storage.write_table(out, trials, made)


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
