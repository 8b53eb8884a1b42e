"""One long video of many trials: faces come from each trial's own time, and what lacks is told."""

import logging
import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from skimage import data

from milmer import storage
from milmer.backbone.options import TokensOptions
from milmer.backbone.tokens import make_tokens
from milmer.faces.clocks import read_times
from milmer.faces.crops import make_faces
from milmer.faces.options import FaceStageOptions
from milmer.manifest.table import read_manifest
from milmer.manifest.trials import ManifestTrialsOptions, make_manifest_trials
from tests.faces.scenes import another, blank, film, paste, real_face
from tests.manifest.described import write_manifest
from tests.manifest.recordings import edf, waves

SECONDS = 30
DARK = (14.0, 21.0)  # s without a face


def light(time):
    """How bright the picture is at a time: each second another, none like its neighbours."""
    return 0.5 + 0.5 * ((7 * int(time)) % SECONDS) / SECONDS


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A recording of 30 s and a video of uneven rate, whose face is away for a while."""
    folder = tmp_path_factory.mktemp("videos")
    edf(folder / "a.edf", waves(seconds=SECONDS))
    picture = cv2.resize(data.astronaut()[:256, 96:352], (256, 256))
    rng, time = np.random.default_rng(0), 0
    with av.open(str(folder / "v.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = {"crf": "18", "g": "40", "bf": "2", "preset": "veryfast"}
        while time < 1000 * SECONDS:
            seconds = time / 1000
            shown = np.full_like(picture, 128) if DARK[0] <= seconds < DARK[1] else picture
            pixels = (shown * light(seconds)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            time += int(rng.integers(30, 110))
        container.mux(stream.encode())
    return folder


def made(lab, folder, *rows, video="v.mkv", detector="haar", **clock):
    """Faces of trials: (eeg_start, eeg_stop, video_start[, face]), or on a ``clock``."""
    table = [
        {
            "subject": "p1",
            "trial": i,
            "stimulus": f"s{i}",
            "eeg_file": "a.edf",
            "eeg_start": start,
            "eeg_stop": stop,
            "video_file": video,
            "face": "".join(face),
            **(clock or {"video_start": begin}),
        }
        for i, (start, stop, begin, *face) in enumerate(rows, 1)
    ]
    path = write_manifest(lab / "m.csv", table)
    options = ManifestTrialsOptions(rows=read_manifest(path).digest("p1"))
    make_manifest_trials(path, "p1", options, folder / "trials.parquet")
    stage = FaceStageOptions(faces={"detector": detector, "instances": 5})
    make_faces(folder / "trials.parquet", lab, stage, folder / "p1.h5")
    with storage.open_h5(folder / "p1.h5", "faces") as file:
        return {name: file[name][()] for name in file} | {"attrs": dict(file.attrs)}


def brightness(jpeg):
    return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE).mean()


def test_crops_are_of_the_time_at_which_their_trial_is_in_the_video(lab, tmp_path):
    starts = {1: 3.25, 2: 23.5, 3: 8.0}
    found = made(lab, tmp_path, *((i, i + 6, starts[i]) for i in starts))
    assert found["bag"].shape == (6, 5)
    assert (found["bag"] >= 0).all()
    bright = np.array([brightness(image) for image in found["image"]])
    face = bright / bright.max()
    wanted, seen = [], []
    for row, bag in enumerate(found["bag"]):
        trial, position = found["trial"][row], found["position"][row]
        times = found["time"][bag]
        middles = 3 * position + (np.arange(5) + 0.5) * 3 / 5
        assert ((times <= middles + 1e-3) & (times > middles - 0.11)).all()
        wanted += [light(starts[trial] + time) for time in times]
        seen += face[bag].tolist()
    assert np.corrcoef(wanted, seen)[0, 1] > 0.99


def test_a_trial_without_a_face_is_named_and_has_no_frames(lab, tmp_path, caplog, twin_backbone):
    with caplog.at_level(logging.WARNING):
        found = made(lab, tmp_path, (1, 7, 14.5), (8, 14, 2))
    assert "no face in the videos of trials [1]" in caplog.text
    assert (found["bag"][:2] == -1).all()
    assert (found["bag"][2:] >= 0).all()
    tokens = TokensOptions()
    make_tokens(tmp_path / "p1.h5", tokens, tmp_path / "tokens.h5", str(twin_backbone))
    with storage.open_h5(tmp_path / "tokens.h5", "tokens") as file:
        assert file["valid"][()].any(axis=1).tolist() == [False, False, True, True]


def test_a_subject_whose_face_is_never_seen_has_no_frames_and_is_told(
    lab, tmp_path, caplog, twin_backbone
):
    found = made(lab, tmp_path, (1, 7, 14.5))
    assert len(found["image"]) == 0
    assert "no face in the videos of trials [1]" in caplog.text
    make_tokens(tmp_path / "p1.h5", TokensOptions(), tmp_path / "tokens.h5", str(twin_backbone))
    with storage.open_h5(tmp_path / "tokens.h5", "tokens") as file:
        assert not file["valid"][()].any()


def test_a_video_that_ends_before_the_eeg_has_frames_as_far_as_it_goes(lab, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = made(lab, tmp_path, (1, 13, 26.5))
    assert (found["bag"] >= 0).any(axis=1).tolist() == [True, False, False, False]
    assert "3 segments are not covered by their video, of trials [1]" in caplog.text


def test_a_trial_that_begins_after_the_end_of_its_video_is_refused(lab, tmp_path, refused):
    with refused("v.mkv: ends 0.94 s before trial 2 starts; correct video_start"):
        made(lab, tmp_path, (1, 7, 0), (8, 14, 31))


def test_a_video_is_looked_into_once_for_all_of_its_trials(lab, tmp_path, monkeypatch):
    from milmer.faces import crops
    from milmer.readers import seekable_video

    looked = []

    def probe(path, stream, times=None):
        looked.append(path)
        return seekable_video.probe(path, stream, times)

    monkeypatch.setattr(crops, "probe", probe)
    made(lab, tmp_path, (1, 7, 0), (8, 14, 8))
    assert len(looked) == 1


def test_a_camera_that_starts_after_the_trial_lacks_its_first_frames(lab, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = made(lab, tmp_path, (1, 10, -4.0))
    assert "1 segments are not covered by their video, of trials [1]" in caplog.text
    assert (found["bag"][0] == -1).all()
    assert (found["bag"][1:] >= 0).all()
    second = found["time"][found["bag"][1]]
    assert ((second >= 4) & (second < 6)).all()  # in s of the trial
    assert np.abs(second - (4 + (np.arange(5) + 0.5) * 2 / 5)).max() < 0.11
    bright = np.array([brightness(image) for image in found["image"]])
    shown = [light(time - 4) for time in found["time"]]  # by the video's own clock
    assert np.corrcoef(bright, shown)[0, 1] > 0.99


def test_a_camera_that_starts_after_the_end_of_the_trial_is_refused(lab, tmp_path, refused):
    with refused("v.mkv: begins 9.50 s after the start of trial 1, when it is over"):
        made(lab, tmp_path, (1, 7, -9.5))


OFFSET, RATE = 5.0, 1.25
"""EEG second = 5 + 1.25 x video second, farther than any clocks are apart."""


def test_offset_and_rate_say_which_second_of_the_video_is_shown(lab, tmp_path):
    found = made(lab, tmp_path, (10, 16, None), (6.25, 9.25, None),
                 video_offset=OFFSET, video_rate=RATE)  # fmt: skip
    bright = np.array([brightness(image) for image in found["image"]])
    shown, seen = [], []
    for row, bag in enumerate(found["bag"]):
        times = found["time"][bag]
        middles = 3 * found["position"][row] + (np.arange(5) + 0.5) * 3 / 5
        assert ((times <= middles + 1e-3) & (times > middles - RATE * 0.11)).all()
        start = {1: 10, 2: 6.25}[found["trial"][row]]
        shown += [light((start + time - OFFSET) / RATE) for time in times]
        seen += bright[bag].tolist()
    assert len(seen) == 15
    assert np.corrcoef(shown, seen)[0, 1] > 0.99


@pytest.fixture
def stamps(lab):
    """When each frame of the video is shown, on the EEG's clock."""
    with av.open(str(lab / "v.mkv")) as container:
        pts = sorted(frame.pts for frame in container.decode(video=0))
    return OFFSET + RATE * np.array(pts) / 1000


def stamp(lab, times):
    lines = "".join(f"{time:.6f}\n" for time in times)
    (lab / "frames.csv").write_text(f"time\n{lines}")


def test_times_of_all_frames_say_the_same_as_offset_and_rate(lab, tmp_path, stamps):
    rows = (10, 16, None), (6.25, 9.25, None)
    stamp(lab, stamps)
    found = made(lab, tmp_path, *rows, video_times="frames.csv")
    other = made(lab, tmp_path, *rows, video_offset=OFFSET, video_rate=RATE)
    assert (found["bag"] == other["bag"]).all()
    assert np.allclose(found["time"], other["time"], atol=1e-5)
    assert [len(image) for image in found["image"]] == [len(image) for image in other["image"]]


def test_times_that_are_not_as_many_as_frames_are_refused_with_both_numbers(
    lab, tmp_path, stamps, refused
):
    stamp(lab, stamps[:-1])
    count = len(stamps)
    with refused(f"v.mkv: holds {count} frames, not {count - 1}; give the time of each"):
        made(lab, tmp_path, (10, 16, None), video_times="frames.csv")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("seconds\n1\n2\n", "no column time"),
        ("time\n1\nsoon\n", "line 3: time: 'soon' is not a number"),
        ("time\n1\n\n3\n2.5\n", "line 5: time: 2.5 s is not after 3 s"),
        ("time\n1\n", "holds no times"),
    ],
)
def test_times_that_cannot_be_read_are_refused_by_line(tmp_path, refused, content, part):
    (tmp_path / "frames.csv").write_text(content)
    with refused(f"frames.csv: {part}"):
        read_times(tmp_path / "frames.csv")


def test_the_column_face_says_which_of_two_people_it_is(lab, tmp_path, recordings, caplog):
    pictures = []
    for frame in real_face(recordings, 160):
        picture = blank()
        paste(picture, frame[:, 40:], 0, 30)
        paste(picture, another(150), 430, 60)
        pictures.append(picture)
    film(lab / "two.mkv", pictures)
    caplog.set_level(logging.INFO)
    trials = [(i, i + 3, i, face) for i, face in enumerate(("right", "left", "430 60 150 150", ""))]
    faces = made(lab, tmp_path, *trials, video="two.mkv", detector="yunet")
    for trial, bag in zip(faces["trial"], faces["bag"], strict=True):
        lefts = faces["box"][bag, 0]
        assert ((lefts > 430) if trial in (1, 3) else (lefts < 250)).all()
        assert (faces["faces_seen"][bag] == 2).all()
        assert (faces["track"][bag] > 0).all()
    assert faces["clip_several"].tolist() == faces["clip_searched"].tolist() == [5] * 4
    assert faces["clip_tracks"].tolist() == [2] * 4
    assert "p1: 20 frames searched  ·  a face in 20 of them (100 %)" in caplog.text
    assert "p1: several faces in the videos of trials [1, 2, 3, 4]" in caplog.text
    os.remove(lab / "two.mkv")
