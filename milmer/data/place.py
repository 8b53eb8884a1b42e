"""Where a participant's face is in a video that shows several people."""


def parse_place(text: str) -> str | tuple[float, float, float, float]:
    """``left`` or ``right``, or a box: left, top, width and height in px, separated by blanks.

    The picture is that which a player shows. Raises ValueError where it is neither.
    """
    if text in ("left", "right"):
        return text
    left, top, width, height = map(float, text.split())
    if not (0 <= left < 1e5 and 0 <= top < 1e5 and 0 < width < 1e5 and 0 < height < 1e5):
        raise ValueError(text)
    return left, top, width, height
