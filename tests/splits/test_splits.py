"""Splits: nothing leaks, nothing is lost, classes are even, and a fold depends on nothing else."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milmer import storage
from milmer.errors import MilmerError
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split

GROUPS = {
    "trial": ["subject", "experiment_id"],
    "loso": ["subject"],
    "stimulus": ["experiment_id"],
}


def write_trials(folder, subject, ratings, seconds=12.0, video=True):
    trials = pd.DataFrame(ratings, columns=["valence", "arousal"])
    trials.insert(0, "subject", subject)
    trials["experiment_id"] = np.arange(1, len(trials) + 1, dtype=np.int32)
    trials["eeg_seconds"] = seconds
    trials["video_file"] = f"{subject}.avi" if video else None
    path = folder / f"{subject}.parquet"
    storage.write_table(path, trials, storage.provenance("trials", "milmer.errors", {}, {}))
    return path


def split(folder, paths, protocol, fold, **options):
    out = folder / f"{protocol}-{fold}.parquet"
    make_split(paths, protocol, fold, SplitOptions(**options), out)
    return storage.read_table(out, "split"), storage.read_provenance(out)["facts"]


def ratings(rng, trials):
    return rng.uniform(1, 9, (trials, 2)).round(2)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 10**6),
    subjects=st.integers(2, 4),
    trials=st.integers(8, 14),
    folds=st.integers(2, 4),
    validation=st.sampled_from([0.0, 0.2, 0.34]),
    protocol=st.sampled_from(["trial", "loso", "stimulus"]),
)
def test_no_group_stands_on_two_sides_and_each_segment_is_tested_once(
    tmp_path_factory, seed, subjects, trials, folds, validation, protocol
):
    folder = tmp_path_factory.mktemp("splits")
    rng = np.random.default_rng(seed)
    names = [f"s{i + 1:02d}" for i in range(subjects)]
    paths = [write_trials(folder, name, ratings(rng, trials)) for name in names]
    tested = []
    for fold in fold_names(protocol, names, folds):
        used = fold_subjects(protocol, fold, names)
        chosen = [p for p in paths if p.stem in used]
        table, facts = split(
            folder, chosen, protocol, fold, folds=folds, validation=validation, seed=seed
        )
        assert len(table) == len(chosen) * trials * 4
        assert not table.duplicated(["subject", "experiment_id", "position"]).any()
        groups = GROUPS[protocol]
        assert (
            table.assign(test=table["part"] == "test").groupby(groups)["test"].nunique() == 1
        ).all()
        if validation:
            inner = table[table["part"] != "test"]
            assert (inner.groupby(facts["validation_groups"])["part"].nunique() == 1).all()
            assert set(inner["part"]) == {"train", "val"}
        tested.append(table[table["part"] == "test"])
    together = pd.concat(tested)
    assert len(together) == subjects * trials * 4
    assert not together.duplicated(["subject", "experiment_id", "position"]).any()


def test_segment_puts_segments_of_a_trial_on_both_sides_and_says_so(tmp_path):
    path = write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 16))
    table, facts = split(tmp_path, [path], "segment", "s01", validation=0)
    assert facts["leaky"]
    assert (table["part"] == "test").mean() == pytest.approx(0.2, abs=0.02)
    assert (table.groupby("experiment_id")["part"].nunique() == 2).sum() > 8
    shares = table.groupby("label")["part"].apply(lambda p: (p == "test").mean())
    assert shares.between(0.1, 0.3).all()


@pytest.mark.parametrize("protocol", ["trial", "loso", "stimulus"])
def test_overlapping_segments_of_a_trial_stay_together(tmp_path, protocol):
    rng = np.random.default_rng(0)
    paths = [write_trials(tmp_path, f"s0{i}", ratings(rng, 12)) for i in (1, 2)]
    fold = {"trial": "s01-k0", "loso": "s01", "stimulus": "k0"}[protocol]
    own = paths[:1] if protocol == "trial" else paths
    cutting = {"seconds": 3, "overlap": 2}
    table, _ = split(tmp_path, own, protocol, fold, folds=3, segmentation=cutting)
    trials = table.groupby(["subject", "experiment_id"])
    assert (trials["part"].nunique() == 1).all()
    assert (trials["position"].count() == 10).all()


def test_overlapping_segments_are_refused_where_segments_are_drawn(tmp_path, refused):
    paths = [write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 8))]
    with refused("segment s01", "segmentation.overlap", nothing_in=tmp_path):
        split(tmp_path, paths, "segment", "s01", segmentation={"overlap": 1})


def test_folds_are_stratified(tmp_path):
    corners = [[8, 8], [8, 2], [2, 2], [2, 8]] * 10
    path = write_trials(tmp_path, "s01", corners)
    for k in range(5):
        table, _ = split(tmp_path, [path], "trial", f"s01-k{k}", validation=0.25)
        counts = table.groupby(["part", "label"])["experiment_id"].nunique().unstack()
        assert (counts.loc["test"] == 2).all()
        assert (counts.loc["val"].max() - counts.loc["val"].min()) <= 1


def test_a_subjects_split_does_not_depend_on_the_other_subjects(tmp_path):
    rng = np.random.default_rng(3)
    first, second = (write_trials(tmp_path, s, ratings(rng, 12)) for s in ("s01", "s02"))
    alone, _ = split(tmp_path, [first], "trial", "s01-k1")
    again, _ = split(tmp_path, [first], "trial", "s01-k1")
    other, _ = split(tmp_path, [second], "trial", "s02-k1")
    pd.testing.assert_frame_equal(alone, again)
    assert set(other["subject"]) == {"s02"}


def test_a_median_is_that_of_the_trials_that_train(tmp_path):
    values = np.column_stack([np.linspace(1, 9, 20), np.full(20, 3.0)])
    path = write_trials(tmp_path, "s01", values)
    options = {"labels": {"scheme": "valence", "threshold": "median"}}
    table, facts = split(tmp_path, [path], "trial", "s01-k0", **options)
    training = sorted(set(table.loc[table["part"] == "train", "experiment_id"]))
    assert facts["thresholds"]["valence"] == np.median(values[np.array(training) - 1, 0])


def test_validation_of_loso_takes_subjects_where_three_remain_else_trials(tmp_path):
    rng = np.random.default_rng(4)
    paths = [write_trials(tmp_path, f"s{i:02d}", ratings(rng, 8)) for i in range(1, 5)]
    _, facts = split(tmp_path, paths, "loso", "s01")
    assert facts["validation_groups"] == ["subject"]
    _, facts = split(tmp_path, paths[:2], "loso", "s01")
    assert facts["validation_groups"] == ["subject", "experiment_id"]


def test_a_subject_without_video_validates_no_loso_fold(tmp_path):
    rng = np.random.default_rng(4)
    names = [f"s{i:02d}" for i in range(1, 6)]
    paths = [write_trials(tmp_path, n, ratings(rng, 8), video=n != "s02") for n in names]
    for fold in ("s01", "s03", "s04", "s05"):
        table, facts = split(tmp_path, paths, "loso", fold)
        assert facts["validation_groups"] == ["subject"]
        assert "s02" not in set(table.loc[table["part"] == "val", "subject"])


def test_a_rating_of_five_is_no_tie_where_the_border_is_a_median(tmp_path):
    values = np.column_stack([[5.0] * 6 + list(np.linspace(6, 9, 14)), np.full(20, 3.0)])
    path = write_trials(tmp_path, "s01", values)
    labels = {"scheme": "valence", "threshold": "median", "ties": "drop"}
    table, facts = split(tmp_path, [path], "trial", "s01-k0", labels=labels)
    ties = (values[:, 0] == facts["thresholds"]["valence"]).sum()
    assert table["experiment_id"].nunique() == 20 - ties


def test_a_class_that_does_not_train_is_a_recorded_warning(tmp_path):
    corners = [[8, 8], [8, 2], [2, 2]] * 4 + [[2, 8]]
    path = write_trials(tmp_path, "s01", corners)
    warned = [
        split(tmp_path, [path], "trial", f"s01-k{k}", validation=0)[1]["warnings"] for k in range(5)
    ]
    assert sorted(map(tuple, warned))[-1] == ("no training segment of class HALV",)


def test_dropped_ties_are_in_no_part(tmp_path):
    path = write_trials(tmp_path, "s01", [[5.0, 8.0]] * 2 + [[8, 8], [2, 2]] * 5)
    table, _ = split(tmp_path, [path], "trial", "s01-k0", labels={"ties": "drop"})
    assert set(table["experiment_id"]).isdisjoint({1, 2})


@pytest.mark.parametrize(
    ("protocol", "fold", "message"),
    [("trial", "s01-k0", "protocols.folds"), ("loso", "s01", "train")],
)
def test_too_little_data_is_one_clear_line(tmp_path, protocol, fold, message):
    path = write_trials(tmp_path, "s01", [[8, 8], [2, 2]])
    with pytest.raises(MilmerError, match=message):
        split(tmp_path, [path], protocol, fold, validation=0)
    assert not (tmp_path / f"{protocol}-{fold}.parquet").exists()


def test_permuted_ratings_stay_with_the_subject_and_come_from_the_seed(tmp_path):
    rng = np.random.default_rng(5)
    values = {name: ratings(rng, 16) for name in ("s01", "s02")}
    paths = [write_trials(tmp_path, name, held) for name, held in values.items()]

    def labels(chosen, **options):
        options = {"folds": 4, "validation": 0} | options
        protocol, fold = ("trial", "s01-k0") if len(chosen) == 1 else ("stimulus", "k0")
        table, facts = split(tmp_path, chosen, protocol, fold, **options)
        assert facts["permuted"] == bool(options.get("labels"))
        return table.groupby(["subject", "experiment_id"])["label"].first()

    control = {"labels": {"permuted": True}}
    plain, permuted = labels(paths), labels(paths, **control)
    assert (plain != permuted).mean() > 0.4
    counts = [x.groupby("subject").value_counts().sort_index() for x in (plain, permuted)]
    pd.testing.assert_series_equal(*counts)
    assert permuted["s01"].to_list() != permuted["s02"].to_list()
    # A subject's permutation depends on neither the others, the protocol nor the fold.
    pd.testing.assert_series_equal(labels(paths[:1], **control).loc["s01"], permuted["s01"])
    assert not labels(paths, **control, seed=1).equals(permuted)


def test_a_trial_without_eeg_exchanges_no_rating(tmp_path):
    seconds = np.where(np.arange(16) < 4, np.nan, 12.0)
    path = write_trials(tmp_path, "s01", np.vstack([np.full((4, 2), 9.0), np.full((12, 2), 1.0)]),
                        seconds=seconds)  # fmt: skip
    table, _ = split(tmp_path, [path], "trial", "s01-k0", folds=3, labels={"permuted": True})
    assert set(table["label"]) == {2}  # none got a rating of the trials that cannot be seen
