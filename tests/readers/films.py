"""Small films whose frames show their number, in any container, codec and order of times."""

from fractions import Fraction

import av
import numpy as np

FRAMES, RATE = 72, 25
STALL = [i if i < 40 else i + 75 for i in range(FRAMES)]
"""Numbers of the frames' times: the camera stops for 3 s after 40 frames."""
UNEVEN = (np.cumsum(np.random.default_rng(0).integers(1, 4, FRAMES)) - 1).tolist()
_WIDTH, _HEIGHT, _BITS = 128, 96, 8


def pictures(count=FRAMES, width=_WIDTH, height=_HEIGHT, grain=0):
    """Frames of moving noise; their upper third holds their number as black and white fields.

    ``grain`` is the size of further noise, which takes many bits.
    """
    rng = np.random.default_rng(1)
    noise = rng.integers(60, 190, (height // 8 + 8, width // 8 + 8))
    for i in range(count):
        rows, columns = np.arange(height) // 8 + i // 7 % 8, np.arange(width) // 8 + i // 5 % 8
        picture = np.repeat(noise[rows][:, columns, None], 3, axis=2).astype(np.uint8)
        if grain:
            picture += rng.integers(0, grain, picture.shape, np.uint8)
        field = width // _BITS
        for bit in range(_BITS):
            level = 235 if i >> bit & 1 else 16
            picture[: height // 3, bit * field : (bit + 1) * field] = level
        yield picture


def number_in(frame):
    """The number that a frame shows."""
    grey = frame.to_ndarray(format="gray")
    field = grey.shape[1] // _BITS
    fields = [grey[8:24, bit * field + 4 : (bit + 1) * field - 4] for bit in range(_BITS)]
    return sum((part.mean() > 125) << bit for bit, part in enumerate(fields))


def film(
    path,
    codec="libx264",
    b_frames=0,
    times=None,
    form=None,
    first=0,
    sound=0.0,
    grain=0,
    size=(_WIDTH, _HEIGHT),
    pixels=None,
    rate=RATE,
    header=(),
    **options,
):
    """Write a film; frame i is shown at ``times[i]`` + ``first``, in numbers of frames.

    ``sound`` is the length of its sound in s, ``header`` are options of the container. A group of
    pictures has 20 frames.
    """
    width, height = (176, 144) if codec == "h263" else size
    options = {"g": "20", **options}
    if codec in ("libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video"):
        options["bf"] = str(b_frames)
    if codec == "libx265":
        options["x265-params"] = "log-level=none" + options.get("x265-params", "")
    elif codec != "libx264":
        options.setdefault("b", "2M")
    with av.open(str(path), "w", format=form, options=dict(header)) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, height
        usual = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}.get(codec, "yuv420p")
        stream.pix_fmt = pixels or usual
        stream.time_base = stream.codec_context.time_base = 1 / Fraction(rate)
        if sound:
            voice = container.add_stream(
                "libopus" if path.suffix == ".webm" else "pcm_s16le", rate=8000, layout="mono"
            )
            samples = np.zeros((1, int(8000 * sound)), np.int16)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = 8000, 0
            container.mux(voice.encode(frame))
        for i, picture in enumerate(pictures(FRAMES, width, height, grain)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = (i if times is None else times[i]) + first
            frame.time_base = 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
