"""Face detectors behind one small interface, chosen by name.

``yunet`` is YuNet (Wu et al. 2023) through OpenCV's ``FaceDetectorYN``; its model file lies beside
this module (MIT License) and is checked against its SHA-256 before it is loaded. ``haar`` is the
frontal-face cascade that ships with OpenCV (Viola & Jones 2001): it finds frontal faces only, and
its score is the weight of the cascade's last stage, whose scale is not that of the other detectors.
``mediapipe`` is the detector of the published code (BlazeFace, Bazarevsky et al. 2019) through
MediaPipe's Tasks API; neither that package nor its model file is part of this project.
"""

import math
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

import av
import cv2
import numpy as np

from milmer.errors import MilmerError
from milmer.faces.model_files import mediapipe_model, yunet_file
from milmer.faces.options import FacesOptions

# OpenCV pads pictures to multiples of 32 px. Where that leaves a single step of YuNet's coarsest
# feature map along a side, it computes with memory that was never written (OpenCV 4.14).
_YUNET_MIN_SIDE = 33

_LOOK = 12, 12  # px: enough to tell people in one clip apart, and nothing to recognise them by
_WITH_LUMA = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "nv12")  # plane 0 is grey, 8 bits


class Face(NamedTuple):
    """A detected face: left, top, width and height in px of the picture, and its score."""

    left: float
    top: float
    width: float
    height: float
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square px."""
        return self.width * self.height


class Detector(Protocol):
    """Finds faces in a picture; serves one thread. If ``grey``, it takes grey pictures too.

    It is given pictures of ``faces.detection_size``, and of ``faces.second_detection_size`` where
    it found nothing, if ``searches`` is 2; only the former if it is 1; the whole picture if 0.
    """

    default_min_score: float
    grey: bool
    searches: int

    def detect(self, picture: np.ndarray) -> list[Face]:
        """All faces in ``picture`` RGB uint8 (height, width, 3), or grey (height, width)."""

    def close(self) -> None:
        """Give back what it holds."""


class Haar:
    """OpenCV's frontal-face Haar cascade."""

    default_min_score = 0.0
    grey = True
    searches = 1

    def __init__(self, options: FacesOptions):
        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, picture: np.ndarray) -> list[Face]:
        """All frontal faces of at least a sixth of the picture's height."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
        side = max(24, grey.shape[0] // 6)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=4, minSize=(side, side), outputRejectLevels=True
        )
        return [Face(*map(float, box), float(w)) for box, w in zip(boxes, weights, strict=True)]

    def close(self) -> None:
        """Nothing to give back."""


class YuNet:
    """YuNet, a small convolutional detector that also finds turned faces."""

    default_min_score = 0.7
    grey = False
    searches = 2

    def __init__(self, options: FacesOptions):
        floor = self.default_min_score if options.min_score is None else options.min_score
        self._net = cv2.FaceDetectorYN.create(yunet_file(options), "", (320, 320), floor)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """All faces that reach the minimum score."""
        down, right = (max(0, _YUNET_MIN_SIDE - side) for side in picture.shape[:2])
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        bgr = cv2.copyMakeBorder(bgr, 0, down, 0, right, cv2.BORDER_CONSTANT)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._net.detect(bgr)
        if rows is None:
            return []
        return [Face(*map(float, row[:4]), float(row[14])) for row in rows if row is not None]

    def close(self) -> None:
        """Nothing to give back."""


class MediaPipe:
    """MediaPipe's face detector, with the BlazeFace model file of ``faces.detector_model``."""

    default_min_score = 0.7  # as published
    grey = False
    searches = 0  # it reduces pictures itself, and rounds boxes to the px of what it is given

    def __init__(self, options: FacesOptions):
        model = mediapipe_model(options)
        self._library = _mediapipe()
        floor = self.default_min_score if options.min_score is None else options.min_score
        vision = self._library.tasks.vision
        try:
            self._net = vision.FaceDetector.create_from_options(
                vision.FaceDetectorOptions(
                    base_options=self._library.tasks.BaseOptions(model_asset_buffer=model),
                    min_detection_confidence=min(max(floor, 0.0), 1.0),
                )
            )
        except (ValueError, RuntimeError) as error:
            raise MilmerError(
                f"MediaPipe cannot read it as a face detector ({error})",
                where=f"faces.detector_model: {options.detector_model}",
                remedy="give a BlazeFace model (.tflite)",
            ) from error

    def detect(self, picture: np.ndarray) -> list[Face]:
        """All faces that reach the minimum score."""
        image = self._library.Image(
            image_format=self._library.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
        )
        faces = []
        for detection in self._net.detect(image).detections:
            box, score = detection.bounding_box, detection.categories[0].score
            sides = (box.origin_x, box.origin_y, box.width, box.height)
            faces.append(Face(*map(float, sides), float(score)))
        return faces

    def close(self) -> None:
        """End its threads."""
        self._net.close()


DETECTORS: dict[str, type[Detector]] = {"haar": Haar, "yunet": YuNet, "mediapipe": MediaPipe}


def _mediapipe() -> ModuleType:
    try:
        import mediapipe
    except (ImportError, OSError) as error:  # OSError: a system library is missing
        raise MilmerError(
            f"mediapipe cannot be imported ({error})",
            where="faces.detector",
            remedy="install the package mediapipe (pip install --no-deps mediapipe absl-py "
            "flatbuffers), or set faces.detector to yunet",
        ) from error
    return mediapipe


class Search(NamedTuple):
    """What was found in a picture: faces, and what each looks like (face, feature).

    ``larger``: it was found at ``faces.second_detection_size``; ``searches``: once or twice.
    """

    faces: list[Face]
    looks: np.ndarray
    larger: bool
    searches: int


class FaceFinder:
    """Finds all faces in a full picture that reach the minimum score.

    Raises :class:`MilmerError` if the detector cannot be loaded.
    """

    def __init__(self, options: FacesOptions):
        self._detector = DETECTORS[options.detector](options)
        default = self._detector.default_min_score
        self._min_score = default if options.min_score is None else options.min_score
        sizes = (options.detection_size, options.second_detection_size or 0)
        first, *second = sizes[: self._detector.searches] or (math.inf,)
        self._sizes = (first, *(size for size in second if size > first))

    def close(self) -> None:
        """Give back what the detector holds."""
        self._detector.close()

    def find(self, frame: av.VideoFrame, order: tuple[int, ...] = (0, 1)) -> Search:
        """The faces in a decoded frame, in its px; it is reduced before colours are converted.

        ``order``: which of the two sizes are tried, one after the other until a face is found.
        """
        sizes = self._sizes[:1]
        if len(self._sizes) > 1 and _reduced(frame.width, frame.height, sizes[0]) is not None:
            sizes = tuple(self._sizes[i] for i in order)
        for searches, size in enumerate(sizes, 1):
            small = self._picture(frame, _reduced(frame.width, frame.height, size))
            faces, looks = self._detected(small, frame.width, frame.height)
            if faces or searches == len(sizes):
                return Search(faces, looks, size > self._sizes[0], searches)
        raise AssertionError("no size")

    def _picture(self, frame: av.VideoFrame, shape: tuple[int, int] | None) -> np.ndarray:
        """The frame as RGB, or grey, reduced to ``shape``: width, height."""
        if shape is None:
            return frame.to_ndarray(format="rgb24")
        if self._detector.grey and frame.format.name in _WITH_LUMA:
            plane = frame.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            return cv2.resize(luma[:, : frame.width], shape, interpolation=cv2.INTER_AREA)
        return frame.reformat(*shape, "rgb24", interpolation="AREA").to_ndarray()

    def _detected(
        self, small: np.ndarray, width: int, height: int
    ) -> tuple[list[Face], np.ndarray]:
        across, down = width / small.shape[1], height / small.shape[0]
        found = [
            f for f in self._detector.detect(small) if f.score >= self._min_score and f.area > 0
        ]
        faces = [
            Face(f.left * across, f.top * down, f.width * across, f.height * down, f.score)
            for f in found
        ]
        return faces, np.array([look(small, f) for f in found], np.float32)


def look(picture: np.ndarray, face: Face) -> np.ndarray:
    """What a face looks like, whatever the light: its patch in 12 x 12 px, of mean 0 and norm 1."""
    left, top = max(int(face.left), 0), max(int(face.top), 0)
    right, bottom = math.ceil(face.left + face.width), math.ceil(face.top + face.height)
    patch = picture[top : max(bottom, 0), left : max(right, 0)]
    if not patch.size:
        patch = np.zeros((1, 1, *picture.shape[2:]), np.uint8)
    small = cv2.resize(patch, _LOOK, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _reduced(width: int, height: int, size: float) -> tuple[int, int] | None:
    """The shape of a picture reduced to ``size`` px on its longer side; None where it is not."""
    if max(height, width) <= size:
        return None
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
