"""Splits: nothing leaks, nothing is lost, classes are even, and a fold depends on nothing else."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer import storage
from milmer.errors import MilmerError
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.options import SplitOptions
from milmer.splits.protocols import PROTOCOLS
from milmer.splits.splits import make_split
from tests import asymmetric
from tests.asymmetric import TRIALS, segments_of

GROUPS = {
    "trial": ["subject", "trial"],
    "loso": ["subject"],
    "stimulus": ["experiment_id"],
}


KEYS = ["subject", "trial", "position"]


def trials_table(subject, ratings, seconds=12.0, video=True, **columns):
    trials = pd.DataFrame(ratings, columns=["valence", "arousal"])
    trials.insert(0, "subject", subject)
    trials["experiment_id"] = np.arange(1, len(trials) + 1, dtype=np.int32)
    trials["trial"], trials["eeg_file"] = 50 - trials["experiment_id"], f"{subject}.bdf"
    trials["eeg_seconds"] = seconds
    return trials.assign(video_file=f"{subject}.avi" if video else None, **columns)


def write_trials(folder, subject, ratings, **trials):
    return asymmetric.write_trials(folder, trials_table(subject, ratings, **trials))


def split(folder, paths, protocol, fold, **options):
    out = folder / f"{protocol}-{fold}.parquet"
    make_split(paths, protocol, fold, SplitOptions(**options), out)
    return storage.read_table(out, "split"), storage.read_provenance(out)["facts"]


def ratings(rng, trials):
    return rng.uniform(1, 9, (trials, 2)).round(2)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    subjects=st.integers(2, 3),
    folds=st.integers(2, 3),
    validation=st.sampled_from([0.0, 0.2, 0.34]),
    protocol=st.sampled_from(["trial", "loso", "stimulus"]),
)
def test_no_group_stands_on_two_sides_and_each_segment_is_tested_once(
    tmp_path_factory, seed, subjects, folds, validation, protocol
):
    """Of subjects with other stimuli, trials of other lengths, some without EEG or rating."""
    folder = tmp_path_factory.mktemp("splits")
    rng = np.random.default_rng(seed)
    names = [f"s{i + 1:02d}" for i in range(subjects)]
    paths, segments = [], []
    for name in names:
        seconds = rng.permutation([2.5] * 2 + [3] * 4 + [7] * 4 + [12] * 4)
        table = trials_table(name, ratings(rng, 14), seconds=seconds)
        table.loc[rng.choice(14, 2, replace=False), ["eeg_seconds"]] = np.nan
        table.loc[rng.choice(14, 2, replace=False), ["arousal"]] = np.nan
        table = table.iloc[np.sort(rng.choice(14, rng.integers(11, 15), replace=False))]
        paths.append(asymmetric.write_trials(folder, table))
        for row in table.dropna(subset=["eeg_seconds", "arousal"]).itertuples():
            segments += [(name, row.trial, p) for p in range(int(row.eeg_seconds // 3))]
    tested = []
    for fold in fold_names(protocol, names, folds):
        used = fold_subjects(protocol, fold, names)
        chosen = [p for p in paths if p.stem in used]
        table, facts = split(
            folder, chosen, protocol, fold, folds=folds, validation=validation, seed=seed
        )
        keys = list(table[KEYS].itertuples(index=False, name=None))
        assert keys == [key for key in segments if key[0] in used]
        sides = table.assign(test=table["part"] == "test").groupby(GROUPS[protocol])["test"]
        assert (sides.nunique() == 1).all()
        inner = table[table["part"] != "test"]
        assert set(inner["part"]) == ({"train", "val"} if validation else {"train"})
        if validation:
            assert (inner.groupby(facts["validation_groups"])["part"].nunique() == 1).all()
        tested += [key for key, part in zip(keys, table["part"], strict=True) if part == "test"]
    assert sorted(tested) == sorted(segments)


@pytest.mark.parametrize("protocol", ["trial", "loso", "stimulus"])
def test_overlapping_segments_of_a_trial_stay_together(tmp_path, protocol):
    rng = np.random.default_rng(0)
    paths = [write_trials(tmp_path, f"s0{i}", ratings(rng, 12)) for i in (1, 2)]
    fold = {"trial": "s01-k0", "loso": "s01", "stimulus": "k0"}[protocol]
    own = paths[:1] if protocol == "trial" else paths
    cutting = {"seconds": 3, "overlap": 2}
    table, _ = split(tmp_path, own, protocol, fold, folds=3, segmentation=cutting)
    trials = table.groupby(["subject", "trial"])
    assert (trials["part"].nunique() == 1).all()
    assert (trials["position"].count() == 10).all()


def test_overlapping_segments_are_refused_where_segments_are_drawn(tmp_path, refused):
    paths = [write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 8))]
    with refused("segment s01", "segmentation.overlap", nothing_in=tmp_path):
        split(tmp_path, paths, "segment", "s01", segmentation={"overlap": 1})


def test_a_rating_of_five_is_no_tie_where_the_border_is_a_median(tmp_path):
    values = np.column_stack([[5.0] * 6 + list(np.linspace(6, 9, 14)), np.full(20, 3.0)])
    path = write_trials(tmp_path, "s01", values)
    labels = {"scheme": "valence", "threshold": "median", "ties": "drop"}
    table, facts = split(tmp_path, [path], "trial", "s01-k0", labels=labels)
    ties = (values[:, 0] == facts["thresholds"]["valence"]).sum()
    assert table["experiment_id"].nunique() == 20 - ties


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


def test_a_trial_without_eeg_exchanges_no_rating(tmp_path):
    seconds = np.where(np.arange(16) < 4, np.nan, 12.0)
    path = write_trials(tmp_path, "s01", np.vstack([np.full((4, 2), 9.0), np.full((12, 2), 1.0)]),
                        seconds=seconds)  # fmt: skip
    table, _ = split(tmp_path, [path], "trial", "s01-k0", folds=3, labels={"permuted": True})
    assert set(table["label"]) == {2}  # none got a rating of the trials that cannot be seen


# --------------------------------------------------------------- values at their place


def quadrant(valence, arousal):
    return {(1, 1): 0, (1, 0): 1, (0, 0): 2, (0, 1): 3}[valence >= 5, arousal >= 5]


@pytest.mark.parametrize("order", [["s01", "s02", "s03"], ["s03", "s01", "s02"]], ids=str)
def test_a_split_has_each_segment_once_with_the_label_of_its_trial(study, tmp_path, order):
    """Trial 3 of s03 is not rated, trial 2 of s02 has no EEG; the order of the files is nothing."""
    paths = [study.trials[s] for s in order]
    table, facts = split(tmp_path, paths, "loso", "s03", validation=0)
    trials = {(s, t): (e, rated) for s, rows in TRIALS.items() for e, t, _, *rated in rows}
    expected = [
        (s, t, position, e, quadrant(*rated), "test" if s == "s03" else "train")
        for s in TRIALS
        for t, position in segments_of(s)
        for e, rated in [trials[s, t]]
        if (s, t) != ("s03", 3)
    ]
    assert list(table.itertuples(index=False, name=None)) == expected
    assert facts == {
        "protocol": "loso",
        "fold": "s03",
        "leaky": False,
        "warnings": [],
        "labels": ["HAHV", "LAHV", "LALV", "HALV"],
        "scheme": "quadrant",
        "permuted": False,
        "thresholds": {"valence": 5.0, "arousal": 5.0},
    }
    inputs = storage.read_provenance(tmp_path / "loso-s03.parquet")["inputs"]
    assert sorted(inputs.values()) == sorted(storage.digest(path) for path in paths)


@pytest.mark.parametrize("validation", [0, 0.34])
@pytest.mark.parametrize("protocol", ["segment", "trial", "stimulus", "loso"])
def test_a_median_is_that_of_the_trials_that_train(study, tmp_path, protocol, validation):
    """Each counts once, however long it is; those of the same stimulus that test do not."""
    fold = {"segment": "s03", "trial": "s03-k0", "stimulus": "k1", "loso": "s03"}[protocol]
    subjects = ["s03"] if PROTOCOLS[protocol].within_subject else list(TRIALS)
    paths = [study.trials[s] for s in subjects]
    options = {"folds": 2, "validation": validation, "labels": {"threshold": "median"}}
    table, facts = split(tmp_path, paths, protocol, fold, **options)
    trained = table.loc[table["part"] == "train", ["subject", "experiment_id"]]
    trained = set(trained.itertuples(index=False, name=None))
    rated = {(s, e): rated for s, trials in TRIALS.items() for e, _, _, *rated in trials}
    valence, arousal = np.median([rated[key] for key in trained], axis=0)
    assert facts["thresholds"] == {"valence": valence, "arousal": arousal}
    for row in table.itertuples():
        v, a = rated[row.subject, row.experiment_id]
        assert row.label == quadrant(v - valence + 5, a - arousal + 5)


def test_a_class_that_does_not_train_is_a_recorded_warning(study, tmp_path):
    """Whether it tests or validates."""
    warned = set()
    for fold in ("s01-k0", "s01-k1", "s03-k0", "s03-k1"):
        trials = [study.trials[fold[:3]]]
        table, facts = split(tmp_path, trials, "trial", fold, folds=3, validation=0.4)
        absent = set(table["label"]) - set(table.loc[table["part"] == "train", "label"])
        names = ", ".join(facts["labels"][label] for label in sorted(absent))
        assert facts["warnings"] == [f"no training segment of class {names}"] * bool(absent)
        validating = set(table.loc[table["part"] == "val", "label"])
        warned |= {"val" if label in validating else "test" for label in absent}
    assert warned == {"val", "test"}


# ----------------------------------------------------------------------- stratification


def classes(*counts):
    """Ratings of that many trials of each quadrant, in turn as far as they go."""
    corners = [[8, 8], [8, 2], [2, 2], [2, 8]]
    return [corners[i] for k in range(max(counts)) for i, n in enumerate(counts) if k < n]


@pytest.mark.parametrize("counts", [(10, 10, 10, 10), (11, 3, 6, 1)], ids=str)
def test_each_class_is_even_over_folds_and_parts_to_one_trial(tmp_path, counts):
    path = write_trials(tmp_path, "s01", classes(*counts))
    tested, orders = [], set()
    for k in range(5):
        table, _ = split(tmp_path, [path], "trial", f"s01-k{k}", validation=0.25)
        trials = table.drop_duplicates("experiment_id")
        count = trials.groupby(["part", "label"]).size().unstack(fill_value=0)
        held_out = count.loc["val"] - 0.25 * (np.array(counts) - count.loc["test"])
        assert held_out.abs().max() <= 1
        tested.append(count.loc["test"].reindex(range(4), fill_value=0))
        orders.add(tuple(trials.loc[trials["part"] == "test", "experiment_id"] % 5))
    assert all(max(n) - min(n) <= 1 for n in zip(*tested, strict=True))
    assert len({len(set(order)) for order in orders} | {1}) > 1  # at random within a class


def test_segment_draws_a_fifth_of_each_class_also_of_one_trial_and_says_so(tmp_path):
    path = write_trials(tmp_path, "s01", classes(6, 2, 4, 1), seconds=30.0)
    table, facts = split(tmp_path, [path], "segment", "s01", validation=0.25)
    assert facts["leaky"]
    counts = table.groupby(["label", "part"]).size().unstack()
    assert (counts["test"] - [12, 4, 8, 2]).abs().max() <= 1
    assert counts["test"].sum() == 26
    assert (counts["val"] - [12, 4, 8, 2]).abs().max() <= 1
    assert counts["val"].sum() == 26
    assert (table.groupby("experiment_id")["part"].nunique() > 1).sum() > 8


@pytest.mark.parametrize(
    ("trials", "validation", "held_out"),
    [(8, 0.2, 2), (7, 0.2, 1), (2, 0.2, 1), (2, 0.9, 1), (3, 0.9, 2), (3, 0.1, 1), (9, 0.5, 5)],
)
def test_so_many_groups_validate_at_least_one_and_never_all(tmp_path, trials, validation, held_out):
    path = write_trials(tmp_path, "s01", [[8, 8]] * (2 * trials))
    table, _ = split(tmp_path, [path], "trial", "s01-k1", folds=2, validation=validation)
    counts = table.drop_duplicates("experiment_id")["part"].value_counts()
    expected = {"test": trials, "val": held_out, "train": trials - held_out}
    assert counts.to_dict() == expected


def test_a_group_counts_as_its_most_common_class(tmp_path):
    """Of six subjects three are mostly of one class; the first trial of all is of the other."""
    high, low = [8, 8], [2, 2]
    mostly = {f"s{i}": low if i % 2 else high for i in range(1, 8)}
    paths = [write_trials(tmp_path, name, [low, *[own] * 3]) for name, own in mostly.items()]
    for seed in range(4):
        table, _ = split(tmp_path, paths, "loso", "s7", validation=0.34, seed=seed)
        first, second = sorted(set(table.loc[table["part"] == "val", "subject"]))
        assert mostly[first] != mostly[second]


def test_as_many_folds_as_groups_test_one_each_and_an_unknown_protocol_is_named(tmp_path, refused):
    path = write_trials(tmp_path, "s01", [[8, 8]] * 4)
    options = {"folds": 4, "validation": 0, "labels": {"scheme": "arousal"}}
    table, facts = split(tmp_path, [path], "trial", "s01-k3", **options)
    assert table.loc[table["part"] == "test", "experiment_id"].nunique() == 1
    assert (facts["scheme"], facts["labels"]) == ("arousal", ["low", "high"])
    with refused("there is no protocol 'day'; use one of segment, trial, session, stimulus, loso"):
        split(tmp_path, [path], "day", "s01")


@pytest.mark.parametrize(
    ("filmed", "unseen", "groups"),
    [
        ("1234", "", ["subject"]),  # s1 tests
        ("134", "2", ["subject", "trial"]),  # two of those who train are filmed
        ("345", "12", ["subject"]),
        ("1345", "2", ["subject"]),
        ("2", "1345", ["subject", "trial"]),
        ("1", "2345", ["subject", "trial"]),
        ("", "1234", ["subject"]),  # nobody is: no experiment has faces
        ("", "123", ["subject", "trial"]),
        ("123", "", ["subject", "trial"]),
    ],
)
def test_subjects_with_video_validate_a_loso_fold_where_three_train_else_trials(
    tmp_path, filmed, unseen, groups
):
    rng = np.random.default_rng(4)
    names = sorted(filmed + unseen)
    paths = [write_trials(tmp_path, f"s{n}", ratings(rng, 4), video=n in filmed) for n in names]
    table, facts = split(tmp_path, paths, "loso", "s1", validation=0.9)  # all but one of them
    assert facts["validation_groups"] == groups
    assert set(table.loc[table["part"] == "test", "subject"]) == {"s1"}
    validating = table[table["part"] == "val"].drop_duplicates(groups)
    allowed = set(filmed or names) if groups == ["subject"] else set(names)
    allowed = {f"s{n}" for n in allowed - {"1"}}
    assert set(validating["subject"]) <= allowed
    groups_each = 1 if groups == ["subject"] else 4
    assert len(validating) == min(groups_each * len(allowed) - 1, round(0.9 * 4 * len(allowed)))


# ------------------------------------------------------------------------------ draws


def test_each_ingredient_of_a_seed_changes_the_draw_and_nothing_else_does(tmp_path, monkeypatch):
    """Seed, protocol, fold and purpose, and the subject where there is one."""
    seeds = {}
    draw = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or draw(seed))
    values = ratings(draw(0), 6)
    paths = {s: write_trials(tmp_path, s, values[: 6 - i], seconds=3.0)
             for i, s in enumerate(("s01", "s02"))}  # fmt: skip
    for protocol in PROTOCOLS:
        for fold in fold_names(protocol, list(paths), 2):
            subjects = fold_subjects(protocol, fold, list(paths))
            for seed, permuted in ((0, True), (1, True), (1, False)):
                drawn = []
                options = {"folds": 2, "seed": seed, "labels": {"permuted": permuted}}
                split(tmp_path, [paths[s] for s in subjects], protocol, fold, **options)
                purposes = [("permuted", s) for s in subjects] if permuted else []
                if protocol != "loso":  # which tests one subject after the other
                    tested = subjects[0] if len(subjects) == 1 else "all"
                    purposes.append(("test", protocol, tested))
                purposes.append(("validation", protocol, fold))
                for purpose, entropy in zip(purposes, drawn, strict=True):
                    seeds.setdefault((seed, *purpose), set()).add(tuple(entropy))
    assert all(len(entropies) == 1 for entropies in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


@pytest.mark.parametrize("part", ["test", "val"])
def test_another_seed_draws_other_trials(tmp_path, part):
    path = write_trials(tmp_path, "s01", [[8, 8]] * 30)
    drawn = [
        split(tmp_path, [path], "trial", "s01-k1", seed=seed)[0].query(f"part == '{part}'")
        for seed in (0, 0, 1)
    ]
    assert drawn[0].equals(drawn[1])
    assert set(drawn[0]["experiment_id"]) != set(drawn[2]["experiment_id"])


def test_ratings_are_permuted_within_a_subject_and_apart_from_their_stimulus(tmp_path):
    """Two subjects who rated alike no longer do; a trial's two ratings stay together."""
    values = np.column_stack([np.linspace(1, 9, 16), np.linspace(9, 1, 16)])
    paths = [write_trials(tmp_path, s, values[:n]) for s, n in (("s01", 16), ("s02", 14))]

    def labels(chosen=paths, protocol="stimulus", fold="k0", **options):
        table, facts = split(tmp_path, chosen, protocol, fold, folds=4, validation=0, **options)
        assert facts["permuted"] == bool(options.get("labels"))
        return table.groupby(["subject", "experiment_id"])["label"].first()

    control = {"labels": {"permuted": True}}
    plain, permuted = labels(), labels(**control)
    assert (plain != permuted).mean() > 0.3
    for subject in ("s01", "s02"):
        assert plain[subject].value_counts().equals(permuted[subject].value_counts())
    assert permuted["s01"].to_list()[:14] != permuted["s02"].to_list()
    # A subject's permutation depends on neither the others, the protocol nor the fold.
    alone = labels(paths[:1], "trial", "s01-k2", **control)
    pd.testing.assert_series_equal(alone.loc["s01"], permuted["s01"])
    assert not labels(**control, seed=1).equals(permuted)
