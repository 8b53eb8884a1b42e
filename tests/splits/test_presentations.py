"""Classes by name, and stimuli that a subject saw again, in splits."""

import numpy as np
import pandas as pd
import pytest

from milmer import storage
from milmer.data.segmentation import SegmentationOptions
from milmer.splits.guard import require_sound
from milmer.splits.options import SplitOptions
from milmer.splits.splits import make_split
from tests.asymmetric import complete_trials

LABELS = {"scheme": "label", "classes": ["a", "b", "c"]}


def write_trials(folder, subject, shown=4, times=3, named=True):
    """Trials of ``shown`` stimuli, each seen that often, the second once less; of a class each."""
    pairs = [(s, k) for s in range(shown) for k in range(max(1, times - (s == 1)))]
    table = pd.DataFrame({"subject": subject, "experiment_id": [s + 1 for s, _ in pairs]})
    table["label"] = ["abc"[s % 3] if named else None for s, _ in pairs]
    table["trial"] = np.arange(1, len(pairs) + 1, dtype=np.int32)
    table["eeg_seconds"], table["eeg_file"], table["video_file"] = 6.0, f"{subject}.edf", None
    path = folder / f"{subject}.parquet"
    table = complete_trials(table)
    storage.write_table(path, table, storage.provenance("trials", "milmer.errors", {}, {}))
    return path


def split(folder, paths, protocol, fold, **options):
    out = folder / "split.parquet"
    made = SplitOptions(**{"labels": LABELS, "folds": 2, "validation": 0.34} | options)
    make_split(paths, protocol, fold, made, out)
    return storage.read_table(out, "split"), storage.read_provenance(out)["facts"]


@pytest.fixture
def paths(tmp_path):
    return [write_trials(tmp_path, s) for s in ("p1", "p2")]


def test_all_times_of_a_stimulus_stand_on_one_side(tmp_path, paths):
    for fold in ("k0", "k1"):
        table, _ = split(tmp_path, paths, "stimulus", fold)
        assert (table.groupby("experiment_id")["part"].nunique() == 1).all()
        assert set(table["part"]) == {"train", "val", "test"}


def test_the_guard_finds_a_stimulus_on_two_sides_by_another_of_its_times(tmp_path, paths, refused):
    table, facts = split(tmp_path, paths, "stimulus", "k0")
    tested = table.loc[table["part"] == "test", "trial"].min()
    moved = table["part"].where(table["trial"] != tested, "train")
    with refused("leaks", "in test and outside of it"):
        require_sound(table.assign(part=moved), facts, SegmentationOptions(), "x")


def test_each_time_is_a_trial_of_its_own_under_protocol_trial(tmp_path, paths):
    table, _ = split(tmp_path, paths[:1], "trial", "p1-k0")
    assert table.groupby("experiment_id")["part"].nunique().max() > 1
    assert (table.groupby("trial")["part"].nunique() == 1).all()


def test_classes_are_those_of_the_options_also_where_a_subject_lacks_one(tmp_path):
    few = [write_trials(tmp_path, "p1", shown=2)]
    table, facts = split(tmp_path, few, "trial", "p1-k0")
    assert facts["labels"] == ["a", "b", "c"]
    assert set(table["label"]) == {0, 1}


def test_the_names_of_a_control_are_exchanged(tmp_path):
    paths = [write_trials(tmp_path, "p1", shown=6, times=1)]
    plain, _ = split(tmp_path, paths, "segment", "p1")
    mixed, facts = split(tmp_path, paths, "segment", "p1", labels=LABELS | {"permuted": True})
    labels = [t.drop_duplicates("trial").set_index("trial")["label"] for t in (plain, mixed)]
    assert sorted(labels[0]) == sorted(labels[1])
    assert not labels[0].sort_index().equals(labels[1].sort_index())
    assert facts["permuted"]


def test_trials_without_a_label_are_in_no_split(tmp_path, refused):
    path = write_trials(tmp_path, "p1", named=False)
    with refused("no trial with EEG has a label: nothing to split"):
        split(tmp_path, [path], "trial", "p1-k0")
