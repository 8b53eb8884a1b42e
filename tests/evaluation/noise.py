"""Studies of noise: EEG in which a class can be told from something that is no emotion, or not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from milmer import storage
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.tokens import TOKENS
from milmer.data.options import LabelsOptions
from milmer.evaluation.control_options import ControlsOptions
from milmer.evaluation.controls import make_controls
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from tests.asymmetric import complete_trials

CHANNELS = [f"E{i}" for i in range(1, 7)]
SFREQ, SECONDS, POSITIONS = 32.0, 3, 2
LABELS = {"scheme": "valence"}


@dataclass
class Noise:
    """A study's files; ``folds`` of each protocol once it was split."""

    folder: Path
    subjects: list[str]
    rng: np.random.Generator
    folds: dict[str, list[str]]
    sessions: int = 0

    def files(self, kind: str) -> list[Path]:
        suffix = "parquet" if kind == "trials" else "h5"
        return [self.folder / kind / f"{s}.{suffix}" for s in self.subjects]

    def split(self, protocol: str, folds: int = 4) -> None:
        options = SplitOptions(labels=LabelsOptions(**LABELS), folds=folds)
        sessions = dict.fromkeys(self.subjects, self.sessions)
        self.folds[protocol] = fold_names(protocol, self.subjects, folds, sessions)
        for fold in self.folds[protocol]:
            wanted = fold_subjects(protocol, fold, self.subjects)
            paths = [p for p in self.files("trials") if p.stem in wanted]
            out = self.folder / "splits/default" / protocol / f"{fold}.parquet"
            make_split(paths, protocol, fold, options, out)

    def controls(self, protocol: str, draws: int = 99, *, with_faces: bool = False) -> pd.DataFrame:
        """The table of controls, by features and control."""
        out = self.folder / "controls/default" / f"{protocol}.parquet"
        make_controls(
            self.folder / "splits/default" / protocol,
            self.files("trials"),
            self.files("segments"),
            self.files("tokens") if with_faces else [],
            ControlsOptions(folds=self.folds[protocol], control_draws=draws),
            out,
        )
        return storage.read_table(out, "controls").set_index(["features", "control"])


def make_noise(
    folder: Path, subjects: int = 4, trials: int = 16, seed: int = 0, sessions: int = 0, **what
) -> Noise:
    """A study in which the class, 0 or 1, of each trial is ``what["label"]``.

    A callable of the subject, the places in presentation order and the stimuli of a subject's
    trials; as are ``eeg`` and ``face``, what is added to the log amplitude of each channel (trial,
    channel) and to the tokens (trial, dim), which get the class too. With ``sessions`` the trials
    of a subject are in so many, of equal length.
    """
    rng = np.random.default_rng(seed)
    names = [f"s{i:02d}" for i in range(1, subjects + 1)]
    nothing = lambda subject, order, stimulus, label: np.zeros((trials, len(CHANNELS)))  # noqa: E731
    for subject, name in enumerate(names):
        stimulus = np.arange(1, trials + 1)
        order = rng.permutation(trials) + 1
        label = np.asarray(what["label"](subject, order, stimulus, rng)).astype(int)
        table = pd.DataFrame({"subject": name, "trial": order, "experiment_id": stimulus})
        table["valence"] = np.where(label == 1, 7.0, 3.0)
        table["eeg_file"], table["eeg_seconds"] = f"{name}.bdf", float(SECONDS * POSITIONS)
        table["video_file"] = f"{name}.avi"
        table = table.astype({"trial": "int32", "experiment_id": "int32"})
        if sessions:
            table["session"] = [f"visit{(n - 1) * sessions // trials}" for n in order]
        made = storage.provenance("trials", "milmer.errors", {}, {})
        path = folder / "trials" / f"{name}.parquet"
        storage.write_table(path, complete_trials(table), made)
        gain = what.get("eeg", nothing)(subject, order, stimulus, label)
        eeg = rng.normal(size=(trials, POSITIONS, len(CHANNELS), int(SFREQ * SECONDS))) * 10
        eeg *= np.exp(gain)[:, None, :, None]
        grid = _grid(order)
        options = {"segmentation": {"seconds": float(SECONDS), "overlap": 0.0}}
        made = storage.provenance("segments", "milmer.errors", options, {"trials": path})
        with storage.new_h5(folder / "segments" / f"{name}.h5", SEGMENTS, made) as file:
            file["eeg"] = eeg.reshape(-1, *eeg.shape[2:]).astype(np.float32)
            file["start"] = (grid["position"] * SECONDS).astype(np.float32)
            file["experiment_id"] = np.repeat(stimulus, POSITIONS).astype(np.int32)
            file["rejected"] = np.zeros(len(grid["position"]), "S16")
            for key, values in grid.items():
                file[key] = values
            file.attrs.update(channels=str(CHANNELS).replace("'", '"'), sfreq=SFREQ, cleaned="{}")
        shift = what.get("face", nothing)(subject, order, stimulus, label)
        tokens = rng.normal(size=(trials * POSITIONS * 2, 3, shift.shape[1]))
        tokens += np.repeat(shift, POSITIONS * 2, axis=0)[:, None]
        made = storage.provenance("tokens", "milmer.errors", {}, {})
        faces = storage.provenance("faces", "milmer.errors", options, {"trials": path})
        made["upstream"] = {"faces": faces}
        with storage.new_h5(folder / "tokens" / f"{name}.h5", TOKENS, made) as file:
            file["tokens"] = tokens.astype(np.float16)
            file["bag"] = np.arange(len(tokens), dtype=np.int32).reshape(-1, 2)
            file["valid"] = np.ones((len(tokens) // 2, 2), bool)
            for key, values in grid.items():
                file[key] = values
    return Noise(folder, names, rng, {}, sessions)


def _grid(trial: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "trial": np.repeat(trial, POSITIONS).astype(np.int32),
        "position": np.tile(np.arange(POSITIONS), len(trial)).astype(np.int32),
    }


def balanced(count: int, rng: np.random.Generator) -> np.ndarray:
    """As many trials of one class as of the other, in random order."""
    return rng.permutation(np.arange(count) % 2)


def pattern(*key: int) -> np.ndarray:
    """A pattern of log amplitudes over channels that belongs to ``key``."""
    return np.random.default_rng([7, *key]).normal(0, 0.4, len(CHANNELS))


HALF = {
    "label": lambda subject, order, stimulus, rng: order > len(order) // 2,
    # A cap that dries: amplitudes change slowly over the session.
    "eeg": lambda subject, order, stimulus, label: (
        order[:, None] / len(order) * 2 * pattern(subject)
    ),
}
DRIFT = HALF | {"label": lambda subject, order, stimulus, rng: (order - 1) // 4 % 2}
FIRST_HALVES = HALF | {  # of each of two sessions
    "label": lambda subject, order, stimulus, rng: (
        (order - 1) % (len(order) // 2) >= len(order) // 4
    ),
    "eeg": lambda subject, order, stimulus, label: (
        (order[:, None] - 1) % (len(order) // 2) / len(order) * 4 * pattern(subject)
    ),
}
TRACE = {
    "label": lambda subject, order, stimulus, rng: stimulus % 2,
    "eeg": lambda subject, order, stimulus, label: np.stack([pattern(1, s) for s in stimulus]),
}
SUBJECTS = {
    "label": lambda subject, order, stimulus, rng: np.full(len(order), subject % 2),
    "eeg": lambda subject, order, stimulus, label: np.tile(pattern(2, subject), (len(order), 1)),
}
EMOTION = {
    "label": lambda subject, order, stimulus, rng: balanced(len(order), rng),
    "eeg": lambda subject, order, stimulus, label: 0.3 * label[:, None] * [1, -1, 1, 0, 0, 1],
}
NOTHING = {"label": EMOTION["label"]}
