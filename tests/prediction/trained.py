"""Runs that the tests of prediction share: small models of the twin, trained as the rules do."""

from pathlib import Path

import av
import numpy as np
import pytest

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.evaluation import evaluate
from milmer.metrics.calibration import fit_temperature
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

MODEL = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}


def train(
    out: Path,
    trials: Path,
    segments: list[Path],
    tokens: list[Path],
    model: dict | None = None,
    split: SplitOptions | None = None,
    **training: object,
) -> Path:
    """Train ``s01-k0`` of the protocol trial; returns the run's folder."""
    own = split or SplitOptions(folds=2)
    table = out / "s01-k0.parquet"
    make_split([trials], "trial", "s01-k0", own, table)
    how = {"epochs": 2, "threads": 1, "lr": 1e-3, "batch_size": 4} | training
    options = TrainOptions(model=MODEL | (model or {}), training=how)
    train_fold(table, segments, tokens, options, 0, out / "seed0")
    with pytest.MonkeyPatch.context() as patch:  # the validation part is too small for the rule
        patch.setattr(
            evaluate, "validated_temperature", lambda truth, p, _: fit_temperature(truth, p)
        )
        evaluate.evaluate_run(out / "seed0")
    return out / "seed0"


def originals(root: Path, folder: Path, eeg: dict | None = None) -> tuple[Path, Path]:
    """Trials and segments of the twin's original recording of s01."""
    trials, segments = folder / "trials/s01.parquet", folder / "segments/s01.h5"
    make_trials(root, "s01", TrialsOptions(source="bdf"), trials)
    make_segments(trials, root, SegmentsOptions(eeg=eeg or {}), segments, read_recording)
    return trials, segments


def film(path: Path, clips: list[Path | None], seconds: float, fps: int = 10) -> Path:
    """A video of ``seconds`` of each clip after the other; None is black."""
    frames: list[np.ndarray] = []
    size = None
    for clip in clips:
        if clip is not None and size is None:
            with av.open(str(clip)) as container:
                size = next(container.decode(video=0)).to_ndarray(format="rgb24").shape
    size = size or (96, 128, 3)
    count = round(seconds * fps)
    for clip in clips:
        if clip is None:
            frames += [np.zeros(size, np.uint8)] * count
            continue
        with av.open(str(clip)) as container:
            held = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        frames += (held * (1 + count // len(held)))[:count]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
        for picture in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def clip(twin: Path, made: tuple, experiment_id: int) -> Path:
    """The video of a trial of s01."""
    table = storage.read_table(made[0]).set_index("experiment_id")
    return twin / table.loc[experiment_id, "video_file"]
