"""The guard: each kind of bad split is refused under the protocols that forbid it, and no other."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milmer import storage
from milmer.data.segmentation import SegmentationOptions
from milmer.errors import MilmerError
from milmer.splits.guard import require_sound
from milmer.splits.protocols import PROTOCOLS
from milmer.splits.rows import read_split
from tests.asymmetric import TRIALS, segments_of
from tests.splits.test_splits import split

SUBJECT, TRIAL, STIMULUS = ["subject"], ["subject", "trial"], ["experiment_id"]
SEGMENT, SESSION = [*TRIAL, "position"], ["subject", "session"]
GROUPS = {"segment": SEGMENT, "trial": TRIAL, "session": SESSION}
GROUPS |= {"stimulus": STIMULUS, "loso": SUBJECT}
STIMULI = {(s, trial): e for s, rows in TRIALS.items() for e, trial, *_ in rows}
FOLDS = {"segment": "s03", "trial": "s03-k0", "session": "s03-k0", "stimulus": "k0", "loso": "s03"}


def sound(protocol):
    """A sound split of the study and its facts: its rows, told apart by nothing but the protocol.

    Stimuli 5 and 8 test, 2 validates; under ``loso`` s03 tests and s02 validates; under ``segment``
    the last position of a trial tests and the one before it validates.
    """
    subjects = ["s03"] if PROTOCOLS[protocol].within_subject else list(TRIALS)
    rows = [(s, *segment) for s in subjects for segment in segments_of(s)]
    table = pd.DataFrame(rows, columns=SEGMENT)
    table["experiment_id"] = [STIMULI[row[:2]] for row in rows]
    table["label"] = (table["experiment_id"] + (table["subject"] == "s02")) % 3
    stimulus = table["experiment_id"].map({5: "test", 8: "test", 2: "val"})
    table["session"] = stimulus.map({"test": "1", "val": "2"}).fillna("3")
    left = table.groupby(TRIAL).cumcount(ascending=False)
    part = {
        "segment": left.map({0: "test", 1: "val"}),
        "trial": stimulus,
        "session": stimulus,
        "stimulus": stimulus,
        "loso": table["subject"].map({"s03": "test", "s02": "val"}),
    }[protocol]
    facts = {
        "protocol": protocol,
        "fold": FOLDS[protocol],
        "leaky": protocol == "segment",
        "labels": ["a", "b", "c"],
        "validation_groups": GROUPS[protocol],
    }
    return table.assign(part=part.fillna("train")), facts


def at(table, subject, experiment_id, position=None):
    """Which rows are of a trial, or of one segment of it."""
    rows = (table["subject"] == subject) & (table["experiment_id"] == experiment_id)
    return rows if position is None else rows & (table["position"] == position)


def put(part, *place):
    """Rows of a trial or a segment put into another part."""
    return lambda table: table.assign(part=table["part"].mask(at(table, *place), part))


def again(*place, **changes):
    """A segment that stands in the table once more."""
    return lambda table: pd.concat(
        [table, table[at(table, *place)].assign(**changes)], ignore_index=True
    )


def labelled(label, *place):
    return lambda table: table.assign(label=table["label"].mask(at(table, *place), label))


def renamed(old, new):
    return lambda table: table.assign(part=table["part"].replace(old, new))


def whole(text):
    """The same for all protocols."""
    return dict.fromkeys(PROTOCOLS, text)


OUTSIDE = " stands in {} and outside of it"
TESTED, HELD_OUT = OUTSIDE.format("test"), OUTSIDE.format("val")
TWICE = whole("s03, trial 1, position 0 stands twice")
ANOTHER_LABEL = "s03, trial 5, position {} has the label {} and there are 3 classes"

# What is done to the table or to the facts, and what each protocol says of it; those that are not
# named accept it.
BAD = {
    "nothing": (lambda table: table, {}),
    "a tested segment trains": (
        put("train", "s03", 8, 3),
        {
            "trial": "leaks: s03, trial 4" + TESTED,
            "session": "leaks: s03, session 1" + TESTED,
            "stimulus": "leaks: experiment_id 8" + TESTED,
            "loso": "leaks: s03" + TESTED,
        },
    ),
    "a tested trial trains": (
        put("train", "s03", 8),
        {
            "session": "leaks: s03, session 1" + TESTED,
            "stimulus": "leaks: experiment_id 8" + TESTED,
            "loso": "leaks: s03" + TESTED,
        },
    ),
    "a tested trial validates": (
        put("val", "s03", 8),
        {
            "session": "leaks: s03, session 1" + TESTED,
            "stimulus": "leaks: experiment_id 8" + TESTED,
            "loso": "leaks: s03" + TESTED,
        },
    ),
    "a training segment tests": (
        put("test", "s03", 4, 0),
        {
            "trial": "leaks: s03, trial 5" + TESTED,
            "session": "leaks: s03, session 3" + TESTED,
            "stimulus": "leaks: experiment_id 4" + TESTED,
        },
    ),
    "a training segment validates": (
        put("val", "s03", 4, 1),
        {
            "trial": "leaks: s03, trial 5" + HELD_OUT,
            "session": "leaks: s03, session 3" + HELD_OUT,
            "stimulus": "leaks: experiment_id 4" + HELD_OUT,
            "loso": "leaks: s03" + TESTED,
        },
    ),
    "another subject's segment validates": (
        put("val", "s01", 3, 0),
        {"stimulus": "leaks: experiment_id 3" + HELD_OUT, "loso": "leaks: s01" + HELD_OUT},
    ),
    "a validating trial trains": (
        put("train", "s02", 2),
        {"stimulus": "leaks: experiment_id 2" + HELD_OUT, "loso": "leaks: s02" + HELD_OUT},
    ),
    "another subject's trial tests": (
        put("test", "s01", 3),
        {
            "stimulus": "leaks: experiment_id 3" + TESTED,
            "loso": "fold s03 is of other subjects: s01, s03",
        },
    ),
    "another subject tests": (
        lambda table: table.assign(part=table["subject"].map(
            {"s01": "test", "s02": "val", "s03": "train"})),
        {
            "segment": "no segment is left to test",
            "trial": "no segment is left to test",
            "session": "no segment is left to test",
            "stimulus": "leaks: experiment_id 1" + TESTED,
            "loso": "fold s03 is of other subjects: s01",
        },
    ),
    "a row of another subject": (
        lambda table: pd.concat([table, table[at(table, "s03", 1)].assign(subject="s04")]),
        {
            "segment": "fold s03 is of other subjects: s03, s04",
            "trial": "fold s03-k0 is of other subjects: s03, s04",
            "session": "fold s03-k0 is of other subjects: s03, s04",
            "loso": "fold s03 is of other subjects: s03, s04",
        },
    ),
    "one subject alone": (
        lambda table: table[table["subject"] == "s03"],
        {
            "stimulus": "needs two subjects or more to train and to test",
            "loso": "needs two subjects or more to train and to test",
        },
    ),
    "two subjects": (lambda table: table[table["subject"] != "s02"], {}),
    "no test": (renamed("test", "val"), whole("no segment is left to test")),
    "no training": (renamed("train", "val"), whole("no segment is left to train")),
    "no validation": (renamed("val", "train"), {}),
    "a part of another name": (
        renamed("test", "Test"),
        {
            name: f"{segment} is in the part 'Test' and not in one of test, train, val"
            for name, segment in {
                "segment": "s03, trial 6, position 0",
                "trial": "s03, trial 1, position 0",
                "session": "s03, trial 1, position 0",
                "stimulus": "s01, trial 2, position 0",
                "loso": "s03, trial 6, position 0",
            }.items()
        },
    ),
    "a segment twice": (again("s03", 5, 0), TWICE),
    "a segment twice in two parts": (again("s03", 5, 0, part="val"), TWICE),
    "a segment twice with two labels": (again("s03", 5, 0, label=0), TWICE),
    "a label too high": (labelled(3, "s03", 4), whole(ANOTHER_LABEL.format(0, 3))),
    "no label": (labelled(-1, "s03", 4, 1), whole(ANOTHER_LABEL.format(1, -1))),
    "two labels": (labelled(2, "s03", 4, 1), whole("s03, trial 5 has two labels")),
}  # fmt: skip


def problem_of(table, facts, segmentation=None):
    """What the guard says; None where it lets the split through."""
    try:
        require_sound(table, facts, segmentation or SegmentationOptions(), "here")
    except MilmerError as error:
        where, problem = str(error).split(": ", 1)
        return problem.split("; ")[0] if where == "here" else str(error)
    return None


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_split_is_refused_in_the_words_of_its_protocol(bad, protocol):
    change, problems = BAD[bad]
    table, facts = sound(protocol)
    assert problem_of(change(table), facts) == problems.get(protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_split_says_of_itself_is_checked_too(protocol):
    table, facts = sound(protocol)
    leaks = not facts["leaky"]
    assert problem_of(table, facts | {"leaky": leaks}) == f"{protocol} is not marked as it leaks"
    assert problem_of(table, facts | {"protocol": "day"}) == "there is no protocol 'day'"
    few = "s03, trial 1, position 0 has the label 2 and there are 2 classes"
    only = table[table["subject"].eq("s03") & table["experiment_id"].isin([4, 5])]
    assert problem_of(only, facts | {"labels": ["a", "b"]}) == few
    other = {"segment": "s02", "trial": "s02-k0", "session": "s02-k0", "loso": "s02"}.get(protocol)
    told = other and f"fold {other} is of other subjects: s03"
    assert problem_of(table, facts | {"fold": other or "k1"}) == told


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("groups", [SEGMENT, TRIAL, STIMULUS, SUBJECT, None])
def test_validation_is_grouped_as_the_protocol_allows(protocol, groups):
    """By its groups; by trials too where no subject or session can be spared."""
    table, facts = sound(protocol)
    problem = problem_of(table, facts | {"validation_groups": groups})
    if groups == GROUPS[protocol] or (protocol in ("loso", "session") and groups == TRIAL):
        assert problem is None
    else:
        by = f"validation is grouped by {groups}, under {protocol} it is by {GROUPS[protocol]}"
        assert problem == by
    without = table.assign(part=table["part"].replace("val", "train"))
    assert problem_of(without, facts | {"validation_groups": groups}) is None


def test_trials_that_validate_a_loso_fold_are_whole_trials_of_those_who_train():
    table, facts = sound("loso")
    facts["validation_groups"] = TRIAL
    table["part"] = table["part"].replace("val", "train")
    assert problem_of(put("val", "s01", 5)(table), facts) is None
    torn = problem_of(put("val", "s01", 5, 1)(table), facts)
    assert torn == "leaks: s01, trial 2" + HELD_OUT


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_group_of_the_manifest_is_on_one_side_of_test_and_of_validation(protocol):
    table, facts = sound(protocol)
    sides = {part: table.index[table["part"] == part][0] for part in ("train", "val", "test")}
    for part, other in (("test", "train"), ("test", "val"), ("val", "train")):
        group = pd.Series(None, table.index, object)
        group[sides[part]] = group[sides[other]] = "pair"
        problem = problem_of(table.assign(group=group), facts)
        if protocol == "segment":
            assert problem is None
        elif protocol == "loso" and part == "test":  # the group ties the subjects
            assert problem.startswith("fold s03 is of other subjects") or "leaks: group" in problem
        else:
            assert problem == f"leaks: group pair stands in {part} and outside of it"


@pytest.mark.parametrize("overlap", [0.0, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("gap", [1, 2, 3])
def test_windows_that_share_time_are_found_where_segments_may_be_drawn(overlap, gap):
    """In whichever order rows stand: windows of 3 s every 3 − overlap s."""
    rows = [("s03", 7, p, 0, "train") for p in (4, 0)]
    rows += [("s03", 2, p, 1, "test") for p in (6, 5)]
    rows += [("s03", 7, 4 + gap, 0, "test")]
    table = pd.DataFrame(rows, columns=[*SEGMENT, "label", "part"])
    facts = sound("segment")[1]
    shares = gap * (3 - overlap) < 3
    name = f"s03, trial 7, position {4 + gap}"
    text = f"{name} shares time with the one before, which is in another part"
    problem = problem_of(table, facts, SegmentationOptions(overlap=overlap))
    assert problem == (text if shares else None)
    alike = table.assign(part=["train", "train", "test", "test", "train"])
    assert problem_of(alike, facts, SegmentationOptions(overlap=overlap)) is None


def test_windows_of_another_subjects_trial_share_no_time():
    rows = [("s03", 7, 0, "test"), ("s01", 7, 1, "train"), ("s01", 6, 0, "train")]
    table = pd.DataFrame(rows, columns=[*SEGMENT, "part"]).assign(label=0)
    facts = sound("loso")[1] | {"fold": "s03"}
    assert problem_of(table, facts, SegmentationOptions(overlap=2.5)) is None


@settings(max_examples=60, deadline=None)
@given(
    protocol=st.sampled_from(list(PROTOCOLS)),
    by=st.sampled_from([SEGMENT, TRIAL, STIMULUS, SUBJECT]),
    seed=st.integers(0, 2**32 - 1),
    validation=st.booleans(),
)
def test_the_guard_agrees_with_a_look_at_all_pairs_of_segments(protocol, by, seed, validation):
    table, facts = sound(protocol)
    rng = np.random.default_rng(seed)
    group = table.groupby(by).ngroup()
    parts = np.array(["train", "test", "val"] if validation else ["train", "test"])
    table["part"] = parts[rng.integers(len(parts), size=group.max() + 1)[group]]
    rows = list(table.itertuples(index=False))
    pairs = [
        (a.part, b.part)
        for a, b in itertools.combinations(rows, 2)
        if all(getattr(a, name) == getattr(b, name) for name in GROUPS[protocol])
    ]
    leaks = any(first != second for first, second in pairs)
    empty = not {"train", "test"} <= set(table["part"])
    foreign = protocol == "loso" and set(table.loc[table["part"] == "test", "subject"]) != {"s03"}
    assert (problem_of(table, facts) is not None) == (leaks or empty or foreign)


def test_a_split_is_guarded_when_it_is_read(study, tmp_path, refused):
    """By the segmentation that it was made with; a file of another stage is none."""
    options = {"folds": 3, "segmentation": {"overlap": 0.5}}
    split(tmp_path, [study.trials["s03"]], "trial", "s03-k0", **options)
    path = tmp_path / "trial-s03-k0.parquet"
    table, provenance = read_split(path)
    first = table.loc[table["part"] == "test", "trial"].iloc[0]
    torn = table.assign(part=table["part"].where(table["trial"] != first, "train"))
    torn.loc[torn["trial"].eq(first) & torn["position"].eq(0), "part"] = "test"
    storage.write_table(path, torn, provenance)
    with refused(f"{path}: leaks: s03, trial {first} stands in test"):
        read_split(path)
    drawn = provenance["facts"] | {"protocol": "segment", "fold": "s03", "leaky": True}
    drawn["validation_groups"] = SEGMENT
    storage.write_table(path, torn, provenance | {"facts": drawn})
    with refused(f"{path}: s03, trial", "shares time"):
        read_split(path)
    with refused(f"{study.trials['s03']}: holds trials, not split"):
        read_split(study.trials["s03"])
