"""Boxes over time, on made-up detections."""

import numpy as np
import pytest

from milmer.faces.detection import Face
from milmer.faces.tracking import Searched, borrow, follow, overlap, smooth


def face(left, top=50.0, side=40.0, score=0.9):
    return Face(left, top, side, side, score)


def searched(faces):
    """Frames 0, 1, … with these faces: a list of lists, of faces, or of None."""
    for number, detected in enumerate(faces):
        faces_of_frame = detected if isinstance(detected, list) else [detected] if detected else []
        yield Searched(number, f"picture {number}", faces_of_frame)


def smoothed(faces, reach, rule="continuity"):
    return [frame.face for frame in smooth(follow(searched(faces), rule), reach)]


def lefts(faces):
    return np.array([f.left for f in faces])


# ------------------------------------------------------------------------ choice


def test_overlap_is_that_of_two_boxes():
    assert overlap(face(0), face(0)) == 1
    assert overlap(face(0), face(20)) == pytest.approx(1 / 3)
    assert overlap(face(0), face(40)) == overlap(face(0), face(0, 200)) == 0


ANNA = [face(10 + i) for i in range(9)]
BERT = [face(200 - 2 * i, side=90.0) for i in range(9)]


def test_the_face_taken_first_is_kept_when_a_larger_one_enters():
    entered = [[a, b] if i >= 4 else [a] for i, (a, b) in enumerate(zip(ANNA, BERT, strict=True))]
    for frames in (entered, [faces[::-1] for faces in entered]):
        kept = [frame.face for frame in follow(searched(frames), "continuity")]
        switched = [frame.face for frame in follow(searched(frames), "largest")]
        assert kept == ANNA
        assert switched == ANNA[:4] + BERT[4:]


def test_a_face_is_known_again_after_frames_without_it():
    frames = [ANNA[0], None, None, [BERT[3], ANNA[3]], [BERT[4], ANNA[4]]]
    chosen = list(follow(searched(frames), "continuity"))
    assert [frame.face for frame in chosen] == [ANNA[0], None, None, ANNA[3], ANNA[4]]
    # but its boxes before and after the gap are no unbroken run
    assert [frame.continues for frame in chosen] == [False, False, False, False, True]


def test_where_the_face_is_gone_the_largest_is_taken():
    frames = [ANNA[0], [BERT[1], face(400)], [BERT[2], ANNA[2]]]
    chosen = list(follow(searched(frames), "continuity"))
    assert [frame.face for frame in chosen] == [ANNA[0], BERT[1], BERT[2]]
    assert [frame.continues for frame in chosen] == [False, False, True]


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
        for frame in searched(face(10 + i % 2) for i in range(50)):
            taken.append(frame.number)
            yield frame

    for frame in smooth(follow(frames(), "continuity"), 4):
        assert taken[-1] <= frame.number + 4 or taken[-1] == 49
    assert len(taken) == 50


# --------------------------------------------------------------------- borrowing


def borrowed(faces):
    return {boxed.number: boxed for boxed in borrow(follow(searched(faces), "continuity"))}


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
