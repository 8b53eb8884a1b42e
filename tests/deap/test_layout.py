import shutil
from pathlib import Path

import pytest

from milmer.data.options import subject_name
from milmer.deap.layout import GENEVA, TWENTE, has_clip, ratings_file, scan

NAMES = [
    "data_preprocessed_python/s01.dat",
    "data_preprocessed_python/s02.dat",
    "data_preprocessed_matlab/s01.mat",
    "data_original/s01.bdf",
    "face_video/s01/s01_trial01.avi",
    "face_video/s01/s01_trial40.avi",
    "metadata_csv/participant_ratings.csv",
]


@pytest.fixture
def lay(tmp_path):
    """Make empty files below a new root."""

    def make(names, root=tmp_path / "deap"):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    return make


def found(copy):
    """The names of all that a copy holds, relative to its root."""
    paths = [p for files in [*copy.eeg.values(), *copy.videos.values()] for p in files.values()]
    paths += [copy.ratings] if copy.ratings else []
    return sorted(path.relative_to(copy.root).as_posix() for path in paths)


def test_a_whole_copy_is_found(lay):
    copy = scan(lay([*NAMES, "readme.txt", "face_video/s01/thumbs.db"]))
    assert found(copy) == sorted(NAMES)
    assert copy.subjects == ["s01", "s02"]
    assert sorted(copy.videos["s01"]) == [1, 40]


def test_a_copy_that_is_unzipped_a_level_deeper_is_found(lay):
    deeper = [f"{name.partition('/')[0]}/{name}" for name in NAMES]
    copy = scan(lay(deeper))
    assert found(copy) == sorted(deeper)
    assert found(scan(lay([f"DEAP/{name}" for name in NAMES], copy.root.parent / "b")))


def test_upper_case_names_are_found(lay):
    copy = scan(lay(["DATA/S01.DAT", "FACE/S01_TRIAL07.AVI", "Metadata/Participant_Ratings.csv"]))
    assert list(copy.eeg["dat"]) == ["s01"]
    assert list(copy.videos["s01"]) == [7]
    assert copy.ratings is not None


def test_files_behind_a_link_are_found(lay, tmp_path):
    root = lay(NAMES)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "deap").symlink_to(root)
    assert scan(tmp_path / "linked").subjects == ["s01", "s02"]


def test_a_subset_of_the_subjects_and_kinds_is_fine(lay):
    copy = scan(lay(["x/s07.mat", "face_video/s09/s09_trial01.avi"]))
    assert copy.subjects == ["s07", "s09"]
    assert copy.source("auto", copy.subjects) == "mat"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["s01.dat", "s01.mat", "s01.bdf"], "dat"),
        (["s01.dat", "s01.mat", "s02.mat"], "mat"),
        (["s01.bdf"], "bdf"),
    ],
)
def test_auto_takes_the_kind_that_most_subjects_have(lay, names, kind):
    copy = scan(lay(names))
    assert copy.source("auto", copy.subjects) == kind
    assert copy.source("bdf", copy.subjects) == "bdf"


@pytest.mark.parametrize("name", ["data_preprocessed_python/s01.dat", NAMES[4], NAMES[-1]])
def test_a_file_that_exists_twice_is_refused_with_both_places(lay, name, refused):
    root = lay([*NAMES, f"backup/{Path(name).name}"])
    with refused(str(root), name, f"backup/{Path(name).name}", "keep one", nothing_in=root):
        scan(root)


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4], NAMES[-1]])
def test_a_link_to_a_file_is_that_file(lay, name):
    root = lay([*NAMES, "other/readme.txt"])
    (root / "other" / Path(name).name).symlink_to(root / name)
    assert len(found(scan(root))) == len(NAMES)


def test_a_folder_that_is_not_there_is_named(tmp_path, refused):
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with refused("dataset.root", str(tmp_path / name)):
            scan(tmp_path / name)


def test_ratings_that_are_not_there_say_what_to_copy(lay, refused):
    copy = scan(lay(NAMES[:-1]))
    with refused("participant_ratings.csv", "metadata_csv", str(copy.root)):
        ratings_file(copy)


def test_deap_has_874_clips():
    clips = [(s, t) for s in range(1, 33) for t in range(1, 41) if has_clip(f"s{s:02d}", t)]
    assert len(clips) == 874
    assert {subject for subject, _ in clips} == set(range(1, 23))
    assert not has_clip("s11", 38)


@pytest.mark.parametrize("value", [1, "1", "01", "s01", "S1", " s1 "])
def test_a_subject_may_be_written_in_many_ways(value):
    assert subject_name(value) == "s01"


@pytest.mark.parametrize("value", [0, "s00", "", "s", 100, -1, 1.5, True, None, "s01x", "two"])
def test_what_is_no_subject_is_refused(value):
    with pytest.raises(ValueError, match="write s01 or 1"):
        subject_name(value)


def test_both_channel_orders_are_of_the_same_channels():
    assert sorted(GENEVA) == sorted(TWENTE)
    assert len(set(GENEVA)) == 32
    assert GENEVA.index("F7") == TWENTE.index("F3") == 3


def test_the_twin_is_found_whole(twin, tmp_path):
    copy = scan(twin)
    assert copy.subjects == ["s01", "s02"]
    assert [len(videos) for videos in copy.videos.values()] == [8, 8]
    shutil.copytree(twin / "data_preprocessed_matlab", tmp_path / "only")
    assert scan(tmp_path).source("auto", ["s01", "s02"]) == "mat"
