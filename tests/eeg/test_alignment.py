"""Euclidean alignment: everybody's mean covariance becomes the unit matrix, by nobody's label."""

import numpy as np
import pytest
import torch

from milmer import storage
from milmer.contracts.segments import SEGMENTS
from milmer.contracts.split import SPLIT
from milmer.eeg.alignment import aligning_matrix
from milmer.eeg.options import AlignedEEGOptions
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold
from milmer.training.loop import train_fold
from tests.training.test_loop import options

CPU = torch.device("cpu")


def covariance(x):
    """Mean second moment of the channels of segments (segment, channel, sample)."""
    x = np.asarray(x, np.float64)
    return np.einsum("scn,sdn->cd", x, x) / (len(x) * x.shape[-1])


def test_the_matrix_is_the_symmetric_one_and_takes_parts_of_any_size():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    x = (mixing @ rng.normal(size=(30, 4, 100)) * 20).astype(np.float32)
    matrix = aligning_matrix([x[:7], x[7], x[8:]])
    np.testing.assert_allclose(covariance(matrix @ x), np.eye(4), atol=1e-4)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_a_direction_without_signal_is_not_blown_up():
    """After an average reference the channels add up to nothing but rounding."""
    x = np.random.default_rng(0).normal(size=(20, 5, 200)).astype(np.float32) * [
        [1],
        [2],
        [3],
        [4],
        [5],
    ]
    x = x - x.mean(1, keepdims=True)
    aligned = aligning_matrix([x]) @ x
    values = np.linalg.eigvalsh(covariance(aligned))
    np.testing.assert_allclose(values[1:], 1, atol=1e-3)
    assert abs(values[0]) < 1e-6


def test_what_mixes_a_persons_channels_is_taken_back_up_to_a_turn():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3, 200)) * [[1], [3], [9]]
    mixed = rng.normal(size=(3, 3)) @ x
    one, other = (aligning_matrix([y]) @ y for y in (x, mixed))
    turn = np.einsum("scn,sdn->cd", other, one) / (40 * 200)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-3)


@pytest.fixture(scope="module")
def fold(twin_results, tmp_path_factory):
    """Both subjects' segments with a split of loso, and one of s01 alone."""
    folder = tmp_path_factory.mktemp("splits")
    trials = [twin_results / f"trials/{s}.parquet" for s in ("s01", "s02")]
    make_split(trials, "loso", "s02", SplitOptions(), folder / "s02.parquet")
    make_split(trials[:1], "trial", "s01-k0", SplitOptions(folds=2), folder / "s01-k0.parquet")
    segments = [twin_results / f"segments/default/{s}.h5" for s in ("s01", "s02")]
    return {
        "loso": (folder / "s02.parquet", segments),
        "trial": (folder / "s01-k0.parquet", segments[:1]),
    }


def eeg_of(data, subject, *parts):
    rows = data.table["subject"] == subject
    if parts:
        rows &= data.table["part"].isin(parts)
    return data.eeg_of(np.flatnonzero(rows), CPU).numpy()


def unit(x):
    """Whether the covariance is the unit matrix, but where the reference leaves nothing."""
    values = np.linalg.eigvalsh(covariance(x))
    return np.allclose(values[1:], 1, atol=0.02)


def test_who_trains_is_aligned_by_the_training_part_and_a_new_one_by_all_of_it(fold):
    data = read_fold(*fold["loso"], [], alignment="euclidean")
    assert unit(eeg_of(data, "s01", "train"))
    assert not unit(eeg_of(data, "s01", "val"))
    assert unit(eeg_of(data, "s02"))
    within = read_fold(*fold["trial"], [], alignment="euclidean")
    assert unit(eeg_of(within, "s01", "train"))
    assert not unit(eeg_of(within, "s01", "test"))
    plain = read_fold(*fold["loso"], [])
    matrix = aligning_matrix([eeg_of(plain, "s02")])
    np.testing.assert_allclose(eeg_of(data, "s02"), matrix @ eeg_of(plain, "s02"), atol=1e-4)


def test_each_session_of_a_subject_is_aligned_by_itself(fold, tmp_path):
    split, segments = fold["trial"]
    table, made = storage.read_table(split, SPLIT), storage.read_provenance(split)
    second = table["trial"] % 2 == 0
    table["session"] = np.where(second, "2", "1")
    table["part"] = np.where(second, "test", "train")
    table = table.sort_values(["part"]).reset_index(drop=True)
    facts = made["facts"] | {"validation_groups": []}
    storage.write_table(tmp_path / "s01-k0.parquet", table, made | {"facts": facts})
    data = read_fold(tmp_path / "s01-k0.parquet", segments, [], alignment="euclidean")
    assert unit(eeg_of(data, "s01", "train"))
    assert unit(eeg_of(data, "s01", "test"))


def test_labels_and_what_is_tested_have_no_say_in_a_training_subjects_matrix(fold, tmp_path):
    split, segments = fold["trial"]
    data = read_fold(split, segments, [], alignment="euclidean")
    with storage.open_h5(segments[0], SEGMENTS) as file:
        held_out = np.isin(
            file["trial"][()], data.table.loc[data.table["part"] != "train", "trial"].unique()
        )
        eeg = file["eeg"][()]
    trained = aligning_matrix([eeg[~held_out & (file_rejected(segments[0]) == b"")]])
    np.testing.assert_allclose(data.aligning.matrices[0], trained, rtol=1e-5)


def file_rejected(path):
    with storage.open_h5(path, SEGMENTS) as file:
        return file["rejected"][()]


def test_the_published_layout_has_no_channels_to_align():
    with pytest.raises(ValueError, match="has no channels to align"):
        AlignedEEGOptions(layout="as_published", bad_channels="keep", alignment="euclidean")


@pytest.fixture(scope="module")
def run(fold, tmp_path_factory):
    from milmer.evaluation.evaluate import evaluate_run

    out = tmp_path_factory.mktemp("runs") / "seed0"
    aligned = options({"modalities": ["eeg"]}, epochs=1).updated({"alignment": "euclidean"})
    train_fold(*fold["loso"], [], aligned, 0, out)
    evaluate_run(out)
    return out


def test_the_model_says_so_and_a_new_recording_is_aligned_by_itself(run, fold, twin):
    from milmer.model.trained import load_trained
    from milmer.prediction.processor import MilmerProcessor

    card = (run / "model/README.md").read_text()
    assert "or of all of it where none of it trained" in " ".join(card.split())
    processor = MilmerProcessor.from_pretrained(run / "model")
    inputs = processor(eeg=twin / "data_preprocessed_python/s02.dat", trial=3)
    assert unit(inputs["eeg"].numpy())
    logits = load_trained(run / "model")(**inputs).logits
    assert logits.isfinite().all()


def test_an_explanation_looks_at_the_same_eeg(run, fold, tmp_path, monkeypatch):
    from milmer.evaluation import explain
    from milmer.evaluation.explain_options import ExplainOptions

    seen = []
    plain = explain.read_fold
    monkeypatch.setattr(explain, "read_fold", lambda *a: seen.append(plain(*a)) or seen[0])
    explain.explain_run(run, *fold["loso"], [], ExplainOptions(segments=4), tmp_path / "e.h5")
    assert unit(eeg_of(seen[0], "s02"))
