"""Bags of which it is known which frames carry the class: the planted ones.

``token_bags`` draws tokens. A frame is T of them of unit noise; to half of them a direction is
added: the class's where the frame is planted, else one of as many directions that say nothing of
the class, so that norm and structure are the same.

``twin_bags`` goes the product's way from video: a synthetic twin, the stages trials, faces, tokens
and split, and their files read as the stage train reads them. A planted frame shows the class as an
expression and the others are neutral, so that the scorer has to learn that any expression counts.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from milmer import storage
from milmer.backbone.options import BackboneOptions, TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.deap.synthetic import TwinOptions, synthesize, write_backbone
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.faces.crops import make_faces
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.training.bags import FoldData, read_fold
from milmer.training.options import SplitOptions
from milmer.training.splits import make_split

INSTANCES, CLASSES = 10, 4
_SUBJECTS, _BAGS = 4, 4  # of a twin, and of a trial
_FOLDS = 3  # of which one tests


@dataclass(frozen=True)
class Bags:
    """Tokens (bag, instance, token, dim), classes (bag,), planted and valid (bag, instance).

    What is planted is valid too: a frame whose face was not found can be nobody's choice.
    """

    tokens: Tensor
    labels: Tensor
    planted: Tensor
    valid: Tensor


def token_bags(
    train: int, test: int, k: int, strength: float, seed: int, tokens: int = 4, dim: int = 32
) -> tuple[Bags, Bags]:
    """Training and test bags with ``k`` planted frames each; ``strength`` is the direction's."""
    draw = torch.Generator().manual_seed(seed)
    square = torch.linalg.qr(torch.randn(dim, dim, generator=draw))[0]
    of_class, of_nothing = square[:CLASSES], square[CLASSES : 2 * CLASSES]

    def bags(count: int) -> Bags:
        frames = (count, INSTANCES)
        labels = torch.randint(CLASSES, (count,), generator=draw)
        planted = torch.rand(frames, generator=draw).argsort(1) < k
        token = torch.rand(*frames, tokens, generator=draw).argsort(2) < tokens // 2
        decoys = of_nothing[torch.randint(CLASSES, frames, generator=draw)]
        added = torch.where(planted[..., None], of_class[labels][:, None], decoys)
        noise = torch.randn(*frames, tokens, dim, generator=draw)
        shown = noise + strength * token[..., None] * added[:, :, None]
        return Bags(shown, labels, planted, torch.ones_like(planted))

    return bags(train), bags(test)


def twin_bags(train: int, test: int, k: int, strength: float, seed: int) -> tuple[Bags, Bags]:
    """The same of a twin's faces; ``strength`` is its ``face_signal``.

    ``seed`` draws the twin, the weights of its small random Swin, and the split: all the subjects'
    trials of a stimulus are on one side.
    """
    trials = (train + test) // (_SUBJECTS * _BAGS)
    options = TwinOptions(
        subjects=_SUBJECTS,
        trials=trials,
        seconds=3 * _BAGS,
        seed=seed,
        face_signal=strength,
        informative=k / INSTANCES,
        faceless=0,
        video_missing=0,
        width=240,
        height=192,
        fps=5,
    )
    subjects = [f"s{i:02d}" for i in range(1, _SUBJECTS + 1)]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        made = {
            stage: [root / stage / f"{s}.h5" for s in subjects] for stage in ("faces", "tokens")
        }
        tables = [root / "trials" / f"{s}.parquet" for s in subjects]
        synthesize(root / "twin", options)
        write_backbone(root / "swin", seed)
        # 160 px: there the cascade still finds 99 % of the faces, in half the time
        faces = FacesOptions(instances=INSTANCES, detector="haar", detection_size=160, threads=1)
        threads = torch.get_num_threads()
        backbone = BackboneOptions(name=str(root / "swin"), dtype="float32", threads=threads)
        for i, subject in enumerate(subjects):
            make_trials(root / "twin", subject, TrialsOptions(), tables[i])
            make_faces(tables[i], root / "twin", FaceStageOptions(faces=faces), made["faces"][i])
            make_tokens(made["faces"][i], TokensOptions(backbone=backbone), made["tokens"][i])
        split = SplitOptions(folds=_FOLDS, validation=0, seed=seed)
        make_split(tables, "stimulus", "k0", split, root / "split.parquet")
        data = read_fold(root / "split.parquet", [], made["tokens"])
        truth = json.loads((root / "twin" / "truth.json").read_text())["subjects"]
        shows = [
            shows_class(path, truth[subject], options.fps)
            for subject, path in zip(subjects, made["faces"], strict=True)
        ]
        return tuple(_taken(data, part, np.concatenate(shows)) for part in ("train", "test"))


def shows_class(faces: Path, truth: dict, fps: int) -> np.ndarray:
    """Whether each frame (frame,) of a subject's crops is informative by the twin's ``truth``."""
    with storage.open_h5(faces, "faces") as file:
        numbers = np.rint(file["time"][()] * fps).astype(int)  # of each frame within its clip
        bag, stimuli = file["bag"][()], file["experiment_id"][()]
    shows = np.zeros(len(numbers), bool)
    for experiment_id in np.unique(stimuli):
        clip = truth["videos"][str(truth["experiment_id"].index(experiment_id) + 1)]
        informative = np.zeros(clip["frames"], bool)
        for start, stop in clip["informative"]:
            informative[start:stop] = True
        frames = np.unique(bag[stimuli == experiment_id])
        frames = frames[frames >= 0]
        shows[frames] = informative[numbers[frames]]
    return shows


def _taken(data: FoldData, part: str, shows: np.ndarray) -> Bags:
    """The bags of a part; those without a planted frame that is valid have nothing to find."""
    rows = data.rows(part)
    planted = shows[np.where(data.valid, data.bag, 0)] & data.valid  # (row, instance)
    rows = rows[planted[rows].any(1)]
    batch = data.batch(rows, torch.device("cpu"))
    return Bags(
        batch["face_tokens"], batch["labels"], torch.from_numpy(planted[rows]), batch["valid"]
    )
