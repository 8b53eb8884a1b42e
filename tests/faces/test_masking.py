"""What has no face is masked all the way: video, crops, tokens, bags, the model's choice."""

import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from skimage.data import astronaut

from milmer import storage
from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold

FPS = 10
OPTIONS = FaceStageOptions.model_validate({"faces": {"detector": "haar"}})


def film(path, seconds, with_face):
    """A clip that shows a face in its first ``with_face`` frames."""
    face = cv2.resize(astronaut()[:240, 100:340], (200, 200))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 360, 288, "yuv420p"
        for i in range(round(seconds * FPS)):
            picture = np.full((288, 360, 3), 128, np.uint8)
            if i < with_face:
                picture[40:240, 80:280] = face
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def files(twin, twin_truth, twin_results, twin_backbone, tmp_path_factory):
    """s01 with trials that lack something: its faces, its tokens and a fold."""
    folder = tmp_path_factory.mktemp("masking")
    root = shutil.copytree(twin, folder / "deap")
    trial_of = {e: t for t, e in enumerate(twin_truth["s01"]["experiment_id"], 1)}
    clips = {
        2: (5, 0),  # no face at all
        4: (4, 40),  # a third of the last segment is covered
        5: (5, 6),  # a face in two of the first segment's frames
    }
    for e, (seconds, with_face) in clips.items():
        film(root / f"face_video/s01/s01_trial{trial_of[e]:02d}.avi", seconds, with_face)
    trials, split = folder / "s01.parquet", folder / "split.parquet"
    table = storage.read_table(twin_results / "trials/s01.parquet")
    table.loc[table["experiment_id"] == 3, "video_file"] = pd.NA
    provenance = storage.read_provenance(twin_results / "trials/s01.parquet")
    storage.write_table(trials, table, provenance)
    faces, tokens = folder / "faces" / "s01.h5", folder / "tokens" / "s01.h5"
    make_faces(trials, root, OPTIONS, faces)
    backbone = {"backbone": {"name": str(twin_backbone)}}
    make_tokens(faces, TokensOptions.model_validate(backbone), tokens)
    make_split([trials], "trial", "s01-k0", SplitOptions(folds=2), split)
    return faces, tokens, split


# experiment_id, position: without video, without a face, hardly covered, a face before it only
LACKING = {(3, 0), (3, 1), (2, 0), (2, 1), (4, 1), (5, 1)}


def test_a_segment_without_a_valid_instance_is_dropped_and_counted(files):
    _, tokens, split = files
    data = read_fold(split, [], [tokens])
    whole = storage.read_table(split)
    keys = ["experiment_id", "position"]
    kept = set(data.table[keys].itertuples(index=False, name=None))
    segments = set(whole[keys].itertuples(index=False, name=None))
    assert segments >= LACKING
    assert kept == segments - LACKING
    lost = whole[[key in LACKING for key in whole[keys].itertuples(index=False, name=None)]]
    assert data.dropped == lost["part"].value_counts().to_dict()


@pytest.mark.parametrize("selection", ["attention_weighted_topk", "evenly_spaced", "random"])
def test_the_model_never_chooses_a_frame_without_a_face_while_it_has_another(files, selection):
    faces, tokens, split = files
    data = read_fold(split, [], [tokens])
    with storage.open_h5(faces, "faces") as file:
        grid = list(zip(file["trial"][()], file["position"][()], strict=True))
        bag, detected = file["bag"][()], file["detected"][()]
    instances, (count, dim) = bag.shape[1], data.tokens.shape
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_heads": 4, "feed_forward": 64, "num_queries": 8}
    config = MilmerConfig(
        options={"modalities": ["face"], "selection": selection, "num_select": 3} | small,
        num_instances=instances,
        num_tokens=count,
        token_dim=dim,
        num_labels=4,
    )
    model = MilmerForEmotionClassification(config).eval()
    rows = np.arange(len(data.table))
    batch = data.batch(rows, torch.device("cpu"))
    with torch.no_grad():
        output = model(**batch)
    fewest = instances
    for row, chosen in zip(rows, output.selected.numpy(), strict=True):
        entry = data.table.iloc[row]
        frames = bag[grid.index((entry.trial, entry.position))]
        seen = np.flatnonzero((frames >= 0) & detected[frames])
        fewest = min(fewest, len(seen))
        assert len(set(chosen) & set(seen)) == min(3, len(seen))
    assert fewest == 2  # of the clip that shows its face for 0.6 s
    # what is left of the choice is masked: whatever stands there changes nothing
    batch["face_tokens"][~batch["valid"]] = 1e3
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, output.logits)
