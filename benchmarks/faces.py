"""The stage ``faces`` beside bare decoding of the same files with as many threads.

The clips are the synthetic twin's, in DEAP's format: 720 x 576 at 50 fps in H.264. Bare decoding
is PyAV's: every frame is decoded and thrown away. Our stage also counts the frames of each file,
digests it, searches ten frames per 3 s for faces, chooses one person's, smooths the boxes, and
writes and validates the crops. Where no face is ever found, because no score is high enough, each
frame is searched a second time, larger: the most that second searches can cost.
"""

import json
import tempfile
from pathlib import Path

import av
import numpy as np
from timing import arguments, cpu_ratio, interleaved, machine, ratio, table

from milmer import storage
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.faces.crops import make_faces
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.synthetic.twin import TwinOptions, synthesize


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=4, help="clips")
    parser.add_argument("--seconds", type=float, default=60, help="length of a trial")
    parser.add_argument("--dataset", type=Path, help="use s01 of this copy of DEAP, not the twin")
    args = parser.parse_args()
    trials, seconds = (1, 3) if args.quick else (args.trials, args.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = args.dataset
        if root is None:
            root = folder / "deap"
            synthesize(root, TwinOptions(subjects=1, trials=trials, seconds=seconds))
        make_trials(root, "s01", TrialsOptions(), folder / "s01.parquet")
        print(_compare(root, folder, args.threads, args.rounds))
    print()
    print(machine(args.threads, ["av", "opencv-python-headless", "numpy"]))


def _compare(root: Path, folder: Path, threads: int, rounds: int) -> str:
    clips = sorted((root / "face_video" / "s01").iterdir())
    options = {n: FacesOptions(detector=n, threads=threads) for n in ("haar", "yunet")}
    never = options["yunet"].updated({"min_score": 1.0})
    options |= {"yunet, never a face": never}
    options |= {"the same, searched once": never.updated({"second_detection_size": None})}
    decoded: list[int] = []

    def bare() -> None:
        decoded[:] = [_decode(clip, threads) for clip in clips]

    def ours(name: str) -> None:
        stage = FaceStageOptions(faces=options[name])
        make_faces(folder / "s01.parquet", root, stage, folder / f"{name}.h5")

    stages = {name: lambda name=name: ours(name) for name in options}
    timed = interleaved({"bare": bare} | stages, rounds)
    frames = sum(decoded)
    rows = [
        [
            "bare decoding",
            timed["bare"].median,
            frames / timed["bare"].median,
            1.0,
            1.0,
            "",
            "",
        ]
    ]
    truth = json.loads((root / "truth.json").read_text())
    for name in options:
        seconds = timed[name].median
        counts = _detections(folder / f"{name}.h5", truth)
        times = [compare(timed[name], timed["bare"]) for compare in (ratio, cpu_ratio)]
        rows.append([f"our stage, {name}", seconds, frames / seconds, *times, *counts])
    header = ["contestant", "s", "decoded frames/s", "times bare", "of its CPU time"]
    header += ["faces found", "false"]
    return table(header, rows)


def _decode(clip: Path, threads: int) -> int:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        return sum(1 for _ in container.decode(stream))


def _detections(faces: Path, truth: dict) -> tuple[str, str]:
    """Detections in frames with a face, and false ones in frames without, as ``n of m``."""
    with storage.open_h5(faces) as file:
        bag, detected, time = file["bag"][()], file["detected"][()], file["time"][()]
        fps = dict(zip(file.attrs["clip_trial"], file.attrs["clip_fps"], strict=True))
        trials = file["trial"][()]
    if "subjects" not in truth:  # not the twin's
        return f"{detected.sum()} of {len(detected)}", ""
    hidden = np.zeros(len(detected), bool)
    for row, trial in zip(bag, trials, strict=True):
        for frame in row[row >= 0]:
            number = round(time[frame] * fps[trial])
            runs = truth["subjects"]["s01"]["videos"][str(trial)]["faceless"]
            hidden[frame] = any(start <= number < stop for start, stop in runs)
    with_face = detected[~hidden]
    return f"{with_face.sum()} of {len(with_face)}", f"{detected[hidden].sum()} of {hidden.sum()}"


if __name__ == "__main__":
    main()
