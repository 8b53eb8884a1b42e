"""Bags with planted frames, which alone carry the class.

``token_bags`` draws tokens. A frame is T tokens of unit noise, to half of which a direction is
added: that of the class if the frame is planted, else one of as many directions that say nothing
about the class, so that norm and structure are the same.

``twin_bags`` starts from video: a synthetic twin goes through the stages trials, faces, tokens and
split, whose files are read as the stage train reads them. A planted frame shows the class as an
expression and the others are neutral, so the scorer has to learn that any expression counts.
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
from milmer.deap.trials import TrialsOptions, make_trials
from milmer.faces.crops import make_faces
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.synthetic.twin import TwinOptions, synthesize, write_backbone
from milmer.training.fold_data import FoldData, read_fold

INSTANCES, CLASSES = 10, 4
_SUBJECTS, _BAGS = 4, 4  # of a twin, and of a trial


@dataclass(frozen=True)
class PlantedBags:
    """Tokens (bag, instance, token, dim), classes (bag,), planted and valid (bag, instance).

    Planted frames are valid: a frame whose face was not detected cannot be chosen.
    """

    tokens: Tensor
    labels: Tensor
    planted: Tensor
    valid: Tensor


def token_bags(
    train: int, test: int, k: int, strength: float, seed: int, tokens: int = 4, dim: int = 32
) -> tuple[PlantedBags, PlantedBags]:
    """Training and test bags with ``k`` planted frames each, of directions of this ``strength``."""
    draw = torch.Generator().manual_seed(seed)
    square = torch.linalg.qr(torch.randn(dim, dim, generator=draw))[0]
    of_class, of_nothing = square[:CLASSES], square[CLASSES : 2 * CLASSES]

    def bags(count: int) -> PlantedBags:
        frames = (count, INSTANCES)
        labels = torch.randint(CLASSES, (count,), generator=draw)
        planted = torch.rand(frames, generator=draw).argsort(1) < k
        token = torch.rand(*frames, tokens, generator=draw).argsort(2) < tokens // 2
        decoys = of_nothing[torch.randint(CLASSES, frames, generator=draw)]
        added = torch.where(planted[..., None], of_class[labels][:, None], decoys)
        noise = torch.randn(*frames, tokens, dim, generator=draw)
        content = noise + strength * token[..., None] * added[:, :, None]
        return PlantedBags(content, labels, planted, torch.ones_like(planted))

    return bags(train), bags(test)


def twin_bags(
    train: int, test: int, k: int, strength: float, seed: int
) -> tuple[PlantedBags, PlantedBags]:
    """About as many bags of a twin's faces; ``strength`` is its ``face_signal``.

    ``seed`` draws the twin, the weights of its small random Swin, and the split, which keeps all
    subjects' trials of a stimulus on one side.
    """
    options = TwinOptions(
        subjects=_SUBJECTS,
        trials=(train + test) // (_SUBJECTS * _BAGS),
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
        folder = Path(name)
        synthesize(folder / "twin", options)
        write_backbone(folder / "swin", seed)
        trials, faces, tokens = zip(*(_make(folder, s) for s in subjects), strict=True)
        folds = max(2, round((train + test) / test))
        split = SplitOptions(folds=folds, validation=0, seed=seed)
        make_split(list(trials), "stimulus", "k0", split, folder / "split.parquet")
        data = read_fold(folder / "split.parquet", [], tokens)
        truth = json.loads((folder / "twin" / "truth.json").read_text())["subjects"]
        shows = np.concatenate(
            [shows_class(f, truth[s], options.fps) for f, s in zip(faces, subjects, strict=True)]
        )
        return _bags_of(data, "train", shows), _bags_of(data, "test", shows)


def _make(folder: Path, subject: str) -> tuple[Path, Path, Path]:
    """Run the stages trials, faces and tokens; returns their files."""
    trials = folder / "trials" / f"{subject}.parquet"
    faces, tokens = (folder / stage / f"{subject}.h5" for stage in ("faces", "tokens"))
    make_trials(folder / "twin", subject, TrialsOptions(), trials)
    # At 160 px the cascade still finds 99 % of the faces, in half the time of the whole picture.
    options = FacesOptions(instances=INSTANCES, detector="haar", detection_size=160, threads=1)
    make_faces(trials, folder / "twin", FaceStageOptions(faces=options), faces)
    backbone = BackboneOptions(
        name=str(folder / "swin"), dtype="float32", threads=torch.get_num_threads()
    )
    make_tokens(faces, TokensOptions(backbone=backbone), tokens)
    return trials, faces, tokens


def shows_class(faces: Path, truth: dict, fps: int) -> np.ndarray:
    """Bool (frame,): which frames of a subject's crops are informative, by the twin's ``truth``."""
    with storage.open_h5(faces, "faces") as file:
        numbers = np.rint(file["time"][()] * fps).astype(int)  # of each frame within its clip
        bag, trials = file["bag"][()], file["trial"][()]
    shows = np.zeros(len(numbers), bool)
    for trial in np.unique(trials):
        clip = truth["videos"][str(trial)]
        informative = np.zeros(clip["frames"], bool)
        for start, stop in clip["informative"]:
            informative[start:stop] = True
        frames = np.unique(bag[trials == trial])
        frames = frames[frames >= 0]
        shows[frames] = informative[numbers[frames]]
    return shows


def _bags_of(data: FoldData, part: str, shows: np.ndarray) -> PlantedBags:
    """The bags of a part, without those in which no valid frame is planted."""
    rows = data.rows(part)
    planted = shows[np.where(data.valid, data.bag, 0)] & data.valid  # (row, instance)
    rows = rows[planted[rows].any(1)]
    batch = data.batch(rows, torch.device("cpu"))
    return PlantedBags(
        batch["face_tokens"], batch["labels"], torch.from_numpy(planted[rows]), batch["valid"]
    )
