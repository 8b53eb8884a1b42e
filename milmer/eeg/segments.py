"""Stage ``segments``: from a subject's recording to filtered EEG segments.

By default the recording is cleaned, each channel is filtered over the whole trial with what was
recorded before and after it, which absorbs the edge effects of the filter, and then cut. ``layout:
as_published`` does what the authors' notebook does: it drops the baseline, reshapes the array so
that channels and time are scrambled ("segment 0" is channels 0 and 1 over the whole minute), and
filters that.
"""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.trials import TRIALS
from milmer.data.options import RecordingOptions
from milmer.data.recording import BASELINE_SECONDS, Recording
from milmer.data.segmentation import Segment, no_segment, segment_grid
from milmer.eeg.artefacts import EYE_REACH, Removal
from milmer.eeg.cleaning import bad_in, chosen_method, clean
from milmer.eeg.filtering import band_pass, correct_baseline, filter_margin, notch
from milmer.eeg.options import EEGOptions, SegmentsOptions
from milmer.eeg.rejection import (
    Rejection,
    log_rejected,
    marked,
    out_of_range,
    report_rows,
    unusable_trials,
)
from milmer.errors import MilmerError
from milmer.readers.digests import eeg_digests

_USUAL_RATE = (
    128.0  # Hz, where the rate is that of the files: it hardly matters to a filter's length
)


class SubjectSegments(NamedTuple):
    """A subject's segments: ``eeg`` float32 (segment, channel, sample) in µV, by ``grid``.

    ``rejected`` bytes (segment,) says why a segment cannot be used, in a word, and is empty where
    it can; ``sfreq`` in Hz; ``cleaned`` reports what was found and removed, ``inputs`` are the
    digests of the recordings.
    """

    eeg: np.ndarray
    rejected: np.ndarray
    grid: list[Segment]
    channels: tuple[str, ...]
    sfreq: float
    cleaned: dict
    inputs: dict[str, str]


class ReadRecording(Protocol):
    """How a dataset's recordings are read: ``deap.recordings`` or ``manifest.recordings``."""

    def __call__(
        self, root: Path, trials: pd.DataFrame, options: RecordingOptions | None, margin: int
    ) -> Recording:
        """Read the trials with EEG of a subject's table; their files lie below ``root``.

        Up to ``margin`` s before and after each are read too, where the recording holds them.
        """


def make_segments(
    trials: Path, root: Path, options: SegmentsOptions, out: Path, read: ReadRecording
) -> None:
    """Write the EEG segments of one subject.

    ``trials`` is the subject's table; ``read`` reads the recording that it names, below ``root``.
    Writes ``eeg`` float32 (segment, channel, sample) in µV, ``trial`` and its ``experiment_id``,
    ``position`` (from 0 within the trial), ``start`` in s and ``rejected``, in the order of the
    table, then of position. The EEG of a rejected segment is 0.
    """
    segments = subject_segments(trials, root, options, read)
    provenance = storage.provenance(
        "segments",
        (__name__, read.__module__),
        options.result(),
        {"trials": trials, **segments.inputs},
    )
    with storage.new_h5(out, SEGMENTS, provenance) as file:
        file["eeg"], file["rejected"] = segments.eeg, segments.rejected
        for name, values in zip(Segment._fields, zip(*segments.grid, strict=True), strict=True):
            file[name] = np.array(values, SEGMENTS.schema[name].dtype)
        stimulus = storage.read_table(trials, TRIALS).set_index("trial")["experiment_id"]
        file["experiment_id"] = stimulus[file["trial"][()]].to_numpy(np.int32)
        file.attrs["channels"] = json.dumps(segments.channels)
        file.attrs["sfreq"] = segments.sfreq
        file.attrs["cleaned"] = json.dumps(segments.cleaned, sort_keys=True, allow_nan=False)


def subject_segments(
    trials: Path, root: Path, options: SegmentsOptions, read: ReadRecording
) -> SubjectSegments:
    """The EEG segments of one subject; see :func:`make_segments`.

    Raises :class:`MilmerError` if the table names no recording or another than it was made from, if
    no trial is as long as a segment, or if the recording cannot be cleaned or filtered.
    """
    table = storage.read_table(trials, TRIALS)
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
        zip(table["trial"], table["eeg_seconds"], strict=True), options.segmentation
    )
    if not grid:
        raise no_segment(table["eeg_seconds"].max(), options.segmentation, path)
    recording = read(root, table, options.recording, margin_of(options))
    if absent := {segment.trial for segment in grid} - set(recording.eeg):
        raise MilmerError(f"holds no trial {min(absent)}", where=path)
    try:
        eeg, rejected, cleaned = cut_segments(recording, grid, options)
    except MilmerError as error:
        error.within(path)
        raise
    log_rejected(files[0], len(grid), cleaned.get("rejected", ()))
    if any(recording.dropped.values()):
        cleaned = cleaned | {"not_read": recording.dropped}
    if recording.positions is not None:
        places = {name: [*recording.positions.get(name, ())] for name in recording.channels}
        cleaned = cleaned | {"positions": {name: xyz for name, xyz in places.items() if xyz}}
    return SubjectSegments(
        eeg, rejected, grid, tuple(recording.channels), recording.sfreq, cleaned, digests
    )


def margin_of(options: SegmentsOptions) -> int:
    """Whole s to read before and after a trial: the baseline, and what the filters look at.

    In whole seconds the trial's samples stay on the grid of any rate.
    """
    rate = options.recording.sfreq if options.recording else None
    reach = filter_margin(rate or _USUAL_RATE, options.eeg.notch, options.eeg.band)
    reach += 0.0 if options.eeg.artefacts == "none" else EYE_REACH
    return math.ceil(max(BASELINE_SECONDS, reach))


def cut_segments(
    recording: Recording,
    grid: list[Segment],
    options: SegmentsOptions,
    removal: Removal | None = None,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Clean and filter ``recording`` and cut it into the segments of ``grid``.

    Pass ``removal`` if eye artefacts were fitted on more than this recording. Returns float32
    (segment, channel, sample) in µV, the word why a segment is rejected (segment,), empty where it
    is not, and the report of :func:`~milmer.eeg.cleaning.clean` with the rows ``rejected``. Raises
    :class:`MilmerError` as that does, for a trial with too short a baseline, and for a band or a
    notch that the rate cannot hold.
    """
    sfreq, eeg_options = recording.sfreq, options.eeg
    if eeg_options.artefacts == "auto" and recording.without_eog:
        eeg_options = eeg_options.updated({"artefacts": "none"})
    if eeg_options.layout == "as_published":
        trials, trial_rejections, cleaned = _uncleaned(recording), {}, {}
    else:
        trials, trial_rejections, cleaned = _cleaned(recording, eeg_options, removal)
    length = round(options.segmentation.seconds * sfreq)
    segments = np.zeros((len(grid), len(recording.channels), length), np.float32)
    rejected: dict[Segment, Rejection] = {}
    for number, rows in itertools.groupby(enumerate(grid), lambda row: row[1].trial):
        if number in trial_rejections:
            rejected |= {segment: trial_rejections[number] for _, segment in rows}
            continue
        trial = trials[number]  # (channel, sample)
        before = recording.before(number)
        if eeg_options.baseline != "none" and before < BASELINE_SECONDS:
            raise MilmerError(
                f"{before:.3g} s are recorded before the trial, eeg.baseline "
                f"{eeg_options.baseline} needs {BASELINE_SECONDS:g} s",
                where=f"trial {number}",
                remedy="set it to none",
            )
        onset = round(before * sfreq)  # the first sample of the trial
        if eeg_options.layout == "as_published":
            filtered = band_pass(scramble(trial[:, onset:]), sfreq, eeg_options.band)
        else:
            trial = band_pass(notch(trial, sfreq, eeg_options.notch), sfreq, eeg_options.band)
            filtered = trial[:, onset:]
        judge = _judge(recording, number, cleaned, options)
        usable = []
        for i, segment in rows:
            first = round(segment.start * sfreq)
            part = slice(first, first + length)
            if rejection := judge(segment, part, filtered):
                rejected[segment] = rejection
            else:
                usable.append((i, part))
        if eeg_options.baseline != "none":
            baseline = trial[:, onset - round(BASELINE_SECONDS * sfreq) : onset]
            filtered = correct_baseline(filtered, baseline, eeg_options.baseline)
        for i, part in usable:
            segments[i] = filtered[:, part]
    words = np.array([rejected[s].why if s in rejected else "" for s in grid], "S16")
    return segments, words, cleaned | ({"rejected": report_rows(rejected)} if cleaned else {})


def _uncleaned(recording: Recording) -> dict[int, np.ndarray]:
    """The trials for the published layout, which can leave nothing out."""
    if not recording.referenced:
        raise MilmerError(
            "as_published needs preprocessed recordings",
            where="eeg.layout",
            remedy="set dataset.source to dat or mat",
        )
    for trial, rejection in unusable_trials(recording, use_eog=False).items():
        raise MilmerError(
            f"trial {trial} is unusable: {rejection.why} ({rejection.detail})",
            remedy="copy the file again, or leave the subject out (dataset.subjects)",
        )
    return recording.eeg


def _cleaned(
    recording: Recording, options: EEGOptions, removal: Removal | None
) -> tuple[dict[int, np.ndarray], dict[int, Rejection], dict]:
    """The clean trials that can be used, why the others cannot, and the report of cleaning."""
    channels = list(recording.channels)
    use_eog = chosen_method(recording.eeg, recording.referenced, options) != "none"
    rejected = unusable_trials(recording, use_eog)
    whole = {trial: x for trial, x in recording.eeg.items() if trial not in rejected}
    trials, report = clean(
        whole,
        recording.eog,
        channels,
        recording.sfreq,
        recording.referenced,
        options,
        removal,
        recording.bads,
        recording.positions,
    )
    for trial in whole.keys() - trials.keys():
        bad = bad_in(report, trial)
        names = ", ".join(f"{name} ({why})" for name, why in bad.items())
        detail = f"{len(bad)} of {len(channels)}: {names}"
        rejected[trial] = Rejection("bad channels", detail)
    return trials, rejected, report


def _judge(
    recording: Recording, trial: int, cleaned: dict, options: SegmentsOptions
) -> Callable[[Segment, slice, np.ndarray], Rejection | None]:
    """A function that rejects segments of a trial, or None for those that can be used.

    It takes a segment, its samples in the trial, and the filtered trial (channel, sample).
    """
    reject, raw = options.eeg.reject, recording.eeg[trial]
    onset = round(recording.before(trial) * recording.sfreq)
    marks = recording.marks.get(trial, ()) if reject.marks else ()
    bad = bad_in(cleaned, trial)  # repaired, or kept on purpose
    good = [i for i, name in enumerate(recording.channels) if name not in bad]
    names = [recording.channels[i] for i in good]

    def judge(segment: Segment, part: slice, filtered: np.ndarray) -> Rejection | None:
        if (lacking := part.stop - filtered.shape[1]) > 0:  # the grid tolerates rounding
            return Rejection("too short", f"the recording ends {lacking} samples before it")
        if options.eeg.layout == "as_published":
            return None
        at = slice(onset + part.start, onset + part.stop)
        return marked(segment, options.segmentation.seconds, marks) or out_of_range(
            raw[good, at], filtered[good, part], names, reject
        )

    return judge


def scramble(trial: np.ndarray) -> np.ndarray:
    """Mix channels and time of ``trial`` (channel, sample) as the published code does.

    That code reshapes the array to (sample, channel) where it should transpose it.
    """
    channels, samples = trial.shape
    return trial.reshape(samples, channels).T
