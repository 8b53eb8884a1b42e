"""What make_hard_inputs.py writes of videos is read as its README says; a test a folder.

`two_faces` and `far_away` are among the tests of faces.
"""

import numpy as np
import pytest

from milmer.readers.seekable_video import frames_of, probe

COUNT, RATE, BITS = 180, 25, 12


def number_in(frame):
    """The number that a frame shows in its first 16 rows, as 12 black and white fields."""
    grey = frame.to_ndarray(format="gray")
    field = grey.shape[1] // BITS
    return sum(
        (grey[4:12, bit * field + 6 : (bit + 1) * field - 6].mean() > 125) << bit
        for bit in range(BITS)
    )


def shown(path):
    """The clip, and the number that each of its frames shows, by when it is shown in s."""
    clip = probe(path)
    frames = frames_of(path, clip, np.arange(clip.frames), 2)
    return clip, {clip.time(number): number_in(frame) for number, frame in frames}


@pytest.mark.parametrize("name", ["h264.ts", "h264.m2ts", "mpeg2.ts", "mpeg2.mpg", "plain.mp4"])
def test_containers(hard, name):
    clip, numbers = shown(hard / "containers" / name)
    assert list(numbers.values()) == list(range(COUNT))
    assert list(numbers) == pytest.approx(np.arange(COUNT) / RATE)
    assert clip.lost == set()


def test_containers_cut_in(hard):
    clip, numbers = shown(hard / "containers" / "cut_in.ts")
    late = {time: number for time, number in numbers.items() if time >= 3.0}  # a key frame
    assert list(late.values()) == list(range(75, COUNT))
    assert list(late) == pytest.approx([number / RATE for number in late.values()])
    assert any(note.startswith("no picture from 0.") for note in clip.notes)


@pytest.mark.parametrize("name", ["b_frames", "no_b_frames"])
def test_stall(hard, name):
    clip, numbers = shown(hard / "stall" / f"{name}.avi")
    errors = [time * RATE - number - 200 * (number >= 90) for time, number in numbers.items()]
    assert np.abs(errors).max() <= 2
    assert len(numbers) + len(clip.lost) == COUNT
    assert len(clip.lost) <= 4


def flip(picture, down, across):
    return picture[:: 1 - 2 * down, :: 1 - 2 * across]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("rotated_90", lambda upright: flip(upright.swapaxes(0, 1), 0, 1)),
        ("rotated_180", lambda upright: flip(upright, 1, 1)),
        ("mirrored", lambda upright: flip(upright, 0, 1)),
        ("upside_down_mirrored", lambda upright: flip(upright, 1, 0)),
    ],
)
def test_phone(hard, name, shape):
    pictures = {}
    for video in ("upright", name):
        path = hard / "phone" / f"{video}.mp4"
        clip = probe(path)
        (_, frame), *_ = frames_of(path, clip, np.array([100]), 1)
        pictures[video] = frame.to_ndarray(format="rgb24").astype(int)
    expected = shape(pictures["upright"])
    assert (clip.height, clip.width) == expected.shape[:2]
    assert np.abs(pictures[name] - expected).mean() < 1


def test_damaged(hard):
    good, numbers = shown(hard / "damaged" / "good.mp4")
    assert list(numbers.values()) == list(range(COUNT))
    clip, numbers = shown(hard / "damaged" / "bad_packets.mp4")
    assert clip.times == pytest.approx(good.times)
    whole = [n for n in range(COUNT) if not (37 <= n < 50 or 83 <= n < 100 or 129 <= n < 150)]
    assert [numbers[good.time(n)] for n in whole] == whole
    assert sorted(clip.lost) == [n for n in (37, 38, 83, 129) if good.time(n) not in numbers]
    assert clip.lost
