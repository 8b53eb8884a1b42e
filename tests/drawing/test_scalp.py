"""Head maps: channels at the positions of their recording, and no map where none are known."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from milmer.drawing.scalp import scalp_map

# Names of an ABC cap that are places of the 10–05 system too, on the other half of the head.
ABC = ["F1", "F3", "F5", "O2", "P6", "A5"]
BACK, FRONT = -0.08, 0.08
PLACES = {
    name: (0.06 * np.cos(angle), y, 0.05)
    for name, angle, y in zip(
        ABC, (2.8, 1.6, 0.3, 2.6, 1.5, 0.5), [BACK] * 3 + [FRONT] * 3, strict=True
    )
}
VALUES = dict(zip(ABC, [1.0, 1.0, 1.0, -1.0, -1.0, -1.0], strict=True))


def picture(panel):
    """The map as RGB (row, column, colour), without what is transparent."""
    code = re.search(r"data:image/png;base64,([^\"']+)", panel.body)[1]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGBA"), float)
    return image[..., :3] * (image[..., 3:] > 0)


def redness(part):
    """How much more red than blue there is."""
    return (part[..., 0] - part[..., 2]).mean()


@pytest.mark.parametrize(("positions", "red_half"), [(None, "front"), (PLACES, "back")])
def test_channels_are_drawn_where_the_recording_has_them(positions, red_half):
    """F1, F3 and F5, which are positive, are in front by name and at the back in this cap."""
    image = picture(scalp_map("a", VALUES, "µV", "", positions))
    half = len(image) // 2
    front, back = redness(image[:half]), redness(image[half:])
    assert (front > 5 and back < -5) if red_half == "front" else (back > 5 and front < -5)


def test_of_channels_without_a_known_place_no_map_is_drawn():
    panel = scalp_map("a", VALUES, "µV", "told", {})
    assert "no map: it is not known where the channels are" in panel.body
    assert "data:image" not in panel.body


def test_a_channel_without_a_place_is_named():
    places = {name: xyz for name, xyz in PLACES.items() if name != "P6"}
    panel = scalp_map("a", VALUES, "µV", "Told.", places)
    assert "Without a place on the head: P6." in panel.description
