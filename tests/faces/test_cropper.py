"""The cropper as a whole: what it chooses, and what it holds in memory."""

import weakref
from types import SimpleNamespace

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

        def find_in(frame, larger):
            faces = [Face(20, 20, 20, 20, 0.9)] if has_face(frame.number) else []
            return Search(faces, np.ones((len(faces), 4), np.float32), False, 1)

        monkeypatch.setattr(module, "frames_of", frames_of)
        finder = SimpleNamespace(find_in=find_in, close=lambda: None)
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
