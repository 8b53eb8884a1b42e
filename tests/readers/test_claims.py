"""Recordings whose headers claim more than there is, or name files that are not theirs."""

import gzip
import os
import struct

import h5py
import numpy as np
import pytest
import scipy.io

from milmer.readers.eeg import EEGFile, read_eeg
from milmer.readers.sidecars import companions
from tests.limited import refusal, refusals
from tests.manifest.recordings import brainvision, edf, eeglab, fif, waves

READ = "milmer.readers.eeg:read_eeg"


def test_a_record_that_lasts_no_time_is_one_line(hostile):
    words = ("1e-9", "nan", "0", "-1")
    lines = refusals(READ, *(hostile / f"duration_{word}.edf" for word in words))
    for word, line in zip(words, lines, strict=True):
        assert f"duration_{word}.edf: its header's field 'duration of a data record' is" in line
        assert "EEG has 10 to 1,000,000 samples/s" in line


@pytest.mark.parametrize(
    ("at", "text", "part"),
    [
        (184, "256", "cut off or damaged"),  # bytes of the header
        (184, "-999999", "cut off or damaged"),
        (236, "99999999", "cut off or damaged"),  # records
        (236, "-5", "cut off or damaged"),
        (236, "nan", "damaged and cannot be read"),
        (244, "inf", "duration of a data record"),
        (244, "1e9", "duration of a data record"),
        (252, "9999", "damaged"),  # signals
        (252, "0", "cut off or damaged"),
        (252, "-1", "cut off or damaged"),
        (256 + 216 * 7, "99999999", "cut off or damaged"),  # samples of the first signal
        (256 + 216 * 7, "-1", "cut off or damaged"),
        (256 + 216 * 7, "0", "cut off or damaged"),
    ],
)
def test_a_field_of_an_edf_that_cannot_be_is_one_line(tmp_path, refused, at, text, part):
    path = edf(tmp_path / "a.edf", waves())
    content = bytearray(path.read_bytes())
    width = 4 if at == 252 else 8
    content[at : at + width] = text.ljust(width).encode()
    path.write_bytes(content)
    with refused("a.edf: ", part):
        EEGFile(path)


def test_a_recording_that_was_never_closed_is_read(tmp_path):
    path = edf(tmp_path / "a.edf", waves())
    content = bytearray(path.read_bytes())
    content[236:244] = b"-1      "
    path.write_bytes(content)
    assert EEGFile(path).seconds == 8


# ------------------------------------------------------------------------- BrainVision


def test_a_header_that_names_another_folder_is_one_line(hostile):
    line = refusal(READ, hostile / "inside/elsewhere.vhdr")
    assert "elsewhere.vhdr: names '../secret.bin' as a part of it" in line


@pytest.mark.parametrize("field", ["DataFile=data.eeg", "MarkerFile=marks.vmrk"])
@pytest.mark.parametrize(
    "spelling",
    ["{0}=../{1}", "{0}=/etc/{1}", "{0} = sub/{1}", "{0}: ../{1}", "{0}=C:\\x\\{1}", "{0}=.."],
)
def test_no_spelling_of_another_folder_is_followed(tmp_path, refused, field, spelling):
    path = brainvision(tmp_path / "a.vhdr", waves())
    other = spelling.format(*field.split("="))
    for line in (other, other.lower(), other.upper()):
        path.write_text(brainvision(path, waves()).read_text().replace(field, line))
        with refused("a.vhdr: names '", "not beside it"):
            companions(path)
        with refused("a.vhdr: names '", "not beside it"):
            EEGFile(path)


def test_a_name_in_another_code_page_is_no_way_around(tmp_path, refused):
    path = brainvision(tmp_path / "a.vhdr", waves())
    text = path.read_text().replace("Codepage=UTF-8", "Codepage=utf-7")
    path.write_text(text.replace("data.eeg", "+AC4ALgAv-data.eeg").replace("µV", "uV"))
    with refused("a.vhdr: names '../data.eeg'"):
        EEGFile(path)


def test_a_link_that_leaves_the_folder_is_not_followed(tmp_path, refused):
    folder = tmp_path / "in"
    folder.mkdir()
    path = brainvision(folder / "a.vhdr", waves())
    (folder / "data.eeg").rename(tmp_path / "data.eeg")
    (folder / "data.eeg").symlink_to(tmp_path / "data.eeg")
    with refused("a.vhdr: names ", "data.eeg", "not beside it"):
        EEGFile(path)


def test_links_into_the_annex_of_a_dataset_and_of_whole_recordings_are_followed(tmp_path):
    real = tmp_path / "set/.git/annex/objects"
    for folder in (real / "x1", real / "x2", tmp_path / "set/eeg", tmp_path / "linked"):
        folder.mkdir(parents=True)
    brainvision(real / "x1/a.vhdr", waves())
    (real / "x1/data.eeg").rename(real / "x2/data.eeg")
    for place in ("x1/a.vhdr", "x2/data.eeg", "x1/marks.vmrk"):
        (tmp_path / "set/eeg" / place[3:]).symlink_to(f"../.git/annex/objects/{place}")
    assert EEGFile(tmp_path / "set/eeg/a.vhdr").seconds == 8
    (tmp_path / "store").mkdir()
    for file in (brainvision(tmp_path / "store/a.vhdr", waves()).parent).iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    assert EEGFile(tmp_path / "linked/a.vhdr").seconds == 8


def test_what_brainvision_claims_is_compared_with_its_files(tmp_path):
    paths = []
    for i, (before, after) in enumerate(
        [
            ("NumberOfChannels=6", "NumberOfChannels=1000000000"),
            ("SamplingInterval=5000", "SamplingInterval=1e-300"),
            ("SamplingInterval=5000", "SamplingInterval=1e300"),
        ]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        path = brainvision(folder / "a.vhdr", waves())
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
        paths.append(path)
    lines = refusals(READ, *paths)
    for line, part in zip(lines, ["1,000,000,000 channels", "rate of", "rate of"], strict=True):
        assert "a.vhdr: claims " in line
        assert part in line


@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("NumberOfChannels=6", "NumberOfChannels=+1_000_000_000", "1,000,000,000 channels"),
        ("[Channel", "[ASCII Infos]\nSkipLines=999999999\n[Channel", "999,999,999 lines"),
        ("[Channel", "[ASCII infos]\nSkipColumns=999999999\n[Channel", "999,999,999 columns"),
    ],
)
def test_a_count_of_brainvision_is_read_as_mne_reads_it(tmp_path, refused, before, after, part):
    path = brainvision(tmp_path / "a.vhdr", waves())
    path.write_text(path.read_text().replace(before, after, 1))
    with refused(f"a.vhdr: claims {part}"):
        EEGFile(path)


def test_markers_of_gigabytes_are_refused_by_their_size(tmp_path, refused):
    path = brainvision(tmp_path / "a.vhdr", waves())
    os.truncate(tmp_path / "marks.vmrk", 6 << 30)
    with refused("marks.vmrk: 6,442,450,944 bytes"):
        EEGFile(path)


@pytest.mark.parametrize("name", ["a.vhdr", "data.eeg", "marks.vmrk"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, refused, name):
    path = brainvision(tmp_path / "a.vhdr", waves())
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with refused(f"{name}: is a pipe or a device, not a file"):
        EEGFile(path)


# --------------------------------------------------------------------- FIF and EEGLAB


def test_a_compressed_fif_file_is_checked_like_a_plain_one(tmp_path, refused):
    content = fif(tmp_path / "a_raw.fif", waves()).read_bytes()
    path = tmp_path / "b_raw.fif.gz"
    path.write_bytes(gzip.compress(content))
    assert read_eeg(path).data.shape == (6, 1600)
    with gzip.open(path, "wb") as file:
        file.write(content)
        for _ in range(20):
            file.write(bytes(10 << 20))
    with refused("b_raw.fif.gz: grows beyond"):
        EEGFile(path)
    at = next(at for at, kind, _ in _tags(content) if kind == 100)
    path.write_bytes(gzip.compress(content[: at + 8] + b"\x7f\xff\xff\xff" + content[at + 12 :]))
    with refused("b_raw.fif.gz: is damaged", "beyond its end"):
        EEGFile(path)


def _tags(content):
    at = 0
    while at + 16 <= len(content):
        kind, _, size, following = struct.unpack_from(">iIii", content, at)
        yield at, kind, size
        at = following or at + 16 + size
        if following < 0:
            return


def test_a_fif_file_with_a_tag_beyond_its_end_or_back_is_one_line(tmp_path):
    path = fif(tmp_path / "a_raw.fif", waves())
    whole = path.read_bytes()
    places = [at for at, _, _ in _tags(whole)]
    assert read_eeg(path).data.shape == (6, 1600)
    paths = []
    for i, (offset, number) in enumerate([(8, 2**31 - 1), (8, -5), (12, 16), (12, 2**31 - 1)]):
        damaged = bytearray(whole)
        struct.pack_into(">i", damaged, places[len(places) // 2] + offset, number)
        paths.append(tmp_path / f"{i}_raw.fif")
        paths[-1].write_bytes(damaged)
    for line in refusals(READ, *paths):
        assert "is damaged and cannot be read" in line or "cut off" in line


def test_a_fif_file_whose_next_part_lies_elsewhere_is_one_line(tmp_path, refused):
    folder = tmp_path / "in"
    folder.mkdir()
    path = fif(folder / "a_raw.fif", waves())
    fif(tmp_path / "b_raw.fif", waves())
    whole = path.read_bytes()
    # Blocks begin with tag 104 and end with 105; one that refers to the next file is 118.
    start = next(at for at, kind, _ in _tags(whole) if kind == 104)

    def tag(kind, type_, data):
        return struct.pack(">iIii", kind, type_, len(data), 0) + data

    def whole_number(value):
        return struct.pack(">i", value)

    reference = tag(104, 3, whole_number(118)) + tag(115, 3, whole_number(2))
    reference += tag(118, 10, b"../b_raw.fif") + tag(105, 3, whole_number(118))
    content = whole[:start] + reference + whole[start:]
    # Without a directory, which would have to know of it, MNE reads tag by tag.
    pointer = next(at for at, kind, _ in _tags(whole) if kind == 101)
    content = bytearray(content)
    struct.pack_into(">i", content, pointer + 16, -1)
    path.write_bytes(content)
    with refused("a_raw.fif: names '../b_raw.fif' as a part of it"):
        EEGFile(path)


def test_data_of_eeglab_in_another_folder_are_one_line(tmp_path, refused):
    folder = tmp_path / "in"
    folder.mkdir()
    path = eeglab(folder / "a.set", waves())
    assert read_eeg(path).data.shape == (6, 1600)
    (folder / "a.fdt").rename(tmp_path / "a.fdt")
    content = scipy.io.loadmat(path)["EEG"]
    content["data"][0, 0] = np.array(["../a.fdt"])
    scipy.io.savemat(path, {"EEG": content}, appendmat=False)
    with refused("a.set: names ", "a.fdt", "not beside it"):
        EEGFile(path)


def test_arrays_of_eeglab_that_grow_without_measure_are_one_line(tmp_path):
    scipy.io.savemat(
        tmp_path / "a.set", {"times": np.zeros(40_000_000)}, appendmat=False, do_compression=True
    )
    assert (tmp_path / "a.set").stat().st_size < 1_000_000
    with h5py.File(tmp_path / "b.set", "w", userblock_size=512) as file:
        file.create_dataset("EEG/data", (10**7, 1000), "f4", chunks=(100, 10), compression="gzip")
    with h5py.File(tmp_path / "c.set", "w", userblock_size=512) as file:
        file["EEG/data"] = h5py.ExternalLink("other.h5", "/data")
    eeglab(tmp_path / "d.set", waves())
    content = scipy.io.loadmat(tmp_path / "d.set")["EEG"]
    content["pnts"][0, 0] = np.array([[10**12]])
    scipy.io.savemat(tmp_path / "d.set", {"EEG": content}, appendmat=False)
    lines = refusals(READ, *(tmp_path / f"{name}.set" for name in "abcd"))
    assert "a.set: grows beyond" in lines[0]
    assert "b.set: EEG/data claims 40,000.0 MB" in lines[1]
    assert "c.set: EEG/data is a link to elsewhere" in lines[2]
    assert "d.set: claims 1,000,000,000,000 samples of 6 channels" in lines[3]
