"""The section ``faces``: from face video to face crops."""

from typing import Literal

from pydantic import Field

from milmer.data.segmentation import SegmentationOptions
from milmer.options import FilePath, Options, execution


class FacesOptions(Options):
    """From face video to face crops."""

    instances: int = Field(10, ge=1, description="Frames per segment: the size N of a bag.")
    detector: Literal["yunet", "haar", "mediapipe"] = Field(
        "yunet",
        description="`haar` is the cascade that ships with OpenCV; it finds frontal faces only. "
        " `mediapipe` is the published one; it needs the package of that name and a model "
        "file.",
    )
    detector_model: FilePath | None = execution(
        None,
        description="For MediaPipe, a BlazeFace .tflite file, whose content counts as an input. "
        "YuNet's comes with Milmer: null.",
    )
    min_score: float | None = Field(
        None,
        description="Minimum score of a face; null is the detector's default: 0.7 for YuNet and "
        "MediaPipe, 0 for Haar.",
    )
    choice: Literal["participant", "largest", "first"] = Field(
        "participant",
        description="Which of several faces is cropped. Faces are linked into tracks over the "
        "clip; `participant` takes those of one person, whose face is seen longest and largest, "
        "or the one that the manifest's column `face` names; `largest` takes the largest face of "
        "each frame, and `first`, as published, the first that the detector reports.",
    )
    hold: float = Field(
        5.0,
        ge=0,
        le=60,
        description="Seconds for which a track that is lost keeps its place in the picture.",
    )
    smoothing: float = Field(
        0.1,
        ge=0,
        le=5,
        description="A box is averaged with those of the same face less than this many seconds "
        "away, with weights that fall with the distance; 0 for no smoothing. With ten frames in "
        "3 s, frames are 0.3 s apart and boxes stay as detected: in that time a head moves more "
        "than a box errs.",
    )
    min_coverage: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of a segment that the video must cover; otherwise the segment has no "
        "frames.",
    )
    margin: float = Field(
        0.1, ge=0, le=1, description="The box is widened on each side by this share of its size."
    )
    size: int = Field(224, ge=32, le=1024, description="Width and height of a crop in px.")
    quality: int = Field(95, ge=50, le=100, description="JPEG quality of the stored crops.")
    use_borrowed_boxes: bool = Field(
        False,
        description="Let the model use crops whose box was borrowed from a neighbouring frame.",
    )
    detection_size: int = Field(
        256,
        ge=64,
        description="Faces are detected in a picture reduced to this many px on its longer side. "
        "MediaPipe searches the whole picture.",
    )
    second_detection_size: int | None = Field(
        640,
        ge=64,
        description="Where YuNet finds no face, it searches once more in a picture of this many "
        "px, for faces that are far from the camera; null: never.",
    )
    video_stream: int | None = Field(
        None,
        ge=0,
        description="Which of several videos in a file, from 0; null takes the one that the file "
        "marks as default.",
    )
    threads: int = execution(2, ge=1, description="Threads that decode a video and search it.")


class FaceStageOptions(Options):
    """What the stage ``faces`` depends on."""

    faces: FacesOptions = FacesOptions()
    segmentation: SegmentationOptions = SegmentationOptions()

    def result(self) -> dict:
        """Everything that can change the result, without what only later stages use."""
        options = super().result()
        options["faces"].pop("use_borrowed_boxes")
        return options
