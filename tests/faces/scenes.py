"""Films of several people: a real face, the participant's, and others pasted beside or over it."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

FPS = 25
GREY = 120
SIZE = (352, 640)  # height, width


def real_face(recordings: Path, count: int = 180) -> list[np.ndarray]:
    """The first frames of the "foreman" sequence, RGB (288, 352, 3)."""
    with av.open(str(recordings / "video/foreman_cif.264"), format="h264") as container:
        frames = [
            f.to_ndarray(format="rgb24")
            for _, f in zip(range(count), container.decode(), strict=False)
        ]
    return frames


def another(side: int) -> np.ndarray:
    """The face of somebody else, RGB (side, side, 3)."""
    return cv2.resize(astronaut()[0:220, 120:340], (side, side), interpolation=cv2.INTER_AREA)


def paste(picture: np.ndarray, part: np.ndarray, left: float, top: float) -> None:
    """Put a part into a picture, as far as it lies inside."""
    left, top = round(left), round(top)
    height, width = part.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, picture.shape[1]), min(top + height, picture.shape[0])
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = part[y0 - top : y1 - top, x0 - left : x1 - left]


def film(path: Path, pictures, fps: int = FPS) -> Path:
    """Write pictures RGB (height, width, 3) as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def blank() -> np.ndarray:
    """An empty room, RGB."""
    return np.full((*SIZE, 3), GREY, np.uint8)


def faces_in(finder, picture):
    """The faces in a picture, RGB (height, width, 3), searched once."""
    return finder.find(av.VideoFrame.from_ndarray(picture, format="rgb24"), (0,)).faces
