"""The detector ``mediapipe``, whose package and model file are not part of this project."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import yaml
from skimage.data import astronaut

from milmer import storage
from milmer.faces import published_detector
from milmer.faces.crops import make_faces
from milmer.faces.detection import Face, FaceFinder
from milmer.faces.model_files import YUNET_SHA256, model_digest
from milmer.faces.options import FacesOptions, FaceStageOptions
from milmer.plan import Plan
from tests.faces.scenes import faces_in


@dataclasses.dataclass
class BaseOptions:
    model_asset_path: str | None = None
    model_asset_buffer: bytes | None = None
    delegate: object = None


@dataclasses.dataclass
class FaceDetectorOptions:
    base_options: BaseOptions
    running_mode: str = "IMAGE"
    min_detection_confidence: float = 0.5
    min_suppression_threshold: float = 0.3
    result_callback: object = None


class Image:
    def __init__(self, image_format, data):
        assert image_format == "sRGB"
        assert data.dtype == np.uint8
        assert data.ndim == 3
        assert data.shape[2] == 3
        assert data.flags["C_CONTIGUOUS"]
        self.data = data


MADE = []


class FaceDetector:
    """Finds one face where the picture is brightest: it takes up a quarter of each side."""

    def __init__(self, options):
        self.options = options
        self.closed = False
        MADE.append(self)

    @classmethod
    def create_from_options(cls, options):
        assert isinstance(options, FaceDetectorOptions)
        assert (options.running_mode, options.result_callback) == ("IMAGE", None)
        assert 0 <= options.min_detection_confidence <= 1
        if not options.base_options.model_asset_buffer.startswith(b"TFL3"):
            raise ValueError("The model is not a valid\nFlatbuffer buffer")
        return cls(options)

    def close(self):
        self.closed = True

    def detect(self, image):
        assert not self.closed
        height, width = image.data.shape[:2]
        top, left = np.unravel_index(image.data[..., 0].argmax(), (height, width))
        box = SimpleNamespace(
            origin_x=int(left), origin_y=int(top), width=width // 4, height=height // 4
        )
        categories = [SimpleNamespace(score=0.75, index=0, category_name=None)]
        detections = [SimpleNamespace(bounding_box=box, categories=categories, keypoints=None)]
        return SimpleNamespace(
            detections=[f for f in detections if self.options.min_detection_confidence <= 0.75]
        )


@pytest.fixture
def package(monkeypatch):
    """A stand-in with the parts of MediaPipe's Tasks API that are used, which checks its calls."""
    module = ModuleType("mediapipe")
    vision = SimpleNamespace(FaceDetector=FaceDetector, FaceDetectorOptions=FaceDetectorOptions)
    module.tasks = SimpleNamespace(vision=vision, BaseOptions=BaseOptions)
    module.Image, module.ImageFormat = Image, SimpleNamespace(SRGB="sRGB")
    monkeypatch.setitem(sys.modules, "mediapipe", module)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "blaze_face_short_range.tflite"
    path.write_bytes(b"TFL3" * 9)
    return path


def options(model, **more):
    return FacesOptions(detector="mediapipe", detector_model=str(model), **more)


def test_boxes_are_in_px_of_the_picture_that_was_given(package, model):
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[80:84, 120:124] = 255
    assert faces_in(FaceFinder(options(model, detection_size=400)), picture) == [
        Face(120, 80, 100, 50, 0.75)
    ]
    # not rounded to the px of a reduced picture
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
    search = FaceFinder(options(model, detection_size=100)).find(frame)
    assert search.faces == [Face(120, 80, 100, 50, 0.75)]
    assert search.searches == 1


@pytest.mark.parametrize(("min_score", "count"), [(None, 1), (0.8, 0), (-1, 1), (3, 0)])
def test_only_faces_that_score_enough_are_found(package, model, min_score, count):
    picture = np.zeros((64, 64, 3), np.uint8)
    assert len(faces_in(FaceFinder(options(model, min_score=min_score)), picture)) == count


def test_without_the_package_the_way_out_is_told(monkeypatch, model, refused):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with refused("faces.detector", "install the package mediapipe", "yunet"):
        FaceFinder(options(model))


def test_without_a_model_file_the_way_out_is_told(package, tmp_path, refused):
    with refused("faces.detector", "name it as faces.detector_model; milmer fetch CONFIGURATION"):
        FaceFinder(FacesOptions(detector="mediapipe"))
    for path in (tmp_path / "gone.tflite", tmp_path):
        with refused("faces.detector_model", str(path)):
            FaceFinder(options(path))


def test_a_file_that_is_no_model_is_refused(package, model, refused):
    model.write_bytes(b"something else")
    with refused("faces.detector_model", str(model), "not a valid Flatbuffer", ".tflite"):
        FaceFinder(options(model))


def test_the_stage_runs_and_carries_the_digest_of_the_model(
    package, model, twin, twin_results, tmp_path
):
    table = storage.read_table(twin_results / "trials/s01.parquet").head(1)
    trials_provenance = storage.provenance("trials", "milmer.deap.trials", {}, {})
    storage.write_table(tmp_path / "s01.parquet", table, trials_provenance)
    digests = []
    MADE.clear()
    for content in (b"TFL3" * 9, b"TFL3 another"):
        model.write_bytes(content)
        stage = FaceStageOptions(faces=options(model))
        make_faces(tmp_path / "s01.parquet", twin, stage, tmp_path / "s01.h5")
        provenance = storage.read_provenance(tmp_path / "s01.h5")
        digests.append(provenance["inputs"]["detector_model"])
        assert provenance["options"]["faces"]["detector"] == "mediapipe"
        assert str(tmp_path) not in json.dumps(provenance)
        with storage.open_h5(tmp_path / "s01.h5", "faces") as file:
            assert file["detected"][()].any()
    assert len(MADE) >= 2
    assert all(detector.closed for detector in MADE)
    assert digests[0] != digests[1]
    assert digests[1] == storage.digest(model)


def test_each_detector_says_what_model_it_reads(model):
    assert model_digest(options(model)) == storage.digest(model)
    assert model_digest(FacesOptions()) == YUNET_SHA256
    assert model_digest(FacesOptions(detector="haar")) is None


def test_the_model_file_is_an_input_of_the_rule(twin, model):
    def files(**faces):
        plan = Plan.read({"dataset": {"root": str(twin)}, "faces": faces})
        argument = plan.data.detector_model(SimpleNamespace(faces="default"))
        return plan.data.detector_files("default"), str(argument)

    path, option = str(model), f"--detector-model {model}"
    assert files(detector="mediapipe", detector_model=path) == ([path], option)
    assert files(detector="mediapipe") == ([], "")
    # Its digest is known, so that where it lies and whether it is given changes nothing.
    assert files(detector="yunet", detector_model=path) == ([], option)
    assert files(detector="haar", detector_model=path) == ([], "")


def test_the_real_package_refuses_a_file_that_is_no_model(model, refused):
    pytest.importorskip("mediapipe", reason="the package mediapipe is not installed")
    with refused("faces.detector_model", str(model), "BlazeFace"):
        FaceFinder(options(model))


def test_the_real_detector_finds_a_real_face():
    pytest.importorskip("mediapipe", reason="the package mediapipe is not installed")
    path = os.environ.get("MILMER_MEDIAPIPE_MODEL")
    if not path:
        pytest.skip("MILMER_MEDIAPIPE_MODEL names no file; make mediapipe gets it")
    picture = np.full((420, 560, 3), 120, np.uint8)
    picture[100:400, 200:540] = astronaut()[:300, 40:380]
    finder = FaceFinder(options(path))
    (face,) = finder.find(av.VideoFrame.from_ndarray(picture, "rgb24")).faces
    finder.close()
    assert 200 + 155 < face.left + face.width / 2 < 200 + 215
    assert 100 + 80 < face.top + face.height / 2 < 100 + 160
    assert 70 < face.width < 170


# ------------------------------------------------------------------- getting the model file


@pytest.fixture
def pip(monkeypatch):
    """What a stand-in of pip puts into the wheel, and the commands that it was called with."""
    wheel = {"files": {published_detector.MEMBER: b"TFL3 published"}, "calls": [], "status": 0}
    monkeypatch.setattr(published_detector, "SIZE", 14)
    digest = hashlib.sha256(b"TFL3 published").hexdigest()
    monkeypatch.setattr(published_detector, "SHA256", digest)

    def run(command, **how):
        wheel["calls"].append(command)
        path = Path(command[command.index("--dest") + 1]) / "mediapipe-0.10.21-x.whl"
        if not wheel["status"]:
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in wheel["files"].items():
                    archive.writestr(name, content)
        stderr = "WARNING: x\nERROR: No matching distribution found for mediapipe\n"
        return subprocess.CompletedProcess(command, wheel["status"], "", stderr)

    monkeypatch.setattr(published_detector.subprocess, "run", run)
    return wheel


def test_the_published_model_is_taken_out_of_its_wheel(pip, inside, tmp_path):
    out, config = tmp_path / "new" / "short.tflite", tmp_path / "mine.yaml"
    faces = {"detector": "mediapipe", "detector_model": str(out)}
    variants = {"faces": {"larger": {"size": 256}, "yunet": {"detector": "yunet"}}}
    sections = {"faces": faces, "variants": variants, "backbone": {"name": str(tmp_path)}}
    config.write_text(yaml.safe_dump(sections))
    status, told, _ = inside("fetch", config)
    assert (status, told) == (0, f"{out}: the model of the face detector\n")
    assert out.read_bytes() == b"TFL3 published"
    assert [path.name for path in out.parent.iterdir()] == ["short.tflite"]
    (command,) = pip["calls"]
    assert command[:5] == [sys.executable, "-P", "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "mediapipe==0.10.21"} < {*command}
    assert "install" not in command
    # a file that is there is left alone
    out.write_bytes(b"mine")
    nothing = "nothing to download: backbones and face detectors are at hand\n"
    assert inside("fetch", config)[:2] == (0, nothing)
    assert (out.read_bytes(), len(pip["calls"])) == (b"mine", 1)
    del faces["detector_model"]
    config.write_text(yaml.safe_dump(sections))
    status, _, told = inside("fetch", config)
    assert (status, "faces.detector: mediapipe needs a model file" in told) == (1, True)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"status": 1}, "No matching distribution found"),
        ({"files": {}}, "does not hold mediapipe/modules"),
        ({"files": {published_detector.MEMBER: b"TFL3 another.."}}, "not the published one"),
        ({"files": {published_detector.MEMBER: bytes(99)}}, "not the published one"),
    ],
    ids=["no wheel", "no file", "another file", "too long"],
)
def test_what_is_not_the_published_model_is_refused(pip, refused, tmp_path, change, part):
    pip |= change
    with refused("mediapipe", part, nothing_in=tmp_path):
        published_detector.fetch_detector(tmp_path / "a.tflite")
