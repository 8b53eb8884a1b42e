"""The guard: every split that is made passes, every planted leak is found and named."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer import storage
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.splits.folds import fold_names, fold_subjects
from milmer.splits.guard import require_sound
from milmer.splits.options import SplitOptions
from milmer.splits.protocols import PROTOCOLS
from milmer.splits.splits import make_split
from milmer.training.fold_data import read_fold
from tests.splits.test_splits import ratings, split, write_trials

HONEST = ["trial", "loso", "stimulus"]
quick = settings(max_examples=25, deadline=None)


@st.composite
def made(draw, protocols=(*HONEST, "segment"), validations=(0.0, 0.25)):
    """A sound split and its facts, as make_split writes them, of a random dataset."""
    protocol = draw(st.sampled_from(protocols))
    validation = draw(st.sampled_from(validations))
    seed = draw(st.integers(0, 10**6))
    overlap = 0.0 if protocol == "segment" else draw(st.sampled_from([0.0, 1.0, 2.5]))
    names = [f"s{i + 1:02d}" for i in range(draw(st.integers(2, 4)))]
    labels = {"threshold": draw(st.sampled_from([5.0, "median"]))}
    labels["permuted"] = draw(st.booleans())
    options = SplitOptions(
        labels=labels,
        validation=validation,
        folds=draw(st.integers(2, 4)),
        seed=seed,
        segmentation={"overlap": overlap},
    )
    rng, trials = np.random.default_rng(seed), draw(st.integers(9, 14))
    fold = draw(st.sampled_from(fold_names(protocol, names, options.folds)))
    used = fold_subjects(protocol, fold, names)
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "split.parquet"
        paths = [write_trials(folder, name, ratings(rng, trials)) for name in used]
        make_split(paths, protocol, fold, options, path)
        facts = storage.read_provenance(path)["facts"]
        return storage.read_table(path), facts, options.segmentation


def found(table, facts, cutting, message):
    with pytest.raises(MilmerError, match=message) as caught:
        require_sound(table, facts, cutting, "here")
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


@quick
@given(made())
def test_every_split_that_is_made_passes(split):
    require_sound(*split, "here")


@quick
@given(made(protocols=HONEST), st.data())
def test_a_segment_moved_to_another_part_is_found(split, data):
    table, facts, cutting = split
    row = data.draw(st.integers(0, len(table) - 1))
    others = [part for part in ("train", "val", "test") if part != table.loc[row, "part"]]
    if not facts.get("validation_groups"):
        others = [part for part in others if part != "val"]
    table.loc[row, "part"] = data.draw(st.sampled_from(others))
    found(table, facts, cutting, "leaks: .*(s0|experiment_id)|fold s0. is of other subjects")


@quick
@given(made(), st.data())
def test_a_doubled_row_is_found_in_whatever_part(split, data):
    table, facts, cutting = split
    row = data.draw(st.integers(0, len(table) - 1))
    again = table.iloc[[row]].assign(part=data.draw(st.sampled_from(["train", "val", "test"])))
    name = "{subject}, experiment_id {experiment_id}, position {position} stands twice".format(
        **table.iloc[row]
    )
    found(pd.concat([table, again], ignore_index=True), facts, cutting, name)


@quick
@given(made(protocols=HONEST), st.data())
def test_a_trial_with_another_part_than_its_group_is_found(split, data):
    """The whole of a trial moved: under loso and stimulus its subject or stimulus is torn."""
    table, facts, cutting = split
    if facts["protocol"] == "trial":
        return  # whole trials are what this protocol deals out
    tested = table[table["part"] == "test"]
    key = tested[["subject", "experiment_id"]].drop_duplicates()
    trial = key.iloc[data.draw(st.integers(0, len(key) - 1))]
    mine = (table["subject"] == trial["subject"]) & (
        table["experiment_id"] == trial["experiment_id"]
    )
    table.loc[mine, "part"] = "train"
    found(table, facts, cutting, "leaks: .* stands in test and outside of it")


@quick
@given(made(protocols=HONEST))
def test_parts_that_were_relabelled_are_found(split):
    table, facts, cutting = split
    gone = table.assign(part=table["part"].replace("test", "train"))
    found(gone, facts, cutting, "no segment is left to test")
    strange = table.assign(part=table["part"].replace("test", "Test"))
    found(strange, facts, cutting, "in the part 'Test'")


@quick
@given(made(protocols=["trial", "loso"]), st.data())
def test_windows_that_share_time_are_found_where_segments_may_be_drawn(split, data):
    """What a leaky protocol would make of overlapping segments, which the grid of it allows."""
    table, facts, _ = split
    facts = facts | {"protocol": "segment", "leaky": True, "fold": table["subject"].iloc[0]}
    table = table[table["subject"] == facts["fold"]].reset_index(drop=True)
    table["part"] = np.where(table["position"] % 2, "test", "train")
    require_sound(table, facts, SegmentationOptions(), "here")
    found(table, facts, SegmentationOptions(overlap=0.5), "shares time .*segmentation.overlap")


@pytest.fixture
def sound():
    rows = [("s01", e, p, e % 2, "train") for e in range(1, 5) for p in range(2)]
    rows += [("s01", 9, p, 1, "test") for p in range(2)]
    table = pd.DataFrame(rows, columns=["subject", "experiment_id", "position", "label", "part"])
    facts = {"protocol": "trial", "fold": "s01-k0", "leaky": False, "labels": ["low", "high"]}
    return table, facts, SegmentationOptions()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaky": True}, "trial is not marked as it leaks"),
        ({"protocol": "segment", "fold": "s01"}, "segment is not marked as it leaks"),
        ({"protocol": "random"}, "there is no protocol 'random'"),
        ({"labels": ["low"]}, "has the label 1 and there are 1 classes"),
        ({"fold": "s02-k0"}, "fold s02-k0 is of other subjects: s01"),
        ({"protocol": "loso", "fold": "s01"}, "needs two subjects or more"),
    ],
    ids=str,
)
def test_what_the_split_says_of_itself_is_checked_too(sound, change, message):
    table, facts, cutting = sound
    require_sound(*sound, "here")
    found(table, facts | change, cutting, message)


def test_validation_is_grouped_no_finer_than_the_protocol_allows(sound):
    table, facts, cutting = sound
    table.loc[table["position"] == 1, "part"] = table["part"].replace("train", "val")
    finer = facts | {"validation_groups": list(PROTOCOLS["segment"].group)}
    found(table, finer, cutting, "validation is grouped by")
    found(table, facts, cutting, "validation is grouped by None")
    honest = facts | {"validation_groups": list(PROTOCOLS["trial"].group)}
    found(table, honest, cutting, "s01, experiment_id 9 stands in test|experiment_id 1 stands")


def test_a_trial_has_one_label(sound):
    table, facts, cutting = sound
    table.loc[0, "label"] = 0
    found(table, facts, cutting, "s01, experiment_id 1 has two labels")


def test_training_refuses_a_split_that_was_changed_after_it_was_made(tmp_path, refused):
    paths = [write_trials(tmp_path, "s01", ratings(np.random.default_rng(0), 12))]
    table, _ = split(tmp_path, paths, "trial", "s01-k0", folds=3)
    out = tmp_path / "trial-s01-k0.parquet"
    made = storage.read_provenance(out)
    first = table.index[table["part"] == "test"][0]
    table.loc[first, "part"] = "train"
    storage.write_table(out, table, made)
    with refused(str(out), "leaks: s01, experiment_id", nothing_in=tmp_path):
        read_fold(out, [], [])


def test_thresholds_do_not_depend_on_what_is_not_trained_on(tmp_path):
    values = ratings(np.random.default_rng(1), 20)
    options = {"labels": {"threshold": "median"}, "folds": 4}
    table, facts = split(tmp_path, [write_trials(tmp_path, "s01", values)], "trial", "s01-k1",
                         **options)  # fmt: skip
    trained = table.loc[table["part"] == "train", "experiment_id"].unique() - 1
    other = np.setdiff1d(np.arange(20), trained)
    for rows, same in ((other, True), (trained, False)):
        changed = values.copy()
        # On the same side of 5, by which the parts are stratified.
        changed[rows] = np.where(changed[rows] >= 5, 5 + (changed[rows] - 5) / 9, 1.5)
        again, later = split(
            tmp_path, [write_trials(tmp_path, "s01", changed)], "trial", "s01-k1", **options
        )
        pd.testing.assert_series_equal(again["part"], table["part"])
        assert (later["thresholds"] == facts["thresholds"]) == same
