"""Stored face crops: decoding them, and which of a bag's the model may look at."""

from collections.abc import Iterable

import cv2
import numpy as np

from milmer.errors import MilmerError


def decoded(images: Iterable[np.ndarray]) -> np.ndarray:
    """RGB pictures uint8 (frame, height, width, 3) of crops as the stage ``faces`` stores them."""
    return np.stack([decode(image) for image in images])


def decode(image: np.ndarray) -> np.ndarray:
    """One of them, uint8 (height, width, 3)."""
    return cv2.imdecode(image, cv2.IMREAD_COLOR_RGB)


def valid_instances(bag: np.ndarray, detected: np.ndarray, use_borrowed_boxes: bool) -> np.ndarray:
    """Bool (segment, instance): there is a frame, and a face was detected in it.

    ``bag`` (segment, instance) indexes frames, −1 where there is none; ``detected`` (frame,).
    With ``use_borrowed_boxes`` a frame whose box is a neighbour's counts too.
    """
    usable = detected | use_borrowed_boxes  # (frame,)
    valid = np.zeros(bag.shape, bool)
    valid[bag >= 0] = usable[bag[bag >= 0]]
    return valid


def evenly_spaced(cached: int, wanted: int | None) -> np.ndarray:
    """Which of a bag's ``cached`` instances make up one of ``wanted``: evenly spaced in time."""
    if wanted is None:
        return np.arange(cached)
    if wanted > cached:
        raise MilmerError(
            f"model.num_instances: {wanted} of a bag are wanted and {cached} are cached; raise "
            "faces.instances"
        )
    return ((np.arange(wanted) + 0.5) * cached / wanted).astype(int)
