import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.data import astronaut

from milmer import storage
from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.data.segmentation import Segment
from milmer.faces import crops
from milmer.faces.bags import decode_crop
from milmer.faces.cropper import crop
from milmer.faces.crops import frame_numbers, make_faces
from milmer.faces.detection import Face
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.readers.video import Clip

FPS = 10  # of the twin


def options(seconds=3, **faces):
    faces = {"detector": "haar"} | faces
    return FaceStageOptions.model_validate({"faces": faces, "segmentation": {"seconds": seconds}})


def read(path):
    with storage.open_h5(path, "faces") as file:
        return {name: data[()] for name, data in file.items()}, dict(file.attrs)


def numbers(data):
    """The number of each frame within its clip."""
    return np.rint(data["time"] * FPS).astype(int)


def flags(runs, count):
    marked = np.zeros(count, bool)
    for start, stop in runs:
        marked[start:stop] = True
    return marked


@pytest.fixture
def make(twin, twin_results, tmp_path):
    """Make the faces of some trials of s01, by experiment_id; returns the file's path."""

    def run(experiment_ids, root=twin, out="s01.h5", **faces_options):
        table = storage.read_table(twin_results / "trials" / "s01.parquet")
        table = table[table["experiment_id"].isin(experiment_ids)].reset_index(drop=True)
        provenance = storage.provenance("trials", "milmer.deap.trials", {}, {})
        storage.write_table(tmp_path / "s01.parquet", table, provenance)
        make_faces(tmp_path / "s01.parquet", root, options(**faces_options), tmp_path / "out" / out)
        return tmp_path / "out" / out

    return run


@pytest.fixture
def changed(twin, twin_truth, tmp_path):
    """A copy of the twin in which the clip of an experiment_id of s01 is other than it was."""

    def change(experiment_id, edit):
        root = shutil.copytree(twin, tmp_path / "deap")
        trial = twin_truth["s01"]["experiment_id"].index(experiment_id) + 1
        edit(root / "face_video" / "s01" / f"s01_trial{trial:02d}.avi")
        return root

    return change


def blank(path, seconds=5):
    """A clip of a plain wall."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 360, 288, "yuv420p"
        for i in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(np.full((288, 360, 3), 128, np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# ----------------------------------------------------------------- which frames


@pytest.mark.parametrize("instances", [1, 3, 10, 25])
@pytest.mark.parametrize("position", [0, 7, 18, 19])
def test_frames_are_evenly_spaced_over_what_the_clip_covers(position, instances):
    clip = Clip(50.0, 2952, 720, 576)  # 59.04 s of 60 s
    chosen = frame_numbers(Segment(1, position, 3.0 * position), clip, 3.0, instances)
    first, last = 150 * position, min(150 * position + 150, 2952)
    assert len(chosen) == instances
    assert first <= chosen[0]
    assert chosen[-1] < last
    steps = np.diff([first, *chosen, last])
    assert steps[1:-1].max(initial=0) - steps[1:-1].min(initial=1000) <= 1
    assert abs(steps[0] - steps[-1]) <= 2  # as far from the start as from the end


def test_a_frame_is_never_taken_twice():
    chosen = frame_numbers(Segment(1, 0, 0.0), Clip(5.0, 100, 64, 64), 1.0, 10)
    assert chosen.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("start", "count"), [(6.0, 0), (9.0, 0), (5.9, 1), (5.6, 4)])
def test_no_frame_lies_beyond_the_clip(start, count):
    chosen = frame_numbers(Segment(1, 2, start), Clip(10.0, 60, 64, 64), 3.0, 10)
    assert len(chosen) == count
    assert (chosen < 60).all()


@pytest.mark.parametrize(
    ("min_coverage", "count"), [(0.0, 10), (0.5, 10), (0.68, 10), (0.69, 0), (1.0, 0)]
)
def test_a_segment_that_the_video_covers_too_little_of_has_no_frames(min_coverage, count):
    clip = Clip(50.0, 2952, 720, 576)  # 2.04 s of the last segment, as in DEAP
    assert len(frame_numbers(Segment(1, 19, 57.0), clip, 3.0, 10, min_coverage)) == count
    assert len(frame_numbers(Segment(1, 18, 54.0), clip, 3.0, 10, min_coverage)) == 10


def test_the_last_segment_of_a_trial_of_deap_is_kept_by_default():
    assert FacesOptions().min_coverage < 2.04 / 3


# --------------------------------------------------------------------- on the twin


def test_rows_are_those_of_the_eeg_segments(twin_results):
    for subject in ("s01", "s02"):
        data, _ = read(twin_results / "faces/default" / f"{subject}.h5")
        with storage.open_h5(twin_results / "segments/default" / f"{subject}.h5") as segments:
            for name in ("trial", "position"):
                np.testing.assert_array_equal(data[name], segments[name][()])
        assert data["bag"].shape == (16, 10)


def test_every_bag_holds_the_frames_of_its_segment_and_its_trial(twin_results, twin_truth):
    data, about = read(twin_results / "faces/default/s01.h5")
    number = numbers(data)
    assert sorted(data["bag"].ravel()) == list(range(len(number)))
    for bag, trial, position in zip(data["bag"], data["trial"], data["position"], strict=True):
        e = twin_truth["s01"]["experiment_id"][trial - 1]
        assert trial == about["clip_trial"][e - 1]
        frames = twin_truth["s01"]["videos"][str(trial)]["frames"]
        assert about["clip_frames"][e - 1] == frames
        clip = Clip(FPS, frames, 360, 288)
        expected = frame_numbers(Segment(trial, position, 3.0 * position), clip, 3.0, 10)
        np.testing.assert_array_equal(number[bag], expected)
    assert about["clip_fps"] == pytest.approx(FPS)


def test_frames_without_a_face_borrow_the_nearest_box_and_are_marked(twin_results, twin_truth):
    borrowed = 0
    for subject, truth in twin_truth.items():
        data, _ = read(twin_results / "faces/default" / f"{subject}.h5")
        number = numbers(data)
        for trial in range(1, 9):
            video = truth["videos"][str(trial)]
            bags = data["bag"][data["trial"] == trial].ravel()
            seen, at, box = data["detected"][bags], number[bags], data["box"][bags]
            faceless = flags(video["faceless"], video["frames"])[at]
            assert not seen[faceless].any()
            assert seen[~faceless].mean() > 0.95
            assert (data["score"][bags][~seen] == 0).all()
            for i in np.flatnonzero(~seen):
                distance = np.abs(at[seen] - at[i])
                lenders = box[seen][distance == distance.min()]
                assert (lenders == box[i]).all(axis=1).any()
                borrowed += 1
    assert borrowed > 3


def test_borrowed_boxes_are_valid_only_where_they_are_allowed(
    twin_results, twin_backbone, tmp_path
):
    faces = twin_results / "faces/default/s01.h5"
    data, _ = read(faces)
    with storage.open_h5(twin_results / "tokens/default/default/s01.h5", "tokens") as file:
        np.testing.assert_array_equal(file["valid"][()], data["detected"][data["bag"]])
        assert not file["valid"][()].all()
    allowed = TokensOptions.model_validate(
        {"backbone": {"name": str(twin_backbone)}, "use_borrowed_boxes": True}
    )
    make_tokens(faces, allowed, tmp_path / "s01.h5")
    with storage.open_h5(tmp_path / "s01.h5", "tokens") as file:
        assert file["valid"][()].all()


def test_boxes_and_crops_are_of_the_face(twin_results):
    data, _ = read(twin_results / "faces/default/s01.h5")
    centre = data["box"][:, :2] + data["box"][:, 2:] / 2
    assert (np.abs(centre - [180, 150]) < 40).all()  # where the twin draws it
    sides = [cv2.imdecode(image, cv2.IMREAD_COLOR).shape for image in data["image"]]
    assert set(sides) == {(224, 224, 3)}


def test_the_number_of_threads_changes_nothing(make):
    first, second = (make([1, 2], out=f"{n}.h5", threads=n) for n in (1, 3))
    assert first.read_bytes() == second.read_bytes()


def test_another_number_of_instances_and_seconds(make):
    data, about = read(make([1], instances=4, seconds=2, size=64))
    assert data["bag"].shape == (3, 4)
    assert about["clip_frames"].tolist() == [50]
    assert cv2.imdecode(data["image"][0], cv2.IMREAD_COLOR).shape == (64, 64, 3)


def test_frames_that_segments_share_are_stored_once(make, monkeypatch):
    def overlapping(trials, _):
        return [Segment(t, p, 1.5 * p) for t, _ in trials for p in range(3)]

    monkeypatch.setattr(crops, "segment_grid", overlapping)
    data, _ = read(make([1, 2], instances=6))
    number = numbers(data)
    for trial in np.unique(data["trial"]):
        bags = data["bag"][data["trial"] == trial]
        for position, bag in enumerate(bags):
            segment = Segment(trial, position, 1.5 * position)
            expected = frame_numbers(segment, Clip(FPS, 50, 360, 288), 3.0, 6)
            np.testing.assert_array_equal(number[bag], expected)
        shared = set(bags[0]) & set(bags[1])
        assert len(shared) == 3
        stored = number[np.unique(bags)]
        assert len(set(stored)) == len(stored)
    assert len(number) == len(np.unique(data["bag"]))


def two_faces(path):
    """A clip with a face on the left, and from frame 25 on a larger one on the right as well."""
    whole = astronaut()[:240, 100:340]
    small, large = (cv2.resize(whole, (side, side)) for side in (160, 260))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 480, 288, "yuv420p"
        for i in range(5 * FPS):
            picture = np.full((288, 480, 3), 128, np.uint8)
            picture[80:240, 5 + i : 165 + i] = small
            if i >= 25:
                picture[20:280, 215:475] = large
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("threads", [1, 3])
def test_a_larger_face_that_enters_is_taken_only_where_the_largest_is_asked_for(
    make, changed, threads
):
    root = changed(1, two_faces)
    right = {}
    for choice in ("participant", "largest"):
        data, _ = read(make([1], root, f"{choice}.h5", choice=choice, threads=threads))
        seen = data["detected"]
        right[choice] = data["box"][seen, 0] > 200
        later = numbers(data)[seen] >= 25
        assert later.any()
        assert (~later).any()
    assert not right["participant"].any()
    np.testing.assert_array_equal(right["largest"], later)


def test_the_number_of_threads_changes_nothing_where_there_are_two_faces(make, changed):
    root = changed(1, two_faces)
    first, second = (make([1], root, f"{n}.h5", threads=n) for n in (1, 3))
    assert first.read_bytes() == second.read_bytes()


def test_smoothed_boxes_are_those_that_are_cropped(make):
    rough, _ = read(make([1], out="rough.h5", instances=30, smoothing=0, margin=0))
    smooth, _ = read(make([1], out="smooth.h5", instances=30, smoothing=0.5, margin=0))
    np.testing.assert_array_equal(rough["detected"], smooth["detected"])
    np.testing.assert_array_equal(rough["time"], smooth["time"])
    both = rough["detected"][:-1] & rough["detected"][1:]
    steps = [np.abs(np.diff(h["box"][:, 2]))[both].mean() for h in (rough, smooth)]
    assert steps[1] < 0.5 * steps[0]
    moved = np.abs(rough["box"] - smooth["box"]).max(axis=1)
    most, least = np.argmax(moved), np.argmin(moved)
    differs = [
        np.abs(decode_crop(rough["image"][i]).astype(int) - decode_crop(smooth["image"][i])).mean()
        for i in (most, least)
    ]
    assert differs[0] > differs[1]


# ------------------------------------------------------------- what may be missing


def test_segments_that_the_video_hardly_covers_have_no_frames(make, caplog):
    caplog.set_level("INFO")
    data, _ = read(make([1, 2], min_coverage=0.7))  # the video ends 2 s into the second segment
    assert (data["bag"][data["position"] == 1] == -1).all()
    assert (data["bag"][data["position"] == 0] >= 0).all()
    assert "2 segments" in caplog.text
    kept, _ = read(make([1, 2], out="kept.h5", min_coverage=0.6))
    assert (kept["bag"] >= 0).all()


@pytest.fixture
def lacking(twin_results, twin, tmp_path):
    """Crops of two trials of which the first lacks something: datasets, attributes, the trials."""

    def make_lacking(column, nothing):
        table = storage.read_table(twin_results / "trials/s01.parquet").head(2)
        table.loc[0, column] = nothing
        provenance = storage.provenance("trials", "milmer.deap.trials", {}, {})
        storage.write_table(tmp_path / "s01.parquet", table, provenance)
        make_faces(tmp_path / "s01.parquet", twin, options(), tmp_path / "s01.h5")
        return *read(tmp_path / "s01.h5"), table

    return make_lacking


def test_a_video_of_a_trial_without_eeg_is_passed_over(lacking):
    data, _, table = lacking("eeg_seconds", np.nan)
    assert set(data["trial"]) == {table["trial"].iloc[1]}
    assert (data["bag"] >= 0).all()


def test_a_clip_without_any_face_has_no_frames_and_is_told(make, changed, caplog, twin_truth):
    root = changed(2, blank)
    data, about = read(make([1, 2], root))
    trial = twin_truth["s01"]["experiment_id"].index(2) + 1
    assert (data["bag"][data["trial"] == trial] == -1).all()
    assert about["trials_without_face"].tolist() == [trial]
    assert f"no face in the videos of trials [{trial}]" in caplog.text
    alone, _ = read(make([1], out="alone.h5"))
    rows = data["trial"] == twin_truth["s01"]["experiment_id"].index(1) + 1
    np.testing.assert_array_equal(data["bag"][rows], alone["bag"])
    for ours, theirs in zip(data["image"], alone["image"], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_least_score_above_all_leaves_every_trial_without_a_face(make, caplog):
    data, about = read(make([1, 2], min_score=1e6))
    assert (data["bag"] == -1).all()
    assert len(data["image"]) == len(data["box"]) == 0
    assert len(about["trials_without_face"]) == 2
    assert "no face" in caplog.text


def test_a_missing_clip_has_no_frames(lacking):
    data, about, _ = lacking("video_file", pd.NA)
    assert (data["bag"][:2] == -1).all()
    assert (data["bag"][2:] >= 0).all()
    assert about["trials_without_face"].size == 0


def test_a_clip_that_ends_early_leaves_its_last_segments_without_frames(make, changed, twin_truth):
    root = changed(1, lambda path: blank(path, 2))
    trial = twin_truth["s01"]["experiment_id"].index(1) + 1
    data, about = read(make([1, 2], root))
    assert (data["bag"][data["trial"] == trial] == -1).all()
    assert about["clip_frames"].tolist() == [20, 50]


def test_subjects_without_any_clip_are_refused(twin_results, twin, tmp_path, refused):
    table = storage.read_table(twin_results / "trials/s01.parquet")
    table["video_file"] = pd.Series([pd.NA] * len(table), dtype="string")
    provenance = storage.provenance("trials", "milmer.deap.trials", {}, {})
    storage.write_table(tmp_path / "s01.parquet", table, provenance)
    with refused("s01.parquet", "nothing to crop", nothing_in=tmp_path):
        make_faces(tmp_path / "s01.parquet", twin, options(), tmp_path / "s01.h5")


# ------------------------------------------------------------------ what is damaged


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (lambda path: path.write_text("not a video" * 99), "cannot be decoded"),
        (lambda path: path.write_bytes(b""), "cannot be decoded"),
        (lambda path: path.unlink(), "no such file"),
    ],
    ids=["no video", "empty", "gone"],
)
def test_a_damaged_clip_is_one_line_and_nothing_is_written(
    make, changed, tmp_path, edit, part, refused
):
    root = changed(2, edit)
    with refused(".avi: ", part, nothing_in=tmp_path / "out"):
        make([1, 2], root)
    assert not list((tmp_path / "out").glob("*"))


# ----------------------------------------------------------------------- the crop


def picture():
    y, x = np.mgrid[0:100, 0:200]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("face", "margin", "corners"),
    [
        (Face(50, 20, 40, 40, 1), 0, (50, 20, 89, 59)),
        (Face(50, 20, 40, 40, 1), 0.5, (30, 0, 109, 79)),
        (Face(-20, -20, 60, 60, 1), 0, (0, 0, 39, 39)),
        (Face(180, 80, 60, 60, 1), 0.1, (174, 74, 199, 99)),
        (Face(500, 500, 10, 10, 1), 0.1, (199, 99, 199, 99)),
    ],
)
def test_a_crop_is_the_widened_box_within_the_picture(face, margin, corners):
    faces_options = FacesOptions(margin=margin, size=128, quality=100)
    pixels = cv2.imdecode(crop(picture(), face, faces_options), cv2.IMREAD_COLOR)[..., ::-1]
    assert pixels.shape == (128, 128, 3)
    left, top, right, bottom = corners
    np.testing.assert_allclose(pixels[0, 0, :2], [left, top], atol=4)
    np.testing.assert_allclose(pixels[-1, -1, :2], [right, bottom], atol=4)
