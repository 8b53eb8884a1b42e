from fractions import Fraction

import av
import numpy as np
import pytest

from milmer.errors import MilmerError
from milmer.faces.video import decode, probe

CLIP = "face_video/s01/s01_trial01.avi"


def write(path, frames=20, fps=10, codec="libx264", b_frames=0, size=(64, 48)):
    """A clip whose frame i is grey of level 10 i, up to 24."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"bf": str(b_frames), "crf": "1"}
        for i in range(frames):
            grey = np.full((size[1], size[0], 3), 10 * (i % 25), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(path, wanted, threads=1):
    found = decode(path, np.array(wanted), threads)
    return {number: frame.to_ndarray(format="gray").mean() / 10 for number, frame in found}


def test_a_clip_is_counted_and_measured(twin, twin_truth):
    for trial, video in twin_truth["s01"]["videos"].items():
        clip = probe(twin / "face_video" / "s01" / f"s01_trial0{trial}.avi")
        assert clip.frames == video["frames"]
        assert (clip.width, clip.height) == (360, 288)
        assert clip.fps == pytest.approx(10)
        assert clip.seconds == pytest.approx(video["frames"] / 10)


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_frames_come_by_their_number_in_display_order(tmp_path, b_frames, threads):
    path = write(tmp_path / "a.avi", b_frames=b_frames)
    seen = levels(path, [0, 3, 4, 11, 19], threads)
    assert list(seen) == [0, 3, 4, 11, 19]
    for number, level in seen.items():
        assert level == pytest.approx(number, abs=0.3)


@pytest.mark.parametrize(("fps", "frames"), [(50, 100), (25, 60), (30, 45)])
def test_the_rate_is_read_from_the_frames(tmp_path, fps, frames):
    clip = probe(write(tmp_path / "a.avi", frames, fps))
    assert (clip.frames, clip.fps) == (frames, pytest.approx(fps))


def test_nothing_wanted_gives_nothing(twin):
    assert levels(twin / CLIP, []) == {}


def test_a_clip_that_is_cut_off_is_one_line(twin, tmp_path, refused):
    whole = (twin / CLIP).read_bytes()
    path = tmp_path / "cut.avi"
    for kept in (0.6, 0.99, 0.01):
        path.write_bytes(whole[: int(kept * len(whole))])
        with refused("cut.avi: cut off", "copy it again"):
            probe(path)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"not a video at all" * 100, b"RIFF\x04\0\0\0AVI ", bytes(5000)]
)
def test_what_is_no_video_is_one_line(tmp_path, content, refused):
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    with refused("a.avi: "):
        probe(path)


def test_a_clip_that_is_not_there_is_one_line(tmp_path, refused):
    with refused("a.avi: no such file", "trials"):
        probe(tmp_path / "a.avi")


def test_sound_alone_is_no_video(tmp_path, refused):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with refused("a.avi: "):
        probe(path)


def test_damaged_frames_are_one_line_or_are_decoded(twin, tmp_path):
    whole = (twin / CLIP).read_bytes()
    path = tmp_path / "a.avi"
    for seed in range(30):
        r = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in r.integers(0, len(whole), 20):
            damaged[place] = r.integers(256)
        path.write_bytes(damaged)
        assert "\n" not in said_of(path)


def said_of(path):
    """The error for people about a clip, if any; every other exception comes through."""
    try:
        clip = probe(path)
        levels(path, np.arange(0, min(clip.frames, 100), 7), 2)
    except MilmerError as error:
        return str(error)
    return ""
