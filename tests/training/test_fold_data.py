"""A fold's data: every number is that of its segment, and files that do not fit are refused."""

import re
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer import storage
from milmer.errors import MilmerError
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import Rows, read_fold, read_fold_with_pictures
from tests import asymmetric
from tests.asymmetric import bags_of, eeg_of, grey_of, segments_of, tokens_of, trials_of

CPU = torch.device("cpu")
EVENLY_SPACED = {None: [0, 1, 2, 3], 1: [2], 2: [1, 3], 3: [0, 2, 3]}
"""Instances of a bag of four that are taken where so many are wanted."""


@pytest.fixture
def rows():
    return Rows([np.arange(8.0).reshape(4, 2), np.arange(8.0, 14.0).reshape(3, 2)])


@pytest.mark.parametrize("resident", [False, True], ids=["mapped", "on a device"])
def test_rows_of_several_arrays_are_read_under_one_numbering(rows, resident):
    if resident:
        rows.to(CPU)
    taken = rows.take(np.array([[6, 0], [4, 3]]))
    assert taken.tolist() == [[[12, 13], [0, 1]], [[8, 9], [6, 7]]]
    assert rows.take(np.array([0, -1])).tolist() == [[0, 1], [0, 0]]
    taken = rows.take(np.array([-1, 999, 5, 2]), np.array([False, False, True, False]))
    assert taken.tolist() == [[0, 0], [0, 0], [10, 11], [0, 0]]


@pytest.mark.parametrize(
    ("free", "jobs", "moved"),
    [
        (2000, 1, ["eeg", "tokens"]),  # 0.6 of it is enough for 600 and 500 bytes
        (1700, 1, ["eeg"]),
        (900, 1, ["tokens"]),
        (700, 1, []),
        (9000, 4, ["eeg", "tokens"]),  # of 9000 bytes each of four jobs has its part
        (9000, 10, ["tokens"]),
    ],
)
def test_what_fits_beside_other_jobs_is_kept_on_a_gpu(split, monkeypatch, free, jobs, moved):
    data = read_fold(split()[0], [], [])
    parts = {"eeg": Rows([np.zeros(600, "u1")]), "tokens": Rows([np.zeros(500, "u1")])}
    data.eeg, data.tokens = parts.values()
    on_gpu = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 9000))
    monkeypatch.setattr(Rows, "to", lambda part, device: on_gpu.append(part))
    data.to(CPU, jobs)
    assert on_gpu == []
    data.to(torch.device("cuda"), jobs)
    assert on_gpu == [parts[name] for name in moved]


@pytest.fixture
def split(study, tmp_path):
    """``split(protocol, fold, subjects)``: a split of the study; its path and its table."""

    def make(protocol="loso", fold="s03", subjects=("s01", "s02", "s03"), **options):
        path = tmp_path / "split.parquet"
        trials = [study.trials[s] for s in subjects]
        make_split(trials, protocol, fold, SplitOptions(validation=0.3, **options), path)
        return path, storage.read_table(path, "split")

    return make


def frames_of(row, borrowed):
    """The frames of the bag of a row of a split, and which of them are valid."""
    if row.subject == "s02":
        return np.full(4, -1), np.zeros(4, bool)
    bag, detected = bags_of(row.subject)
    frames = bag[segments_of(row.subject).index((row.trial, row.position))]
    return frames, (frames >= 0) & (borrowed | detected[frames])


def require_each_at_its_place(data, table, instances, borrowed=False):
    """Every row of ``table`` with a valid face stands in ``data``, with what is of its segment."""
    chosen = EVENLY_SPACED[instances]
    assert data.instances.tolist() == chosen
    faces = [frames_of(row, borrowed) for row in table.itertuples()]
    valid = np.array([valid for _, valid in faces])[:, chosen]  # (row, instance)
    kept = valid.any(axis=1)
    pd.testing.assert_frame_equal(data.table, table[kept].reset_index(drop=True))
    left_out = [part for part, keep in zip(table["part"], kept, strict=True) if not keep]
    assert data.dropped == {part: left_out.count(part) for part in sorted(set(left_out))}
    order = np.random.default_rng(len(table)).permutation(kept.sum())
    batch = data.batch(order, CPU)
    assert batch["valid"].tolist() == valid[kept][order].tolist()
    assert batch["labels"].tolist() == data.table["label"].iloc[order].tolist()
    for i, row in enumerate(data.table.iloc[order].itertuples()):
        expected = eeg_of(row.subject, row.trial, row.position)
        np.testing.assert_array_equal(batch["eeg"][i], expected)
        frames, usable = frames_of(row, borrowed)
        for n, instance in enumerate(chosen):
            if "face_tokens" in batch:
                at = tokens_of(row.subject, frames[instance])
                tokens = batch["face_tokens"][i, n]
                np.testing.assert_array_equal(tokens, at * usable[instance])
                assert tokens.dtype == torch.float32
            else:
                pixels = batch["pixel_values"][i, n]
                assert pixels.shape == (3, 16, 16)
                grey = grey_of(row.subject, frames[instance]) if usable[instance] else -1
                assert (pixels - grey).abs().max() <= 1
    for part in ("train", "val", "test"):
        assert data.rows(part).tolist() == np.flatnonzero(data.table["part"] == part).tolist()


def read(study, path, subjects, instances, pictures=False, borrowed=False):
    segments = [study.segments[s] for s in subjects]
    filmed = [s for s in subjects if s in study.faces]
    if not pictures:
        return read_fold(path, segments, [study.tokens[s] for s in filmed], instances)

    def prepare(frames):  # −1 is what no picture is, and zeros stand where there is none
        return frames.permute(0, 3, 1, 2).float() + 1

    faces = [study.faces[s] for s in filmed]
    data = read_fold_with_pictures(path, segments, faces, prepare, instances, borrowed, 2)
    take = data.pictures.take
    data.pictures.take = lambda *index: take(*index) - 1
    return data


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    subjects=st.permutations(["s01", "s02", "s03"]),
    drop=st.sampled_from([0.0, 0.3, 0.8]),
    instances=st.sampled_from(list(EVENLY_SPACED)),
    looks_at=st.sampled_from(["tokens", "detected", "borrowed"]),
)
def test_each_row_has_the_eeg_and_the_faces_of_its_segment(
    study, tmp_path_factory, seed, subjects, drop, instances, looks_at
):
    """In whichever order files are given, and whichever segments of a split are left out."""
    path = tmp_path_factory.mktemp("fold") / "split.parquet"
    trials = [study.trials[s] for s in subjects]
    make_split(trials, "stimulus", "k1", SplitOptions(folds=3, validation=0.3, seed=seed), path)
    whole = storage.read_table(path)
    rng = np.random.default_rng(seed)
    kept = (rng.random(len(whole)) >= drop) | ~whole.duplicated(["part", "subject"])
    table = whole[kept].reset_index(drop=True)
    storage.write_table(path, table, storage.read_provenance(path))
    data = read(study, path, subjects, instances, looks_at != "tokens", looks_at == "borrowed")
    require_each_at_its_place(data, table, instances, looks_at == "borrowed")


def test_what_is_known_of_a_fold_comes_with_it(study, split):
    path, table = split("trial", "s03-k1", ["s03"], folds=2, labels={"scheme": "arousal"})
    data = read_fold(path, [study.segments["s03"]], [])
    assert data.sfreq == asymmetric.SFREQ == 8
    assert data.labels == ["low", "high"]
    assert data.facts == storage.read_provenance(path)["facts"]
    assert (data.dropped, data.bag, data.tokens, data.instances) == ({}, None, None, None)
    pd.testing.assert_frame_equal(data.table, table)
    assert set(data.batch(data.rows("test"), CPU)) == {"labels", "eeg"}


def test_segments_without_a_valid_face_are_left_out_and_counted(study, split):
    """Two of s01's, two of s03's, and all of s02's, which has no video; no EEG is needed for it."""
    path, table = split("loso", "s01")
    data = read_fold(path, [], [study.tokens["s01"], study.tokens["s03"]])
    assert set(table.loc[table["part"] == "val", "subject"]) == {"s02", "s03"}
    assert data.dropped["test"] == 2
    assert sum(data.dropped.values()) == 2 + 2 + 7
    assert len(data.table) == len(table) - 11
    assert (data.eeg, data.sfreq, data.eeg_row) == (None, None, None)
    assert set(data.batch(data.rows("test"), CPU)) == {"labels", "face_tokens", "valid"}


def test_rejected_segments_are_left_out_where_eeg_is_looked_at_and_counted(study, split, tmp_path):
    path, table = split("loso", "s03", ["s01", "s03"])
    places = segments_of("s03")
    why = {1: b"gap", 3: b"mark"}  # the first of them shows no face either
    other = asymmetric.write_segments(tmp_path, "s03", study.trials["s03"], rejected=why)
    data = read_with(study, path, "segments", other)
    segments = list(zip(table["trial"], table["position"], strict=True))
    in_s03 = (table["subject"] == "s03").to_numpy()
    left_out = in_s03 & np.array([s in (places[1], places[3]) for s in segments])
    assert (data.rejected, left_out.sum()) == ({"test": 2}, 2)
    whole = read_with(study, path, "segments", study.segments["s03"])
    assert whole.rejected == {}
    assert (whole.dropped, data.dropped) == ({"test": 2, "train": 2}, {"test": 1, "train": 2})
    require_each_at_its_place(data, table[~left_out].reset_index(drop=True), None)
    assert len(read_fold(path, [], []).table) == len(table)


# ------------------------------------------------------------------- what is refused


def foreign(study, folder, stage, subject="s03", trials=None, **changes):
    """A file of ``stage`` that was made from other trials, or with other options."""
    table = trials_of(subject) if trials is None else trials
    path = asymmetric.write_trials(folder / "other", table)
    if stage == "segments":
        return asymmetric.write_segments(folder, subject, path, **changes)
    faces = asymmetric.write_faces(folder / "other", subject, path, **changes)
    return faces if stage == "faces" else asymmetric.write_tokens(folder, subject, faces)


def read_with(study, split, stage, path):
    """The fold of s01 and s03 in which the file of s03 of ``stage`` is ``path``."""
    files = {
        name: [getattr(study, name)["s01"], getattr(study, name)["s03"]]
        for name in ("segments", "faces", "tokens")
    }
    files[stage][1] = path
    if stage == "faces":
        return read_fold_with_pictures(split, files["segments"], files["faces"], torch.Tensor.float)
    return read_fold(split, files["segments"], files["tokens"])


STAGES = ["segments", "faces", "tokens"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_other_trials_is_refused(study, split, tmp_path, stage):
    path, _ = split("loso", "s03", ["s01", "s03"])
    stale = foreign(study, tmp_path, stage, trials=trials_of("s03").assign(valence=4.0))
    with pytest.raises(MilmerError, match=rf"^{stale}: made from other trials than {path}; "):
        read_with(study, path, stage, stale)


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_another_segmentation_is_refused(study, split, tmp_path, stage):
    path, _ = split("loso", "s03", ["s01", "s03"])
    stale = foreign(study, tmp_path, stage, segmentation={"seconds": 3.0, "overlap": 0.5})
    with pytest.raises(MilmerError, match=rf"^{stale}: made from other segmentation than {path}; "):
        read_with(study, path, stage, stale)


@pytest.mark.parametrize("other", STAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_another_stage_is_refused(study, split, stage, other):
    path, _ = split("loso", "s03", ["s01", "s03"])
    file = getattr(study, other)["s03"]
    if stage == other:
        read_with(study, path, stage, file)
        return
    with pytest.raises(MilmerError, match=rf"^{file}: not a file of milmer's stage {stage}$"):
        read_with(study, path, stage, file)


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_file_is_refused(study, split, tmp_path, stage):
    path, _ = split("loso", "s03", ["s01", "s03"])
    damaged = shutil.copy(getattr(study, stage)["s03"], tmp_path / "s03.h5")
    with h5py.File(damaged, "r+") as file:
        file["position"][3] = 2
    with pytest.raises(MilmerError, match=rf"^{damaged}: damaged: its content does not match"):
        read_with(study, path, stage, damaged)


def test_a_subject_without_eeg_is_refused_where_eeg_is_looked_at(study, split):
    path, _ = split()
    given_segments = [study.segments[s] for s in ("s01", "s03")]
    missing = "names s02, trial 3, position 0, which the subject's files do not hold"
    with pytest.raises(MilmerError, match=rf"^{path}: {missing}; run snakemake again"):
        read_fold(path, given_segments, [])


@pytest.mark.parametrize("stage", STAGES)
def test_a_segment_that_a_subjects_file_lacks_is_named(study, split, stage):
    """The first of them, also where other subjects may have no file at all."""
    path, table = split()
    gone = (table["subject"] == "s03") & table["trial"].isin([4, 5])
    table.loc[gone, "trial"] += 100
    storage.write_table(path, table, storage.read_provenance(path))
    names = ("s01", "s02", "s03") if stage == "segments" else ("s01", "s03")
    files = [getattr(study, stage)[s] for s in names]
    read_stage = {
        "segments": lambda: read_fold(path, files, []),
        "faces": lambda: read_fold_with_pictures(path, [], files, torch.Tensor.float),
        "tokens": lambda: read_fold(path, [], files),
    }[stage]
    missing = "names s03, trial 105, position 0, which the subject's files do not hold"
    with pytest.raises(MilmerError, match=rf"^{path}: {missing}"):
        read_stage()


@pytest.mark.parametrize(
    ("attributes", "problem", "remedy"),
    [
        (
            {"channels": ["Fpz", "Cz", "Pz", "C3", "Oz"]},
            "not the EEG channels of {first} (Fpz, Fz in one alone)",
            "name those to take in dataset.channels",
        ),
        (
            {"channels": ["Cz", "Fz", "Pz", "C3", "Oz"]},
            "not the EEG channels of {first} (in another order)",
            "name those to take in dataset.channels",
        ),
        ({"sfreq": 16.0}, "subjects differ in their sampling rate", "set dataset.sfreq"),
        ({"samples": 23}, "subjects differ in the shape of their eeg", ""),
    ],
    ids=["channels", "their order", "rate", "samples"],
)
def test_subjects_with_another_eeg_are_refused(study, split, tmp_path, attributes, problem, remedy):
    path, _ = split("loso", "s03", ["s01", "s03"])
    other = asymmetric.write_segments(tmp_path, "s03", study.trials["s03"], **attributes)
    text = problem.format(first=study.segments["s01"]) + (f"; {remedy}" if remedy else "")
    with pytest.raises(MilmerError, match=re.escape(text) + "$"):
        read_with(study, path, "segments", other)
