"""The report: what it tells is in the results; it holds nothing of this machine, and no face."""

import base64
import io
import re
import xml.dom.minidom
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from milmer import storage
from milmer.drawing.svg import Figure, ticks
from milmer.evaluation.report import first_screen
from milmer.evaluation.report.figures import FIGURES
from milmer.evaluation.report.figures_inputs import channels
from milmer.evaluation.report.figures_results import inflation, learning
from milmer.evaluation.report.markdown import html
from milmer.evaluation.report.options import ReportStageOptions
from milmer.evaluation.report.page import DRAWN_IN, SECTIONS, make_report
from milmer.evaluation.report.pictures import bags, blurred
from milmer.evaluation.report.sources import Results
from milmer.plan import Plan
from milmer.splits.protocols import PROTOCOLS
from tests.conftest import REPOSITORY
from tests.evaluation.results import EXPERIMENTS, LABELS, made, make_results

CONCLUSIONS = "# What holds\n\nThe **leaky** split adds\nmuch.\n\n* one `a<b`\n* two\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder of results with everything that the report can show, and its options."""
    folder = tmp_path_factory.mktemp("report") / "results"
    experiments = EXPERIMENTS | {"a<b>&c": EXPERIMENTS["eeg_only"]}
    options = make_results(folder, 3, experiments=experiments)
    published = pd.DataFrame({"work": ["Wang et al. 2025"], "accuracy": [0.9672], "ours": [None]})
    storage.write_table(folder / "tables/literature.parquet", published, made("tables"))
    (folder / "tables/conclusions.md").write_text(CONCLUSIONS)
    return folder, options


@pytest.fixture(scope="module")
def report(work, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    make_report(*work, out)
    return out


@pytest.fixture(scope="module")
def page(report):
    return (report / "index.html").read_text()


class Reader(HTMLParser):
    """Text, tables, figures and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.rows = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text.append(data)
        if self.tags and self.tags[-1][0] == "td":
            self.rows[-1][-1] += data.strip()


def test_the_page_needs_nothing_else(page):
    tags = Reader(page).tags
    addresses = [a[k] for _, a in tags for k in ("src", "href") if k in a]
    assert addresses
    assert all(a.startswith(("#", "data:")) for a in addresses)
    assert "url(http" not in page
    assert not any(tag == "link" and a["rel"] == "stylesheet" for tag, a in tags)


def rows_of(work, **key):
    """Rows of the summary by segment, balanced accuracy unless ``key`` says another metric."""
    summary = storage.read_table(work[0] / "tables/summary.parquet", "tables")
    key = {"level": "segment", "metric": "balanced_accuracy"} | key
    return summary[(summary[list(key)] == list(key.values())).all(axis=1)]


def test_the_first_screen_says_how_good_better_than_what_and_how_sure(work, page):
    row = rows_of(work, experiment="milmer", protocol="trial").squeeze()
    percent = [f"{100 * value:.1f}\N{NO-BREAK SPACE}%" for value in (row["mean"], row["sd"])]
    assert (
        f"milmer reaches a balanced accuracy of {percent[0]} ± {percent[1]} on new trials of known "
        f"subjects (trial): {100 * (row['mean'] - 0.25):.1f} percentage points above chance "
        "(25.0\N{NO-BREAK SPACE}%). With 3 subjects no test can tell whether by chance; it takes 6."
    ) in page
    accuracy = rows_of(work, experiment="milmer", metric="accuracy").set_index("protocol")["mean"]
    added = 100 * (accuracy["segment"] - accuracy["trial"])
    assert (
        f"What leaks add: the leaky protocol segment adds {added:.1f} percentage points to the "
        "accuracy of milmer;"
    ) in page
    # Before the links to the sections.
    assert page.index("reaches a balanced accuracy") < page.index("What leaks add")
    assert page.index("What leaks add") < page.index("<nav")


def test_the_best_baseline_stands_beside_it_with_the_verdict_of_its_test(work):
    results = Results(*work)
    summary, tests = results.tables["summary"], results.tables["tests"]
    row = rows_of(work, experiment="milmer", protocol="trial").assign(
        experiment="band_power", mean=0.1, select="none", low=0.05, high=0.15
    )
    summary = pd.concat([summary, row], ignore_index=True)
    results.tables["summary"] = summary.assign(baseline_name="band_power")
    key = {"experiment": "milmer", "protocol": "trial", "level": "segment"}
    test = pd.DataFrame([key | {"metric": "balanced_accuracy", "against": "band_power"}])
    numbers = {"difference": -0.05, "low": -0.1, "high": 0.0, "p": 0.01, "p_holm": 0.06}
    results.tables["tests"] = pd.concat(
        [tests, test.assign(**numbers, subjects=9, needed=7)], ignore_index=True
    )
    assert first_screen.headline(results).partition("(trial): ")[2] == (
        "5.0 percentage points [-10.0, 0.0] below the best baseline, band power "
        f"({100 * (results.tables['summary'].query(_MILMER)['mean'].item() + 0.05):.1f}"
        "\N{NO-BREAK SPACE}%), not significant over 9 subjects (p = 0.060)."
    )
    drawn = first_screen.overview(results).panels[0]
    assert (
        "; band power 0.10 [5.0\N{NO-BREAK SPACE}%, 15.0\N{NO-BREAK SPACE}%]; chance"
        in drawn.description
    )
    assert drawn.body.count("l5 5l-5 5l-5 -5z") == 1


_MILMER = (
    "experiment == 'milmer' and protocol == 'trial' and level == 'segment' and "
    "metric == 'balanced_accuracy'"
)


def test_without_an_honest_result_the_first_screen_says_so(work):
    results = Results(*work)
    results.tables["summary"] = results.tables["summary"].query("leaky")
    results.tables["inflation"] = results.tables["inflation"].iloc[:0]
    assert first_screen.headline(results).startswith("No experiment was run under an honest")
    assert first_screen.leaks(results).startswith("No leaky protocol was run beside")
    assert first_screen.overview(results).panels == []


def test_each_protocol_has_its_words():
    assert set(first_screen.ON) == set(PROTOCOLS)


def test_inflation_tells_its_numbers(work):
    drawn = inflation(Results(*work)).panels[0]
    rows = rows_of(work, experiment="milmer", metric="accuracy").set_index("protocol")
    assert drawn.description.startswith("Accuracy by segment of milmer.")
    assert f"trial: {rows.loc['trial', 'mean']:.2f} (majority" in drawn.description
    assert f"segment, leaky: {rows.loc['segment', 'mean']:.2f} (majority" in drawn.description
    # The value stands below the end of its bar.
    x = 10 + (340 - 56) * rows.loc["trial", "mean"]
    place = re.search(
        rf'<text x="([^"]*)" y="59" [^>]*>{rows.loc["trial", "mean"]:.2f}<', drawn.body
    )
    assert float(place[1]) == pytest.approx(x, abs=0.01)


def test_what_is_leaky_is_hatched_and_what_is_honest_is_not(report):
    drawn = xml.dom.minidom.parse(str(report / "figures/inflation.svg"))
    panel = drawn.getElementsByTagName("svg")[1]
    filled = [r.getAttribute("fill") for r in panel.getElementsByTagName("rect")]
    assert sum("-h)" in fill for fill in filled) == 1
    bars = [
        r.getAttribute("class")
        for r in panel.getElementsByTagName("rect")
        if r.getAttribute("height") == "20"
    ]
    assert bars == ["strong", "edged"]


def test_the_best_baseline_stands_beside_where_it_was_measured(work):
    results = Results(*work)
    beside = {"best_baseline": 0.333, "baseline_name": "band_power_lda"}
    results.tables["summary"] = results.tables["summary"].assign(**beside)
    drawn = inflation(results).panels[0]
    assert drawn.description.count("band power LDA 0.33") == 2
    assert drawn.body.count("l5 5l-5 5l-5 -5z") == 2


def test_the_model_before_its_first_step_stands_in_the_learning_curve(work):
    group = Results(*work).groups[0]
    runs = group.history["run"].unique()
    before = pd.DataFrame({"epoch": -1, "val_macro_f1": 0.875, "run": runs})
    longer = replace(group, history=pd.concat([before, group.history]))
    plain, with_it = (
        learning(SimpleNamespace(groups=[g])).panels[0].description.partition("; ")
        for g in (group, longer)
    )
    # There is no training loss before the first step.
    assert with_it[0] == plain[0]
    assert with_it[2].startswith("validation macro f1 0.88 to")
    assert not plain[2].startswith("validation macro f1 0.88")


def test_every_drawing_says_what_it_shows_and_ids_are_single(page):
    tags = Reader(page).tags
    drawings = [a for tag, a in tags if tag == "svg"]
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(drawings) > 20
    assert len(ids) == len(set(ids))
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set(drawing["aria-labelledby"].split()) <= set(ids)
    told = re.findall(r"<desc[^>]*>([^<]*)</desc>", page)
    assert len(told) == len(drawings)
    assert all(re.search(r"\d", text) for text in told)


def test_the_summary_stands_as_in_its_table(work, page):
    summary = storage.read_table(work[0] / "tables/summary.parquet", "tables")
    rows = [r for r in Reader(page).rows if r[2:4] == ["segment, leaky", "segment"]]
    mean = summary.query("experiment == 'milmer' and protocol == 'segment' and level == 'segment'")
    mean = mean.set_index("metric")["mean"]
    assert rows[0][0] == "milmer"
    assert f"{mean['balanced_accuracy']:.3f} ±" in rows[0][1]
    assert f"{mean['accuracy']:.3f} ±" in rows[0][4]


def test_experiments_stand_beside_the_first(work, page):
    ablation = storage.read_table(work[0] / "tables/ablation.parquet", "tables")
    row = ablation.query("experiment == 'eeg_only' and protocol == 'trial' and level == 'trial'")
    above = f"{row['accuracy_above_milmer'].item():.3f}"
    rows = [r for r in Reader(page).rows if r[:1] + r[2:4] == ["eeg_only", "trial", "trial"]]
    assert any(above in row for row in rows)


def test_subjects_confusion_and_calibration_are_those_of_the_predictions(work):
    results = Results(*work)
    group = results.groups[0]
    pooled = group.predictions
    guess = pooled[[f"p_{n}" for n in LABELS]].to_numpy().argmax(1)
    right = guess == pooled["label"]
    accuracies = right.groupby(pooled["subject"]).mean()
    subjects = results.subjects(group).set_index("subject")
    np.testing.assert_allclose(subjects["accuracy"], accuracies)
    np.testing.assert_allclose(subjects["majority"], 0.2)
    assert results.confusion(group).sum() == len(pooled)
    assert np.trace(results.confusion(group)) == right.sum()
    bins = results.calibration(group)
    assert bins["count"].sum() == len(pooled)
    assert (bins["accuracy"] * bins["count"]).sum() == pytest.approx(right.sum())


def test_the_report_shows_the_numbers_of_the_tables(work):
    results = Results(*work)
    key = {"experiment": "milmer", "protocol": "trial"}
    level = {"level": "segment", "label": "HAHV", "predicted": "HALV", "count": 7}
    results.tables["confusion"] = pd.DataFrame([key | level, key | level | {"level": "trial"}])
    bins = {"lower": 0.9, "upper": 1.0, "confidence": 0.95, "accuracy": 0.5, "count": 4}
    results.tables["calibration"] = pd.DataFrame([key | bins, key | bins | {"count": 0}])
    known = key | {"level": "segment", "subject": "s01", "accuracy": 0.123, "majority": 0.3}
    results.tables["subjects"] = pd.DataFrame([known])
    group = results.groups[0]
    assert results.confusion(group)[0, 3] == results.confusion(group).sum() == 7
    assert results.calibration(group)["count"].tolist() == [4]
    assert results.subjects(group)["accuracy"].tolist() == [0.123]


def test_what_is_missing_or_was_dropped_is_told(page):
    rows = {row[0]: row for row in Reader(page).rows if len(row) == 9 and row[0] in ("s01", "s02")}
    assert rows["s01"][3] == "3"  # the trial without video
    assert rows["s02"][3] == "none"
    assert rows["s01"][5:7] == ["1", "2"]  # a frame, and segments, without a face
    assert rows["s01"][7:] == ["33", "55"]  # frames with several faces, switches
    assert "milmer, trial: 4 test segments without a valid face" in page
    assert "milmer, trial: no trial of HALV in train (1 run)" in page


def test_cleaning_and_explanations_are_drawn(page):
    assert "T7 of s01 in 2 trials" in page
    assert "|r| 0.90 with vEOG; 20.0 % of the variance" in page
    assert re.search(r"Stand out \(one-sided t test over 6 runs, [^)]*\): F[34] 0\.2", page)
    assert "EEG 0.617 ± 0.017" in page
    assert "Nothing stands out (one-sided t test over 6 runs, 5\N{NO-BREAK SPACE}%, Bonf" in page
    assert "parts of the face in percent; highest in row" in page
    assert "come 52 % from the linear path of the EEG" in page


def test_conclusions_and_literature_are_shown(page):
    assert "<h3>What holds</h3>" in page
    assert "<p>The <strong>leaky</strong> split adds much.</p>" in page
    assert "<li>one <code>a&lt;b</code></li>\n<li>two</li>" in page
    assert ["Wang et al. 2025", "0.967", "–"] in Reader(page).rows


def test_each_experiment_tells_the_options_of_its_stages(page):
    about = "<pre>{&#34;eeg&#34;: {&#34;band&#34;: [1, 50]}}</pre>"
    # Experiments that have the same share an entry.
    assert f"<h3>segments: milmer, eeg_only, published_frozen, a&lt;b&gt;&amp;c</h3>{about}" in page
    assert "<h3>train: milmer, " in page
    assert "runs/milmer/trial" in page


def test_names_are_text_and_not_markup(page):
    assert "a<b>" not in page
    assert "a&lt;b&gt;&amp;c" in page
    assert html("<script>`<i>`</script>") == (
        "<p>&lt;script&gt;<code>&lt;i&gt;</code>&lt;/script&gt;</p>\n"
    )


def test_the_same_results_give_the_same_bytes_and_no_place_of_this_machine(
    work, report, page, tmp_path
):
    make_report(*work, tmp_path / "again")
    for path in sorted(report.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(report)).read_bytes()
    assert str(work[0]) not in page
    assert "/tmp" not in page
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", page)


def test_each_figure_is_a_file_that_stands_alone(report):
    assert {path.stem for path in (report / "figures").iterdir()} == set(FIGURES)
    for path in (report / "figures").iterdir():
        sheet = xml.dom.minidom.parse(str(path)).documentElement
        assert "--accent" in sheet.getElementsByTagName("style")[0].firstChild.data


def test_no_face_is_shown_unless_it_is_asked_for(work, page, tmp_path):
    folder, options = work
    assert "data:image/jpeg" not in page
    assert "report.faces</code> is none" in page
    shown, hidden = (options.updated({"report": {"faces": how}}) for how in ("shown", "blurred"))
    make_report(folder, shown, tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert text.count("data:image/jpeg") == 3  # one bag a subject
    assert "10 frames, of which" in text
    edges = []
    for how in (shown, hidden):
        code = bags(Results(folder, how))[0].strip.partition(",")[2]
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))), int)
        edges.append(np.abs(np.diff(strip[10:60, 4:70], axis=1)).max())
    assert edges[0] > 3 * edges[1] > 0


def test_nothing_finer_than_an_eighth_of_a_blurred_face_is_left():
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (224, 224, 3), np.uint8)
    blocks = face.reshape(8, 28, 8, 28, 3).swapaxes(1, 2).reshape(64, 784, 3)
    mixed = rng.permuted(blocks, axis=1).reshape(8, 8, 28, 28, 3).swapaxes(1, 2)
    assert (mixed.reshape(face.shape) != face).mean() > 0.9
    np.testing.assert_array_equal(
        blurred(np.ascontiguousarray(mixed.reshape(face.shape))), blurred(face)
    )


def test_a_missing_table_is_one_clear_line(work, tmp_path, refused):
    folder, options = work
    with refused("tables/folds.parquet: no such file"):
        make_report(tmp_path, options, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with refused("trials/s09.parquet: no such file"):
        make_report(folder, options.updated({"subjects": ["s09"]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_report_of_eeg_alone_says_what_is_not_there(tmp_path):
    folder = tmp_path / "results"
    options = make_results(folder, 2, ("trial",), experiments={"e": {"eeg": "default"}})
    for path in [*(folder / "faces/default").iterdir(), *folder.glob("explanations/*/*/*/*")]:
        path.unlink()
    make_report(folder, options, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert "No experiment chooses among frames." in page
    assert "No attention was recorded." in page
    assert "No attention was recorded." in (tmp_path / "report/figures/attention.svg").read_text()


def test_a_report_of_faces_alone_reads_no_eeg(tmp_path):
    folder = tmp_path / "results"
    options = make_results(folder, 1, ("trial",), experiments={"f": {"faces": "default"}})
    make_report(folder, options, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert "Nothing was removed from the EEG" in page
    assert "f, trial: within the segment" in page


def test_hundreds_of_runs_stay_below_2_mb(tmp_path):
    only = {"milmer": EXPERIMENTS["milmer"]}
    options = make_results(tmp_path / "results", 22, folds=5, experiments=only)
    shown = options.updated({"report": {"faces": "shown"}})
    make_report(tmp_path / "results", shown, tmp_path / "report")
    # Six experiments under three protocols are nine times as much.
    assert (tmp_path / "report/index.html").stat().st_size < 5e6 / 9


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == [0, 0.5, 1]
    assert ticks(0, 19, 5) == [0, 5, 10, 15]
    assert ticks(0, 0.033) == [0, 0.01, 0.02, 0.03]
    assert ticks(3, 3) == [3]


def test_each_figure_that_is_written_is_listed_and_each_listed_one_is_written_once():
    functions = [
        name
        for module in DRAWN_IN
        for name, function in vars(module).items()
        if not name.startswith("_")
        and getattr(function, "__annotations__", {}).get("return") is Figure
    ]
    assert sorted(functions) == sorted(FIGURES), "list it in milmer/evaluation/report/figures.py"


def test_each_marked_output_has_its_caption():
    captions = {
        path.stem
        for path in (REPOSITORY / "workflow/report").glob("*.rst")
        if path.read_text().strip()
    }
    assert captions == {*FIGURES, "page", "tables"}, "workflow/report: one .rst a figure"
    rules = (REPOSITORY / "rules/report.smk").read_text()
    marked = re.findall(r'caption=f?"\.\./workflow/report/([^"]+)\.rst"', rules)
    assert sorted(marked) == ["page", "tables", "{name}"]
    assert len(marked) == rules.count("report(")


def test_each_section_has_a_link_and_each_figure_stands_once(page):
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == ["overview", *SECTIONS]
    assert re.findall(r'<li><a href="#(\w+)">', page) == list(SECTIONS)
    figures = re.findall(r'<figure id="figure-(\w+)">', page)
    assert sorted(figures) == sorted(FIGURES)
    assert figures[0] == "overview"


def test_sections_fold_without_a_script_and_results_are_open(page):
    folds = re.findall(r'<section id="(\w+)"><details( open)?><summary><h2>', page)
    assert [name for name, _ in folds] == list(SECTIONS)
    assert [name for name, opened in folds if opened] == ["results"]


def test_the_quadrants_are_explained_once(page):
    assert page.count("<dt>LAHV</dt><dd>high valence, low arousal</dd>") == 1
    assert page.count("<dt>HALV</dt><dd>low valence, high arousal</dd>") == 1


def test_validation_loss_stands_beside_training_loss(work):
    group = Results(*work).groups[0]
    history = group.history.assign(val_loss=group.history["train_loss"] + 0.5)
    drawn = learning(SimpleNamespace(groups=[replace(group, history=history)])).panels[0]
    losses = re.findall(r"(\w+) loss ([\d.]+) to ([\d.]+)", drawn.description)
    assert [name for name, *_ in losses] == ["training", "validation"]
    assert float(losses[1][1]) - float(losses[0][1]) == pytest.approx(0.5, abs=0.011)
    assert "training loss and validation loss" in drawn.body


def test_an_epoch_that_was_chosen_on_the_test_part_is_told_in_every_panel(work):
    group = Results(*work).groups[0]
    metrics = {run: {**about, "select": "best_on_test"} for run, about in group.metrics.items()}
    assert group.title == "milmer, trial"
    assert replace(group, metrics=metrics).title == "milmer, trial (epoch chosen on test)"


def test_head_maps_of_a_quantity_have_one_scale(work):
    drawn = channels(Results(*work)).panels
    ends = {tuple(re.findall(r'class="soft"[^>]*>(-?[\d.]+)<', panel.body)) for panel in drawn}
    assert len(drawn) > 1
    assert len(ends) == 1


def test_the_plan_gives_the_report_its_options_and_inputs(twin):
    user = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    user |= {"dataset": {"root": str(twin)}, "faces": {"detector": "haar"}}
    plan = Plan.read(user)
    options = ReportStageOptions.from_json(plan.results.report_json())
    assert options.experiments["eeg_only"].faces is None
    assert options.experiments["published_frozen"].eeg == "as_published"
    assert options.report.faces == "none"
    assert "faces" not in plan.results.tables_json().split("experiments")[0]
    assert {
        "results/runs/milmer/trial/s01-k0/seed0/history.parquet",
        "results/segments/as_published/s02.h5",
        "results/faces/default/s01.h5",
        "results/trials/s02.parquet",
    } <= set(plan.results.report_inputs())
