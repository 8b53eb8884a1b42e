"""How large a picture claims to be, by its header: decoding it takes that much memory."""

import io
import struct
from pathlib import Path

from PIL import Image

from milmer.errors import MilmerError

MOST_PIXELS = 100_000_000
"""Pixels of a picture that is decoded: 10,000 x 10,000."""

_OTHERS = ("PNG", "BMP", "WEBP", "TIFF")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's markers with the size behind them
_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}
_SCAN, _END = 0xDA, 0xD9


def require_pixels(content: bytes, most: int = MOST_PIXELS, where: Path | str = "") -> bool:
    """Whether it is a picture; raises :class:`MilmerError` for one of more than ``most`` pixels."""
    try:
        size = picture_size(content)
    except Image.DecompressionBombError as error:
        raise MilmerError(f"too large; at most {most:,} px are decoded", where=where) from error
    if size and size[0] * size[1] > most:
        raise MilmerError(
            f"claims to be {size[0]} x {size[1]} px; at most {most:,} px are decoded", where=where
        )
    return size is not None


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in px of a JPEG, PNG, BMP, WebP or TIFF file; None where it is none."""
    if content[:2] == b"\xff\xd8":
        return _jpeg_size(content)
    Image.init()
    for kind in _OTHERS:
        # Not Image.open, which refuses large pictures without saying their size.
        factory, accepts = Image.OPEN[kind]
        try:
            if accepts is None or accepts(content[:16]) is True:
                return factory(io.BytesIO(content), "").size
        except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError):
            return None
    return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Found as libjpeg does, in a hundredth of the time that decoding takes."""
    at = 2
    try:
        while True:
            at = content.index(b"\xff", at)
            while content[at] == 0xFF:
                at += 1
            marker, at = content[at], at + 1
            if marker in _FRAMES:
                height, width = struct.unpack_from(">HH", content, at + 3)
                return width, height
            if marker in (_SCAN, _END):
                return None
            if marker not in _WITHOUT_LENGTH:
                at += max(2, *struct.unpack_from(">H", content, at))
    except (ValueError, IndexError, struct.error):
        return None
