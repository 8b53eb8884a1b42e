"""Which instances of a bag the model may use, and how stored crops are decoded."""

import cv2
import numpy as np
import pytest

from milmer.faces.bags import LARGEST_CROP, decode_crops, evenly_spaced, valid_instances
from milmer.faces.options import FacesOptions

BAG = np.array([[3, 0, -1], [1, 2, 4], [-1, -1, -1], [0, 4, 4]])
DETECTED = np.array([True, False, True, True, False])


@pytest.mark.parametrize(
    ("borrowed", "valid"),
    [
        (False, [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]]),
        (True, [[1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]]),
    ],
)
def test_an_instance_is_valid_where_a_face_was_detected_in_its_frame(borrowed, valid):
    assert valid_instances(BAG, DETECTED, borrowed).tolist() == np.array(valid, bool).tolist()


@pytest.mark.parametrize(
    ("cached", "wanted", "instances"),
    [
        (4, None, [0, 1, 2, 3]),
        (4, 4, [0, 1, 2, 3]),
        (4, 1, [2]),
        (5, 1, [2]),
        (10, 2, [2, 7]),
        (10, 3, [1, 5, 8]),
        (7, 5, [0, 2, 3, 4, 6]),
    ],
)
def test_instances_are_the_middles_of_equal_parts_of_the_bag(cached, wanted, instances):
    assert evenly_spaced(cached, wanted).tolist() == instances


def test_more_instances_than_are_cached_are_refused(refused):
    with refused("model.num_instances: 5 instances of a bag are wanted, 4 are cached",
                 "raise faces.instances"):  # fmt: skip
        evenly_spaced(4, 5)


def test_crops_are_decoded_in_their_order_and_as_red_green_and_blue():
    colours = np.array([[200, 30, 90], [10, 160, 60], [40, 70, 220]], np.uint8)  # RGB
    pictures = [np.full((8, 12, 3), colour[::-1], np.uint8) for colour in colours]
    decoded = decode_crops(cv2.imencode(".png", picture)[1].ravel() for picture in pictures)
    assert decoded.shape == (3, 8, 12, 3)
    assert (decoded == colours[:, None, None]).all()


def test_a_stored_crop_is_no_larger_than_crops_are(refused):
    assert FacesOptions.model_json_schema()["properties"]["size"]["maximum"] == LARGEST_CROP
    large = cv2.imencode(".png", np.zeros((LARGEST_CROP, LARGEST_CROP + 1), np.uint8))[1]
    with refused("a stored crop: claims to be 1025 x 1024 px"):
        decode_crops([large.ravel()])
    with refused("a stored crop: not a picture", "make the faces again"):
        decode_crops([np.zeros(9, np.uint8)])
