"""The cropper as a whole: what it chooses, and what it holds in memory."""

import weakref
from types import SimpleNamespace

import av
import numpy as np
import pytest

from milmer.faces import cropper as module
from milmer.faces.cropper import Cropper
from milmer.faces.detection import Face, Search
from milmer.faces.options import FacesOptions
from milmer.readers.video import Clip

CLIP = Clip(50.0, 10**6, 64, 64)
_ALIVE = weakref.WeakSet()


class Picture:
    """Takes the place of a decoded frame; all that are alive are counted."""

    def __init__(self, number):
        self.number = number
        _ALIVE.add(self)

    def to_ndarray(self, format):
        return np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def most_alive(monkeypatch):
    """``most_held(count, has_face, …)``: the most frames of a clip that were alive at once."""

    def measure(count, has_face, **options):
        most = 0

        def frames_of(path, clip, wanted, threads):
            nonlocal most
            for number in wanted:
                yield number, Picture(number)
                most = max(most, len(_ALIVE))

        def find(frame, order):
            faces = [Face(20, 20, 20, 20, 0.9)] if has_face(frame.number) else []
            return Search(faces, np.ones((len(faces), 4), np.float32), False, 1)

        monkeypatch.setattr(module, "frames_of", frames_of)
        finder = SimpleNamespace(find=find, close=lambda: None)
        monkeypatch.setattr(module, "FaceFinder", lambda _: finder)
        with Cropper(FacesOptions(detector="haar", size=32, **options)) as cropper:
            crops = sum(1 for _ in cropper.crops("a.avi", CLIP, np.arange(count))[1])
        return most, crops

    return measure


@pytest.mark.parametrize(
    ("has_face", "smoothing", "crops"),
    [
        (lambda number: True, 0.1, 3000),
        (lambda number: True, 0.5, 3000),
        (lambda number: number % 400 == 399, 0.1, 3000 - 399 + 64),
        (lambda number: number == 0, 0.1, 3000),
        (lambda number: False, 0.1, 0),
        (lambda number: number % 7 > 2, 0.5, 3000),
    ],
    ids=["faces", "smooth", "few", "first", "none", "some"],
)
def test_a_longer_video_holds_no_more_frames(most_alive, has_face, smoothing, crops):
    short, _ = most_alive(600, has_face, smoothing=smoothing)
    long, produced = most_alive(3000, has_face, smoothing=smoothing)
    assert long <= short + 8
    assert long <= 130
    assert produced == crops


@pytest.fixture
def decoded(monkeypatch):
    """``decoded(faces, …)``: the numbers of frames that each pass decoded, and the crops.

    ``faces`` maps a frame's number to its faces and what each looks like. The second pass does not
    decode the frames ``lost``, and fails at the frame ``fails``.
    """

    def run(faces, count=60, lost=(), fails=None, **options):
        passes = []

        def frames_of(path, clip, wanted, threads):
            passes.append(list(wanted))
            for number in wanted:
                if len(passes) > 1 and number == fails:
                    raise av.InvalidDataError(1, "Invalid data found when processing input")
                if len(passes) == 1 or number not in lost:
                    yield number, Picture(number)

        def find(frame, order):
            found = faces(frame.number)
            looks = np.array([np.eye(4)[kind] for _, kind in found], np.float32)
            return Search([face for face, _ in found], looks, False, 1)

        monkeypatch.setattr(module, "frames_of", frames_of)
        finder = SimpleNamespace(find=find, close=lambda: None)
        monkeypatch.setattr(module, "FaceFinder", lambda _: finder)
        with Cropper(FacesOptions(detector="haar", size=32, **options)) as cropper:
            found, crops = cropper.crops("a.avi", CLIP, np.arange(count))
            return passes, list(crops), found

    return run


SMALL, LARGE = Face(5, 5, 10, 10, 0.9), Face(30, 30, 24, 24, 0.9)


def test_a_clip_of_one_person_is_decoded_once(decoded):
    passes, crops, _ = decoded(lambda n: [(LARGE, 0)] if n % 9 > 2 else [])
    assert passes == [list(range(60))]
    assert len(crops) == 60


def one_then_another(number):
    """One who is there first, and one who is there longer and larger."""
    return [(SMALL, 0)] * int(number < 30) + [(LARGE, 1)] * int(number >= 20)


def test_only_frames_of_another_choice_are_decoded_again(decoded):
    passes, crops, found = decoded(one_then_another)
    assert passes[0] == list(range(60))
    assert 0 < len(passes[1]) <= 32
    assert passes[1] == sorted(passes[1])
    assert [c.number for c in crops] == list(range(60))
    assert all(c.box == LARGE[:4] for c in crops)
    assert [c.detected for c in crops] == [n >= 20 for n in range(60)]
    assert [c.faces_seen for c in crops] == [1] * 20 + [2] * 10 + [1] * 30
    assert [c.track for c in crops] == [0] * 20 + [2] * 40
    assert (found.detected, found.several, found.tracks, found.switches) == (40, 10, 2, 0)


def test_frames_that_do_not_decode_the_second_time_are_left_out(decoded):
    passes, crops, _ = decoded(one_then_another, lost=(0, 7, 8, 29))
    assert {0, 7, 8, 29} <= set(passes[1])
    assert [c.number for c in crops] == [n for n in range(60) if n not in (0, 7, 8, 29)]
    assert all(c.box == LARGE[:4] for c in crops)


def test_a_second_pass_that_fails_names_the_file(decoded, refused):
    with refused("a.avi: cannot be decoded", "Invalid data found"):
        decoded(one_then_another, fails=11)


def test_the_first_face_needs_no_second_pass(decoded):
    passes, crops, _ = decoded(lambda n: [(SMALL, 0), (LARGE, 1)][n % 3 :], choice="first")
    assert passes == [list(range(60))]
    nearest = [[SMALL, LARGE, LARGE][n % 3][:4] for n in range(60)]
    assert [c.box for c in crops if c.detected] == [b for n, b in enumerate(nearest) if n % 3 < 2]


def test_crops_wait_in_a_file_where_there_are_many(decoded, monkeypatch):
    _, plain, _ = decoded(lambda n: [(LARGE, 0)])
    monkeypatch.setattr(module, "_IN_MEMORY", 100)
    _, spooled, _ = decoded(lambda n: [(LARGE, 0)])
    for a, b in zip(plain, spooled, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a[1:] == b[1:]


@pytest.mark.parametrize(
    ("found_at", "second"),
    [
        (lambda n: "first", 0),
        (lambda n: "second", 8 + 15),  # until it leads by 8, and 15 that are on their way
        (lambda n: "second" if n < 5 else "first", 5),
        (lambda n: "second" if n < 40 else "first", 8 + 15 + 9 + 15),
        (lambda n: "neither", 100),
        (lambda n: "first" if n % 20 < 15 else "neither", 5),  # before it is known to be near
        (lambda n: "first" if n < 50 else "second", 50 - 9 - 15 - 3),  # then it leads
    ],
    ids=["near", "far", "mostly near", "comes near", "nobody", "near with gaps", "goes away"],
)
def test_the_size_that_worked_is_remembered(monkeypatch, found_at, second):
    def find(frame, order):
        at = {"first": 0, "second": 1}.get(found_at(frame.number))
        faces = [LARGE] if at in order else []
        searches = 1 + order.index(at) if faces else len(order)
        return Search(faces, np.ones((len(faces), 4), np.float32), at == 1, searches)

    monkeypatch.setattr(module, "frames_of", lambda *a: ((n, Picture(n)) for n in a[2]))
    finder = SimpleNamespace(find=find, close=lambda: None)
    monkeypatch.setattr(module, "FaceFinder", lambda _: finder)
    for threads in (1, 3):
        with Cropper(FacesOptions(detector="haar", size=32, threads=threads)) as cropper:
            found, _ = cropper.crops("a.avi", CLIP, np.arange(100))
        assert found.second_searches == second
