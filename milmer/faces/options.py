"""The section ``faces``: from face video to face crops."""

from typing import Literal

from pydantic import Field

from milmer.data.segmentation import SegmentationOptions
from milmer.options import Options, execution


class FacesOptions(Options):
    """From face video to face crops."""

    instances: int = Field(10, ge=1, description="Frames a segment: the bag's size N.")
    detector: Literal["yunet", "haar", "mediapipe"] = Field(
        "yunet",
        description="`haar` ships with OpenCV and needs no model file; it sees frontal faces only. "
        "`mediapipe` is the published one; it needs the package of that name and a model file.",
    )
    detector_model: str | None = execution(
        None,
        description="YuNet's .onnx file, checked by its digest; null takes it from the hub "
        "(opencv/face_detection_yunet). For MediaPipe a BlazeFace .tflite file, whose content "
        "counts as an input.",
    )
    min_score: float | None = Field(
        None,
        description="Least score of a face; null is the detector's default: YuNet and MediaPipe "
        "0.7, Haar 0.",
    )
    choice: Literal["continuity", "largest"] = Field(
        "continuity",
        description="Which of several faces is taken: the one that overlaps most with the one "
        "taken last in the clip (the largest where none does), or always the largest.",
    )
    smoothing: float = Field(
        0.1,
        ge=0,
        le=5,
        description="Boxes of one face are averaged with those less than this many s away, the "
        "less the farther; 0 is none. Ten frames of 3 s are 0.3 s apart and stay as detected: at "
        "that distance a head has moved farther than a box errs.",
    )
    min_coverage: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Part of a segment that the video must cover, else it has no frames.",
    )
    margin: float = Field(
        0.1, ge=0, le=1, description="Each side of the box is widened by this part of its size."
    )
    size: int = Field(224, ge=32, le=1024, description="Width and height of a crop in px.")
    quality: int = Field(95, ge=50, le=100, description="JPEG quality of the stored crops.")
    use_borrowed_boxes: bool = Field(
        False,
        description="Let the model see crops whose box was borrowed from a neighbouring frame.",
    )
    detection_size: int = Field(
        256,
        ge=64,
        description="Faces are searched in a picture reduced to this longer side in px.",
    )
    threads: int = execution(2, ge=1, description="Threads that decode one video.")


class FaceStageOptions(Options):
    """What the stage ``faces`` depends on."""

    faces: FacesOptions = FacesOptions()
    segmentation: SegmentationOptions = SegmentationOptions()

    def result(self) -> dict:
        """All but what only the later stages look at."""
        known = super().result()
        known["faces"].pop("use_borrowed_boxes")
        return known
