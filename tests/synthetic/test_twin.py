import csv
import hashlib
import json
import pickle

import av
import cv2
import numpy as np
import pytest
import scipy.io
import scipy.signal
from pydantic import ValidationError

from milmer.deap.layout import GENEVA, scan
from milmer.errors import MilmerError
from milmer.faces.detection import FaceFinder
from milmer.faces.options import FacesOptions
from milmer.synthetic.twin import ALPHA, CLASS_BANDS, OCCIPITAL_FIRST, TwinOptions, synthesize
from tests.conftest import REPOSITORY
from tests.faces.scenes import faces_in

SMALL = {"width": 180, "height": 144, "fps": 5, "trials": 8, "seconds": 6}


def make(out, **changes):
    synthesize(out, TwinOptions(**SMALL | changes))
    return json.loads((out / "truth.json").read_text())["subjects"]


def load(path):
    return pickle.loads(path.read_bytes())


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def flags(runs, count):
    marked = np.zeros(count, bool)
    for start, stop in runs:
        marked[start:stop] = True
    return marked


def decibels(data, label):
    """Power of a class's band in each trial, over the power beside it; (trial, channel)."""
    low, high = CLASS_BANDS[label]
    f, power = scipy.signal.welch(data[:, :32, 384:], 128, nperseg=384)
    inside, around = (f >= low) & (f <= high), (f >= low - 3) & (f <= high + 3)
    beside = power[..., around & ~inside].mean(-1)
    return 10 * np.log10(power[..., inside].mean(-1) / beside)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A twin with all three kinds of EEG, and its truth."""
    out = tmp_path_factory.mktemp("twin") / "whole"
    return out, make(out, formats=["dat", "mat", "bdf"], missing_clips=["1:3"], no_video=[2])


def test_ratings_tell_both_orders(whole):
    out, truth = whole
    with (out / "metadata_csv" / "participant_ratings.csv").open() as file:
        rows = list(csv.DictReader(file))
    for subject, name in ((1, "s01"), (2, "s02")):
        own = [row for row in rows if int(row["Participant_id"]) == subject]
        shown = [int(row["Experiment_id"]) for row in own]
        assert [int(row["Trial"]) for row in own] == list(range(1, 9))
        assert shown == truth[name]["experiment_id"] != sorted(shown)
        columns = ("Valence", "Arousal", "Dominance", "Liking")
        rated = np.array([[float(row[c]) for c in columns] for row in own])[np.argsort(shown)]
        labels = load(out / "data_preprocessed_python" / f"{name}.dat")["labels"]
        np.testing.assert_array_equal(rated, labels)
        classes = np.array(truth[name]["class_by_experiment_id"])
        np.testing.assert_array_equal(labels[:, 0] > 5, np.isin(classes, (0, 1)))
        np.testing.assert_array_equal(labels[:, 1] > 5, np.isin(classes, (0, 3)))
        assert np.bincount(classes).tolist() == [2, 2, 2, 2]


def test_a_copy_of_deap_is_found(whole):
    out, _ = whole
    copy = scan(out)
    assert {kind: sorted(files) for kind, files in copy.eeg.items()} == {
        kind: ["s01", "s02"] for kind in ("dat", "mat", "bdf")
    }
    assert sorted(copy.videos["s01"]) == [1, 2, 4, 5, 6, 7, 8]
    assert "s02" not in copy.videos


def test_recording_holds_the_preprocessed_trials_in_presentation_order(whole):
    import edfio

    out, truth = whole
    content = load(out / "data_preprocessed_python" / "s01.dat")
    again = scipy.io.loadmat(out / "data_preprocessed_matlab" / "s01.mat")
    np.testing.assert_array_equal(content["data"], again["data"])
    np.testing.assert_array_equal(content["labels"], again["labels"])

    bdf = edfio.read_bdf(out / "data_original" / "s01.bdf")
    codes = bdf.get_signal("Status").data.astype(int) & 0xFF
    onsets = np.flatnonzero((codes == 4) & (np.roll(codes, 1) != 4))
    with (out / "metadata_csv" / "participant_ratings.csv").open() as file:
        times = [int(row["Start_time"]) for row in csv.DictReader(file)][:8]
    np.testing.assert_allclose(np.diff(onsets) / 512, np.diff(times) / 1e4, atol=1e-3)

    raw = np.stack([bdf.get_signal(name).data for name in GENEVA])
    band = scipy.signal.butter(4, (4, 45), "bandpass", fs=512, output="sos")
    raw = scipy.signal.sosfiltfilt(band, raw - raw.mean(0))[:, : raw.shape[1] // 4 * 4]
    for onset, e in zip(onsets, truth["s01"]["experiment_id"], strict=True):
        for other in range(1, 9):
            trial = content["data"][other - 1, :32, 384:]
            part = raw[:, onset : onset + 4 * trial.shape[1] : 4]
            alike = np.corrcoef(part.ravel(), trial.ravel())[0, 1]
            assert alike > 0.95 if other == e else abs(alike) < 0.2


def test_same_options_give_the_same_bytes_whoever_is_beside(whole, tmp_path):
    out, _ = whole
    make(tmp_path / "one", formats=["dat", "mat", "bdf"], missing_clips=["s01:3"], subjects=1)
    first, second = digests(out), digests(tmp_path / "one")
    shared = {name for name in second if "s01" in name}
    assert len(shared) == 3 + 7
    assert all(first[name] == second[name] for name in shared)
    assert first["data_preprocessed_python/s01.dat"] != first["data_preprocessed_python/s02.dat"]


def test_haar_finds_the_faces_and_nothing_else(tmp_path):
    picture = {"width": 360, "height": 288, "trials": 4, "subjects": 2}
    truth = make(tmp_path / "out", faceless=0.2, fingerprint=1, **picture)
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    with_face, found, wrong = 0, 0, 0
    for name, trials in truth.items():
        for trial, video in trials["videos"].items():
            clip = frames(tmp_path / "out" / "face_video" / name / f"{name}_trial0{trial}.avi")
            assert len(clip) == video["frames"] == round(5.05 * 5)
            faceless = flags(video["faceless"], len(clip))
            assert not (faceless & flags(video["informative"], len(clip))).any()
            for frame, empty in zip(clip, faceless, strict=True):
                grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
                hits = haar.detectMultiScale(grey, 1.1, 5, minSize=(40, 40))
                if empty:
                    wrong += len(hits)
                    continue
                with_face += 1
                x, y, w, _ = max(hits, key=lambda hit: hit[2], default=(0, 0, 0, 0))
                found += abs(x + w / 2 - 180) < 40 and abs(y + w / 2 - 150) < 40 and 80 < w < 160
    assert with_face > 100
    assert found >= 0.98 * with_face
    assert wrong == 0


def test_the_default_detector_finds_every_face_of_the_demo_and_nothing_else(tmp_path):
    demo = json.loads((REPOSITORY / "workflow/demo-twin.json").read_text())
    truth = make(
        tmp_path / "out", **demo | {"subjects": 1, "trials": 4, "faceless": 0.2, "seed": 7}
    )
    finder = FaceFinder(FacesOptions())
    for trial, video in truth["s01"]["videos"].items():
        clip = frames(tmp_path / "out" / f"face_video/s01/s01_trial0{trial}.avi")
        faceless = flags(video["faceless"], len(clip))
        found = [len(faces_in(finder, frame)) for frame in clip]
        assert found == (~faceless).astype(int).tolist()
        assert flags(video["informative"], len(clip)).any()


def test_expression_shows_in_the_informative_frames_only(tmp_path):
    """The same clip with the class on and off, so that light and motion cancel."""
    on = make(tmp_path / "on", subjects=1, trials=4)
    make(tmp_path / "off", subjects=1, trials=4, face_signal=0)
    for trial, video in on["s01"]["videos"].items():
        clip = f"face_video/s01/s01_trial0{trial}.avi"
        pairs = zip(frames(tmp_path / "on" / clip), frames(tmp_path / "off" / clip), strict=True)
        changed = np.array([np.abs(a.astype(int) - b).mean() for a, b in pairs])
        shows = flags(video["informative"], len(changed))
        assert 0 < shows.sum() < len(shows)
        # the encoder carries a little of an expression into the frames after it
        assert changed[shows].min() > 1.2 * changed[~shows].max()
        assert np.median(changed[~shows]) < 0.1


def test_class_raises_its_band_where_it_is_asked_to(tmp_path):
    quiet = {"no_video": [1], "subjects": 1, "trials": 16}
    truth = make(tmp_path / "all", **quiet)
    make(tmp_path / "some", signal_channels=5, **quiet)
    make(tmp_path / "off", eeg_signal=0, **quiet)
    classes = np.array(truth["s01"]["class_by_experiment_id"])
    back = np.isin(GENEVA, OCCIPITAL_FIRST[:5])
    for label in range(4):
        every, some, off = (
            decibels(load(tmp_path / d / "data_preprocessed_python/s01.dat")["data"], label)
            for d in ("all", "some", "off")
        )
        own = classes == label
        assert every[own].min() > 6 > every[~own].mean(1).max()
        assert some[own][:, back].min() > 6 > some[own][:, ~back].mean(1).max()
        assert abs(off[own].mean() - off[~own].mean()) < 1


def test_alpha_is_four_times_as_strong_in_the_eight_channels_of_the_class(tmp_path):
    truth = make(tmp_path, eeg_class="place", no_video=[1], subjects=1, trials=40, seconds=12)
    data = load(tmp_path / "data_preprocessed_python/s01.dat")["data"]
    f, power = scipy.signal.welch(data[:, :32, 384:], 128, nperseg=384)
    alpha = power[..., (f > ALPHA[0]) & (f < ALPHA[1])].mean(-1)  # (trial, channel)
    rest = power[..., (f > 4.5) & (f < 7.5) | (f > 13) & (f < 45)].mean(-1)
    classes = np.array(truth["s01"]["class_by_experiment_id"])
    for label in range(4):
        place = np.isin(GENEVA, OCCIPITAL_FIRST[8 * label : 8 * label + 8])
        own, other = (values[classes == label].mean(0) for values in (alpha, rest))
        quiet, same = (values[classes != label].mean(0) for values in (alpha, rest))
        assert place.sum() == 8
        np.testing.assert_allclose((own / quiet)[place].mean(), 4, rtol=0.25)
        np.testing.assert_allclose((other / same).mean(), 1, rtol=0.1)


def test_fingerprint_repeats_on_the_segment_grid(tmp_path):
    def alike(strength):
        out = tmp_path / str(strength)
        make(out, fingerprint=strength, no_video=[1], subjects=1, eeg_signal=0)
        data = load(out / "data_preprocessed_python/s01.dat")["data"][:, :32, 384:]
        parts = data.reshape(8, 32, 2, 384)
        within = np.corrcoef(parts[0, :, 0].ravel(), parts[0, :, 1].ravel())[0, 1]
        across = np.corrcoef(parts[0, :, 0].ravel(), parts[1, :, 1].ravel())[0, 1]
        return within, across

    assert abs(alike(0)[0]) < 0.1
    within, across = alike(1)
    assert within > 0.2 > abs(across) * 2


@pytest.mark.parametrize("name", ["file/out", "n" * 250, "n" * 5000, "new/.."])
def test_where_no_folder_can_be_made_is_one_line(tmp_path, refused, name):
    (tmp_path / "file").touch()
    with refused("cannot be ", nothing_in=tmp_path):
        synthesize(tmp_path / name, TwinOptions(subjects=1))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_full_is_one_line_and_nothing_is_kept(small_disk, refused):
    disk = small_disk("64k")
    options = TwinOptions(subjects=1, trials=4, seconds=3, formats=["dat"], no_video=[1])
    with refused("no space left on the disk"):
        synthesize(disk / "twin", options)
    assert list(disk.iterdir()) == []


def test_a_folder_with_content_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MilmerError, match="is not empty") as caught:
        make(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", trials=1, no_video=[1, 2])
    assert (tmp_path / "empty" / "truth.json").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"missing_clips": ["s01"]},
        {"video_missing": 6},
        {"width": 181},
        {"subject": 3},
        {"eeg_class": "place", "signal_channels": 5},
    ],
)
def test_options_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        TwinOptions(**SMALL | wrong)
