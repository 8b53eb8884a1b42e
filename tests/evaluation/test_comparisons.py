"""Comparisons on tables made up by hand: other subjects, both signs.

No experiment has the subjects of another, none lists them in order, and macro-F1 says something
else than accuracy, so that a number at the wrong place is another number.
"""

import itertools
import json
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from milmer.evaluation import comparisons
from milmer.evaluation.comparisons import Pairs, ablation_table, inflation_table
from milmer.evaluation.runs import TablesOptions

# In 64ths, where sums are exact. Two subjects have no video, so `milmer` has no row of them.
ACCURACY = {
    "milmer": {"s09": 40, "s01": 30, "s02": 22, "s04": 51, "s05": 17, "s06": 35, "s08": 28},
    "eeg": dict(s09=31, s08=36, s07=60, s06=20, s05=9, s04=47, s03=63, s02=27, s01=12),
    "late": {"s01": 33, "s02": 20, "s04": 40, "s05": 30, "s06": 61, "s08": 10, "s03": 7},
    "few": {"s08": 50, "s02": 10, "s01": 61},
    "band_power": {"s01": 16, "s02": 50, "s03": 20, "s04": 13, "s05": 40, "s06": 29},
}
CHANGES = {
    "milmer": {},
    "eeg": {"model": {"modalities": ["eeg"]}},
    "late": {"training": {"select": "last"}},
    "few": {"labels": "permuted", "eeg": "raw"},
}
OPTIONS = TablesOptions(
    experiments={n: {"folds": {"trial": []}, "changes": c} for n, c in CHANGES.items()},
    report={"resamples": 600},  # all sign patterns of nine subjects, and no more
)


def value(experiment, subject, metric, protocol="trial", level="segment"):
    """A number of the table in 64ths; each metric, protocol and level has others."""
    number = ACCURACY[experiment][subject]
    number = (number * FACTOR[metric] + (metric != "accuracy")) % 64
    return (number * (5 if protocol == "loso" else 1) + (11 if level == "trial" else 0)) % 64


def beside(experiment, subject, column, level="segment"):
    """What needs no model reaches on an experiment's segments of a subject, in 64ths."""
    index = int(subject[1:]) * (3 if level == "trial" else 1)
    step = {"majority": 1, "chance": 3, "chance_balanced": 7, "chance_kappa": 13}[column]
    return (17 + index * step + 5 * len(experiment)) % 64


# Beside the first, which alone was not run with a further baseline, under each protocol.
RIVALS = {(name, protocol): ("band_power",) for name in CHANGES for protocol in ("trial", "loso")}
BESIDE = ("majority", "chance", "chance_balanced", "chance_kappa")
FACTOR = {"accuracy": 1, "balanced_accuracy": 5, "kappa": 7, "macro_f1": 3}


@pytest.fixture(scope="module")
def subjects():
    rows = []
    for protocol, level, experiment in itertools.product(
        ("trial", "loso"), ("trial", "segment"), ACCURACY
    ):
        for subject in ACCURACY[experiment]:
            if protocol == "loso" and experiment == "late":
                continue
            numbers = {m: value(experiment, subject, m, protocol, level) for m in METRICS}
            numbers |= {c: beside(experiment, subject, c, level) for c in BESIDE}
            numbers = {n: v / 64 for n, v in numbers.items()}
            key = {"experiment": experiment, "protocol": protocol, "level": level}
            rows.append(key | {"subject": subject, **numbers})
    return pd.DataFrame(rows)


METRICS = tuple(FACTOR)


@pytest.fixture(scope="module")
def summary():
    rows = [
        {"experiment": e, "protocol": p, "caveat": "permuted" if e == "few" else ""}
        | {"note": "folds are dependent" if p == "loso" else ""}
        for e in ACCURACY
        for p in ("trial", "loso")
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tested(subjects, summary):
    return comparisons.tests_table(subjects, summary, Pairs(subjects), RIVALS, OPTIONS)


def p_value(differences):
    """All patterns of signs, in integers; None of fewer than six subjects."""
    if len(differences) < 6:
        return None
    observed = abs(sum(differences))
    signed = itertools.product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in signed]
    return float(Fraction(sum(total >= observed for total in sums), len(sums)))


def corrected(p):
    """Holm's correction as the closed test by Bonferroni: the worst of all sets it is in."""
    tested = {name: value for name, value in p.items() if value is not None}
    sets = [c for n in range(1, len(tested) + 1) for c in itertools.combinations(tested, n)]
    return {
        name: max(min(1.0, len(s) * min(tested[j] for j in s)) for s in sets if name in s)
        for name in tested
    }


def exploratory(differences):
    """Rows by experiment: subjects, mean difference, p, and no corrected p."""
    return {
        name: (len(values), sum(values) / len(values) / 64, p_value(values), None)
        for name, values in differences.items()
        if values
    }


def less(name, other, metric, protocol="trial", level="segment"):
    return [
        value(name, s, metric, protocol, level) - value(other, s, metric, protocol, level)
        for s in ACCURACY[name]
        if s in ACCURACY[other]
    ]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize("protocol", ["trial", "loso"])
def test_each_experiment_is_explored_on_the_subjects_it_shares_with_the_first(
    tested, metric, protocol, level
):
    differences = {
        name: less(name, "milmer", metric, protocol, level)
        for name in ("eeg", "late", "few")
        if (protocol, name) != ("loso", "late")
    }
    assert any(d > 0 for d in differences["eeg"])
    assert any(d < 0 for d in differences["eeg"])
    assert rows_of(tested, protocol, level, metric, "milmer") == exploratory(differences)


@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize(
    ("against", "metric", "column"),
    [
        ("band_power", "kappa", None),
        ("band_power", "macro_f1", None),
        ("majority", "accuracy", "majority"),
        ("chance", "accuracy", "chance"),
        ("chance", "balanced_accuracy", "chance_balanced"),
        ("chance", "kappa", "chance_kappa"),
    ],
)
def test_what_is_not_of_the_first_is_explored_without_correction(
    tested, against, metric, column, level
):
    names = ["eeg", "late", "few", *(["band_power"] if column else [])]
    differences = {
        name: [
            value(name, s, metric, "trial", level) - beside(name, s, column, level)
            for s in ACCURACY[name]
        ]
        if column
        else less(name, "band_power", metric, "trial", level)
        for name in names
    }
    found = rows_of(tested, "trial", level, metric, against)
    del found["milmer"]
    assert found == exploratory(differences)


@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_family_are_the_hypotheses_on_the_first_experiment(tested, metric, level):
    columns = {
        "balanced_accuracy": {"chance": "chance_balanced"},
        "kappa": {"chance": "chance_kappa"},
    }
    columns["accuracy"] = {"chance": "chance", "majority": "majority"}
    differences = {
        against: [
            value("milmer", s, metric, "trial", level) - beside("milmer", s, column, level)
            for s in ACCURACY["milmer"]
        ]
        for against, column in columns.get(metric, {}).items()
    }
    differences["band_power"] = less("milmer", "band_power", metric, "trial", level)
    p = {against: p_value(values) for against, values in differences.items()}
    key = {"protocol": "trial", "level": level, "metric": metric, "primary": True}
    rows = tested[(tested[list(key)] == list(key.values())).all(axis=1)].set_index("against")
    assert (rows["experiment"] == "milmer").all()
    assert rows["p"].dropna().to_dict() == pytest.approx(
        {n: v for n, v in p.items() if v is not None}
    )
    assert rows["p_holm"].dropna().to_dict() == pytest.approx(corrected(p))
    # With three hypotheses the smallest p of seven subjects, 1/64, can pass; six have 1/32.
    assert (rows["needed"] == {1: 6, 2: 7, 3: 7}[len(p)]).all()


def test_a_difference_has_an_interval_and_an_effect(tested):
    key = ["trial", "segment", "balanced_accuracy", "eeg", "milmer"]
    columns = ["protocol", "level", "metric", "experiment", "against"]
    row = tested.set_index(columns).loc[tuple(key)]
    values = np.array(less("eeg", "milmer", "balanced_accuracy")) / 64
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["d"] == pytest.approx(test.statistic / np.sqrt(len(values)))
    assert row["d_low"] < row["d"] < row["d_high"]
    # Of so many subjects a difference of 1.3 standard deviations is found by four tests in five.
    assert row["detectable"] == pytest.approx(1.3 * values.std(ddof=1), rel=0.05)


def rows_of(table, protocol, level, metric, against):
    """The rows of the table of tests by experiment; p is compared to the last digit."""
    key = {"protocol": protocol, "level": level, "metric": metric, "against": against}
    rows = table[(table[list(key)] == list(key.values())).all(axis=1)]
    found = {}
    for row in rows.itertuples():
        p = (None if pd.isna(number) else number for number in (row.p, row.p_holm))
        found[row.experiment] = pytest.approx((row.subjects, row.difference, *p))
    return found


def test_chance_has_no_macro_f1_and_nothing_is_tested_against_itself(tested):
    pairs = set(zip(tested["against"], tested["metric"], strict=True))
    assert pairs == {
        *itertools.product(("milmer", "band_power"), METRICS),
        *itertools.product(("chance",), ("accuracy", "balanced_accuracy", "kappa")),
        ("majority", "accuracy"),
    }
    assert not (tested["experiment"] == tested["against"]).any()
    assert list(dict.fromkeys(tested["level"])) == ["segment", "trial"]


def test_a_table_without_tests_has_their_columns(subjects, summary):
    rows = subjects[(subjects["experiment"] == "eeg") & (subjects["subject"] == "none")]
    empty = comparisons.tests_table(rows, summary, Pairs(rows), RIVALS, OPTIONS)
    assert len(empty) == 0
    numbers = empty[["difference", "p", "p_holm"]].dtypes.tolist()
    assert numbers == ["float64"] * 3


def test_more_patterns_than_resamples_are_drawn_by_the_seed(subjects, summary):
    rows = subjects[(subjects["experiment"] == "eeg") & (subjects["protocol"] == "trial")]

    def p(**report):
        options = OPTIONS.updated({"report": report})
        table = comparisons.tests_table(rows, summary, Pairs(rows), RIVALS, options)
        return table.loc[table["subjects"] == 9, "p"].to_list()

    first = p(resamples=100, seed=1)
    assert p(resamples=100, seed=1) == first
    assert p(resamples=100, seed=2) != first != p(resamples=101, seed=1)


def test_what_is_doubtful_about_either_is_said_of_both(tested):
    rows = tested.set_index(["protocol", "experiment", "against"])
    rows = rows[~rows.index.duplicated()].sort_index()
    assert tuple(rows.loc[("trial", "eeg", "milmer"), ["caveat", "note"]]) == ("", "")
    assert rows.loc[("trial", "few", "milmer"), "caveat"] == "permuted"
    assert rows.loc[("trial", "few", "majority"), "caveat"] == "permuted"
    few = tuple(rows.loc[("loso", "few", "milmer"), ["caveat", "note"]])
    assert few == ("permuted", "folds are dependent")


def test_further_baselines_leave_the_p_values_of_the_first_as_they_are(subjects, summary, tested):
    """Each takes its place among what is explored, and none in the family of the first."""
    further = [f"further{i}" for i in range(3)]
    rival = subjects[subjects["experiment"] == "band_power"]
    copies = [rival.assign(experiment=n, accuracy=1 - rival["accuracy"]) for n in further]
    more = pd.concat([subjects, *copies], ignore_index=True)
    rivals = {key: (*best, *further) for key, best in RIVALS.items()}
    table = comparisons.tests_table(more, summary, Pairs(more), rivals, OPTIONS)
    primary, before = (t[t["primary"]].reset_index(drop=True) for t in (table, tested))
    pd.testing.assert_frame_equal(primary, before)
    assert len(primary) == 2 * 2 * (3 + 2 + 2 + 1)
    explored = table[table["against"].isin(further)]
    assert set(explored["experiment"]) == {"milmer"}
    assert not explored["primary"].any()
    assert explored["p_holm"].isna().all()
    assert len(explored) == 2 * 2 * 4 * 3
    found = explored.query("protocol == 'trial' and level == 'segment' and metric == 'accuracy'")
    own = [value("milmer", s, "accuracy") + ACCURACY["band_power"][s] - 64
           for s in ACCURACY["milmer"] if s in ACCURACY["band_power"]]  # fmt: skip
    assert found["difference"].tolist() == pytest.approx([np.mean(own) / 64] * 3)


@pytest.mark.parametrize(("protocol", "level"), [("trial", "segment"), ("loso", "trial")])
def test_an_ablation_has_its_own_mean_and_the_difference_over_common_subjects(
    subjects, summary, protocol, level
):
    table = ablation_table(subjects, summary, Pairs(subjects), OPTIONS)
    assert "band_power" not in set(table["experiment"])
    rows = table[(table["protocol"] == protocol) & (table["level"] == level)]
    assert set(rows["experiment"]) == set(CHANGES) - ({"late"} if protocol == "loso" else set())
    for row in rows.to_dict("records"):
        name = row["experiment"]
        both = [s for s in ACCURACY[name] if s in ACCURACY["milmer"]]
        assert (row["subjects"], row["common_subjects"]) == (len(ACCURACY[name]), len(both))
        assert json.loads(row["changes"]) == CHANGES[name]
        for metric in METRICS:
            mine, first = (
                {s: value(n, s, metric, protocol, level) / 64 for s in ACCURACY[n]}
                for n in (name, "milmer")
            )
            assert row[metric] == pytest.approx(np.mean(list(mine.values())))
            above = np.mean([mine[s] - first[s] for s in both])
            assert row[f"{metric}_above_milmer"] == pytest.approx(above, abs=1e-12)
    caveats = table.groupby("experiment")["caveat"].unique().map(list)
    assert caveats["few"] == ["permuted"]
    assert caveats["eeg"] == [""]


def test_an_experiment_of_other_subjects_is_above_by_nothing(subjects, summary):
    lonely = subjects[(subjects["experiment"] != "few") | (subjects["subject"] == "none")]
    other = subjects[(subjects["experiment"] == "eeg") & (subjects["subject"] == "s03")]
    other = other.assign(experiment="few")
    lonely = pd.concat([lonely, other])
    row = (
        ablation_table(lonely, summary, Pairs(lonely), OPTIONS).query("experiment == 'few'").iloc[0]
    )
    assert (row["subjects"], row["common_subjects"]) == (1, 0)
    assert pd.isna(row["accuracy_above_milmer"])
    tests = comparisons.tests_table(lonely, summary, Pairs(lonely), RIVALS, OPTIONS)
    assert "few" not in set(tests.loc[tests["against"] == "milmer", "experiment"])


# -------------------------------------------------------------------- inflation

ON_TEST = {"select": "best_on_test"}
INFLATED = {
    "leak": ({}, {"segment": 0.9}),
    "milmer": ({}, {"segment": 0.8, "loso": 0.4, "trial": 0.55}),
    "own": ({"model": {"a": 1}}, {"segment": 0.7, "loso": 0.45}),
    "peek": ({"training": ON_TEST | {"lr": 2}}, {"trial": 0.65, "segment": 0.95}),
    "other": ({"training": {"lr": 1}}, {"trial": 0.1}),
    "like": ({"training": {"lr": 2, "select": "last"}, "validation": 0}, {"trial": 0.6}),
    "peek2": ({"training": ON_TEST, "protocols": ["loso"]}, {"loso": 0.5}),
    "control": ({"labels": "permuted"}, {"trial": 0.25}),
}


def inflated(names=INFLATED):
    options = TablesOptions(
        experiments={n: {"folds": {}, "changes": INFLATED[n][0]} for n in names}
    )
    rows = []
    for name in [*INFLATED, "band_power"]:
        for protocol, mean in INFLATED.get(name, ({}, {"trial": 0.99}))[1].items():
            for level, metric in itertools.product(("trial", "segment"), ("macro_f1", "accuracy")):
                of_row = (level, metric) == ("segment", "accuracy")
                rows.append(
                    {
                        **{"experiment": name, "protocol": protocol, "level": level},
                        "metric": metric,
                        "mean": mean if of_row else 0.99,
                        **{"majority": 0.3, "chance": 0.28, "best_baseline": 0.44},
                        **{"baseline_name": "band_power", "caveat": f"of {name}"},
                        "select": "best_on_test" if name.startswith("peek") else "last",
                        "leaky": protocol == "segment",
                        "permuted": name == "control",
                        "note": f"on {name}",
                    }
                )
    table = inflation_table(pd.DataFrame(rows), Pairs(pd.DataFrame()), options)
    return table.set_index(["experiment", "protocol"])


def test_inflation_has_a_row_for_each_experiment_and_protocol_by_segment():
    table = inflated()
    assert list(table.index) == [(n, p) for n, (_, means) in INFLATED.items() for p in means]
    for (name, protocol), row in table.iterrows():
        assert row["accuracy"] == INFLATED[name][1][protocol]
        assert row["select"] == ("best_on_test" if name.startswith("peek") else "last")
        assert row["note"].startswith(f"on {name}")
        assert tuple(row[["majority", "chance", "best_baseline"]]) == (0.3, 0.28, 0.44)
        assert tuple(row[["baseline_name", "caveat"]]) == ("band_power", f"of {name}")


def test_the_reference_is_the_first_honest_protocol_of_the_experiment_or_of_the_first():
    table = inflated()
    references = table["reference"].to_dict()
    assert references["milmer", "segment"] == references["milmer", "loso"] == "milmer/trial"
    assert references["own", "segment"] == "own/loso"
    assert references["leak", "segment"] == references["peek", "trial"] == "milmer/trial"
    assert references["control", "trial"] == "milmer/trial"
    for key, reference in references.items():
        name, protocol = reference.split("/")
        expected = table.loc[key, "accuracy"] - INFLATED[name][1][protocol]
        assert table.loc[key, "above_reference"] == pytest.approx(expected)
    honest = {key for key, row in table.iterrows() if row["honest"]}
    assert honest == {
        *(("milmer", "loso"), ("milmer", "trial"), ("own", "loso"), ("other", "trial")),
        ("like", "trial"),
    }
    alone = inflated(["leak", "control"])
    assert alone["reference"].isna().all()
    assert alone["reference"].dtype == alone["chosen_honestly"].dtype == "string"
    assert alone["above_reference"].isna().all()


def test_a_choice_on_the_test_part_is_compared_with_what_differs_in_nothing_else():
    table = inflated()
    siblings = table["chosen_honestly"].dropna().to_dict()
    assert siblings == {("peek", "trial"): "like", ("peek2", "loso"): "milmer"}
    assert table.loc[("peek", "trial"), "above_chosen_honestly"] == pytest.approx(0.05)
    assert table.loc[("peek2", "loso"), "above_chosen_honestly"] == pytest.approx(0.1)
    assert table["more_data"].to_dict() == {key: key == ("peek", "trial") for key in table.index}
    notes = table["note"].to_dict()
    assert notes["peek", "trial"] == "on peek; learned from the validation part too"
    assert notes["peek2", "loso"] == "on peek2"
