"""What does Euclidean alignment gain on people whom the model has not seen?

Synthetic twins whose class is the place where alpha has four times the power, in two versions: as
they are, and with each subject's channels mixed by a matrix of its own, 1 plus Gaussian numbers of
the deviation ``--mixing`` over the root of the number of channels. Each subject is tested under
``loso`` by a small model on EEG alone, with and without ``eeg.alignment``, on the same folds.
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np
from selection import interval
from timing import arguments, machine, table

from milmer import storage
from milmer.deap.recordings import read_recording
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.eeg.options import SegmentsOptions
from milmer.eeg.segments import make_segments
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize
from milmer.training.loop import train_fold
from milmer.training.options import TrainOptions

MODEL = {"modalities": ["eeg"], "hidden_size": 32, "num_heads": 4, "feed_forward": 64}
ALIGNMENTS = ("none", "euclidean")


def mix(root: Path, deviation: float, seed: int) -> None:
    """Mix the 32 EEG channels of each subject by a matrix of its own."""
    for path in sorted(root.glob("data_preprocessed_python/s*.dat")):
        content = pickle.loads(path.read_bytes(), encoding="latin1")  # made above
        rng = np.random.default_rng([seed, int(path.stem[1:])])
        mixing = np.eye(32) + deviation / np.sqrt(32) * rng.normal(size=(32, 32))
        content["data"][:, :32] = mixing @ content["data"][:, :32]
        path.write_bytes(pickle.dumps(content, protocol=2))


def accuracies(folder: Path, options: TwinOptions, deviation: float, epochs: int) -> list[float]:
    """The accuracy of segments over all folds, for each of the alignments."""
    root, subjects = folder / "twin", [f"s{i + 1:02d}" for i in range(options.subjects)]
    synthesize(root, options)
    mix(root, deviation, options.seed)
    trials = [folder / f"trials/{subject}.parquet" for subject in subjects]
    segments = [folder / f"segments/{subject}.h5" for subject in subjects]
    for subject, table_, file in zip(subjects, trials, segments, strict=True):
        make_trials(root, subject, TrialsOptions(), table_)
        make_segments(table_, root, SegmentsOptions(), file, read_recording)
    found = []
    for alignment in ALIGNMENTS:
        stage = TrainOptions(
            model=MODEL,
            training={"epochs": epochs, "lr": 1e-3, "threads": 1},
            alignment=alignment,
        )
        right: list[np.ndarray] = []
        for subject in subjects:
            split, run = folder / f"splits/{subject}.parquet", folder / alignment / subject
            make_split(trials, "loso", subject, SplitOptions(seed=options.seed), split)
            train_fold(split, segments, [], stage, options.seed, run)
            rows = storage.read_table(run / "predictions.parquet", "predictions")
            columns = [name for name in rows if name.startswith("p_")]
            right.append(rows[columns].to_numpy().argmax(1) == rows["label"].to_numpy())
        found.append(float(np.concatenate(right).mean()))
    return found


def main() -> None:
    """Print a table: a row for each strength of the mixing."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--mixing", type=float, nargs="+", default=[0.0, 1.0])
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seeds, chosen.subjects, chosen.trials, chosen.epochs = 1, 2, 8, 1
    rows = []
    for deviation in chosen.mixing:
        found = []
        for seed in range(chosen.seeds):
            options = TwinOptions(
                subjects=chosen.subjects, trials=chosen.trials, seconds=12, seed=seed,
                eeg_class="place", no_video=list(range(1, chosen.subjects + 1)),
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as name:
                found.append(accuracies(Path(name), options, deviation, chosen.epochs))
        plain, aligned = np.array(found).T  # (seed,)
        cells = [interval(list(values)) for values in (plain, aligned, aligned - plain)]
        rows.append([f"{deviation:g}", *cells])
    print(table(["mixing", *ALIGNMENTS, "difference"], rows))
    print(machine(1, ("torch", "numpy")))


if __name__ == "__main__":
    main()
