"""The first screen of the report: how good, better than what, how sure, and what leaks add."""

import pandas as pd

from milmer.drawing.svg import WIDTH, Axes, Drawing, Figure, Panel
from milmer.evaluation.model_card import PROTOCOLS
from milmer.evaluation.report.sources import Results, baseline_title, caveats
from milmer.splits.protocols import HONEST

_METRIC = "balanced_accuracy"
_MOST = 24  # experiments in a panel; the tables have all of them
_ROW = 34
_GRID = (0, 0.25, 0.5, 0.75, 1)

ON = {
    "segment": "segments of known trials",
    "trial": "new trials of known subjects",
    "session": "a new session of known subjects",
    "stimulus": "new stimuli, known subjects",
    "loso": "new subjects",
}
"""What each protocol tests on, in a few words."""


def headline(results: Results) -> str:
    """How good the first honest result is, better than what, and how sure that is."""
    if (row := _first(results)) is None:
        return (
            "No experiment was run under an honest protocol with its epoch chosen without the test "
            "part: nothing here says how well emotions are recognised."
        )
    spread = f" ± {_percent(row.sd)}" if pd.isna(row.low) and not pd.isna(row.sd) else ""
    sentence = (
        f"{row.experiment} reaches a balanced accuracy of {_percent(row.mean)}{spread}"
        f"{_interval(row.low, row.high)} on {ON[row.protocol]} ({row.protocol})"
    )
    tests = results.tables["tests"]
    tests = tests[(tests["experiment"] == row.experiment) & (tests["protocol"] == row.protocol)]
    tests = tests[(tests["level"] == "segment") & (tests["metric"] == _METRIC)]
    rivals = tests.set_index("against")
    rival, title = "chance", "chance"
    if not pd.isna(row.baseline_name):
        rival = row.baseline_name
        title = f"the best baseline, {baseline_title(rival)}"
    if rival not in rivals.index:
        return f"{sentence}."
    return f"{sentence}: {_compared(row, rivals.loc[rival], title, results)}."


def _compared(row: tuple, test: pd.Series, title: str, results: Results) -> str:
    difference, subjects = test["difference"], int(test["subjects"])
    side = "above" if difference > 0 else "below"
    text = (
        f"{_points(abs(difference))}{_interval(test['low'], test['high'], 'points')} {side} "
        f"{title} ({_percent(row.mean - difference)})"
    )
    if subjects < test["needed"]:
        subject = "subject" if subjects == 1 else "subjects"
        return (
            f"{text}. With {subjects} {subject} no test can tell whether by chance; it takes "
            f"{test['needed']:.0f}"
        )
    p = test["p"] if pd.isna(test["p_holm"]) else test["p_holm"]
    verdict = "significant" if p < 1 - results.options.report.confidence else "not significant"
    return f"{text}, {verdict} over {subjects} subjects (p = {max(p, 0.001):.3f})"


def leaks(results: Results) -> str:
    """What leaks add to the accuracy of the same experiments, in a line."""
    rows = results.tables["inflation"]
    permuted = results.tables["summary"].groupby(["experiment", "protocol"])["permuted"].first()
    parts = []
    for row in rows.itertuples():
        if permuted.get((row.experiment, row.protocol), False):
            continue
        for added, name, what in (
            (row.above_chosen_honestly, "chosen_honestly", "choosing the epoch on the test part"),
            (row.above_reference, "reference", f"the leaky protocol {row.protocol}"),
        ):
            leaky = name == "reference" and _is_leaky(results, row)
            if (leaky or name == "chosen_honestly") and not pd.isna(added):
                low, high = (getattr(row, f"{end}_{name}") for end in ("low", "high"))
                adds = "adds" if added >= 0 else "takes"
                parts.append(
                    f"{what} {adds} {_points(abs(added))}{_interval(low, high, 'points')} "
                    f"{'to' if added >= 0 else 'from'} the accuracy of {row.experiment}"
                )
    if not parts:
        return "No leaky protocol was run beside an honest one, so what a leak adds is not known."
    more = f", and {len(parts) - 2} more below" if len(parts) > 2 else ""
    return f"What leaks add: {'; '.join(parts[:2])}{more}."


def overview(results: Results) -> Figure:
    """Every experiment and baseline under each honest protocol, with intervals and chance."""
    summary = _rows(results)
    protocols = [p for p in HONEST if p in set(summary["protocol"])]
    return Figure(
        "overview",
        "Results",
        "Balanced accuracy by segment under honest protocols: mean over subjects, with its "
        "interval if there are at least six. Dots are experiments, diamonds simple baselines; a "
        "hollow dot says nothing about new data, for the reason beside it. Dashed: chance.",
        [_panel(protocol, summary[summary["protocol"] == protocol]) for protocol in protocols],
        "No honest protocol was run.",
    )


def _panel(protocol: str, rows: pd.DataFrame) -> Panel:
    baselines = rows[rows["select"] == "none"]
    experiments = rows[rows["select"] != "none"]
    drawn = [*experiments.head(_MOST).itertuples(), *baselines.itertuples()]
    drawing = Drawing(height=_ROW * len(drawn) + 62)
    axes = Axes(drawing, (10, 18, WIDTH - 24, _ROW * len(drawn)), (0, 1), (0, 1))
    axes.grid(_GRID, [], "balanced accuracy by segment", "")
    chance = drawn[0].chance_balanced
    x = axes.at(chance, 0)[0]
    drawing.line(x, 18, x, 18 + _ROW * len(drawn), "dashed")
    drawing.text(x, 12, f"chance {chance:.2f}", "small", "middle")
    told = []
    for i, row in enumerate(drawn):
        top = 18 + _ROW * i
        y = top + 24
        baseline = row.select == "none"
        words = caveats(
            leaky=row.leaky, on_test=row.select == "best_on_test", permuted=row.permuted
        )
        name = ", ".join([baseline_title(row.experiment) if baseline else row.experiment, *words])
        drawing.text(10, top + 14, name, "small label" if baseline or words else "bold label")
        left = right = axes.at(row.mean, 0)[0]
        if not pd.isna(row.low):
            left, right = (axes.at(min(max(v, 0), 1), 0)[0] for v in (row.low, row.high))
            drawing.line(left, y, right, y, "whisker")
        middle = axes.at(row.mean, 0)[0]
        if baseline:
            drawing.diamond(middle, y)
        else:
            drawing.circle(middle, y, 4.5, "hollow" if words else "dot")
        value = "–" if pd.isna(row.mean) else f"{row.mean:.2f}"
        right = max(right, middle + 5)
        beside = (right + 5, "start") if right < WIDTH - 40 else (min(left, middle - 5) - 5, "end")
        drawing.text(beside[0], y + 4, value, "bold label" if not words else "label", beside[1])
        told.append(f"{name} {value}{_interval(row.low, row.high)}")
    more = len(experiments) - _MOST
    text = f"{protocol}: {PROTOCOLS[protocol]}. {'; '.join(told)}; chance {chance:.2f}."
    text += f" {more} more experiments are in the table." if more > 0 else ""
    return drawing.panel(f"{ON[protocol][0].upper()}{ON[protocol][1:]} ({protocol})", text)


def _rows(results: Results) -> pd.DataFrame:
    summary = results.tables["summary"]
    rows = summary[(summary["level"] == "segment") & (summary["metric"] == _METRIC)]
    return rows[~rows["leaky"]]


def _first(results: Results) -> tuple | None:
    """The row of the first honest experiment under the first honest protocol that it has."""
    rows = _rows(results)
    rows = rows[~rows["permuted"] & ~rows["select"].isin(["none", "best_on_test"])]
    for experiment in results.options.experiments:
        own = {row.protocol: row for row in rows[rows["experiment"] == experiment].itertuples()}
        if protocol := next((p for p in HONEST if p in own), None):
            return own[protocol]
    return None


def _is_leaky(results: Results, row: tuple) -> bool:
    summary = results.tables["summary"]
    same = (summary["experiment"] == row.experiment) & (summary["protocol"] == row.protocol)
    return bool(summary.loc[same, "leaky"].any())


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f} percentage points"


def _interval(low: float | None, high: float | None, unit: str = "") -> str:
    if pd.isna(low) or pd.isna(high):
        return ""
    percent = "" if unit else "\N{NO-BREAK SPACE}%"
    return f" [{100 * low:.1f}{percent}, {100 * high:.1f}{percent}]"
