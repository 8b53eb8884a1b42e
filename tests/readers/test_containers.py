"""A video is one file: lists of other files are refused, whatever they are called."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from milmer.readers.seekable_video import frames_of, probe
from milmer.readers.video import open_container

LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nprivate.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile private.ts\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
    '<AdaptationSet mimeType="video/mp2t"><Representation id="1" bandwidth="9">'
    "<BaseURL>private.ts</BaseURL></Representation></AdaptationSet></Period></MPD>\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "picture": "P6 64 48 255\n" + "x" * 64 * 48 * 3,
    "subtitles": "{0}{25}private.ts\n",
}


@pytest.mark.parametrize("name", ["list.m3u8", "list.mpd", "list.sdp", "list.mp4", "list.avi"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_files_is_no_video(tmp_path, hostile, refused, kind, name):
    (tmp_path / "private.ts").write_bytes((hostile / "private.ts").read_bytes())
    path = tmp_path / name
    path.write_text(LISTS[kind])
    with refused(f"{name}: "):
        probe(path)


@pytest.mark.parametrize("name", ["playlist.m3u8", "list.mp4"])
def test_a_playlist_is_refused_with_what_to_do(hostile, refused, name):
    with refused(f"{name}: holds no video", "where it is a list of other files"):
        probe(hostile / name)


@pytest.mark.parametrize(
    "name", ["concat:a.mp4", "12:30 visit.mp4", "data:video", "subfile,,:a.mp4"]
)
def test_a_name_with_a_colon_is_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    film(Path("film.mp4"), "libx264").rename(name)
    assert probe(Path(name)).frames == 20


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.avi", "libx264", None),
        ("a.mp4", "libx264", None),
        ("a.mov", "libx264", None),
        ("a.mkv", "libx264", None),
        ("a.webm", "libvpx", None),
        ("a.3gp", "libx264", "3gp"),
        ("a.ogg", "libvpx", "ogg"),
        ("a.flv", "flv", "flv"),
        ("a.wmv", "wmv2", "asf"),
        ("a.mpg", "mpeg1video", None),
        ("a.vob", "mpeg2video", "vob"),
        ("a.mxf", "mpeg2video", "mxf"),
        ("a.264", "libx264", "h264"),
        ("a.mjpeg", "mjpeg", "mjpeg"),
        ("a.m4v", "mpeg4", "m4v"),
        ("a.m1v", "mpeg1video", "mpeg1video"),
    ],
)
def test_films_in_any_container_are_read(tmp_path, name, codec, kind):
    path = film(tmp_path / name, codec, kind)
    clip = probe(path)
    assert (clip.frames, clip.width, clip.height) == (20, 64, 48)
    assert [number for number, _ in frames_of(path, clip, np.array([0, 3]), 1)] == [0, 3]


def test_a_transport_stream_is_opened(hostile):
    with open_container(hostile / "private.ts") as container:
        assert container.format.name == "mpegts"


def film(path, codec, kind=None):
    """A clip of 20 frames of noise: one of plain frames lies in a single packet of MPEG."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
