"""Videos of several people and of small faces; tests are named after folders of hard inputs.

The others are variants of these kinds: the participant, a real face, and somebody else, pasted
beside, before or behind it. No crop that counts as detected may be of anybody else.
"""

import itertools

import cv2
import numpy as np
import pytest

from milmer.faces.cropper import Cropper
from milmer.faces.options import FacesOptions
from milmer.readers.seekable_video import probe
from tests.faces.scenes import another, blank, film, paste, real_face

STEP = 8  # frames at 25 a second: about ten in 3 s, as by default
FACE = 0.42  # width of a face as detected, in that of the other's picture


def cropped(video, place=None, step=STEP, **options):
    """What was found in a video, its crops, and its length in frames."""
    clip = probe(video)
    with Cropper(FacesOptions(**options)) as cropper:
        found, crops = cropper.crops(video, clip, np.arange(step // 2, clip.frames, step), place)
        return found, list(crops), clip.frames


def lefts(crops):
    return np.array([crop.box[0] for crop in crops if crop.detected])


# -------------------------------------------------------------------------------------- two_faces


@pytest.mark.parametrize(
    ("name", "away"), [("covered_for_a_moment", (60, 80)), ("walks_in", (0, 30))]
)
def test_two_faces_show_the_participant_alone(hard, name, away):
    found, crops, _ = cropped(hard / "two_faces" / f"{name}.mp4")
    assert lefts(crops).max() < 352 - 60  # the poster is farther right
    hidden = [away[0] <= crop.number < away[1] for crop in crops]
    assert [not crop.detected for crop in crops] == hidden
    assert [crop.faces_seen for crop in crops] == [1 if h else 2 for h in hidden]
    assert [crop.track > 0 for crop in crops] == [crop.detected for crop in crops]
    assert found.several == hidden.count(False)
    assert (found.tracks, found.switches) == (2, 0)


def test_two_faces_by_their_places(hard):
    video = hard / "two_faces" / "walks_in.mp4"
    _, crops, _ = cropped(video, "right")
    assert lefts(crops).min() > 380
    _, boxed, _ = cropped(video, "380 20 96 96")
    assert [crop.box for crop in boxed] == [crop.box for crop in crops]
    _, crops, _ = cropped(video, "left")
    assert lefts(crops).max() < 300
    _, crops, _ = cropped(video, "0 250 100 38")
    assert crops == []


# --------------------------------------------------------------------------------------- far_away


def test_far_away_faces_are_found(hard, recordings, tmp_path):
    video = hard / "far_away" / "room_camera.mp4"
    original = film(tmp_path / "near.mp4", real_face(recordings, 60))
    near, _, _ = cropped(original, step=2)
    far, crops, _ = cropped(video, step=2)
    assert near.detected == near.searched == 30
    assert far.detected >= 0.9 * near.detected
    assert all(900 < crop.box[0] < 1164 and 500 < crop.box[1] < 716 for crop in crops)
    without, _, _ = cropped(video, step=2, second_detection_size=None)
    assert without.detected < 0.5 * near.detected


# ------------------------------------------------------------------------------------------ phone


def test_phone_faces_are_found_in_as_many_frames_mirrored(hard):
    upright, crops, _ = cropped(hard / "phone" / "upright.mp4")
    mirrored, across, _ = cropped(hard / "phone" / "mirrored.mp4")
    assert upright.detected == mirrored.detected > 15
    centres = np.array([[c.box[0] + c.box[2] / 2 for c in clip] for clip in (crops, across)])
    assert np.abs(centres.sum(0) - 352).max() < 15
    assert np.ptp(centres[0]) > 40


# --------------------------------------------------------------------------------------- variants


class Scene:
    """Pictures of a participant and of others, who are at these places in each frame.

    A ``mirror`` and a ``poster`` show the participant, mirrored.
    """

    def __init__(self, recordings, **place):
        self.place, self.real = place, real_face(recordings)
        self.heads = [cv2.resize(f[40:280, 60:290], (180, 180)) for f in self.real]
        other = another(180)
        self.still = {"other": other, "third": other[:, ::-1] // 2 + 60}
        self.still["poster"] = self.heads[40][:, ::-1]

    def frame(self, i):
        """The picture, where the participant's is, and where those of others are (None: away)."""
        picture, where = blank(), {}
        for name, place in self.place.items():
            where[name] = place(i)
            if where[name] is not None:
                left, top, side = where[name]
                turn = i % (2 * len(self.heads) - 2)
                head = self.heads[min(turn, 2 * len(self.heads) - 2 - turn)]
                head = self.still.get(name, head[:, ::-1] if name == "mirror" else head)
                paste(picture, cv2.resize(head, (round(side),) * 2), left, top)
        return picture, where.pop("participant"), [place for place in where.values() if place]


def sway(i, left, top, side):
    return left + 5 * np.sin(i / 9), top + 5 * np.cos(i / 13), side


def when(condition, place):
    return place if condition else None


SCENES = {
    "passes in front": (
        300,
        {
            "participant": lambda i: (20, 60, 180),
            "other": lambda i: when(100 <= i < 180, (8 * i - 1000, 40, 200)),
        },
        0.85,
    ),
    "stands in front": (
        375,
        {
            "participant": lambda i: (60, 60, 180),
            "other": lambda i: when(
                100 <= i < 250, sway(i, np.clip(10 * i - 1200, -200, 60), 50, 220)
            ),
        },
        0.6,
    ),
    "leaves and returns elsewhere": (
        500,
        {
            "other": lambda i: (520, 20, 110),
            "participant": lambda i: when(
                not 150 <= i < 330, (60, 60, 180) if i < 150 else (260, 90, 180)
            ),
        },
        0.6,
    ),
    "away for 5 s": (
        450,
        {
            "other": lambda i: (480, 20, 110),
            "participant": lambda i: when(not 150 <= i < 275, (60, 60, 180)),
        },
        0.7,
    ),
    "a larger poster": (
        250,
        {"other": lambda i: (330, 30, 300), "participant": lambda i: (20, 80, 160)},
        0.95,
    ),
    "cross each other": (
        250,
        {"other": lambda i: (480 - 1.8 * i, 90, 140), "participant": lambda i: (1.8 * i, 60, 160)},
        0.8,
    ),
    "swap seats": (
        350,
        {
            "participant": lambda i: (60 if i < 200 else 380, 80, 180),
            "other": lambda i: sway(i, 380 if i < 200 else 60, 80, 150),
        },
        0.85,
    ),
    "walks towards the camera": (
        250,
        {
            "other": lambda i: sway(i, 520, 20, 110),
            "participant": lambda i: (220 - i / 2, 170 - i / 2, 70 + i),
        },
        0.9,
    ),
    "one of three leaves": (
        300,
        {
            "other": lambda i: when(i < 150, sway(i, 20 - max(0, i - 120) * 8, 60, 150)),
            "third": lambda i: sway(i + 20, 470, 90, 130),
            "participant": lambda i: (230, 60, 180),
        },
        0.95,
    ),
    "the participant of three leaves and returns": (
        400,
        {
            "other": lambda i: sway(i, 20, 60, 130),
            "third": lambda i: sway(i + 20, 470, 90, 120),
            "participant": lambda i: when(not 150 <= i < 250, (230, 60, 180)),
        },
        0.9,
    ),
    "a mirrored portrait on the wall": (
        300,
        {
            "poster": lambda i: (400, 40, 200),
            "participant": lambda i: when(not 100 <= i < 160, (60, 80, 160)),
        },
        0.9,
    ),
    "a mirror": (
        250,
        {"mirror": lambda i: (430, 30, 110), "participant": lambda i: (60, 60, 190)},
        0.9,
    ),
    "another before the participant came": (
        400,
        {
            "participant": lambda i: when(i >= 140, (40, 70, 180)),
            "other": lambda i: when(i < 170, sway(i, 60 + 16 * max(0, i - 130), 60, 200)),
        },
        0.6,
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_no_detected_crop_is_of_somebody_else(recordings, tmp_path, name):
    count, places, least = SCENES[name]
    scene = Scene(recordings, **places)
    frames = [scene.frame(i) for i in range(count)]
    video = film(tmp_path / "a.mp4", [picture for picture, _, _ in frames])
    found, crops, _ = cropped(video)
    for crop in crops:
        if crop.detected:
            _, own, others = frames[crop.number]
            assert own is not None, crop.number
            assert inside(crop.box, own), (crop.number, crop.box, own)
            for other in others:
                if inside(crop.box, other):  # one before the other
                    assert crop.box[2] != pytest.approx(FACE * other[2], rel=0.15)
    there = [own is not None for _, own, _ in frames[STEP // 2 :: STEP]]
    assert found.detected >= least * sum(there)
    assert found.tracks >= 2
    taken = [crop.track for crop in crops if crop.detected]
    assert found.switches == sum(a != b for a, b in itertools.pairwise(taken))


def inside(box, place):
    """Whether the centre of a box lies well inside a square."""
    left, top, side = place
    x, y = box[0] + box[2] / 2 - left, box[1] + box[3] / 2 - top
    return 0.1 * side < x < 0.9 * side and 0.1 * side < y < 0.9 * side
