"""Stage ``segments``: from a subject's recording to filtered EEG segments.

The default filters each channel over the whole trial with its baseline, so that the baseline
absorbs the filter's edge, and cuts afterwards. ``layout: as_published`` does what the authors'
notebook does: the baseline is dropped first and the array is reshaped so that channels and time
are scrambled ("segment 0" is channels 0 and 1 over the whole minute), then filtered.
"""

from pathlib import Path

import numpy as np

from milmer import storage
from milmer.deap.layout import BASELINE_SECONDS, GENEVA
from milmer.deap.readers import Recording, read_recording
from milmer.eeg.filtering import band_pass
from milmer.eeg.options import SegmentsOptions
from milmer.errors import MilmerError
from milmer.segmentation import Segment, segment_grid

SCHEMA = {
    "eeg": storage.Array("float32", ("segment", "channel", "sample")),
    "experiment_id": storage.Array("int32", ("segment",)),
    "position": storage.Array("int32", ("segment",)),
    "start": storage.Array("float32", ("segment",)),
}


def make_segments(trials: Path, root: Path, options: SegmentsOptions, out: Path) -> None:
    """Write the EEG segments of one subject.

    ``trials`` is the subject's table; the recording that it names lies below ``root``. Writes
    ``eeg`` float32 (segment, channel, sample) in µV, ``experiment_id``, ``position`` (from 0
    within the trial) and ``start`` in s, ordered by experiment_id, then position.
    """
    table = storage.read_table(trials, "trials")
    files = table["eeg_file"].dropna().unique()
    if len(files) != 1:
        raise MilmerError(f"{trials}: names {len(files)} EEG files, expected one; see dataset.root")
    path = Path(root) / files[0]
    recording, content = read_recording(path), storage.digest(path)
    if content != storage.read_provenance(trials)["inputs"]["eeg"]:
        raise MilmerError(
            f"{path}: not the recording that {trials} was made from; run the stage trials again"
        )
    grid = segment_grid(
        zip(table["experiment_id"], table["eeg_seconds"], strict=True), options.segmentation
    )
    if not grid:
        raise MilmerError(
            f"{path}: trials of {recording.seconds:g} s hold no segment of "
            f"{options.segmentation.seconds:g} s (segmentation.seconds)"
        )
    eeg = cut(recording, grid, options)
    made = storage.provenance(
        "segments", __name__, options.result(), {"trials": trials, "eeg": content}
    )
    with storage.new_h5(out, SCHEMA, made) as file:
        file["eeg"] = eeg
        for name, values in zip(Segment._fields, zip(*grid, strict=True), strict=True):
            file[name] = np.array(values, SCHEMA[name].dtype)
        file.attrs["channels"] = GENEVA
        file.attrs["sfreq"] = recording.sfreq


def cut(recording: Recording, grid: list[Segment], options: SegmentsOptions) -> np.ndarray:
    """Filter ``recording`` and cut it along ``grid``: float32 (segment, channel, sample) in µV."""
    sfreq = recording.sfreq
    baseline = round(BASELINE_SECONDS * sfreq)
    length = round(options.segmentation.seconds * sfreq)
    segments = np.empty((len(grid), len(GENEVA), length), np.float32)
    for experiment_id in sorted({segment.experiment_id for segment in grid}):
        trial = recording.eeg[experiment_id - 1]  # (channel, sample)
        if options.eeg.layout == "as_published":
            filtered = band_pass(scramble(trial[:, baseline:]), sfreq, options.eeg.band)
        else:
            filtered = band_pass(trial, sfreq, options.eeg.band)[:, baseline:]
        for i, segment in enumerate(grid):
            if segment.experiment_id == experiment_id:
                first = round(segment.start * sfreq)
                segments[i] = filtered[:, first : first + length]
    return segments


def scramble(trial: np.ndarray) -> np.ndarray:
    """Mix channels and time of ``trial`` (channel, sample) as the published code does.

    It reshapes to (sample, channel) where it should transpose.
    """
    channels, samples = trial.shape
    return trial.reshape(samples, channels).T
