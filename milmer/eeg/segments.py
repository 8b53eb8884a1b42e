"""Stage ``segments``: from a subject's recording to filtered EEG segments.

By default the recording is cleaned, each channel is filtered over the whole trial with its
baseline, so that the baseline absorbs the edge effect of the filter, and then cut. ``layout:
as_published`` does what the authors' notebook does: it drops the baseline, reshapes the array so
that channels and time are scrambled ("segment 0" is channels 0 and 1 over the whole minute), and
filters that.
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
from milmer.eeg.filtering import band_pass, correct_baseline, notch
from milmer.eeg.options import SegmentsOptions
from milmer.errors import MilmerError
from milmer.readers.digests import eeg_digests

SEGMENTS_SCHEMA = {
    "eeg": storage.Array("float32", ("segment", "channel", "sample")),
    "experiment_id": storage.Array("int32", ("segment",)),
    "position": storage.Array("int32", ("segment",)),
    "start": storage.Array("float32", ("segment",)),
}


class SubjectSegments(NamedTuple):
    """A subject's segments: ``eeg`` float32 (segment, channel, sample) in µV, by ``grid``.

    ``sfreq`` in Hz; ``cleaned`` reports what was found and removed, ``inputs`` are the digests of
    the recordings.
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
    segments = subject_segments(trials, root, options, read)
    provenance = storage.provenance(
        "segments",
        (__name__, read.__module__),
        options.result(),
        {"trials": trials, **segments.inputs},
    )
    with storage.new_h5(out, SEGMENTS_SCHEMA, provenance) as file:
        file["eeg"] = segments.eeg
        for name, values in zip(Segment._fields, zip(*segments.grid, strict=True), strict=True):
            file[name] = np.array(values, SEGMENTS_SCHEMA[name].dtype)
        file.attrs["channels"] = segments.channels
        file.attrs["sfreq"] = segments.sfreq
        file.attrs["cleaned"] = json.dumps(segments.cleaned, sort_keys=True, allow_nan=False)


def subject_segments(
    trials: Path, root: Path, options: SegmentsOptions, read: ReadRecording
) -> SubjectSegments:
    """The EEG segments of one subject; see :func:`make_segments`.

    Raises :class:`MilmerError` if the table names no recording or another than it was made from, if
    no trial is as long as a segment, or if the recording cannot be cleaned or filtered.
    """
    table = storage.read_table(trials, "trials")
    files = sorted(table["eeg_file"].dropna().unique())
    if not files or (len(files) > 1 and options.recording is None):
        raise MilmerError(
            f"names {len(files)} EEG files, expected one", where=trials, remedy="check dataset.root"
        )
    path = Path(root) / files[0]
    digests = eeg_digests(root, files)
    expected = storage.read_provenance(trials)["inputs"]
    for file, (name, digest) in zip(files, digests.items(), strict=True):
        if digest != expected.get(name):
            raise MilmerError(
                f"not the recording that {trials} was made from",
                where=Path(root) / file,
                remedy="run the stage trials again",
            )
    grid = segment_grid(
        zip(table["experiment_id"], table["eeg_seconds"], strict=True), options.segmentation
    )
    if not grid:
        raise MilmerError(
            f"trials of {table['eeg_seconds'].max():g} s hold no segment of "
            f"{options.segmentation.seconds:g} s",
            where=path,
            remedy="lower segmentation.seconds",
        )
    recording = read(root, table, options.recording)
    try:
        eeg, cleaned = cut_segments(recording, grid, options)
    except MilmerError as error:
        error.within(path)
        raise
    return SubjectSegments(eeg, grid, tuple(recording.channels), recording.sfreq, cleaned, digests)


def cut_segments(
    recording: Recording,
    grid: list[Segment],
    options: SegmentsOptions,
    removal: Removal | None = None,
) -> tuple[np.ndarray, dict]:
    """Clean and filter ``recording`` and cut it into the segments of ``grid``.

    Pass ``removal`` if eye artefacts were fitted on more than this recording. Returns float32
    (segment, channel, sample) in µV, and the report of :func:`~milmer.eeg.cleaning.clean`. Raises
    :class:`MilmerError` as that does, for a trial with too short a baseline, and for a band or a
    notch that the rate cannot hold.
    """
    sfreq, eeg_options = recording.sfreq, options.eeg
    if eeg_options.artefacts == "auto" and recording.without_eog:
        eeg_options = eeg_options.updated({"artefacts": "none"})
    length = round(options.segmentation.seconds * sfreq)
    if eeg_options.layout == "as_published":
        if not recording.referenced:
            raise MilmerError(
                "as_published needs preprocessed recordings",
                where="eeg.layout",
                remedy="set dataset.source to dat or mat",
            )
        trials, cleaned = recording.eeg, {}
    else:
        trials, cleaned = clean(
            recording.eeg,
            recording.eog,
            list(recording.channels),
            sfreq,
            recording.referenced,
            eeg_options,
            removal,
        )
    segments = np.empty((len(grid), len(recording.channels), length), np.float32)
    for experiment_id, rows in itertools.groupby(enumerate(grid), lambda row: row[1].experiment_id):
        trial = trials[experiment_id]  # (channel, sample)
        baseline_seconds = recording.before(experiment_id)
        baseline = round(baseline_seconds * sfreq)  # samples
        if eeg_options.baseline != "none" and baseline_seconds < BASELINE_SECONDS:
            raise MilmerError(
                f"{baseline_seconds:.3g} s are recorded before the trial, eeg.baseline "
                f"{eeg_options.baseline} needs {BASELINE_SECONDS:g} s",
                where=f"experiment_id {experiment_id}",
                remedy="set it to none",
            )
        if eeg_options.layout == "as_published":
            filtered = band_pass(scramble(trial[:, baseline:]), sfreq, eeg_options.band)
        else:
            trial = band_pass(notch(trial, sfreq, eeg_options.notch), sfreq, eeg_options.band)
            filtered = correct_baseline(trial, baseline, eeg_options.baseline)[:, baseline:]
        for i, segment in rows:
            first = round(segment.start * sfreq)
            segments[i] = filtered[:, first : first + length]
    return segments, cleaned


def scramble(trial: np.ndarray) -> np.ndarray:
    """Mix channels and time of ``trial`` (channel, sample) as the published code does.

    That code reshapes the array to (sample, channel) where it should transpose it.
    """
    channels, samples = trial.shape
    return trial.reshape(samples, channels).T
