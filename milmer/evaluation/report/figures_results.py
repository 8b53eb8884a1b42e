"""Figures of results: how the accuracy depends on the protocol, on subjects, classes and epochs."""

import numpy as np
import pandas as pd

from milmer.drawing.svg import WIDTH, Axes, Drawing, Figure, Panel, ticks
from milmer.evaluation.report.sources import Group, Results, baseline_title, caveats
from milmer.metrics.calibration import expected_calibration_error
from milmer.metrics.epoch_score import BEFORE

_SHARES = (0, 0.25, 0.5, 0.75, 1)
_PEEKS = "best_on_test"


def inflation(results: Results) -> Figure:
    """Accuracy by segment of each experiment under each protocol; leaky ones are hatched."""
    tables = results.tables
    summary = tables["summary"]
    rows = summary[(summary["level"] == "segment") & (summary["metric"] == "accuracy")]
    rows = rows[rows["select"] != "none"]  # the baselines, which are marks in each row
    honest = tables["inflation"].set_index(["experiment", "protocol"])["honest"]
    panels = []
    for experiment, group in rows.groupby("experiment", sort=False):
        drawn = [row for row in group.itertuples() if honest[experiment, row.protocol]]
        drawn += [row for row in group.itertuples() if not honest[experiment, row.protocol]]
        panels.append(_inflation_panel(experiment, drawn, honest))
    return Figure(
        "inflation",
        "What a leaky split adds",
        "Accuracy by segment of the same model under each protocol: the mean over subjects, and "
        "its interval if there are at least six. A hatched bar says nothing about new data: "
        "training and test share trials (leaky), the best epoch was chosen on the test part, or "
        "ratings were permuted among trials, a control in which there is nothing to learn. Solid "
        "line: always predict the most common class of the training part; dashed line: draw "
        "classes at random, as often as they occur there; diamond, where measured: the best "
        "baseline that looks at nothing else.",
        panels,
        "There are no runs.",
    )


def _inflation_panel(experiment: str, rows: list, honest: pd.Series) -> Panel:
    drawing, step = Drawing(height=66 * len(rows) + 40), 66
    axes = Axes(drawing, (10, 0, WIDTH - 56, step * len(rows)), (0, 1), (0, 1))
    drawing.hatch()
    descriptions = []
    for i, row in enumerate(rows):
        top = step * i
        facts = {"leaky": row.leaky, "on_test": row.select == _PEEKS, "permuted": row.permuted}
        words = [row.protocol, *caveats(**facts)]
        drawing.text(
            10, top + 16, ", ".join(words), "bold" if honest[experiment, row.protocol] else ""
        )
        left, right = axes.at(0, 0)[0], axes.at(0 if pd.isna(row.mean) else row.mean, 0)[0]
        bar = (left, top + 24, right - left, 20)
        if honest[experiment, row.protocol]:
            drawing.rect(*bar, "strong")
        else:
            drawing.hatched(*bar)
        if not pd.isna(row.low):
            low, high = axes.at(row.low, 0)[0], axes.at(row.high, 0)[0]
            drawing.line(low, top + 34, high, top + 34, "whisker")
            for x in (low, high):
                drawing.line(x, top + 30, x, top + 38, "whisker")
        marks = {"majority": row.majority, "chance": row.chance}
        for value, kind in ((row.majority, "mark"), (row.chance, "dashed")):
            x = axes.at(value, 0)[0]
            drawing.line(x, top + 20, x, top + 48, kind)
        if not pd.isna(row.best_baseline):
            marks[baseline_title(row.baseline_name)] = row.best_baseline
            drawing.diamond(axes.at(row.best_baseline, 0)[0], top + 34)
        # Below the end of its bar, where no other mark is.
        drawing.text(max(right, 22), top + 59, _share(row.mean), "bold", "middle")
        beside = ", ".join(f"{name} {_share(value)}" for name, value in marks.items())
        descriptions.append(f"{', '.join(words)}: {_share(row.mean)} ({beside})")
    _share_axis(axes, "accuracy by segment")
    description = f"Accuracy by segment of {experiment}. {'; '.join(descriptions)}."
    return drawing.panel(experiment, description)


def subjects(results: Results) -> Figure:
    """Each subject's accuracy and that of the majority class."""
    panels = []
    for group in results.groups:
        table = results.subjects(group)
        drawing, step = Drawing(height=22 * len(table) + 44), 22
        axes = Axes(drawing, (40, 4, WIDTH - 90, step * len(table)), (0, 1), (0, 1))
        for value in _SHARES:
            x = axes.at(value, 0)[0]
            drawing.line(x, 4, x, 4 + step * len(table))
        for i, row in enumerate(table.itertuples()):
            y = 4 + step * (i + 0.5)
            x, base = axes.at(row.accuracy, 0)[0], axes.at(row.majority, 0)[0]
            side = "" if row.accuracy >= row.majority else " below"
            drawing.text(32, y + 4, row.subject, "soft", "end")
            drawing.line(base, y, x, y, f"stem{side}")
            drawing.line(base, y - 6, base, y + 6, "mark")
            drawing.circle(x, y, 5, f"dot{side}")
            beside = (x - 9, "end") if side and x > 80 else (x + 9, "start")
            drawing.text(beside[0], y + 4, _share(row.accuracy), "label", beside[1])
        _share_axis(axes, "accuracy by segment")
        above = int((table["accuracy"] > table["majority"]).sum())
        ends = table.loc[[table["accuracy"].idxmin(), table["accuracy"].idxmax()]]
        span = " to ".join(f"{_share(r.accuracy)} ({r.subject})" for r in ends.itertuples())
        description = f"{above} of {len(table)} subjects are above the majority class; accuracies "
        description += f"range from {span}."
        panels.append(drawing.panel(group.title, description))
    return Figure(
        "subjects",
        "Accuracy by subject",
        "A dot is a subject's accuracy by segment over its folds, the vertical line that of the "
        "majority class. Subjects below the line are drawn in the second colour.",
        panels,
        "There are no runs.",
    )


def confusion(results: Results) -> Figure:
    """Which class was predicted as which."""
    panels = []
    for group in results.groups:
        counts = results.confusion(group)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
        side = min(64, 260 / len(counts))
        drawing = Drawing(height=side * len(counts) + 60)
        drawing.text(70, 16, "predicted", "soft")
        drawing.text(0, 38, "true", "soft")
        for i, name in enumerate(group.labels):
            drawing.text(70 + side * (i + 0.5), 38, name, "", "middle")
            drawing.text(62, 50 + side * (i + 0.5), name, "", "end")
            for j in range(len(counts)):
                x, y = 70 + side * j, 46 + side * i
                drawing.cell(x, y, side - 2, side - 2, share[i, j])
                middle = x + side / 2 - 1
                text = _share(share[i, j]) if total[i, 0] else "–"
                kind = "bold" if i == j else ""
                drawing.text(middle, y + side / 2, text, kind, "middle")
                drawing.text(middle, y + side / 2 + 16, counts[i, j], "small", "middle")
        recalls = [
            f"{name} {_share(share[i, i])} of {total[i, 0]}"
            for i, name in enumerate(group.labels)
            if total[i, 0]
        ]
        panels.append(drawing.panel(group.title, f"Correct: {', '.join(recalls)}."))
    return Figure(
        "confusion",
        "Confusion",
        "Test segments of each true class by predicted class: their share and number.",
        panels,
        "There are no runs.",
    )


def learning(results: Results) -> Figure:
    """Loss and watched metric by epoch, and the epochs that were kept."""
    return Figure(
        "learning",
        "Learning",
        "The line is the median over runs, the band their middle 80 %. Above: the training loss, "
        "with dropout, and dashed the loss of the validation part. Below: the metric by which the "
        "epoch was chosen, on the validation part, or on the test part where it was chosen there. "
        "Triangles mark the epochs that were kept; the larger, the more runs kept that epoch. "
        "Epoch −1 is the model before its first step.",
        [_learning_panel(group) for group in results.groups],
        "There are no runs.",
    )


def _learning_panel(group: Group) -> Panel:
    history = group.history
    there = [name for name in history if history[name].notna().any()]
    watched = next((m for m in ("val_macro_f1", "test_accuracy") if m in there), None)
    losses = [name for name in ("train_loss", "val_loss") if name in there]
    plots = [losses, *([[watched]] if watched else [])]
    every = np.sort(history["epoch"].unique())
    drawing, medians = Drawing(height=165 * len(plots) + 18), []
    for i, columns in enumerate(plots):
        curves = {column: _curve(history, column) for column in columns}
        highest = max((float(np.nanmax(high)) for _, _, _, high in curves.values()), default=1.0)
        top = max(highest, 1e-6) if columns == losses else 1.0
        box, last = (44, 24 + 165 * i, WIDTH - 56, 118), i == len(plots) - 1
        axes = Axes(drawing, box, (every[0], every[-1]), (0, top))
        xs = [e for e in ticks(every[0], every[-1], 5) if e == int(e)] if last else []
        names = " and ".join(map(_curve_name, columns))
        axes.grid(xs, ticks(0, top), "epoch" if last else "", names)
        for column, (epochs, low, middle, high) in curves.items():
            band = list(zip(epochs, high, strict=True)) + list(zip(epochs, low, strict=True))[::-1]
            drawing.path([axes.at(x, y) for x, y in band], "faint")
            kind = "curve" if column == "train_loss" else "curve other"
            drawing.path([axes.at(x, y) for x, y in zip(epochs, middle, strict=True)], kind)
            medians.append(f"{_curve_name(column)} {middle[0]:.2f} to {middle[-1]:.2f}")
    kept = [metrics["epoch"] for metrics in group.metrics.values()]
    for epoch, count in zip(*np.unique(kept, return_counts=True), strict=True):
        x, y = axes.at(epoch, 0)
        size = 3 + 4 * count / len(kept)
        drawing.path([(x, y - 2 * size), (x - size, y), (x + size, y)], "wedge")
    description = (
        f"Medians from the first to the last of {(every != BEFORE).sum()} epochs: "
        f"{'; '.join(medians)}. Median epoch kept: {np.median(kept):g}."
    )
    return drawing.panel(group.title, description)


def _curve(history: pd.DataFrame, column: str) -> tuple[np.ndarray, ...]:
    """Epochs that have a value, and its 10 %, 50 % and 90 % quantiles over runs."""
    rows = history[history[column].notna()]  # before the first step there is no training loss
    table = rows.pivot(index="epoch", columns="run", values=column)
    return table.index.to_numpy(), *np.nanquantile(table.to_numpy(float), [0.1, 0.5, 0.9], axis=1)


def _curve_name(column: str) -> str:
    part, _, metric = column.partition("_")
    return f"{ {'train': 'training', 'val': 'validation'}.get(part, part) } {metric}".replace(
        "_", " "
    )


def reliability(results: Results) -> Figure:
    """How often the predicted class is right, by the confidence of the model."""
    panels = []
    for group in results.groups:
        bins = results.calibration(group)
        drawing = Drawing(height=300)
        axes = Axes(drawing, (44, 26, 236, 236), (0, 1), (0, 1))
        axes.grid(_SHARES, _SHARES, "confidence", "accuracy")
        drawing.line(*axes.at(0, 0), *axes.at(1, 1), "dashed")
        total = bins["count"].sum()
        points = [axes.at(b.confidence, b.accuracy) for b in bins.itertuples()]
        drawing.path(points)
        for (x, y), count in zip(points, bins["count"], strict=True):
            drawing.circle(x, y, 3 + 7 * np.sqrt(count / total))
        gap = expected_calibration_error(bins)
        confidence, accuracy = (
            (bins["count"] * bins[name]).sum() / total for name in ("confidence", "accuracy")
        )
        description = (
            f"Mean confidence {_share(confidence)}, accuracy {_share(accuracy)}; expected "
        )
        description += f"calibration error {_share(gap)}."
        panels.append(drawing.panel(group.title, description))
    return Figure(
        "reliability",
        "Calibration",
        "Test segments in bins of confidence, the probability of the predicted class; the larger a "
        "dot, the more segments are in its bin. Below the dashed line the model is overconfident. "
        "The expected calibration error is the mean gap between confidence and accuracy.",
        panels,
        "There are no runs.",
    )


def _share_axis(axes: Axes, name: str) -> None:
    axes.grid(_SHARES, [], name, "")


def _share(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"
