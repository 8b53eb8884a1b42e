"""`milmer predict` beside the sum of the pipeline's stages on the same recording.

The recording is one trial of the synthetic twin, in DEAP's format: 32 channels at 128 Hz, and video
of 720 x 576 at 50 fps in H.264. The model has its default size, and Swin-T its real one; weights
are random or trained for one epoch, which does not affect the time. The stages are segments, faces,
tokens and the model on their files; each writes and validates its results, which `milmer predict`
does not. A first, untimed round of both reads weights and the code of libraries.
"""

import tempfile
from pathlib import Path

import torch
from timing import Timed, arguments, interleaved, machine, memory, ratio, table
from tokens import write_swin

from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.model.huggingface import MilmerForEmotionClassification
from milmer.prediction.options import PredictOptions
from milmer.prediction.predict import RecordingFiles, predict
from milmer.runtime.device import fast_bfloat16
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize
from milmer.training.fold_data import read_fold
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

_TRIALS = 2  # one to train on and one to predict


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="length of the recording")
    args = parser.parse_args()
    seconds = 6 if args.quick else 60 * args.minutes
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(Path(name), seconds, args.threads, args.quick)
        bench.prepare()
        print(bench.compare(args.rounds))
    print()
    print(f"Resident memory at its peak: {memory()['peak']:.0f} MiB.")
    print()
    print(machine(args.threads, ["torch", "av", "opencv-python-headless", "numpy"]))


class _Bench:
    """A recording of ``seconds``, a model, and both ways to its predictions."""

    def __init__(self, folder: Path, seconds: float, threads: int, quick: bool):
        self.folder, self.seconds, self.quick = folder, seconds, quick
        self.threads = threads
        self.faces = FaceStageOptions(faces={"threads": threads})
        self.tokens = TokensOptions(backbone={"threads": threads}).updated(
            {"backbone": {"name": "a local directory"}}
        )
        self.root, self.swin = folder / "deap", folder / "swin"

    def prepare(self) -> None:
        """Create the recording, the backbone and a model trained for one epoch."""
        write_swin(self.swin, small=self.quick)
        twin = {"subjects": 1, "trials": 2 * _TRIALS, "seconds": 6, "formats": ["dat"]}
        synthesize(self.folder / "small", TwinOptions(**twin))
        trials, files = self.stages(self.folder / "small", "small")
        split = self.folder / "s01-k0.parquet"
        make_split([trials], "trial", "s01-k0", SplitOptions(folds=2), split)
        training = {"epochs": 1, "threads": self.threads, "select": "last"}
        small = {"hidden_size": 48, "feed_forward": 64} if self.quick else {}
        options = TrainOptions(model=small, training=training, validation=False)
        train_fold(split, [files["segments"]], [files["tokens"]], options, 0, self.folder / "run")
        synthesize(self.root, TwinOptions(**twin | {"trials": 1, "seconds": self.seconds}))

    def stages(self, root: Path, name: str, timed: dict | None = None) -> tuple[Path, dict]:
        """Run the stages; returns their files, and adds to ``timed`` a function per stage."""
        trials = self.folder / name / "trials/s01.parquet"
        files = {n: self.folder / name / n / "s01.h5" for n in ("segments", "faces", "tokens")}
        make_trials(root, "s01", TrialsOptions(), trials)
        runs = {
            "segments": lambda: make_segments(
                trials, root, SegmentsOptions(), files["segments"], read_recording
            ),
            "faces": lambda: make_faces(trials, root, self.faces, files["faces"]),
            "tokens": lambda: make_tokens(
                files["faces"], self.tokens, files["tokens"], str(self.swin)
            ),
        }
        for run in runs.values():
            run()
        if timed is not None:
            timed |= runs
        return trials, files

    def compare(self, rounds: int) -> str:
        """Time both, and each stage; returns the table."""
        contestants: dict = {}
        trials, files = self.stages(self.root, "whole", contestants)
        split = self.folder / "whole/s01-k0.parquet"
        make_split([trials], "segment", "s01", SplitOptions(validation=0), split)
        contestants["model"] = lambda: self.model(split, files)
        (eeg,) = self.root.rglob("s01.dat")
        (video,) = self.root.rglob("s01_trial01.avi")
        options = PredictOptions(trial=1, backbone=str(self.swin))
        contestants["predict"] = lambda: predict(
            self.folder / "run", RecordingFiles(eeg, video), options, self.folder / "out"
        )
        timed = interleaved(contestants, rounds)
        predict_times = timed.pop("predict")
        stage_times = Timed(tuple(map(sum, zip(*(t.seconds for t in timed.values()), strict=True))))
        rows = [[f"stage {n}", t.median, self.seconds / t.median, ""] for n, t in timed.items()]
        for name, times in (("sum of the stages", stage_times), ("milmer predict", predict_times)):
            speed = self.seconds / times.median
            rows.append([name, times.median, speed, ratio(times, stage_times)])
        return table(["contestant", "s", "times real time", "times the sum"], rows)

    def model(self, split: Path, files: dict[str, Path]) -> None:
        """Run the model on the files of the stages, in batches of the size of training."""
        model = MilmerForEmotionClassification.from_pretrained(self.folder / "run/model").eval()
        data, device = read_fold(split, [files["segments"]], [files["tokens"]]), model.device
        fast = fast_bfloat16(device)
        for first in range(0, len(data.table), 14):
            rows = data.table.index.to_numpy()[first : first + 14]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
                model(**data.batch(rows, device))


if __name__ == "__main__":
    main()
