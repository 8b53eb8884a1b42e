"""The files of detectors' models, checked. Imports nothing heavy: the plan looks at them too."""

import hashlib
from pathlib import Path

from milmer.errors import MilmerError
from milmer.faces.options import FacesOptions

YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


def model_digest(options: FacesOptions) -> str | None:
    """SHA-256 of the model file that the detector reads; None if it reads none."""
    if options.detector == "yunet":
        return YUNET_SHA256  # no other is accepted
    if options.detector == "mediapipe":
        return hashlib.sha256(mediapipe_model(options)).hexdigest()
    return None


def require_model(options: FacesOptions) -> None:
    """Refuse options whose detector lacks its model file, or has another one."""
    if options.detector == "yunet":
        yunet_file(options)
    elif options.detector == "mediapipe":
        mediapipe_model(options)


def yunet_file(options: FacesOptions) -> str:
    """The checked path of YuNet's model file: ``faces.detector_model``, or the packaged one.

    Raises :class:`MilmerError` if it cannot be read, or is another file.
    """
    path = options.detector_model or str(Path(__file__).with_name(YUNET_FILE))
    digest = hashlib.sha256(_content(path)).hexdigest()
    if digest != YUNET_SHA256:
        raise MilmerError(
            f"not {YUNET_FILE} (SHA-256 {digest[:12]}…, expected {YUNET_SHA256[:12]}…)",
            where=f"faces.detector_model: {path}",
            remedy="give null for the file that comes with Milmer; if that is the one above, "
            "install Milmer again",
        )
    return path


def mediapipe_model(options: FacesOptions) -> bytes:
    """The content of MediaPipe's model file.

    Raises :class:`MilmerError` if none is given or it cannot be read.
    """
    return _content(mediapipe_file(options))


def mediapipe_file(options: FacesOptions) -> str:
    """MediaPipe's model file, ``faces.detector_model``, which has to be given."""
    if options.detector_model is None:
        raise MilmerError(
            "mediapipe needs a model file",
            where="faces.detector",
            remedy="name it as faces.detector_model; milmer fetch CONFIGURATION downloads the "
            "published one to that name",
        )
    return options.detector_model


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MilmerError(
            str(error.strerror),
            where=f"faces.detector_model: {path}",
            remedy="give the path of a file that can be read",
        ) from error
