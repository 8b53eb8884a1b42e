"""Stage ``segments``: from a subject's recording to filtered EEG segments.

The default cleans the recording, filters each channel over the whole trial with its baseline, so
that the baseline absorbs the filter's edge, and cuts afterwards. ``layout: as_published`` does what
the authors' notebook does: the baseline is dropped first and the array is reshaped so that channels
and time are scrambled ("segment 0" is channels 0 and 1 over the whole minute), then filtered.
"""

import itertools
import json
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from milmer import storage
from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.data.segmentation import Segment, segment_grid
from milmer.eeg.artefacts import Removal
from milmer.eeg.cleaning import clean
from milmer.eeg.filtering import band_pass, baseline_corrected, notched
from milmer.eeg.options import SegmentsOptions
from milmer.errors import MilmerError
from milmer.readers.digests import eeg_digests

SCHEMA = {
    "eeg": storage.Array("float32", ("segment", "channel", "sample")),
    "experiment_id": storage.Array("int32", ("segment",)),
    "position": storage.Array("int32", ("segment",)),
    "start": storage.Array("float32", ("segment",)),
}


class SubjectSegments(NamedTuple):
    """A subject's segments: ``eeg`` float32 (segment, channel, sample) in µV along ``grid``.

    ``cleaned`` is what was found and taken out, ``inputs`` the digests of the recordings.
    """

    eeg: np.ndarray
    grid: list[Segment]
    channels: tuple[str, ...]
    sfreq: float
    cleaned: dict
    inputs: dict[str, str]


class ReadRecording(Protocol):
    """How a dataset's recordings are read: ``deap.recordings`` or ``manifest.recordings``."""

    def __call__(
        self, root: Path, trials: pd.DataFrame, options: RecordingOptions | None
    ) -> Recording:
        """Read the trials with EEG of a subject's table; their files lie below ``root``."""


def make_segments(
    trials: Path, root: Path, options: SegmentsOptions, out: Path, read: ReadRecording
) -> None:
    """Write the EEG segments of one subject.

    ``trials`` is the subject's table; ``read`` reads the recording that it names, below ``root``.
    Writes ``eeg`` float32 (segment, channel, sample) in µV, ``experiment_id``, ``position`` (from 0
    within the trial) and ``start`` in s, ordered by experiment_id, then position.
    """
    found = subject_segments(trials, root, options, read)
    made = storage.provenance(
        "segments",
        (__name__, read.__module__),
        options.result(),
        {"trials": trials, **found.inputs},
    )
    with storage.new_h5(out, SCHEMA, made) as file:
        file["eeg"] = found.eeg
        for name, values in zip(Segment._fields, zip(*found.grid, strict=True), strict=True):
            file[name] = np.array(values, SCHEMA[name].dtype)
        file.attrs["channels"] = found.channels
        file.attrs["sfreq"] = found.sfreq
        file.attrs["cleaned"] = json.dumps(found.cleaned, sort_keys=True, allow_nan=False)


def subject_segments(
    trials: Path, root: Path, options: SegmentsOptions, read: ReadRecording
) -> SubjectSegments:
    """The EEG segments of one subject; see :func:`make_segments`."""
    table = storage.read_table(trials, "trials")
    files = sorted(table["eeg_file"].dropna().unique())
    if not files or (len(files) > 1 and options.recording is None):
        raise MilmerError(f"{trials}: names {len(files)} EEG files, expected one; see dataset.root")
    path = Path(root) / files[0]
    contents = eeg_digests(root, files)
    known = storage.read_provenance(trials)["inputs"]
    for file, (name, content) in zip(files, contents.items(), strict=True):
        if content != known.get(name):
            raise MilmerError(
                f"{Path(root) / file}: not the recording that {trials} was made from; run the "
                "stage trials again"
            )
    grid = segment_grid(
        zip(table["experiment_id"], table["eeg_seconds"], strict=True), options.segmentation
    )
    if not grid:
        raise MilmerError(
            f"{path}: trials of {table['eeg_seconds'].max():g} s hold no segment of "
            f"{options.segmentation.seconds:g} s (segmentation.seconds)"
        )
    recording = read(root, table, options.recording)
    try:
        eeg, cleaned = cut_segments(recording, grid, options)
    except MilmerError as error:
        raise MilmerError(f"{path}: {error}") from error
    return SubjectSegments(eeg, grid, tuple(recording.channels), recording.sfreq, cleaned, contents)


def cut_segments(
    recording: Recording,
    grid: list[Segment],
    options: SegmentsOptions,
    removal: Removal | None = None,
) -> tuple[np.ndarray, dict]:
    """Clean and filter ``recording`` and cut it along ``grid``.

    ``removal`` of eye artefacts is given where it was fitted on more than this recording. Returns
    float32 (segment, channel, sample) in µV, and what :func:`~milmer.eeg.cleaning.clean` found and
    took out.
    """
    sfreq, chosen = recording.sfreq, options.eeg
    if chosen.artefacts == "auto" and recording.without_eog:
        chosen = chosen.updated({"artefacts": "none"})
    length = round(options.segmentation.seconds * sfreq)
    if chosen.layout == "as_published":
        if not recording.referenced:
            raise MilmerError(
                "eeg.layout: as_published is that of preprocessed files; set dataset.source to dat "
                "or mat"
            )
        trials, cleaned = recording.eeg, {}
    else:
        trials, cleaned = clean(
            recording.eeg,
            recording.eog,
            list(recording.channels),
            sfreq,
            recording.referenced,
            chosen,
            removal,
        )
    segments = np.empty((len(grid), len(recording.channels), length), np.float32)
    for experiment_id, places in itertools.groupby(enumerate(grid), lambda at: at[1].experiment_id):
        trial = trials[experiment_id]  # (channel, sample)
        baseline = round(recording.before(experiment_id) * sfreq)
        if chosen.baseline != "none" and recording.before(experiment_id) < BASELINE_SECONDS:
            raise MilmerError(
                f"experiment_id {experiment_id}: {recording.before(experiment_id):.3g} s are "
                f"recorded before the trial, eeg.baseline {chosen.baseline} needs "
                f"{BASELINE_SECONDS:g} s; set it to none"
            )
        if chosen.layout == "as_published":
            filtered = band_pass(scramble(trial[:, baseline:]), sfreq, chosen.band)
        else:
            trial = band_pass(notched(trial, sfreq, chosen.notch), sfreq, chosen.band)
            filtered = baseline_corrected(trial, baseline, chosen.baseline)[:, baseline:]
        for i, segment in places:
            first = round(segment.start * sfreq)
            segments[i] = filtered[:, first : first + length]
    return segments, cleaned


def scramble(trial: np.ndarray) -> np.ndarray:
    """Mix channels and time of ``trial`` (channel, sample) as the published code does.

    It reshapes to (sample, channel) where it should transpose.
    """
    channels, samples = trial.shape
    return trial.reshape(samples, channels).T
