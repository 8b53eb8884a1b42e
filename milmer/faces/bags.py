"""Stored face crops: how they are decoded, and which instances of a bag the model may use."""

from collections.abc import Iterable

import numpy as np

from milmer.errors import MilmerError

LARGEST_CROP = 1024
"""Width and height in px, as many as faces.size allows."""


def decode_crops(images: Iterable[np.ndarray]) -> np.ndarray:
    """RGB pictures uint8 (frame, height, width, 3) of the JPEGs that the stage ``faces`` stores."""
    return np.stack([decode_crop(image) for image in images])


def decode_crop(image: np.ndarray) -> np.ndarray:
    """The RGB picture uint8 (height, width, 3) of one JPEG.

    Raises :class:`MilmerError` where it is none, or larger than any crop.
    """
    import cv2  # which training on tokens does without, as it does without Pillow

    from milmer.readers.pictures import require_pixels

    picture = None
    if require_pixels(image.tobytes(), LARGEST_CROP**2, "a stored crop"):
        picture = cv2.imdecode(image, cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise MilmerError("not a picture", where="a stored crop", remedy="make the faces again")
    return picture


def valid_instances(bag: np.ndarray, detected: np.ndarray, use_borrowed_boxes: bool) -> np.ndarray:
    """Bool (segment, instance): there is a frame, and a face was detected in it.

    ``bag`` (segment, instance) indexes frames and is −1 where there is none; ``detected`` (frame,).
    With ``use_borrowed_boxes`` a frame whose box was borrowed is valid too.
    """
    usable = detected | use_borrowed_boxes  # (frame,)
    valid = np.zeros(bag.shape, bool)
    valid[bag >= 0] = usable[bag[bag >= 0]]
    return valid


def evenly_spaced(cached: int, wanted: int | None) -> np.ndarray:
    """Indices (wanted,) of instances of a bag of ``cached``, evenly spaced in time; None is all.

    Raises :class:`MilmerError` if more are wanted than are cached.
    """
    if wanted is None:
        return np.arange(cached)
    if wanted > cached:
        raise MilmerError(
            f"{wanted} instances of a bag are wanted, {cached} are cached",
            where="model.num_instances",
            remedy="raise faces.instances",
        )
    return ((np.arange(wanted) + 0.5) * cached / wanted).astype(int)
