"""Contact sheets: what they show, what they say, and that they are drawn only when asked for."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from milmer import storage
from milmer.faces.contact_sheet import Look, draw_subject_sheets, draw_video_sheet, jitter
from milmer.faces.detection import Face
from milmer.faces.options import FaceStageOptions

HAAR = FaceStageOptions.model_validate({"faces": {"detector": "haar"}})
GREEN, ORANGE = (0x1A, 0x98, 0x50), (0xE6, 0x61, 0x01)


def pixels(path, colour):
    """Where in a sheet this colour is, bool (height, width)."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (np.abs(sheet - colour) < 8).all(axis=2)


def description(path):
    return Image.open(path).text["Description"]


@pytest.fixture
def clips(twin, twin_truth):
    """A clip of s01 with faceless frames among the searched ones, and its truth."""
    videos = twin_truth["s01"]["videos"]
    trial = max(videos, key=lambda t: sum(b - a for a, b in videos[t]["faceless"]))
    return twin / f"face_video/s01/s01_trial{int(trial):02d}.avi", videos[trial]


# ------------------------------------------------------------------------- jitter


def look(left, side=40.0, detected=True):
    return Look(Face(left, 50, side, side, 0.9), detected)


def test_a_face_that_moves_or_grows_steadily_does_not_tremble():
    steady = [look(10 + 3 * i - i, 40 + 2 * i) for i in range(8)]
    assert jitter(steady) == pytest.approx((0, 0))


def test_jitter_is_in_parts_of_the_width():
    to_and_fro = [look(10 + 4 * (i % 2)) for i in range(8)]
    assert jitter(to_and_fro) == pytest.approx((0.1, 0))
    breathing = [Look(Face(50, 50, 40 + 4 * (i % 2), 40, 0.9), True) for i in range(9)]
    assert jitter(breathing)[1] == pytest.approx(4 / 42, abs=0.01)


def test_jitter_is_measured_on_three_successive_frames_of_one_face():
    assert jitter([look(0), look(4), None, look(0), look(4, detected=False), look(0)]) is None
    assert jitter([look(0), look(200), look(0)]) is None
    assert jitter([]) is None


# ------------------------------------------------------------------- of one video


def test_a_sheet_shows_boxes_where_faces_are_and_marks_frames_without(clips, tmp_path):
    video, truth = clips
    out = tmp_path / "new" / "sheet.png"
    draw_video_sheet(video, HAAR, out)
    assert [p.name for p in out.parent.iterdir()] == ["sheet.png"]
    searched, detected = map(
        int, re.findall(r"(\d+) frames searched .* in (\d+) of", description(out))[0]
    )
    assert searched == 20
    assert detected == 20 - sum(np.isin(range(20), faceless(truth)))
    assert "borrowed" in description(out)
    assert "box jitter" in description(out)
    # 20 frames in rows of six: the last two cells are empty
    green, orange = pixels(out, GREEN), pixels(out, ORANGE)
    height, width = green.shape
    assert green.any()
    assert orange.any()
    assert not (green | orange)[round(0.8 * height) :, width // 2 :].any()
    # a detected face lies in its cell as the twin draws it: about the middle
    cell = green[round(height * 0.1) : round(height * 0.3), : width // 6]
    columns = np.nonzero(cell)[1]
    assert 0.3 < columns.mean() / cell.shape[1] < 0.7


def faceless(truth):
    """Which of the 20 searched frames of a clip of 50 have no face."""
    numbers = [*(i * 3 + 1 for i in range(10)), *(30 + i * 2 + 1 for i in range(10))]
    hidden = {n for start, stop in truth["faceless"] for n in range(start, stop)}
    return [i for i, n in enumerate(numbers) if n in hidden]


def test_a_sheet_of_a_real_bare_stream(recordings, tmp_path):
    video = recordings / "video/foreman_cif.264"
    draw_video_sheet(video, FaceStageOptions(), tmp_path / "a.png")
    assert "40 frames searched" in description(tmp_path / "a.png")
    assert "a face in 25 of them (62 %)" in description(tmp_path / "a.png")


def test_the_same_video_gives_the_same_sheet(clips, tmp_path):
    for name, threads in (("a", 1), ("b", 3)):
        options = HAAR.updated({"faces": {"threads": threads}})
        draw_video_sheet(clips[0], options, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not a video" * 99])
def test_what_is_no_video_is_one_line_and_no_sheet(tmp_path, content, refused):
    video = tmp_path / "a.avi"
    video.write_bytes(content)
    with refused("a.avi: ", nothing_in=tmp_path):
        draw_video_sheet(video, HAAR, tmp_path / "a.png")


def test_a_sheet_of_another_kind_is_refused(clips, tmp_path, refused):
    with refused("a.jpg: ", ".png", nothing_in=tmp_path):
        draw_video_sheet(clips[0], HAAR, tmp_path / "a.jpg")


# ------------------------------------------------------------------- of a subject


def test_every_clip_of_a_subject_has_a_sheet_of_its_stored_boxes(
    inside, twin, twin_results, tmp_path
):
    faces = twin_results / "faces/default/s01.h5"
    before = faces.read_bytes()
    subject = ["--trials", twin_results / "trials/s01.parquet", "--root", twin]
    status, out, _ = inside("faces", *subject, faces, "--sheet", tmp_path)
    assert (status, out) == (0, f"wrote 8 sheets to {tmp_path}\n")
    assert faces.read_bytes() == before
    mark, *written = sorted(tmp_path.iterdir())
    assert mark.name == ".milmer-faces.json"
    assert [p.name for p in written] == [f"s01_trial{t:02d}.png" for t in range(1, 9)]
    with storage.open_h5(faces, "faces") as file:
        trials, bag, detected = (file[n][()] for n in ("trial", "bag", "detected"))
    for trial, path in enumerate(written, 1):
        mine = np.unique(bag[trials == trial])
        summary = f"{len(mine)} frames searched  ·  a face in {detected[mine].sum()} of them"
        assert summary in description(path)


def test_sheets_of_other_trials_or_of_other_videos_are_refused(
    twin, twin_results, tmp_path, refused
):
    faces = twin_results / "faces/default/s01.h5"
    with refused("s01.h5: made from other trials than", nothing_in=tmp_path):
        draw_subject_sheets(twin_results / "trials/s02.parquet", twin, faces, tmp_path / "a")
    root = shutil.copytree(twin, tmp_path / "deap")
    first, second = (root / f"face_video/s01/s01_trial0{t}.avi" for t in (1, 2))
    shutil.copy(first, second)
    with refused("s01.h5: made from another file than", "trial02.avi"):
        draw_subject_sheets(twin_results / "trials/s01.parquet", root, faces, tmp_path / "b")


# --------------------------------------------------------------- the command line


def test_a_sheet_of_a_video_is_drawn_by_the_command_line(inside, clips, tmp_path):
    options, sheet = json.dumps(HAAR.result()), tmp_path / "sheet.png"
    status, out, _ = inside("faces", "--video", clips[0], "--sheet", sheet, "--options", options)
    assert (status, out) == (0, f"wrote {sheet}\n")
    assert "20 frames searched" in description(sheet)


def test_crops_alone_draw_no_sheet(inside, twin, twin_results, tmp_path):
    subject = ["--trials", twin_results / "trials/s01.parquet", "--root", twin]
    options = json.dumps(HAAR.result())
    status, _, _ = inside("faces", *subject, tmp_path / "s01.h5", "--options", options)
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["s01.h5"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["out.h5"],
        ["out.h5", "--root", "."],
        ["--video", "a.avi"],
        ["--sheet", "a.png"],
        ["out.h5", "--video", "a.avi", "--sheet", "a.png"],
    ],
    ids=" ".join,
)
def test_what_is_missing_on_the_command_line_is_one_line(inside, arguments):
    status, out, stderr = inside("faces", *arguments)
    assert (status, out) == (1, "")
    assert stderr.count("\n") == 1
    assert "--trials" in stderr
    assert "--sheet" in stderr
