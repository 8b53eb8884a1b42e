from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from milmer.faces import model_files
from milmer.faces.detection import DETECTORS, Face, FaceFinder, look
from milmer.faces.model_files import YUNET_FILE
from milmer.faces.options import FacesOptions
from tests.faces.scenes import faces_in


@pytest.fixture(scope="module")
def foreman(recordings):
    """Some frames of a real face video, RGB; in the last one the face has left the picture."""
    with av.open(str(recordings / "video/foreman_cif.264"), format="h264") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[i] for i in (0, 60, 120, 210)]


def test_each_detector_that_can_be_configured_is_there():
    configured = get_args(FacesOptions.model_fields["detector"].annotation)
    assert set(configured) == set(DETECTORS), "milmer/faces/detection.py: DETECTORS"


@pytest.mark.parametrize("detector", ["yunet", "haar"])
def test_the_face_of_a_real_video_is_found(foreman, detector):
    finder = FaceFinder(FacesOptions(detector=detector))
    (face,) = faces_in(finder, foreman[0])
    assert 100 < face.left + face.width / 2 < 220  # of 352 x 288
    assert 60 < face.top + face.height / 2 < 200
    assert 60 < face.width < 200


def test_no_face_is_found_where_there_is_none(foreman):
    finder = FaceFinder(FacesOptions())
    assert faces_in(finder, foreman[3]) == []
    assert faces_in(finder, np.full((288, 352, 3), 128, np.uint8)) == []


def test_boxes_are_in_px_of_the_picture_that_was_given(foreman):
    (small,) = faces_in(FaceFinder(FacesOptions(detection_size=352)), foreman[0])
    picture = foreman[0].repeat(3, axis=0).repeat(3, axis=1)
    (large,) = faces_in(FaceFinder(FacesOptions(detection_size=352)), picture)
    np.testing.assert_allclose(np.array(large[:4]) / 3, small[:4], atol=12)


def test_all_faces_are_found_that_score_enough(monkeypatch):
    faces = [Face(0, 0, 30, 30, 0.9), Face(5, 5, 60, 60, 0.4), Face(9, 9, 40, 40, 0.5)]

    class Three:
        default_min_score = 0.5
        grey = False
        searches = 1

        def __init__(self, _):
            pass

        def detect(self, picture):
            return faces

    monkeypatch.setitem(DETECTORS, "haar", Three)
    picture = np.zeros((100, 100, 3), np.uint8)
    finders = {
        score: FaceFinder(FacesOptions(detector="haar", min_score=score)) for score in (0.1, 2)
    }
    assert faces_in(FaceFinder(FacesOptions(detector="haar")), picture) == [faces[0], faces[2]]
    assert faces_in(finders[0.1], picture) == faces
    assert faces_in(finders[2], picture) == []


@pytest.fixture
def sizes(monkeypatch):
    """Widths that a detector was given, which finds one face in pictures of 600 px or more."""
    given = []

    class Far:
        default_min_score = 0.5
        grey = False
        searches = 2

        def __init__(self, _):
            pass

        def detect(self, picture):
            given.append(picture.shape[1])
            return [Face(60, 30, 20, 10, 0.9)] if picture.shape[1] >= 600 else []

        def close(self):
            given.append("closed")

    monkeypatch.setitem(DETECTORS, "yunet", Far)
    return given


def frame_of(width, height):
    return av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), "rgb24")


@pytest.mark.parametrize(
    ("options", "order", "expected"),
    [
        ({}, (0, 1), [256, 640]),
        ({}, (1, 0), [640]),
        ({}, (0,), [256]),
        ({"second_detection_size": None}, (0, 1), [256]),
        ({"second_detection_size": None}, (1, 0), [256]),
        ({"second_detection_size": 200}, (0, 1), [256]),
        ({"second_detection_size": 960, "detection_size": 320}, (0, 1), [320, 960]),
        ({"second_detection_size": 5000}, (0, 1), [256, 1200]),  # never more than there is
        ({"detection_size": 1300}, (0, 1), [1200]),  # no larger than it is
    ],
)
def test_where_no_face_is_found_the_picture_is_searched_again_larger(
    sizes, options, order, expected
):
    finder = FaceFinder(FacesOptions(**options))
    search = finder.find(frame_of(1200, 600), order)
    assert sizes == expected
    assert search.searches == len(expected)
    assert search.larger == (expected[-1] > options.get("detection_size", 256))
    if search.faces:
        scale = 1200 / expected[-1]
        np.testing.assert_allclose(search.faces[0][:4], np.multiply((60, 30, 20, 10), scale))
        assert search.looks.shape == (1, 12 * 12 * 3)
    finder.close()
    assert sizes[-1] == "closed"


def test_a_look_is_of_the_face_and_not_of_the_light():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 100, (80, 100, 3)).astype(np.uint8)
    face = Face(20, 10, 48, 48, 1)
    first = look(picture, face)
    assert first.mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(first) == pytest.approx(1)
    np.testing.assert_allclose(first @ look(picture + 50, face), 1, atol=1e-2)
    np.testing.assert_allclose(first @ look(2 * picture, face), 1, atol=1e-2)
    assert first @ look(picture, Face(50, 30, 48, 48, 1)) < 0.5
    for outside in (Face(-30, -30, 20, 20, 1), Face(200, 10, 5, 5, 1)):
        assert np.isfinite(look(picture, outside)).all()


@pytest.mark.parametrize("size", [(16, 16), (8192, 16), (16, 8192), (17, 31)])
@pytest.mark.parametrize("detector", ["yunet", "haar"])
def test_pictures_of_an_odd_shape_are_searched_all_the_same(detector, size):
    frame = av.VideoFrame(*size, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    assert FaceFinder(FacesOptions(detector=detector)).find(frame).faces == []


def test_pictures_of_an_odd_shape_give_the_same_faces_each_time():
    picture = np.random.default_rng(3).integers(0, 255, (320, 320, 3), np.uint8)
    for height, width in ((1, 320), (320, 1), (32, 320), (320, 32), (20, 20)):
        results = set()
        for _ in range(60):
            # A low score, since noise shows in any of the boxes; memory that is not clean.
            finder = FaceFinder(FacesOptions(min_score=0.01))
            dirty = [np.full(2**size, 1e3 * size, np.float32) for size in range(10, 20)]
            del dirty
            results.add(tuple(faces_in(finder, picture[:height, :width])))
        assert len(results) == 1
        assert all(np.isfinite(face).all() for face in results.pop())


def test_a_model_file_with_other_content_is_refused(tmp_path, monkeypatch, refused):
    package = Path(model_files.__file__)
    path = tmp_path / YUNET_FILE
    path.write_bytes(package.with_name(YUNET_FILE).read_bytes())
    FaceFinder(FacesOptions(detector_model=str(path)))
    path.write_bytes(path.read_bytes() + b"\0")
    with refused("faces.detector_model", str(path), "SHA-256", nothing_in=tmp_path):
        FaceFinder(FacesOptions(detector_model=str(path)))
    # A damaged installation is found in the same way.
    monkeypatch.setattr(model_files, "__file__", str(tmp_path / package.name))
    with refused(str(path), "SHA-256", "install Milmer again"):
        FaceFinder(FacesOptions())


def test_a_model_file_that_is_not_there_is_refused(tmp_path, refused):
    for path in (tmp_path / "none.onnx", tmp_path):
        with refused("faces.detector_model", str(path)):
            FaceFinder(FacesOptions(detector_model=str(path)))
