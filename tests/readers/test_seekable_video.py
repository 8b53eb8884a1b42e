from fractions import Fraction

import av
import numpy as np
import pytest

from milmer.data.segmentation import Segment
from milmer.faces.crops import frame_numbers
from milmer.readers import seekable_video
from milmer.readers.seekable_video import frames_of, probe

MS = Fraction(1, 1000)


def film(path, times, codec="libx264", b_frames=2, first=0, size=(64, 48)):
    """A video whose frame at ``times`` ms is as grey as 2.5 times its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = MS
        if codec == "libx264":
            stream.options = {"bf": str(b_frames), "crf": "1", "g": "10"}
        else:
            stream.bit_rate, stream.gop_size = 2_000_000, 10
        for i, time in enumerate(times):
            grey = np.full((size[1], size[0], 3), 2.5 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = int(time) + first, MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def uneven():
    """Times in ms of 100 frames, 20 to 90 ms apart."""
    return np.cumsum(np.random.default_rng(0).integers(20, 90, 100)) - 20


def levels(path, wanted):
    clip = probe(path)
    found = frames_of(path, clip, np.array(wanted), 2)
    return {number: frame.to_ndarray(format="gray").mean() / 2.5 for number, frame in found}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_frames_of_a_variable_rate_come_by_their_times(tmp_path, uneven, name, b_frames):
    path = film(tmp_path / name, uneven, b_frames=b_frames)
    clip = probe(path)
    assert clip.times * 1000 == pytest.approx(uneven - uneven[0], abs=0.1)
    seen = levels(path, [0, 3, 37, 38, 71, 99])
    assert list(seen) == [0, 3, 37, 38, 71, 99]
    for number, level in seen.items():
        assert level == pytest.approx(number, abs=1)
    mean = (uneven[-1] - uneven[0]) / 99
    assert clip.seconds == pytest.approx((uneven[-1] - uneven[0] + mean) / 1000, abs=1e-3)


def test_time_counts_from_the_first_frame(tmp_path, uneven):
    clip = probe(film(tmp_path / "a.mkv", uneven, first=700))
    assert clip.times[0] == 0
    assert clip.times * 1000 == pytest.approx(uneven - uneven[0], abs=0.1)


def test_the_frame_is_the_one_that_is_seen_at_a_time(tmp_path):
    clip = probe(film(tmp_path / "a.mkv", [0, 100, 150, 900, 1000]))
    times = [-0.1, 0, 0.09, 0.1, 0.16, 0.64, 0.66, 0.899, 0.9, 5.0]
    # A picture that the camera did not replace for half a second is not of that time any more.
    assert clip.at(np.array(times)).tolist() == [-1, 0, 0, 1, 2, 2, -1, -1, 3, -1]
    chosen = frame_numbers(Segment(1, 0, 0.0), clip, 0.5, 4, start=0.5)
    assert chosen.tolist() == [2, 3]
    assert frame_numbers(Segment(1, 0, 0.0), clip, 0.5, 4, 0.5, start=0.5).tolist() == [2, 3]
    assert frame_numbers(Segment(1, 0, 0.0), clip, 0.5, 4, 0.6, start=0.5).size == 0
    assert frame_numbers(Segment(1, 0, 0.0), clip, 0.5, 4, start=-0.3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_trial_late_in_a_long_video_is_not_decoded_from_its_beginning(
    tmp_path, uneven, codec, monkeypatch
):
    path = film(tmp_path / "a.mp4", uneven, codec)
    decoded = []
    decoding = seekable_video._decoded

    def counted(*args):
        for number, frame in decoding(*args):
            decoded.append(number)
            yield number, frame

    monkeypatch.setattr(seekable_video, "_decoded", counted)
    assert list(levels(path, [95, 97])) == [95, 97]
    assert len(decoded) <= 12  # from the key frame before: there is one in ten
    assert levels(path, [0])[0] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_late_trial_of_an_avi_without_reordering_begins_at_a_key_frame(
    tmp_path, codec, monkeypatch
):
    times = 20 * np.arange(100)
    path = film(tmp_path / "a.avi", times, codec, b_frames=0)
    decoded = []
    decoding = seekable_video._decoded

    def counted(*args):
        for number, frame in decoding(*args):
            decoded.append(number)
            yield number, frame

    monkeypatch.setattr(seekable_video, "_decoded", counted)
    for number, level in levels(path, [85, 97]).items():
        assert level == pytest.approx(number, abs=1)
    assert decoded[0] >= 80


def test_an_avi_with_frames_left_out_goes_by_their_times(tmp_path):
    times = np.array([0, 20, 40, 140, 160, 400, 420])
    clip = probe(film(tmp_path / "a.avi", times, "mpeg4", b_frames=0))
    assert clip.times * 1000 == pytest.approx(times, abs=1)
    assert clip.at(np.array([0.1, 0.15, 0.39])).tolist() == [2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"<html>"])
def test_what_is_no_video_is_told(tmp_path, content, refused):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with refused("a.mp4", "cannot be decoded"):
        probe(path)


def test_a_video_that_is_cut_off_is_told(tmp_path, uneven, refused):
    path = film(tmp_path / "a.mkv", uneven)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    clip = probe(path)
    assert clip.frames < 100  # what is there of it counts, and decodes
    assert list(levels(path, [0, clip.frames - 2])) == [0, clip.frames - 2]


def test_a_file_without_pictures_is_told(tmp_path, refused):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with refused("a.wav", "holds no video"):
        probe(path)
