"""Stage ``faces``: from a subject's face videos to bags of face crops.

Of every segment, N frames, evenly spaced over the part that the clip covers, are searched for
faces, in threads beside the decoder. One person of the clip is chosen (``faces.choice``), whose
boxes are smoothed over time (``faces.smoothing``) and cropped. A frame without this person's face
borrows the box of the nearest frame with it and is marked as not detected.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.faces import FACES, FOUND
from milmer.contracts.trials import TRIALS
from milmer.data.segmentation import Segment, segment_grid
from milmer.errors import MilmerError
from milmer.faces.clocks import on_trial, read_times, times_of
from milmer.faces.cropper import Crop, Cropper, Found
from milmer.faces.model_files import model_digest
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.readers.seekable_video import probe
from milmer.readers.video import Clip
from milmer.runtime.progress import track

NO_FACE_REMEDY = (
    "faces that are small in the picture are found at a larger faces.second_detection_size, and "
    "contact sheets (milmer faces --sheet) show what was found"
)
"""What to do where no face is found."""

_BUFFERED = 256  # crops that are collected before they are written
_log = logging.getLogger(__name__)


def make_faces(trials: Path, root: Path, options: FaceStageOptions, out: Path) -> None:
    """Write the face crops of one subject.

    ``trials`` is the subject's table; the clips that it names lie below ``root``. Writes the
    datasets of :mod:`milmer.contracts.faces`: ``box`` is left, top, width and height of the face
    in px of the video, ``time`` is in s from the start of the music video, ``faces_seen`` is the
    number of faces in the whole frame, ``track`` that of the face's track in its clip, from 1, or 0
    where the box is borrowed, ``bag`` (segment, instance) indexes frames and is −1 where there is
    none. The rows of ``bag`` are the segment grid, the rows of the subject's EEG segments.
    ``clip_*`` is what was found in each clip, in the order of the table. Raises
    :class:`MilmerError` if no trial has both EEG and video, if a clip cannot be read or ends before
    its trial, or if the detector cannot be loaded.
    """
    table = storage.read_table(trials, TRIALS)
    grid = segment_grid(
        zip(table["trial"], table["eeg_seconds"], strict=True), options.segmentation
    )
    clips = table.dropna(subset=["video_file"])
    if not grid or clips.empty:
        raise nothing_to_crop(trials)
    provenance = storage.provenance(
        "faces", __name__, options.result(), _inputs(trials, clips, root, options)
    )
    probe_clip = probe_of(options.faces)
    bag = np.full((len(grid), options.faces.instances), -1, np.int32)
    facts = {"trial": [], "fps": [], "width": [], "height": [], "frames": []}
    summaries = []
    faceless, uncovered = [], []
    with (
        storage.new_h5(out, FACES, provenance) as file,
        Cropper(options.faces) as cropper,
    ):
        frames = _Frames(file)
        for row in track(clips.itertuples(), table["subject"].iloc[0], len(clips)):
            path = Path(root) / row.video_file
            clip = on_trial(row, probe_clip(path, times_of(row, root)), path)
            numbers = numbers_of(grid, row.trial, clip, options)
            wanted = union(numbers)
            summary, crops = cropper.crops(path, clip, wanted, place_of(row))
            summaries.append(summary)
            index_of = {c.number: frames.add(c, clip.time(c.number)) for c in crops}
            if wanted.size and not index_of:
                faceless.append(int(row.trial))
            for i, in_segment in numbers.items():
                indices = [index_of[n] for n in in_segment if n in index_of]
                bag[i, : len(indices)] = indices
                if not in_segment.size:
                    uncovered.append(int(row.trial))
            for name, value in zip(
                facts, (row.trial, clip.fps, clip.width, clip.height, clip.frames), strict=True
            ):
                facts[name].append(value)
        frames.flush()
        file["bag"] = bag
        file["trial"] = np.array([s.trial for s in grid], np.int32)
        file["position"] = np.array([s.position for s in grid], np.int32)
        for name, values in facts.items():
            file.attrs[f"clip_{name}"] = values
        for name, values in zip(FOUND, zip(*summaries, strict=True), strict=True):
            file[f"clip_{name}"] = np.array(values, np.int32)
        file.attrs["trials_without_face"] = np.array(faceless, np.int32)
    _log.info("%s: %s", out.stem, Found(*map(sum, zip(*summaries, strict=True))))
    several = [t for t, clip in zip(facts["trial"], summaries, strict=True) if clip.several > 1]
    if several and options.faces.choice == "participant":
        _log.warning(
            "%s: several faces in the videos of trials %s; look at contact sheets (--sheet) to see "
            "whether the participant's is cropped, or say where it is (column face of a manifest)",
            out.stem,
            sorted(several),
        )
    if uncovered:
        _log.info(
            "%d segments are not covered by their video, of trials %s",
            len(uncovered),
            sorted(set(uncovered)),
        )
    if faceless:
        _log.warning(
            "%s: no face in the videos of trials %s; %s", out.stem, faceless, NO_FACE_REMEDY
        )


def nothing_to_crop(where: object) -> MilmerError:
    """The error of a subject without a trial that has both EEG and video."""
    return MilmerError(
        "no trial has both EEG and face video, there is nothing to crop",
        where=where,
        remedy="leave the subject out (dataset.subjects), or set model.modalities to [eeg]",
    )


def probe_of(options: FacesOptions) -> Callable[[Path, Path | None], Clip]:
    """The function that probes a video and logs what is unusual, once for all of its trials.

    With a table of when its frames are shown on the clock of the EEG, the clip is on that clock.
    """

    @functools.cache
    def probed(path: Path, times: Path | None = None) -> Clip:
        stamps = None if times is None else read_times(times)
        clip = probe(path, options.video_stream, stamps)
        for note in clip.notes:
            _log.warning("%s: %s", path.name, note)
        return clip

    return probed


def place_of(row: tuple) -> str | None:
    """Where the face of a trial is, as its manifest's column face says; None where it does not."""
    place = getattr(row, "face", None)
    return place if isinstance(place, str) else None


def numbers_of(
    grid: Sequence[Segment],
    trial: int,
    clip: Clip,
    options: FaceStageOptions,
) -> dict[int, np.ndarray]:
    """The frame numbers of each segment of a trial, by the segment's row in ``grid``."""
    return {
        row: frame_numbers(
            segment,
            clip,
            options.segmentation.seconds,
            options.faces.instances,
            options.faces.min_coverage,
        )
        for row, segment in enumerate(grid)
        if segment.trial == trial
    }


def union(numbers: Mapping[int, np.ndarray]) -> np.ndarray:
    """All these frame numbers in rising order; one that segments share occurs once."""
    return np.array(sorted(set().union(*numbers.values())), int)


def frame_numbers(
    segment: Segment,
    clip: Clip,
    seconds: float,
    instances: int,
    min_coverage: float = 0.0,
    start: float = 0.0,
) -> np.ndarray:
    """Numbers of up to ``instances`` frames, evenly spaced over what the clip covers of a segment.

    They are the middles of equal parts, without repetitions and without those in a stall of the
    camera; none if the clip covers less than the share ``min_coverage`` of the segment of
    ``seconds``. ``start`` is where the trial starts in the clip, in s.
    """
    begin = start + segment.start
    first, last = max(begin, clip.time(0)), min(begin + seconds, clip.seconds)
    if first >= last:
        return np.array([], int)
    times = first + (np.arange(instances) + 0.5) / instances * (last - first)  # (instance,)
    numbers = clip.at(times)
    covered = (last - first) * (numbers >= 0).mean()
    if covered < min_coverage * seconds - 1e-3:  # 1 ms of tolerance
        return np.array([], int)
    return np.unique(numbers[numbers >= 0])


def _inputs(
    trials: Path, clips: pd.DataFrame, root: Path, options: FaceStageOptions
) -> dict[str, Path | str]:
    inputs: dict[str, Path | str] = {"trials": trials}
    for clip in clips.itertuples():
        inputs[f"video{clip.trial:02d}"] = storage.digest(Path(root) / clip.video_file)
        if isinstance(times := getattr(clip, "video_times", None), str):
            inputs[f"times{clip.trial:02d}"] = storage.digest(Path(root) / times)
    model = model_digest(options.faces)
    return inputs | ({"detector_model": model} if model else {})


_NUMBERS = ("score", "detected", "faces_seen", "track", "time")  # of a frame


class _Frames:
    """The per-frame datasets of the file, appended to frame by frame."""

    def __init__(self, file: h5py.File):
        jpeg = h5py.vlen_dtype(np.uint8)
        self._data = {
            "image": file.create_dataset("image", (0,), jpeg, maxshape=(None,)),
            "box": file.create_dataset("box", (0, 4), "float32", maxshape=(None, 4)),
        } | {
            name: file.create_dataset(name, (0,), FACES.schema[name].dtype, maxshape=(None,))
            for name in _NUMBERS
        }
        self._buffer: list[tuple] = []

    def __len__(self) -> int:
        return len(self._data["score"]) + len(self._buffer)

    def add(self, crop: Crop, time: float) -> int:
        """Append a frame; returns its index."""
        numbers = (crop.score, crop.detected, crop.faces_seen, crop.track, time)
        self._buffer.append((crop.image, crop.box, *numbers))
        index = len(self) - 1
        if len(self._buffer) >= _BUFFERED:
            self.flush()
        return index

    def flush(self) -> None:
        """Write the buffered frames."""
        if not self._buffer:
            return
        columns = dict(zip(self._data, zip(*self._buffer, strict=True), strict=True))
        for name, data in self._data.items():
            first = len(data)
            data.resize(first + len(self._buffer), axis=0)
            if name == "image":
                for i, image in enumerate(columns["image"]):
                    data[first + i] = image
            else:
                data[first:] = np.array(columns[name], data.dtype)
        self._buffer.clear()
