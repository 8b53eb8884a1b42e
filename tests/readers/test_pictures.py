"""Pictures that claim to be large are refused by their headers."""

import io
import shutil
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from milmer.readers.pictures import MOST_PIXELS, picture_size, require_pixels
from tests.limited import refusal

PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_the_size_is_that_of_the_decoded_picture(suffix):
    content = cv2.imencode(suffix, PICTURE)[1].tobytes()
    assert picture_size(content) == (64, 48)
    assert require_pixels(content)


@pytest.mark.parametrize("options", [{"progressive": True}, {"comment": b"\xff\xc0" * 99}, {}])
def test_the_size_of_a_jpeg_is_found_behind_what_stands_before_it(options):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "thumbnail \xff\xc0"
    Image.fromarray(PICTURE).save(file, "JPEG", exif=exif, **options)
    assert picture_size(file.getvalue()) == (64, 48)


@pytest.mark.parametrize(
    "content",
    [b"", b"BM", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0\1", b"RIFF", bytes(99)],
)
def test_what_is_no_picture_has_no_size(content):
    assert picture_size(content) is None
    assert not require_pixels(content)


@pytest.mark.parametrize("at", range(2, 60))
def test_a_jpeg_that_is_cut_off_has_its_size_or_none(at):
    content = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    assert picture_size(content[:at] + content[at + 7 :]) in (None, (64, 48))


def _claiming(width, height):
    content = bytearray(cv2.imencode(".jpg", PICTURE)[1].tobytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def test_a_picture_of_too_many_pixels_is_one_line(refused):
    with refused("claims to be 60000 x 60000 px", f"at most {MOST_PIXELS:,} px"):
        require_pixels(_claiming(60_000, 60_000))


def test_pictures_to_pre_train_on_are_refused_by_their_headers(hostile, tmp_path):
    shutil.copytree(hostile / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures/sad").mkdir()
    (tmp_path / "pictures/sad/1.jpg").write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes())
    line = refusal("tests.readers.test_pictures:read_all", tmp_path / "pictures")
    assert "large.png: claims to be 30000 x 30000 px; at most 100,000,000 px are decoded" in line


def read_all(folder):
    """Read pictures as pre-training does."""
    from milmer.backbone.class_folders import read_pictures

    read_pictures(folder, 0.2, 0, 1)


def test_a_webp_that_pillow_refuses_by_its_size_is_one_line(refused):
    header = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    with refused("a.webp: too large; at most 100,000,000 px are decoded"):
        require_pixels(b"RIFF" + struct.pack("<I", 30) + b"WEBP" + header, where="a.webp")
