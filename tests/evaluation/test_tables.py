"""Tables: every number recomputed from the predictions by other means, and their remarks."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from milmer import storage
from milmer.evaluation.formats import latex
from milmer.evaluation.runs import TablesOptions
from milmer.evaluation.tables import make_tables
from tests.evaluation.made_up import LABELS, LOOKS_AT, best_epoch, write_baselines, write_run

SUBJECTS = [f"s{i:02d}" for i in range(1, 8)]
P = [f"p_{name}" for name in LABELS]
FOLDS = {
    "trial": [f"{s}-k{k}" for s in SUBJECTS for k in range(2)],
    "segment": SUBJECTS,
    "loso": SUBJECTS,
}
EXPERIMENTS = {
    "milmer": {"folds": FOLDS, "inputs": LOOKS_AT},
    "weak": {"folds": FOLDS, "changes": {"model": {"selection": "random"}}, "inputs": LOOKS_AT},
    "peeking": {
        "folds": {"segment": SUBJECTS},
        "changes": {"training": {"select": "best_on_test"}, "validation": 0},
    },
    "control": {"folds": {"trial": FOLDS["trial"]}, "labels": "permuted", "inputs": LOOKS_AT},
}
OPTIONS = TablesOptions(experiments=EXPERIMENTS, report={"resamples": 2000})
STRENGTH = {"milmer": 1.0, "weak": 0.2, "peeking": 1.0, "control": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    held = {}
    for experiment, of in EXPERIMENTS.items():
        how = {"on_test": experiment == "peeking", "permuted": experiment == "control"}
        how["dropped"] = 6 if experiment == "weak" else 0  # a trial and a half without a face
        for protocol, names in of["folds"].items():
            for fold in names:
                held[experiment, protocol, fold] = write_run(
                    folder / "runs", experiment, protocol, fold, STRENGTH[experiment], **how
                )
    for protocol, names in FOLDS.items():
        predicted = write_baselines(folder / "baselines", "default", protocol, names, 0.6)
        held |= {("band_power", protocol, fold): table for fold, table in predicted.items()}
    write_baselines(folder / "baselines", "permuted", "trial", FOLDS["trial"], 0, permuted=True)
    make_tables(folder / "runs", OPTIONS, folder / "tables", folder / "baselines")
    return folder / "tables", held


def table(made, name):
    return storage.read_table(made[0] / f"{name}.parquet", "tables")


def row(frame, **key):
    found = frame.loc[(frame[list(key)] == list(key.values())).all(axis=1)]
    assert len(found) == 1, key
    return found.iloc[0]


def test_what_tables_are_made_from_is_said_in_one_of_them(made):
    provenance = {path.stem: storage.read_provenance(path) for path in made[0].glob("*.parquet")}
    whole = provenance.pop("folds")
    assert len(whole["inputs"]) > 50
    assert whole["options"]["experiments"]["weak"]["folds"]["loso"] == SUBJECTS
    (inputs,) = {json.dumps(about["inputs"]) for about in provenance.values()}
    assert json.loads(inputs) == {"folds.parquet": storage.key(whole)}
    assert {*map(len, map(json.dumps, provenance.values()))} < {*range(9000)}


def of_subject(made, experiment, protocol, subject):
    """A subject's predictions of all folds."""
    folds = [f for f in FOLDS[protocol] if f.startswith(subject)]
    return pd.concat([made[1][experiment, protocol, f] for f in folds], ignore_index=True)


def by_level(predictions, level):
    if level == "segment":
        return predictions
    return predictions.groupby("trial")[["label", *P]].mean().reset_index()


def by_hand(predictions):
    """Metrics by scikit-learn, called another way than the product does."""
    truth, p = predictions["label"].to_numpy().astype(int), predictions[P].to_numpy()
    guess = p.argmax(1)
    report = sk.classification_report(truth, guess, output_dict=True, zero_division=0)
    present = [v for k, v in report.items() if k.isdigit() and v["support"] > 0]
    return {
        "accuracy": np.mean(truth == guess),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
        "macro_f1": np.mean([v["f1-score"] for v in present]),
        "weighted_precision": report["weighted avg"]["precision"],
        "weighted_recall": report["weighted avg"]["recall"],
        "weighted_f1": report["weighted avg"]["f1-score"],
        "kappa": sk.cohen_kappa_score(truth, guess, labels=range(4)),
        "auroc": sk.roc_auc_score(truth, p, multi_class="ovr", labels=range(4)),
        "loss": sk.log_loss(truth, p, labels=range(4)),
    }


@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize(
    ("experiment", "protocol"),
    [("milmer", "trial"), ("milmer", "loso"), ("weak", "segment"), ("band_power", "trial")],
)
def test_subjects_and_summary_are_recomputed_from_the_predictions(
    made, experiment, protocol, level
):
    subjects, summary = table(made, "subjects"), table(made, "summary")
    key = {"experiment": experiment, "protocol": protocol, "level": level}
    expected = {}
    for subject in SUBJECTS:
        own = by_level(of_subject(made, experiment, protocol, subject), level)
        expected[subject] = by_hand(own) | {"tested": len(own)}
        found = row(subjects, **key, subject=subject)
        assert found[list(expected[subject])].to_dict() == pytest.approx(expected[subject])
    for metric in set(expected["s01"]) - {"tested"}:
        values = np.array([expected[s][metric] for s in SUBJECTS])
        found = row(summary, **key, metric=metric)
        assert found["mean"] == pytest.approx(values.mean())
        assert found["sd"] == pytest.approx(values.std(ddof=1))
        interval = stats.ttest_1samp(values, -1).confidence_interval(0.95)
        assert found["low"] == pytest.approx(interval.low)
        assert found["high"] == pytest.approx(interval.high)
        assert (found["subjects"], found["folds"]) == (7, len(FOLDS[protocol]))


@pytest.mark.parametrize("level", ["segment", "trial"])
@pytest.mark.parametrize("experiment", ["milmer", "weak"])
def test_baselines_are_of_exactly_the_segments_of_the_row(made, experiment, level):
    keys = ["subject", "trial", "position"]
    summary, right = table(made, "summary"), []
    for subject in SUBJECTS:
        own = of_subject(made, experiment, "trial", subject)
        rival = of_subject(made, "band_power", "trial", subject)
        rival = by_level(rival.merge(own[keys]), level)
        right.append(by_hand(rival)["accuracy"])
        found = row(table(made, "subjects"), experiment=experiment, protocol="trial", level=level,
                    subject=subject)  # fmt: skip
        for metric, value in by_hand(rival).items():
            assert found[f"best_baseline_{metric}"] == pytest.approx(value)
        assert found["baseline_name"] == "band_power"
        # Class 3 is the most common in training; chance is the shares 1, 1, 1, 2 of 5.
        labels = by_level(own, level)["label"]
        assert found["majority"] == pytest.approx((labels == 3).mean())
        assert found["chance"] == pytest.approx(np.where(labels == 3, 0.4, 0.2).mean())
    found = row(summary, experiment=experiment, protocol="trial", level=level, metric="accuracy")
    assert (found["best_baseline"], found["baseline_name"]) == (
        pytest.approx(np.mean(right)), "band_power",
    )  # fmt: skip
    folds = table(made, "folds")
    own = made[1][experiment, "trial", "s03-k1"]
    rival = by_level(made[1]["band_power", "trial", "s03-k1"].merge(own[keys]), level)
    found = row(folds, experiment=experiment, protocol="trial", fold="s03-k1", level=level)
    assert found["best_baseline"] == pytest.approx(by_hand(rival)["accuracy"])
    assert found["accuracy"] == pytest.approx(by_hand(by_level(own, level))["accuracy"])


def test_the_baseline_has_rows_of_its_own_for_each_kind_of_labels(made):
    names = table(made, "summary").groupby("experiment")["protocol"].unique().map(set)
    assert names["band_power"] == set(FOLDS)
    assert names["band_power-permuted"] == {"trial"}
    assert "band_power" not in set(table(made, "folds")["experiment"])
    assert "band_power" not in set(table(made, "ablation")["experiment"])
    assert "band_power" in set(table(made, "tests")["experiment"])


def test_the_table_of_baselines_says_what_each_is_and_of_what_it_is_the_best(made):
    about = table(made, "baselines").set_index(["experiment", "protocol"])
    own = about.loc[("band_power", "trial")]
    assert own["best_of"] == "milmer, weak"
    assert about.loc[("band_power-permuted", "trial"), "best_of"] == "control"
    others = about.loc["band_power_lda"]
    assert set(others["best_of"]) == {""}
    assert others["validated"].to_numpy() == pytest.approx(0.4)
    assert tuple(others.iloc[0][["modality", "features", "classifier", "eeg"]]) == (
        *("eeg", "band_power", "lda", "default"),
    )
    summary = table(made, "summary")
    key = {"protocol": "trial", "level": "segment", "metric": "balanced_accuracy"}
    found = row(summary, experiment="band_power", **key)
    assert tuple(own[["balanced_accuracy", "low", "high"]]) == tuple(found[["mean", "low", "high"]])
    assert about.loc["band_power", "caveat"].to_dict() == {
        "trial": "",
        "segment": "leaky",
        "loso": "",
    }


def test_confusion_is_recomputed(made):
    confusion = table(made, "confusion")
    for level in ("segment", "trial"):
        parts = [by_level(of_subject(made, "weak", "loso", s), level) for s in SUBJECTS]
        pooled = pd.concat(parts)
        expected = sk.confusion_matrix(
            pooled["label"].astype(int), pooled[P].to_numpy().argmax(1), labels=range(4)
        )
        own = confusion.query("experiment == 'weak' and protocol == 'loso' and level == @level")
        found = own.pivot(index="label", columns="predicted", values="count")
        np.testing.assert_array_equal(found.loc[LABELS, LABELS], expected)


def test_calibration_is_recomputed(made):
    pooled = pd.concat([of_subject(made, "milmer", "loso", s) for s in SUBJECTS])
    confidence = pooled[P].max(axis=1)
    right = pooled[P].to_numpy().argmax(1) == pooled["label"]
    own = table(made, "calibration").query("experiment == 'milmer' and protocol == 'loso'")
    assert len(own) == 15
    gaps = 0
    for i, found in enumerate(own.itertuples()):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        assert found.count == inside.sum()
        if inside.any():
            assert found.confidence == pytest.approx(confidence[inside].mean())
            assert found.accuracy == pytest.approx(right[inside].mean())
            gaps += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    assert own["ece"].to_numpy() == pytest.approx(gaps / len(pooled))
    summary = table(made, "summary")
    found = row(summary, experiment="milmer", protocol="loso", level="segment", metric="kappa")
    assert found["ece"] == pytest.approx(gaps / len(pooled))


@pytest.mark.parametrize("level", ["segment", "trial"])
def test_what_was_chosen_on_the_test_part_is_of_the_best_epochs_and_says_so(made, level):
    key = {"experiment": "peeking", "protocol": "segment", "level": level}
    expected = []
    for subject in SUBJECTS:
        best = of_subject(made, "peeking", "segment", subject)
        best = best.assign(**dict(zip(P, best_epoch(best).T, strict=True)))
        expected.append(by_hand(by_level(best, level)))
        found = row(table(made, "subjects"), **key, subject=subject)
        assert found[list(expected[-1])].to_dict() == pytest.approx(expected[-1])
    for metric in expected[0]:
        found = row(table(made, "summary"), **key, metric=metric)
        assert found["mean"] == pytest.approx(np.mean([values[metric] for values in expected]))
    text = (made[0] / "summary.md").read_text()
    assert "leaky; chosen on the test part" in text
    assert "leaky" in (made[0] / "summary.tex").read_text()


def test_every_table_of_results_says_what_is_doubtful(made):
    caveats = {
        ("peeking", "segment"): "leaky; chosen on the test part",
        ("band_power", "segment"): "leaky",
        ("control", "trial"): "permuted",
        ("band_power-permuted", "trial"): "permuted",
        ("milmer", "segment"): "leaky",
        ("milmer", "loso"): "",
        ("milmer", "trial"): "",
    }
    folds_of = ("folds", "inflation", "ablation")
    names = ("subjects", "summary", "tests", "calibration", "confusion", "baselines", *folds_of)
    for name in names:
        held = table(made, name)
        if name == "tests":
            held = held[held["against"] == "chance"]
        for (experiment, protocol), caveat in caveats.items():
            is_baseline = experiment.startswith("band_power")
            if is_baseline if name in folds_of else not is_baseline and name == "baselines":
                continue
            own = held[(held["experiment"] == experiment) & (held["protocol"] == protocol)]
            assert len(own), (name, experiment, protocol)
            assert set(own["caveat"]) == {caveat}, (name, experiment, protocol)
            if name != "inflation":
                dependent = "folds are dependent" if protocol == "loso" else ""
                assert set(own["note"]) == {dependent}
    tests = table(made, "tests").query("experiment == 'peeking' and against == 'milmer'")
    assert set(tests["caveat"]) == {"leaky; chosen on the test part"}
    literature = table(made, "literature").set_index(["work", "protocol"])["caveat"]
    assert literature.filter(like="Milmer", axis=0).tolist() == [
        *("leaky; chosen on the test part", "chosen on the test part"),
    ]


def test_inflation_sets_a_choice_on_the_test_part_beside_the_same_with_an_honest_one(made):
    table_ = table(made, "inflation").set_index(["experiment", "protocol"])
    found = table_.loc[("peeking", "segment")]
    assert found["chosen_honestly"] == "milmer"
    gaps = []
    for subject in SUBJECTS:
        honest, best = (of_subject(made, n, "segment", subject) for n in ("milmer", "peeking"))
        best = best.assign(**dict(zip(P, best_epoch(best).T, strict=True)))
        gaps.append(by_hand(best)["accuracy"] - by_hand(honest)["accuracy"])
    test = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    names = [f"{name}_chosen_honestly" for name in ("above", "low", "high", "p")]
    numbers = (np.mean(gaps), test.low, test.high, 2 / 2**7)
    assert tuple(found[names]) == pytest.approx(numbers)
    assert table_["chosen_honestly"].notna().sum() == 1
    # With `validation: 0` it has learned from more, which is told.
    assert "learned from the validation part too" in found["note"]
    text = (made[0] / "conclusions.md").read_text()
    start = "the choice and learning from the validation part too make a difference of"
    low, high = (f"{100 * value:.1f}" for value in (test.low, test.high))
    assert (
        f"{start} {100 * np.mean(gaps):.1f} percentage points [{low}, {high}] (p = 0.016)" in text
    )


def test_literature_names_a_source_for_each_number(made):
    literature = table(made, "literature")
    assert (literature["source"] != "").all()
    milmer = literature[literature["low"] == 0.9672].squeeze()
    assert "2502.00547" in milmer["work"]
    assert "leaky" in milmer["caveat"]
    assert (literature["low"].fillna(0) <= literature["high"]).all()
    libemer = literature[literature["work"].str.contains("LibEMER")].set_index("task")["high"]
    assert libemer["DEAP, two classes of arousal, multimodal"] == 0.613


def test_csv_and_parquet_hold_the_same(made):
    names = sorted(path.stem for path in made[0].glob("*.parquet"))
    assert len(names) == 12
    for name in names:
        text = pd.read_csv(made[0] / f"{name}.csv")
        assert list(text.columns) == list(table(made, name).columns)
        assert len(text) == len(table(made, name))


@pytest.mark.parametrize("name", ["summary", "inflation", "ablation", "tests"])
def test_latex_compiles_wherever_booktabs_is_loaded(made, name):
    text = (made[0] / f"{name}.tex").read_text()
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{l")
    assert [lines[1], lines[3], *lines[-2:]] == [
        *(r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}")
    ]
    columns = lines[0].count("l") - "\\begin{tabular}".count("l")
    for line in [lines[2], *lines[4:-2]]:
        assert line.endswith(r" \\")
        body = line.removesuffix(r" \\")
        assert len(re.findall(r"(?<!\\)&", body)) == columns - 1
        bare = re.sub(r"\\[&%$#_{}]|\$\\pm\$|\$-\$|\\text\w+\{\}", "", body)
        assert not re.search(r"[%$#_{}~^\\<>|]", bare), line
    markdown = (made[0] / f"{name}.md").read_text()
    assert markdown.count("\n|") == len(lines) - 6 + 1  # rows, and the rule below the header


def test_the_same_runs_give_the_same_tables(made, tmp_path):
    folder = made[0].parent
    make_tables(folder / "runs", OPTIONS, tmp_path, folder / "baselines")
    for path in made[0].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_a_missing_run_is_one_clear_line(tmp_path, refused):
    options = TablesOptions(experiments={"milmer": {"folds": {"trial": ["s01-k0"]}}})
    with refused("s01-k0/seed0/metrics.json: no such file", nothing_in=tmp_path):
        make_tables(tmp_path, options, tmp_path / "tables")


def test_a_run_of_an_older_version_is_one_clear_line(tmp_path, refused):
    write_run(tmp_path, "milmer", "trial", "s01-k0", 1.0)
    path = tmp_path / "milmer/trial/s01-k0/seed0/metrics.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in held.items() if k != "shares"}))
    options = TablesOptions(experiments={"milmer": {"folds": {"trial": ["s01-k0"]}}})
    with refused("of another version (shares: Field required)", "run again", nothing_in=tmp_path):
        make_tables(tmp_path, options, tmp_path / "tables")


def test_a_baseline_of_another_split_is_refused(tmp_path, refused):
    runs, baselines = tmp_path / "runs", tmp_path / "baselines"
    write_run(runs, "milmer", "trial", "s01-k0", 1.0)
    write_baselines(baselines, "default", "trial", ["s01-k0"], 1.0, dropped=1)
    about = {"folds": {"trial": ["s01-k0"]}, "inputs": LOOKS_AT}
    options = TablesOptions(experiments={"milmer": about})
    with refused("tested on segments that the baseline band_power of fold s01-k0 was not"):
        make_tables(runs, options, tmp_path / "tables", baselines)


def test_a_baseline_that_lacks_a_fold_is_refused(tmp_path, refused):
    folds = ["s01-k0", "s01-k1"]
    for fold in folds:
        write_run(tmp_path / "runs", "milmer", "trial", fold, 1.0)
    write_baselines(tmp_path / "baselines", "default", "trial", folds[:1], 0.6)
    about = {"folds": {"trial": folds}, "inputs": LOOKS_AT}
    options = TablesOptions(experiments={"milmer": about})
    with refused("baselines: band_power lacks fold s01-k1 of trial"):
        make_tables(tmp_path / "runs", options, tmp_path / "tables", tmp_path / "baselines")


def test_an_epoch_that_is_not_in_the_history_is_refused(tmp_path, refused):
    write_run(tmp_path, "peeking", "segment", "s01", 1.0, on_test=True)
    path = tmp_path / "peeking/segment/s01/seed0/history.parquet"
    storage.write_table(path, storage.read_table(path)[:1], storage.read_provenance(path))
    options = TablesOptions(experiments={"peeking": {"folds": {"segment": ["s01"]}}})
    with refused("history.parquet: lacks the epochs of metrics.json"):
        make_tables(tmp_path, options, tmp_path / "tables")


def test_numbers_of_several_seeds_are_means_and_counts_are_sums(tmp_path):
    folds = {"trial": ["s01-k0", "s01-k1"]}
    held = {
        (fold, seed): write_run(tmp_path, "milmer", "trial", fold, 1.0, seed=seed)
        for fold in folds["trial"]
        for seed in (0, 1)
    }
    options = TablesOptions(experiments={"milmer": {"folds": folds}}, seeds=[0, 1])
    make_tables(tmp_path, options, tmp_path / "tables")
    accuracy = [
        by_hand(pd.concat([held[f, seed] for f in folds["trial"]]))["accuracy"] for seed in (0, 1)
    ]
    summary = storage.read_table(tmp_path / "tables/summary.parquet")
    found = row(summary, level="segment", metric="accuracy")
    assert found["mean"] == pytest.approx(np.mean(accuracy))
    assert found["sd_over_seeds"] == pytest.approx(np.std(accuracy, ddof=1))
    assert pd.isna(found["low"])
    assert pd.isna(found["best_baseline"])
    assert pd.isna(found["baseline_name"])
    confusion = storage.read_table(tmp_path / "tables/confusion.parquet")
    assert confusion.query("level == 'trial'")["count"].sum() == 2 * 16


def test_names_of_classes_are_text_in_a_spreadsheet_and_in_latex(tmp_path, monkeypatch):
    labels = ["=1+1", "@SUM(A1)", "<script>alert(1)</script>", r"\input{x}"]
    monkeypatch.setattr("tests.evaluation.made_up.LABELS", labels)
    for fold in ("s01-k0", "s01-k1"):
        write_run(tmp_path / "runs", "milmer", "trial", fold, 1.0)
    options = TablesOptions(experiments={"milmer": {"folds": {"trial": ["s01-k0", "s01-k1"]}}})
    make_tables(tmp_path / "runs", options, tmp_path / "tables")
    written = pd.read_csv(tmp_path / "tables/confusion.csv")
    exact = storage.read_table(tmp_path / "tables/confusion.parquet")
    assert list(exact["label"].unique()) == labels
    assert list(written["label"].unique()) == ["'=1+1", "'@SUM(A1)", *labels[2:]]
    assert written["count"].tolist() == exact["count"].tolist()
    text = latex(pd.DataFrame({"class": labels}))
    assert r"\textbackslash{}input\{x\}" in text
    assert r"\textless{}script\textgreater{}" in text


def test_of_ordinary_tables_no_cell_changes(made):
    for path in made[0].glob("*.csv"):
        plain = storage.read_table(path.with_suffix(".parquet"))
        assert path.read_text() == plain.to_csv(index=False, float_format="%.6g"), path.name


def test_a_skipped_run_is_told_and_the_others_are_summarised(tmp_path):
    folds = {"trial": ["s01-k0", "s01-k1", "s02-k0"]}
    for fold in folds["trial"][:2]:
        write_run(tmp_path / "runs", "milmer", "trial", fold, 1.0)
    reason = "no segment is left for test (16 rejected)"
    skipped = {"skipped": reason, "rejected": {"test": 16}}
    storage.write_json(tmp_path / "runs/milmer/trial/s02-k0/seed0/metrics.json", skipped)
    options = TablesOptions(experiments={"milmer": {"folds": folds}})
    make_tables(tmp_path / "runs", options, tmp_path / "tables")
    told = storage.read_table(tmp_path / "tables/skipped.parquet", "tables")
    assert told.to_numpy().tolist() == [["milmer", "trial", "s02-k0", 0, reason]]
    summary = storage.read_table(tmp_path / "tables/summary.parquet", "tables")
    assert (summary["subjects"] == 1).all()
    assert (summary["folds"] == 2).all()
    text = (tmp_path / "tables/conclusions.md").read_text()
    assert f"`milmer` under `trial` skipped s02-k0: {reason}." in text


def test_nothing_is_summarised_where_every_run_was_skipped(tmp_path, refused):
    path = tmp_path / "runs/milmer/trial/s01-k0/seed0/metrics.json"
    storage.write_json(path, {"skipped": "no segment is left for train (9 rejected)"})
    options = TablesOptions(experiments={"milmer": {"folds": {"trial": ["s01-k0"]}}})
    with refused("every run was skipped"):
        make_tables(tmp_path / "runs", options, tmp_path / "tables")


def test_a_baseline_is_compared_on_the_segments_that_it_did_not_reject(tmp_path):
    table = write_run(tmp_path / "runs", "milmer", "trial", "s01-k0", 1.0)
    how = {"dropped": 5, "left_out": {"test": 5}}
    rival = write_baselines(tmp_path / "baselines", "default", "trial", ["s01-k0"], 0.6, **how)
    rival = rival["s01-k0"]
    about = {"folds": {"trial": ["s01-k0"]}, "inputs": LOOKS_AT}
    options = TablesOptions(experiments={"milmer": about})
    make_tables(tmp_path / "runs", options, tmp_path / "tables", tmp_path / "baselines")
    subjects, tests = (
        storage.read_table(tmp_path / f"tables/{name}.parquet", "tables")
        for name in ("subjects", "tests")
    )
    found = row(subjects, experiment="milmer", level="segment")
    compared = row(
        tests, experiment="milmer", level="segment", against="band_power", metric="accuracy"
    )
    hits = table[P].to_numpy().argmax(1) == table["label"]
    rival_hits = rival[P].to_numpy().argmax(1) == rival["label"]
    assert found["accuracy"] == pytest.approx(hits.mean())
    assert found["best_baseline_accuracy"] == pytest.approx(rival_hits.mean())
    above = hits[5:].mean() - rival_hits.mean()
    assert compared["difference"] == pytest.approx(above)
    assert above != pytest.approx(found["accuracy"] - found["best_baseline_accuracy"])
    assert compared["left_out"] == 5


def test_a_baseline_that_lacks_more_than_it_rejected_is_refused(tmp_path, refused):
    write_run(tmp_path / "runs", "milmer", "trial", "s01-k0", 1.0)
    how = {"dropped": 5, "left_out": {"test": 4, "train": 9}}
    write_baselines(tmp_path / "baselines", "default", "trial", ["s01-k0"], 0.6, **how)
    about = {"folds": {"trial": ["s01-k0"]}, "inputs": LOOKS_AT}
    options = TablesOptions(experiments={"milmer": about})
    with refused("tested on segments that the baseline band_power of fold s01-k0 was not"):
        make_tables(tmp_path / "runs", options, tmp_path / "tables", tmp_path / "baselines")


def test_experiments_are_compared_on_the_segments_that_both_have_and_the_others_are_counted(
    tmp_path,
):
    """Each rejects other segments: `raw` those that `milmer` gets right; of s03 none is shared."""
    folds = ["s01-k0", "s02-k0", "s03-k0"]
    names = ("milmer", "raw")
    runs = {
        (name, fold): write_run(tmp_path / "runs", name, "trial", fold, 1.0)
        for name in names
        for fold in folds
    }
    hits = {key: t[P].to_numpy().argmax(1) == t["label"].to_numpy() for key, t in runs.items()}
    of_milmer, of_raw = (hits[name, "s01-k0"] for name in names)
    kept = {key: np.ones(len(table), bool) for key, table in runs.items()}
    kept["raw", "s01-k0"][np.flatnonzero(of_milmer)[:5]] = False
    kept["milmer", "s01-k0"][np.flatnonzero(~of_milmer & ~of_raw)[:2]] = False
    kept["raw", "s03-k0"][:20] = False
    kept["milmer", "s03-k0"][20:] = False
    for (name, fold), rows in kept.items():
        path = tmp_path / f"runs/{name}/trial/{fold}/seed0/predictions.parquet"
        table = runs[name, fold][rows].reset_index(drop=True)
        storage.write_table(path, table, storage.read_provenance(path))
    about = {"folds": {"trial": folds}}
    options = TablesOptions(experiments={"milmer": about, "raw": about | {"changes": {"eeg": "r"}}})
    make_tables(tmp_path / "runs", options, tmp_path / "tables")
    both = kept["milmer", "s01-k0"] & kept["raw", "s01-k0"]
    assert (~both).sum() == 7
    on_both = of_raw[both].mean() - of_milmer[both].mean()
    on_own = of_raw[kept["raw", "s01-k0"]].mean() - of_milmer[kept["milmer", "s01-k0"]].mean()
    assert abs(on_own - on_both) > 0.05
    trials = [by_level(runs[name, "s01-k0"][both], "trial") for name in names]
    by_trial = [np.mean(t[P].to_numpy().argmax(1) == t["label"]) for t in trials]
    whole = [by_hand(by_level(runs[n, "s02-k0"], "trial"))["accuracy"] for n in names]
    expected = {
        "segment": [on_both, hits["raw", "s02-k0"].mean() - hits["milmer", "s02-k0"].mean()],
        "trial": [by_trial[1] - by_trial[0], whole[1] - whole[0]],
    }
    tests, ablation = (
        storage.read_table(tmp_path / f"tables/{name}.parquet", "tables")
        for name in ("tests", "ablation")
    )
    for level, differences in expected.items():
        key = {"experiment": "raw", "level": level}
        found = row(tests, **key, against="milmer", metric="accuracy")
        assert found["difference"] == pytest.approx(np.mean(differences))
        assert tuple(found[["subjects", "segments", "left_out"]]) == (2, 57, 7 + 32)
        found = row(ablation, **key)
        assert found["accuracy_above_milmer"] == pytest.approx(np.mean(differences))
        counts = found[["common_subjects", "common_segments", "left_out"]]
        assert tuple(counts) == (2, 57, 39)
    text = (tmp_path / "tables/conclusions.md").read_text()
    assert (
        "`raw` and `milmer` under `trial` are compared on the 57 test segments that both have; 39 "
        "that only one of them has are left out."
    ) in text
