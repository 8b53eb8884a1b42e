from fractions import Fraction

import av
import numpy as np
import pytest

from milmer.errors import MilmerError
from milmer.readers import video
from milmer.readers.seekable_video import frames_of, probe
from milmer.readers.video import require_plausible

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
    found = frames_of(path, probe(path), np.array(wanted), threads)
    return {number: frame.to_ndarray(format="gray").mean() / 10 for number, frame in found}


def test_a_clip_is_counted_and_measured(twin, twin_truth):
    for trial, known in twin_truth["s01"]["videos"].items():
        clip = probe(twin / "face_video" / "s01" / f"s01_trial0{trial}.avi")
        assert clip.frames == known["frames"]
        assert (clip.width, clip.height) == (360, 288)
        assert clip.fps == pytest.approx(10)
        assert clip.seconds == pytest.approx(known["frames"] / 10)


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


def test_a_clip_that_is_cut_off_is_used_as_far_as_it_goes(twin, tmp_path, refused):
    whole = (twin / CLIP).read_bytes()
    all_of_it = probe(twin / CLIP)
    path = tmp_path / "cut.avi"
    for kept in (0.6, 0.98):
        path.write_bytes(whole[: int(kept * len(whole))])
        clip = probe(path)
        assert clip.notes == (f"cut off ({int(kept * len(whole))} of {len(whole)} bytes)",)
        assert kept - 0.1 < clip.frames / all_of_it.frames <= 1
        assert clip.times == pytest.approx(all_of_it.times[: clip.frames])
        found = dict(frames_of(path, clip, np.arange(clip.frames), 2))
        wanted = dict(frames_of(twin / CLIP, all_of_it, np.arange(clip.frames - 1), 2))
        for number, frame in wanted.items():
            assert (found[number].to_ndarray() == frame.to_ndarray()).all()
    path.write_bytes(whole[: len(whole) // 100])
    with refused("cut.avi: "):
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
    with refused("a.avi: holds no video", "copy it again"):
        probe(path)


def test_a_bare_stream_has_the_rate_that_it_names(tmp_path):
    clip = probe(write(tmp_path / "a.264", frames=30, fps=10))
    assert (clip.frames, clip.width, clip.height) == (30, 64, 48)
    assert clip.fps == pytest.approx(10)


def test_a_real_bare_stream_is_read(recordings):
    clip = probe(recordings / "video/foreman_cif.264")
    assert (clip.frames, clip.width, clip.height) == (299, 352, 288)
    assert clip.fps == 25  # it names none, and this is the reader's usual one


@pytest.mark.parametrize("size", [(8, 8), (1280, 8)])
def test_pictures_of_an_impossible_size_are_one_line(tmp_path, size, refused):
    with refused(f"a.avi: claims to be {size[0]} x {size[1]} px"):
        probe(write(tmp_path / "a.avi", size=size, codec="mpeg4"))


@pytest.mark.parametrize("size", [(8192, 8192), (8192, 4336), (4320, 8200)])
def test_frames_that_are_larger_than_any_cameras_are_one_line(size, refused):
    with refused(f"a.mp4: claims to be {size[0]} x {size[1]} px"):
        require_plausible("a.mp4", 25, *size)
    require_plausible("a.mp4", 25, 8192, 4320)


def test_frames_that_grow_in_a_stream_are_not_decoded(tmp_path, refused, monkeypatch):
    first, second = (write(tmp_path / f"{w}.264", 6, size=(w, 48)) for w in (64, 960))
    path = tmp_path / "a.264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    monkeypatch.setitem(video.PIXELS, "max_pixels", str(64 * 48))
    with refused("a.264: holds no picture that can be decoded"):
        levels(path, [0, 3, 10])


@pytest.mark.parametrize(("scale", "rate"), [(1, 5000), (10, 1)])
def test_an_impossible_rate_is_one_line(tmp_path, scale, rate, refused):
    path = write(tmp_path / "a.avi")
    content = bytearray(path.read_bytes())
    at = content.index(b"strh") + 8 + 20
    content[at : at + 8] = scale.to_bytes(4, "little") + rate.to_bytes(4, "little")
    path.write_bytes(content)
    with refused("a.avi: claims to have", "frames/s"):
        probe(path)


def test_frames_of_another_size_come_in_that_of_the_first(tmp_path):
    first, second = (write(tmp_path / f"{w}.264", 6, size=(w, 48)) for w in (64, 96))
    path = tmp_path / "a.264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    clip = probe(path)
    assert (clip.frames, clip.width) == (12, 64)
    for number, frame in frames_of(path, clip, np.array([0, 3, 10]), 1):
        assert (frame.width, frame.height) == (64, 48)
        assert frame.to_ndarray(format="gray").mean() / 10 == pytest.approx(number % 6, abs=0.3)


def test_a_title_in_another_encoding_does_not_matter(tmp_path):
    path = write(tmp_path / "a.avi")
    content = path.read_bytes()
    assert content.count(b"Lavf") == 1  # the name of the program that wrote it
    path.write_bytes(content.replace(b"Lavf", "Müll".encode("latin-1")))
    assert probe(path).frames == 20
    assert list(levels(path, [3])) == [3]


def fields(header):
    """Places and sizes of the numbers in an AVI's main, stream and format headers."""
    for name, numbers in ((b"avih", 10), (b"strh", 12), (b"strf", 5)):
        start = header.index(name) + 8
        for i in range(numbers):
            yield start + 4 * i


@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF], ids=hex)
def test_a_header_that_makes_no_sense_is_one_line_or_is_not_needed(twin, tmp_path, value):
    whole = (twin / CLIP).read_bytes()
    path = tmp_path / "a.avi"
    for place in fields(whole):
        damaged = bytearray(whole)
        damaged[place : place + 4] = value.to_bytes(4, "little")
        path.write_bytes(damaged)
        assert "\n" not in said_of(path)


def test_damaged_headers_are_one_line_or_are_decoded(twin, tmp_path):
    whole = (twin / CLIP).read_bytes()
    end = whole.index(b"movi")
    path = tmp_path / "a.avi"
    for seed in range(60):
        r = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for place in r.integers(12, end, 8):
            damaged[place] = r.integers(256)
        path.write_bytes(damaged)
        assert "\n" not in said_of(path)


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
