"""Healthy and damaged videos that are easily misread; tests are named after what is hard.

Each frame shows its number, so that what is read can be compared with when it was encoded.
"""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from milmer.data.segmentation import Segment
from milmer.errors import MilmerError
from milmer.faces.crops import frame_numbers
from milmer.readers.seekable_video import frames_of, probe
from milmer.readers.time_axis import Packets, UntrustedError, decoding_axis, presentation_axis
from milmer.readers.video import Clip, upright
from tests.readers.films import FRAMES, RATE, STALL, UNEVEN, film, number_in, pictures

ONE = 0x00010000


def shown(path, clip=None, wanted=None, threads=2):
    """``{number: the number that the frame shows}`` of a video's frames."""
    clip = clip or probe(path)
    wanted = np.arange(clip.frames) if wanted is None else np.array(wanted)
    return {n: number_in(frame) for n, frame in frames_of(path, clip, wanted, threads)}


def off(path, times=None, wanted=None):
    """The largest distance, in frames, of a frame's time from when it was shown; and the clip."""
    clip = probe(path)
    times = np.array(range(FRAMES) if times is None else times)
    found = shown(path, clip, wanted)
    assert len(found) > 0
    errors = [clip.time(n) * RATE - (times[k] - times[0]) for n, k in found.items()]
    return np.abs(errors).max(), clip, found


# ---------------------------------------------------------------------------------- containers

EXACT = [
    ("mp4", "libx264", None),
    ("mp4", "libx265", None),
    ("mp4", "mpeg4", None),
    ("mkv", "libx264", None),
    ("mkv", "mpeg2video", None),
    ("webm", "libvpx", None),
    ("webm", "libvpx-vp9", None),
    ("mov", "prores", None),
    ("mov", "libx264", None),
    ("flv", "libx264", None),
    ("ts", "libx264", None),
    ("ts", "mpeg2video", None),
    ("m2ts", "libx264", "mpegts"),
    ("3gp", "h263", None),
    ("wmv", "wmv2", "asf"),
    ("m4v", "mpeg4", "m4v"),
]
NEARLY = [
    ("avi", "libx264", None),
    ("avi", "mpeg4", None),
    ("avi", "mjpeg", None),
    ("avi", "mpeg2video", None),
    ("mpg", "mpeg2video", "mpeg"),
    ("mpg", "mpeg1video", "mpeg"),
    ("wmv", "libx264", "asf"),
    ("ogv", "libvpx", "ogg"),
]
"""Of the frames of these it is not said when they are shown."""
TIMES = {"even": None, "uneven": UNEVEN, "stall": STALL}


def reorders(codec):
    return [0, 2] if codec in ("libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video") else [0]


def table(rows):
    return [
        pytest.param(*row, b, times, id=f"{row[1]}-{row[0]}-{b}-{times}")
        for row in rows
        for b in reorders(row[1])
        for times in TIMES
    ]


@pytest.mark.parametrize(("kind", "codec", "form", "b_frames", "times"), table(EXACT))
def test_containers_with_times_are_exact(tmp_path, kind, codec, form, b_frames, times):
    path = film(tmp_path / f"a.{kind}", codec, b_frames, TIMES[times], form, first=50)
    error, clip, found = off(path, TIMES[times])
    assert error < 0.05
    assert clip.frames == len(found) == FRAMES
    for wanted in ([2], [45, 50], [FRAMES - 2]):  # each from where decoding can begin
        assert shown(path, clip, wanted) == dict(zip(wanted, wanted, strict=True))
    stalled = [note for note in clip.notes if note == "no picture from 1.56 to 4.60 s"]
    assert len(stalled) == (times == "stall")


def refusal_of(path):
    """Why the times of a video are refused; empty where they are not."""
    try:
        probe(path)
    except MilmerError as error:
        return str(error).partition("the times of its pictures cannot be trusted: ")[2]
    return ""


@pytest.mark.parametrize(("kind", "codec", "form", "b_frames", "times"), table(NEARLY))
def test_containers_without_all_times_are_off_by_two_frames_or_refused(
    tmp_path, kind, codec, form, b_frames, times
):
    path = film(tmp_path / f"a.{kind}", codec, b_frames, TIMES[times], form)
    if kind == "mpg" and times != "even" and refusal_of(path):
        return
    error, clip, found = off(path, TIMES[times])
    assert error < (0.05 if times == "even" else 2.05)
    assert len(found) >= (FRAMES if times == "even" else 0.85 * FRAMES)
    assert len(found) + len(clip.lost) == clip.frames == FRAMES
    for wanted in ([2], [45, 50], [FRAMES - 2]):
        assert shown(path, clip, wanted) == {n: found[n] for n in wanted if n in found}


def kind(name, codec="libx264", **settings):
    return pytest.param(name, codec, settings, id=f"{codec}-{name}")


NTSC = Fraction(30000, 1001)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
KINDS = [
    kind("first picture late.webm", "libvpx-vp9", first=30, sound=3.0),
    kind("fragments.mp4", b_frames=2, header=FRAGMENTS),
    kind("fragments that begin late.mp4", b_frames=2, first=2500, header=FRAGMENTS),
    kind("no edit list.mp4", b_frames=2, header={"use_editlist": "0"}),
    kind("negative offsets.mp4", b_frames=2, header={"movflags": "negative_cts_offsets"}),
    kind("open groups.mp4", "libx265", **{"x265-params": ":open-gop=1:keyint=20:bframes=3"}),
    kind("open groups.ts", "libx265", **{"x265-params": ":open-gop=1:keyint=20:bframes=3"}),
    kind("no key frame but the first.mp4", **{"x264-params": "intra-refresh=1"}),
    kind("deep pyramid.ts", **{"x264-params": "bframes=16:b-adapt=0:ref=16:keyint=60"}),
    kind("fields.mp4", b_frames=2, **{"x264-params": "bff=1"}),
    kind("fields.ts", "mpeg2video", b_frames=2, flags="+ilme+ildct"),
    kind("clock runs over.ts", b_frames=2, first=int((2**33 / 90000 - 2.4) * RATE)),
    kind("odd size.mkv", "ffv1", size=(127, 95)),
    kind("odd size.webm", "libvpx-vp9", size=(127, 95)),
    kind("grey.mkv", "ffv1", pixels="gray"),
    kind("grey of 16 bits.mkv", "ffv1", pixels="gray16le"),
    kind("10 bits.mp4", b_frames=2, pixels="yuv420p10le"),
    kind("10 bits.mkv", "libx265", pixels="yuv420p10le"),
    kind("alpha.webm", "libvpx-vp9", pixels="yuva420p"),
    kind("alpha.mov", "prores_ks", pixels="yuva444p10le"),
    kind("hidden pictures.webm", "libvpx-vp9", **{"auto-alt-ref": "1", "lag-in-frames": "16"}),
    kind("raw.avi", "rawvideo", pixels="bgr24"),
    kind("raw.nut", "rawvideo", pixels="rgb24"),
    kind("ntsc.mp4", b_frames=2, rate=NTSC),
    kind("ntsc.mkv", b_frames=2, rate=NTSC),
    kind("live.mkv", b_frames=2, header={"live": "1"}),
    kind("cameras.mxf", "mpeg2video", b_frames=2, flags="+ilme+ildct"),
    kind("moving.gif", "gif", pixels="rgb8"),
]


@pytest.mark.parametrize(("name", "codec", "settings"), KINDS)
def test_kinds_of_healthy_files_are_exact(tmp_path, name, codec, settings):
    path = film(tmp_path / name, codec, **settings)
    clip = probe(path)
    rate = settings.get("rate", RATE)
    assert clip.times == pytest.approx(np.arange(FRAMES) / float(rate), abs=0.001)  # as in MKV
    assert (clip.width, clip.height) == settings.get("size", (128, 96))
    assert shown(path, clip) == {n: n for n in range(FRAMES)}
    for number in (2, 38, FRAMES - 1):
        assert shown(path, clip, [number]) == {number: number}


@pytest.mark.parametrize(
    ("kind", "codec", "form"),
    [
        ("mkv", "libx264", None),
        ("webm", "libvpx", None),
        ("ts", "libx264", None),
        ("flv", "libx264", None),
        ("avi", "mjpeg", None),
        ("mpg", "mpeg2video", "mpeg"),
        ("ogv", "libvpx", "ogg"),
        ("mp4", "libx264", None),
    ],
)
def test_kinds_of_files_that_are_cut_off_keep_what_is_there(tmp_path, kind, codec, form):
    path = film(
        tmp_path / f"a.{kind}",
        codec,
        form=form,
        header={"movflags": "faststart"} if kind == "mp4" else {},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clip = probe(path)
    seen = shown(path, clip)
    whole = {n: k for n, k in seen.items() if n < max(seen)}
    assert 20 < len(whole) < FRAMES - 8
    assert whole == {n: n for n in range(len(whole))}
    assert clip.times == pytest.approx(np.arange(clip.frames) / RATE)


def test_containers_with_an_edit_list_show_what_it_shows(tmp_path):
    path = film(tmp_path / "a.mp4", "libx264", 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    length, start, rate = struct.unpack(">Iii", data[at : at + 12])
    data[at : at + 12] = struct.pack(">Iii", length - 1200, start + 30 * 512, rate)
    path.write_bytes(data)  # begins within a group
    clip = probe(path)
    assert (clip.frames, clip.notes) == (FRAMES - 30, ())
    assert shown(path, clip) == {n: n + 30 for n in range(FRAMES - 30)}
    assert shown(path, clip, [3]) == {3: 33}
    assert shown(path, clip, [13]) == {13: 43}


@pytest.mark.parametrize("options", [{"x264-params": "open-gop=1"}, {"x264-params": "tff=1"}])
@pytest.mark.parametrize("kind", ["mp4", "ts", "avi"])
def test_containers_with_open_groups_or_fields_are_exact(tmp_path, kind, options):
    path = film(tmp_path / f"a.{kind}", "libx264", 3, **options)
    clip = probe(path)
    assert shown(path, clip) == {n: n for n in range(FRAMES)}
    for number in (19, 20, 38, 41):
        assert shown(path, clip, [number]) == {number: number}
    assert clip.times == pytest.approx(np.arange(FRAMES) / RATE)


@pytest.mark.parametrize("kind", ["ts", "m2ts", "mpg", "vob"])
@pytest.mark.parametrize("wanted", [[0], [1, 2], [17], [21], [FRAMES - 1]])
def test_containers_of_broadcasts_give_any_frame(tmp_path, kind, wanted):
    form = {"m2ts": "mpegts", "mpg": "mpeg"}.get(kind)
    path = film(tmp_path / f"a.{kind}", "mpeg2video", 2, form=form)
    assert shown(path, wanted=wanted) == dict(zip(wanted, wanted, strict=True))


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 2), ("mpeg2video", 2)])
def test_containers_that_begin_inside_a_group_keep_their_times(tmp_path, codec, b_frames):
    path = film(tmp_path / "a.ts", codec, b_frames)
    whole = path.read_bytes()
    head = [p.pos for p in packets(path)][1] // 188 * 188
    start = len(whole) // 3 // 188 * 188
    path.write_bytes(whole[: min(head, 188 * 4)] + whole[start:])
    clip = probe(path)
    found = shown(path, clip)
    whole_groups = {n: k for n, k in found.items() if clip.time(n) > 1.58}
    assert list(whole_groups.values()) == list(range(40, FRAMES))
    assert [round(clip.time(n) * RATE, 3) for n in whole_groups] == list(range(40, FRAMES))
    assert any(note.startswith("no picture from 0.0") for note in clip.notes)
    path.write_bytes(whole[start:])
    clip = probe(path)
    found = shown(path, clip)
    first = clip.time(min(found)) * RATE - found[min(found)]
    assert {round(clip.time(n) * RATE - k - first, 3) for n, k in found.items()} == {0}


def packets(path):
    with av.open(str(path)) as container:
        return [p for p in container.demux(video=0) if p.size]


def test_containers_whose_clock_goes_back_are_refused(tmp_path, refused):
    path = film(tmp_path / "a.ts", "libx264")
    path.write_bytes(2 * path.read_bytes())
    with refused("a.ts: the times of its pictures cannot be trusted: its clock goes back"):
        probe(path)


def test_containers_with_a_false_time_lose_that_frame():
    said = Packets()
    for i in range(300):
        said.add(10**9 if i == 100 else 3 * i, None, i)
    axis = presentation_axis(said, "mpegts")
    assert axis.stamps.tolist() == [3 * i for i in range(300) if i != 100]
    assert axis.notes == ("frames left out, whose times are impossible: 1",)


def said_by(program, times):
    """Packets of a program stream with these decoding times; None: not named, FFmpeg's guess."""
    said = Packets(program)
    last = 0
    for i, time in enumerate(times):
        last = last + 10 if time is None else time
        said.add(last + 10, last, None if time is None else 2048 * i)
    return said


def program_axis(times, interval=10, delay=0):
    return decoding_axis(said_by(True, times), interval, (delay, delay))


def test_containers_that_name_some_times_spread_the_others_evenly():
    times = [100 + 10 * i if i % 7 == 3 else None for i in range(400)]
    axis = program_axis(times)
    assert axis.stamps.tolist() == [100 + 10 * i for i in range(400)]
    assert not axis.doubtful.any()
    back = [time and (time if i < 200 else time - 1500) for i, time in enumerate(times)]
    with pytest.raises(UntrustedError, match="the clock goes back"):
        program_axis(back)
    with pytest.raises(UntrustedError, match="fewer than two are named"):
        program_axis(times[:10])


@pytest.mark.parametrize("delay", [0, 1])
def test_containers_that_name_some_times_do_not_know_those_beside_a_pause(delay):
    # After number 18 the camera stalls for as long as 50 frames; 17 and 24 are named.
    shown = np.array([100 + 10 * i + 500 * (i > 18) for i in range(400)])
    axis = program_axis([int(t) if i % 7 == 3 else None for i, t in enumerate(shown)], delay=delay)
    first = shown[delay] - 100
    doubtful = (np.flatnonzero(axis.doubtful) + delay).tolist()
    assert doubtful == [*range(delay, 3), *range(18, 24), *range(396, 400 + delay)]
    certain = np.flatnonzero(~axis.doubtful)
    assert (axis.stamps[certain] + first).tolist() == shown[certain + delay].tolist()


def test_containers_that_name_some_times_bound_those_of_uneven_frames():
    shown = np.cumsum([10 + 30 * (i % 20 == 10) for i in range(400)])  # one is late by 3 frames
    named = np.arange(400) % 2 == 1
    axis = program_axis([int(t) if n else None for t, n in zip(shown, named, strict=True)])
    assert not axis.doubtful.any()
    assert axis.stamps[named].tolist() == shown[named].tolist()
    assert np.abs(axis.stamps - shown).max() <= 20
    named = np.arange(400) % 4 == 1
    axis = program_axis([int(t) if n else None for t, n in zip(shown, named, strict=True)])
    late = [i for i in range(400) if i % 20 in (10, 11, 12)]
    assert np.flatnonzero(axis.doubtful).tolist() == [0, *late, 398, 399]


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("times", [UNEVEN, STALL], ids=["uneven", "stall"])
def test_program_streams_of_varying_rate_are_used_where_pictures_are_large(
    tmp_path, codec, b_frames, times
):
    large, small = ({"qmin": q, "qmax": q, "b": "20M"} for q in ("4", "20"))
    path = film(tmp_path / "a.mpg", codec, b_frames, times, "mpeg", grain=60, **large)
    error, clip, found = off(path, times)
    assert error < 2.05
    assert len(found) == clip.frames == FRAMES
    path = film(tmp_path / "b.vob", codec, b_frames, times, "vob", grain=60, **small)
    assert refusal_of(path).startswith("they are uneven, and those of ")


def test_containers_of_interlaced_video_name_the_time_of_every_second_field():
    said = Packets()
    for i in range(100):
        said.add(None if i % 2 else 5 * i, None, 7 * i)
    assert presentation_axis(said, "mpegts").stamps.tolist() == list(range(0, 500, 10))
    for i in range(300):
        said.add(None, None, 7 * i)
    with pytest.raises(UntrustedError, match="only 50 of its 400 pictures carry a time"):
        presentation_axis(said, "mpegts")


# ----------------------------------------------------------------------------------------- stall


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_stall_in_an_avi_is_where_it_was(tmp_path, codec, b_frames):
    error, clip, found = off(film(tmp_path / "a.avi", codec, b_frames, STALL), STALL)
    assert error < 0.05
    assert {found[n] for n in found} >= set(range(38)) | set(range(44, FRAMES))
    assert len(clip.lost) == b_frames  # those that may be before it or after it
    assert any("no picture from 1." in note for note in clip.notes)


def test_stall_that_leaves_out_frames_is_heard(tmp_path, refused):
    path = film(tmp_path / "a.avi", "mjpeg", sound=FRAMES / RATE + 0.5)
    assert probe(path).frames == FRAMES
    path = film(tmp_path / "b.avi", "mjpeg", sound=FRAMES / RATE + 4.3)
    with refused("b.avi: the times of its pictures", "end at 2.8 s where the sound ends at 7.2 s"):
        probe(path)
    times = np.array(STALL) / RATE
    assert probe(path, times=times).times.tolist() == times.tolist()


def test_stall_covers_no_segment(tmp_path):
    clip = probe(film(tmp_path / "a.mp4", times=STALL))  # 0 to 1.6 s, and 4.6 to 5.88 s
    numbers = [frame_numbers(Segment(1, i, i * 1.0), clip, 1.0, 5, 0.5) for i in range(6)]
    assert [len(n) for n in numbers] == [5, 4, 0, 0, 0, 5]
    assert (numbers[1] < 40).all()
    assert (numbers[5] >= 40).all()


def test_times_from_elsewhere_stand_for_those_of_the_file(tmp_path, refused):
    path = film(tmp_path / "a.mkv")
    times = 7 + np.arange(FRAMES) / 20
    clip = probe(path, times=times)
    assert (clip.time(3), clip.fps) == (7.15, pytest.approx(20))
    assert clip.at(np.array([6.9, 7.0, 7.06])).tolist() == [-1, 0, 1]
    assert shown(path, clip, [30]) == {30: 30}
    with refused("a.mkv: holds 72 frames, not 71"):
        probe(path, times=times[1:])


# ----------------------------------------------------------------------------------------- phone

MATRICES = {
    "upright": (ONE, 0, 0, ONE),
    "rotated_90": (0, ONE, -ONE, 0),
    "rotated_180": (-ONE, 0, 0, -ONE),
    "rotated_270": (0, -ONE, ONE, 0),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside_down_mirrored": (ONE, 0, 0, -ONE),
    "mirrored_90": (0, ONE, ONE, 0),
    "mirrored_270": (0, -ONE, -ONE, 0),
}


@pytest.mark.parametrize("name", MATRICES)
def test_phone_pictures_are_shown_as_by_a_player(tmp_path, name):
    path = film(tmp_path / "a.mp4", "mjpeg")
    data = bytearray(path.read_bytes())
    a, b, c, d = MATRICES[name]
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    stored = next(iter(pictures()))
    height, width = stored.shape[:2]
    # Where the middle of each pixel goes, by the definition of the matrix.
    y, x = np.mgrid[:height, :width]
    across, down = (a * x + c * y) // ONE, (b * x + d * y) // ONE
    across, down = across - across.min(), down - down.min()
    expected = np.empty((down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[down, across] = stored
    clip = probe(path)
    assert (clip.height, clip.width) == expected.shape[:2]
    (_, frame), *_ = frames_of(path, clip, np.array([0]), 1)
    found = frame.to_ndarray(format="rgb24").astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 6


def test_phone_pictures_without_a_matrix_are_not_touched():
    frame = av.VideoFrame(32, 16, "yuv420p")
    assert upright(frame) is frame


# --------------------------------------------------------------------------------------- damaged


def damage(path, numbers):
    data = bytearray(path.read_bytes())
    every = packets(path)
    for number in numbers:
        start = every[number].pos
        data[start : start + every[number].size] = b"\xff" * every[number].size
    path.write_bytes(data)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_damaged_packets_are_gaps(tmp_path, kind, threads):
    path = film(tmp_path / f"a.{kind}", g="12")
    bad = [15, 16, 39, 61, FRAMES - 1]
    damage(path, bad)
    clip = probe(path)
    found = shown(path, clip, threads=threads)
    assert sorted(set(range(FRAMES)) - set(found)) == sorted(clip.lost) == bad
    whole = [n for n in range(FRAMES) if n < 15 or 24 <= n < 39 or 48 <= n < 61]
    assert [found[n] for n in whole] == whole
    assert clip.times == pytest.approx(np.arange(FRAMES) / RATE)
    assert 16 not in shown(path, wanted=[14, 16, 18])
    clip = probe(path)  # what is not asked for is counted too
    assert shown(path, clip, [8, 50], threads) == {8: 8, 50: 50}
    assert sorted(clip.lost) == [15, 16, 39]


def test_damaged_frames_of_an_avi_with_reordering_do_not_move_the_others(tmp_path):
    path = film(tmp_path / "a.avi", "libx264", 2, g="12")
    damage(path, [5, 6, 7, 8, 14, 30, 31, 32, 33, 34])
    clip = probe(path)
    found = shown(path, clip)
    whole = range(36, FRAMES)
    assert [found[n] for n in whole] == list(whole)
    assert max(abs(n - k) for n, k in found.items() if 12 <= n < 14 or 24 <= n < 30) <= 2
    assert clip.lost


def test_damaged_chunks_of_an_avi_do_not_move_the_others(tmp_path):
    path = film(tmp_path / "a.avi", "mjpeg")
    every = packets(path)
    data = bytearray(path.read_bytes())
    for number in (10, 11, 12, 30):
        data[every[number].pos - 8 : every[number].pos + 2] = b"\0" * 10  # a chunk's head
    path.write_bytes(data)
    error, _, found = off(path)
    assert error < 0.05
    assert len(found) >= FRAMES - 8


def test_damaged_index_and_chunks_of_an_avi_are_refused(tmp_path, refused):
    path = film(tmp_path / "a.avi", "mjpeg")
    every = packets(path)
    data = bytearray(path.read_bytes())
    index = data.index(b"idx1") + 8
    data[index + 160 : index + 160 + 16 * 12] = b"\xff" * 16 * 12
    for number in (10, 11, 12, 30, 32, 34):
        data[every[number].pos - 8 : every[number].pos + 2] = b"\0" * 10
    path.write_bytes(data)
    with refused("a.avi: the times of its pictures cannot be trusted: they are counted, and of 72"):
        probe(path)


def test_damaged_all_over_is_refused(tmp_path, refused):
    path = film(tmp_path / "a.mp4")
    damage(path, range(FRAMES))
    with refused("a.mp4: holds no picture that can be decoded"):
        probe(path)


# ---------------------------------------------------------------------------- streams and starts


def two_videos(path, default, cover=False, marked=True):
    """Blue, and then the film; ``default`` is the number of the default stream.

    With ``cover``, the blue is a single picture, which is ``marked`` as a cover or not.
    """
    with av.open(str(path), "w") as container:
        streams = []
        for i in range(2):
            codec = "mjpeg" if cover and i == 0 else "libx264"
            stream = container.add_stream(codec, rate=RATE)
            stream.width, stream.height = 128, 96
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = av.stream.Disposition.default if i == default else 0
            streams.append(stream)
        if cover and marked:
            streams[0].disposition = av.stream.Disposition.attached_pic
        for i, picture in enumerate(pictures(30)):
            for k, stream in enumerate(streams):
                if k == 0 and cover and i:
                    continue
                shade = np.full_like(picture, 255) if k == 0 else picture
                frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


def test_the_default_video_stream_is_read_or_the_one_asked_for(tmp_path, refused):
    for default in (0, 1):
        path = two_videos(tmp_path / f"{default}.mkv", default)
        for stream, seen in ((None, default), (0, 0), (1, 1)):
            clip = probe(path, stream)
            assert shown(path, clip, [9]) == {9: 9 if seen else 255}
        with refused(f"{default}.mkv: holds 2 videos, and number 2 (from 0) is asked for"):
            probe(path, 2)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
def test_a_cover_picture_is_no_video(tmp_path, refused, kind, marked):
    path = two_videos(tmp_path / f"a.{kind}", int(marked), cover=True, marked=marked)
    clip = probe(path)
    assert clip.frames == 30
    assert shown(path, clip, [9]) == {9: 9}
    if kind == "mkv":  # which marks no video as a cover
        with refused("a.mkv: holds fewer than two pictures"):
            probe(path, 0)


def test_a_first_picture_after_the_files_start_is_told(tmp_path):
    path = film(tmp_path / "a.mkv", first=30, sound=2.0)
    clip = probe(path)
    assert clip.notes == ("its first picture, which is time 0, comes 1.20 s after its start",)
    assert clip.times[0] == 0
    assert shown(path, clip, [7]) == {7: 7}


def test_a_hidden_reference_picture_of_vp8_is_no_frame(tmp_path):
    path = film(tmp_path / "a.ivf", "libvpx")
    data = bytearray(path.read_bytes())
    place = packets(path)[10].pos
    data[place + 12] &= 0xEF  # not to be shown
    path.write_bytes(data)
    clip = probe(path)
    assert clip.frames == FRAMES - 1
    assert 10 / RATE not in clip.times
    assert shown(path, clip, [9, 10]) == {9: 9, 10: 11}


# ------------------------------------------------------------------------------ what a clip says


def test_a_clip_of_an_even_rate_needs_no_times():
    clip = Clip(50.0, 2952, 720, 576)
    assert clip.seconds == pytest.approx(59.04)
    assert clip.at(np.array([0, 0.019, 2.9999999, 59.03, 59.05])).tolist() == [0, 0, 150, 2951, -1]
    assert clip.number(3.009) == 150
