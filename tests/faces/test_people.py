"""Who is in a clip, on made-up detections: at 0.3 s from frame to frame."""

import numpy as np
import pytest

from milmer.data.place import parse_place
from milmer.faces.detection import Face
from milmer.faces.people import Tracks, overlap

STEP = 8  # frames of 25 a second from one searched frame to the next
HOLD = 125
WIDTH = 640


def face(left, top=50.0, side=40.0):
    return Face(left, top, side, side, 0.9)


def looks(seed):
    """A face's look, the same but for some noise each time."""
    own = np.random.default_rng(seed).normal(size=432)
    noise = np.random.default_rng(1000 + seed)
    while True:
        look = own + 0.4 * noise.normal(size=432)
        look -= look.mean()
        yield (look / np.linalg.norm(look)).astype(np.float32)


class Scene:
    """Frames with the faces of people, each a function from the frame to a box or None."""

    def __init__(self, **people):
        self.people, self.looks = people, {n: looks(i) for i, n in enumerate(people, 1)}

    def tracks(self, frames, still=()):
        tracks, self.names = Tracks(HOLD), {}
        first = {name: next(source) for name, source in self.looks.items()}
        for i in range(frames):
            shown = [(n, box) for n, where in self.people.items() if (box := where(i))]
            self.names.update({(STEP * i, box): name for name, box in shown})
            patches = [first[n] if n in still else next(self.looks[n]) for n, _ in shown]
            tracks.add(STEP * i, [box for _, box in shown], np.array(patches))
        return tracks

    def chosen(self, frames, place=None, rule="participant", still=()):
        """The names of the chosen in frames 0, 1, …; '' where nobody is."""
        chosen = self.tracks(frames, still).chosen(rule, place, WIDTH)
        numbers = range(0, STEP * frames, STEP)
        return [self.names[n, chosen[n][0]] if n in chosen else "" for n in numbers]


def sways(left, side=40.0, by=6.0):
    return lambda i: face(left + by * np.sin(i), 50 + by * np.cos(1.3 * i), side)


def during(where, *spans):
    return lambda i: where(i) if any(a <= i < b for a, b in spans) else None


def test_overlap_is_that_of_two_boxes():
    assert overlap(face(0), face(0)) == 1
    assert overlap(face(0), face(20)) == pytest.approx(1 / 3)
    assert overlap(face(0), face(40)) == overlap(face(0), face(0, 200)) == 0


def test_one_face_at_a_time_is_taken_wherever_it_is():
    scene = Scene(anna=lambda i: face(10 + 70 * (i % 2)))
    assert scene.chosen(20) == ["anna"] * 20
    assert len(scene.tracks(20).tracks) == 2  # two places, each held while it is empty


def test_who_is_seen_longest_is_taken_though_another_is_larger():
    scene = Scene(anna=sways(100), bert=during(sways(400, 60), (30, 45)))
    assert scene.chosen(60) == ["anna"] * 60
    assert scene.chosen(60, rule="largest") == ["anna"] * 30 + ["bert"] * 15 + ["anna"] * 15


def test_the_first_face_that_is_reported_is_taken_whoever_it_is():
    scene = Scene(bert=during(sways(400, 20), (10, 25)), anna=sways(100, 60))
    assert scene.chosen(40) == ["anna"] * 40
    assert scene.chosen(40, rule="first") == ["anna"] * 10 + ["bert"] * 15 + ["anna"] * 15
    tracks = Tracks(HOLD)
    tracks.add(0, [face(300, side=20), face(100, side=60)], np.eye(4)[:2])
    assert tracks.guess(0, "first", None) == face(300, side=20)
    assert tracks.guess(0, "largest", None) == face(100, side=60)


def test_who_is_larger_is_taken_of_two_seen_equally_long():
    assert Scene(anna=sways(100), bert=sways(400, 60)).chosen(40) == ["bert"] * 40


def test_nobody_else_is_taken_where_the_participant_is_covered_or_yet_to_come():
    there = during(sways(100, 60), (5, 20), (23, 40))
    scene = Scene(anna=there, bert=sways(400))
    assert scene.chosen(40) == [""] * 5 + ["anna"] * 15 + [""] * 3 + ["anna"] * 17
    assert len(scene.tracks(40).tracks) == 2  # her place was held


@pytest.mark.parametrize("returns_to", [100, 250])
def test_the_participant_who_leaves_and_returns_is_known_again(returns_to):
    there, back = during(sways(100, 80), (0, 20)), during(sways(returns_to, 80), (50, 70))
    scene = Scene(anna=lambda i: there(i) or back(i), bert=sways(400))
    assert scene.chosen(70) == ["anna"] * 20 + [""] * 30 + ["anna"] * 20
    assert len(scene.tracks(70).tracks) == 3  # 9 s are longer than any place is held


def test_somebody_who_takes_the_participants_place_is_not_taken():
    scene = Scene(anna=during(sways(100), (0, 30)), bert=during(sways(104), (30, 50)))
    assert scene.chosen(50) == ["anna"] * 30 + [""] * 20
    # nor where it is seen only afterwards that these are two
    late = Scene(anna=during(sways(100), (20, 60)), bert=during(sways(104), (0, 20)))
    assert late.chosen(60) == [""] * 20 + ["anna"] * 40


def test_a_face_that_slowly_changes_its_looks_stays_the_same():
    first, last = next(looks(1)), next(looks(2))
    tracks = Tracks(HOLD)
    for i in range(60):
        look = (60 - i) * first + i * last
        tracks.add(STEP * i, [face(100)], look[None] / np.linalg.norm(look))
    assert len(tracks.chosen("participant", None, WIDTH)) == 60


def test_a_larger_picture_on_the_wall_is_passed_over():
    scene = Scene(anna=sways(100), poster=lambda i: face(400, side=90.0))
    assert scene.chosen(40, still=["poster"]) == ["anna"] * 40
    # but alone it is a face like any other
    assert Scene(poster=lambda i: face(400)).chosen(9, still=["poster"]) == ["poster"] * 9


def test_people_who_cross_each_other_stay_who_they_are():
    scene = Scene(anna=lambda i: face(100 + 8 * i, 50), bert=lambda i: face(420 - 8 * i, 62, 36.0))
    assert scene.chosen(40) == ["anna"] * 40


def test_who_passes_in_front_of_the_participant_is_not_taken():
    passing = during(lambda i: face(40 * (i - 10), 40, 70.0), (10, 25))
    covered = during(sways(250), (0, 14), (19, 60))
    assert Scene(anna=covered, bert=passing).chosen(60) == (
        ["anna"] * 14 + [""] * 5 + ["anna"] * 41
    )


def test_people_who_swap_seats_are_followed_by_what_they_look_like():
    def seat(first, second):
        at, then = during(sways(first), (0, 20)), during(sways(second), (22, 50))
        return lambda i: at(i) or then(i)

    scene = Scene(anna=seat(100, 400), bert=seat(400, 100))
    names = scene.chosen(50)
    assert set(names) in ({"anna", ""}, {"bert", ""})
    assert names.count("") == 2


@pytest.mark.parametrize(
    ("place", "name"),
    [("left", "anna"), ("right", "bert"), ("380 0 200 200", "bert"), ("80 30 90 90", "anna")],
)
def test_a_place_says_which_of_two_people_is_meant(place, name):
    scene = Scene(anna=sways(100), bert=sways(400), poster=during(sways(250), (3, 5)))
    assert scene.chosen(40, place) == [name] * 40
    alone = Scene(**{name: scene.people[name]})
    assert alone.chosen(40, place) == [name] * 40


@pytest.mark.parametrize("place", ["right", "380 0 200 200"])
def test_where_nobody_is_at_the_place_nobody_is_taken(place):
    assert Scene(anna=sways(100)).chosen(20, place) == [""] * 20


def test_a_place_is_a_side_or_a_box():
    assert parse_place("left") == "left"
    assert parse_place(" 1 2.5  3 4 ") == (1, 2.5, 3, 4)
    for text in ("1 2 3", "a b c d", "1 2 0 4", "1 2 3 nan", "-1 2 3 4", "1,2,3,4", "Left", ""):
        with pytest.raises(ValueError, match=r"."):
            parse_place(text)


def test_the_guess_is_the_choice_where_one_person_is_filmed():
    tracks, source = Tracks(HOLD), looks(1)
    for i in range(20):
        faces = [face(10 + i)] if i % 5 else []
        tracks.add(STEP * i, faces, np.array([next(source) for _ in faces]))
        assert tracks.guess(STEP * i, "participant", None) == (faces[0] if faces else None)
