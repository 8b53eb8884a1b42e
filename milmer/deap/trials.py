"""Stage ``trials``: one table a subject that joins ratings, EEG and face video.

All later stages use this table and never file names, so the two orders of trials meet in one place.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from milmer import storage
from milmer.contracts.trials import TRIALS
from milmer.deap.bdf import Markers, read_markers
from milmer.deap.layout import EEG_KINDS, ratings_file, scan
from milmer.deap.onsets import match_onsets
from milmer.deap.preprocessed import read_preprocessed
from milmer.deap.ratings import check_labels, ratings_of, read_ratings
from milmer.errors import MilmerError
from milmer.options import Options

_log = logging.getLogger(__name__)


class TrialsOptions(Options):
    """What the stage ``trials`` depends on."""

    source: str = Field("dat", pattern="^(dat|mat|bdf)$")


def make_trials(root: Path, subject: str, options: TrialsOptions, out: Path) -> None:
    """Write the trials of ``subject``: one row an experiment_id.

    Columns: ``subject, trial, experiment_id``, the five ratings, ``eeg_file, eeg_start,
    eeg_seconds, eeg_stop``, ``video_file, video_start, video_stop`` (paths relative to ``root``,
    null where there is none), the digest of each file, ``trial_name``; ``session`` and ``group``
    are null. ``eeg_start`` is the time in s at which the music video starts in a continuous
    recording, and null in a file that is cut into trials already; a clip is its trial's from 0 s
    on. Raises :class:`MilmerError` where the subject is not in the ratings, or where the ratings do
    not fit the EEG file.
    """
    copy = scan(root)
    ratings_path = ratings_file(copy)
    trials = ratings_of(subject, read_ratings(ratings_path), ratings_path)
    start_time = trials.pop("start_time").to_numpy()
    inputs: dict[str, Path | str] = {"ratings": ratings_path}
    eeg = copy.eeg.get(options.source, {}).get(subject)
    trials["session"] = trials["group"] = None
    trials["trial_name"] = trials["trial"].astype(str)
    trials["eeg_file"] = trials["eeg_digest"] = None
    trials["eeg_start"] = trials["eeg_seconds"] = np.nan
    if eeg is None:
        others = [kind for kind in EEG_KINDS if subject in copy.eeg.get(kind, {})]
        hint = f" (there is {others[0]}: see dataset.source)" if others else ""
        _log.warning("%s: no .%s file%s; its trials have no EEG", subject, options.source, hint)
    else:
        inputs["eeg"] = storage.digest(eeg)
        if options.source == "bdf":
            located = locate(subject, eeg, read_markers(eeg), trials, start_time)
            trials["eeg_start"], trials["eeg_seconds"] = located.starts, located.seconds
            _warn(subject, eeg, trials, located)
        else:
            content = read_preprocessed(eeg)
            check_labels(subject, trials, content.labels, eeg)
            trials["eeg_seconds"] = content.seconds
        with_eeg = trials["eeg_seconds"].notna()
        trials.loc[with_eeg, ["eeg_file", "eeg_digest"]] = _relative(eeg, root), inputs["eeg"]
    trials["eeg_stop"] = trials["eeg_start"] + trials["eeg_seconds"]
    clips = [copy.videos.get(subject, {}).get(trial) for trial in trials["trial"]]
    trials["video_file"] = [clip and _relative(clip, root) for clip in clips]
    trials["video_digest"] = [clip and storage.digest(clip) for clip in clips]
    trials["video_start"] = np.where(trials["video_file"].notna(), 0.0, np.nan)
    trials["video_stop"] = trials["video_start"] + trials["eeg_seconds"]
    without = sorted(trials.loc[trials["video_file"].isna(), "trial"])
    if without:
        _log.warning("%s: no face video of %d trials: %s", subject, len(without), without)
    for column, kind in TRIALS.columns.items():
        if kind == "text?":
            trials[column] = trials[column].astype(pd.StringDtype())
    provenance = storage.provenance("trials", __name__, options.result(), inputs)
    storage.write_table(out, trials, provenance)


@dataclass(frozen=True)
class Located:
    """Where each trial's music video starts in a recording and how long it lasts, in s (trial,).

    Both are NaN where it has no onset; ``unknown`` (onset,) are the onsets in s that fit no trial.
    """

    starts: np.ndarray
    seconds: np.ndarray
    unknown: np.ndarray


def locate(
    subject: str, path: Path, markers: Markers, trials: pd.DataFrame, start_time: np.ndarray
) -> Located:
    """Locate the ``trials`` of ``subject`` by the ``markers`` of the recording at ``path``.

    ``start_time`` (trial,) is the ratings'. Raises :class:`MilmerError` where they do not fit.
    """
    # In the order of presentation, which is the order of the recording.
    order = np.argsort(trials["trial"].to_numpy())
    starts = np.empty(len(trials))
    try:
        starts[order] = match_onsets(start_time[order], markers.onsets, markers.begin)
    except MilmerError as error:
        raise error.within(f"{path}: {subject}") from None
    lengths = dict(zip(markers.onsets, markers.lengths, strict=True))
    seconds = np.array([lengths.get(start, np.nan) for start in starts])
    return Located(starts, seconds, markers.onsets[~np.isin(markers.onsets, starts)])


def _warn(subject: str, path: Path, trials: pd.DataFrame, located: Located) -> None:
    """Warn about trials without an onset and onsets without a trial."""
    missing = sorted(trials.loc[np.isnan(located.starts), "trial"])
    if missing:
        _log.warning("%s: no onset in %s of trials %s; they have no EEG", subject, path, missing)
    if len(located.unknown):
        places = ", ".join(f"{t:.0f}" for t in located.unknown)
        _log.warning("%s: %s: onsets at %s s fit no trial; left out", subject, path, places)


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
