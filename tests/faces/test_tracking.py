"""Boxes over time, on made-up detections."""

import numpy as np
import pytest

from milmer.faces.detection import Face
from milmer.faces.tracking import borrow, follow, smooth


def face(left, top=50.0, side=40.0, score=0.9):
    return Face(left, top, side, side, score)


def chosen(faces):
    """Frames 0, 1, … with these chosen faces, or None."""
    for number, face_of_frame in enumerate(faces):
        yield number, f"picture {number}", face_of_frame


def smoothed(faces, reach):
    return [frame.face for frame in smooth(follow(chosen(faces)), reach)]


def lefts(faces):
    return np.array([f.left for f in faces])


def test_a_face_continues_one_that_was_chosen_just_before_in_the_same_place():
    frames = list(follow(chosen([face(10), face(12), None, face(13), face(200), face(202)])))
    assert [f.continues for f in frames] == [False, True, False, False, False, True]
    assert [f.frame for f in frames] == [f"picture {i}" for i in range(6)]


# --------------------------------------------------------------------- smoothing


@pytest.mark.parametrize("reach", [0, 0.5, 1])
def test_a_reach_of_less_than_a_frame_leaves_boxes_as_they_were(reach):
    faces = [face(10 + 3 * (i % 2)) for i in range(9)]
    assert smoothed(faces, reach) == faces


@pytest.mark.parametrize("reach", [2, 3.5, 8])
def test_a_face_that_moves_steadily_is_not_left_behind(reach):
    faces = [Face(10 + 3 * i, 50 - i, 60 + 2 * i, 70 + 2 * i, 0.9) for i in range(15)]
    for exact, ours in zip(faces, smoothed(faces, reach), strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-9)


def test_a_trembling_box_comes_to_rest():
    r = np.random.default_rng(0)
    faces = [face(100 + x, side=40 + y) for x, y in r.normal(0, 2, (60, 2))]
    ours = smoothed(faces, 6)
    for side in (0, 1, 2, 3):
        before, after = (np.array([f[side] for f in some]) for some in (faces, ours))
        assert np.diff(after).std() <= 0.2 * np.diff(before).std()
    assert [f.score for f in ours] == [f.score for f in faces]


def test_nothing_is_smoothed_across_a_gap_or_from_one_face_to_another():
    wave = [face(100 + 5 * (i % 3)) for i in range(8)]
    other = [face(300 + 7 * (i % 2)) for i in range(6)]
    alone = smoothed(wave, 4), smoothed(other, 4)
    assert alone[0] != wave
    jump = smoothed(wave + other, 4)
    assert jump == alone[0] + alone[1]
    gap = smoothed([*wave, None, *wave], 4)
    assert gap == [*alone[0], None, *alone[0]]


def test_a_frame_without_a_face_stays_without():
    faces = [face(10), face(11), None, face(12), None, None]
    assert [box is None for box in smoothed(faces, 5)] == [box is None for box in faces]


def test_a_smoothed_side_lies_within_those_it_was_made_of():
    r = np.random.default_rng(1)
    faces = [face(100, side=side) for side in r.uniform(20, 60, 40)]
    for i, box in enumerate(smoothed(faces, 3)):
        near = [f.width for f in faces[max(0, i - 2) : i + 3]]
        assert min(near) <= box.width <= max(near)


def test_smoothing_looks_ahead_no_further_than_it_reaches():
    taken = []

    def frames():
        for frame in chosen(face(10 + i % 2) for i in range(50)):
            taken.append(frame[0])
            yield frame

    for frame in smooth(follow(frames()), 4):
        assert taken[-1] <= frame.number + 4 or taken[-1] == 49
    assert len(taken) == 50


# --------------------------------------------------------------------- borrowing


def borrowed(faces):
    return {boxed.number: boxed for boxed in borrow(follow(chosen(faces)))}


def test_a_frame_without_a_face_borrows_the_nearest_box():
    boxed = borrowed([None, face(1), None, None, None, face(5), None])
    assert list(boxed) == list(range(7))
    assert [boxed[i].face.left for i in range(7)] == [1, 1, 1, 1, 5, 5, 5]
    assert [i for i in range(7) if boxed[i].detected] == [1, 5]
    assert all(boxed[i].face.score == 0 for i in (0, 2, 3, 4, 6))
    assert all(boxed[i].frame == f"picture {i}" for i in boxed)


def test_a_clip_without_any_face_has_no_boxes():
    assert borrowed([None] * 200) == {}


def test_frames_do_not_wait_for_a_later_face_without_end():
    boxed = borrowed([face(1), *[None] * 300, face(2)])
    assert list(boxed) == list(range(302))
    lefts = [boxed[i].face.left for i in range(302)]
    assert lefts == [1] * 237 + [2] * 65  # 64 of them still waited for the later one
    late = borrowed([*[None] * 100, face(2)])
    assert list(late) == list(range(36, 101))
